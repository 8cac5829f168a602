"""Differentiable augmentation: parameters are drawn once, then applied.

Crops are kept with a margin of surroundings, so a jittered crop never shows an invented border.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def uniform(count: int, low: float, high: float) -> torch.Tensor:
    """``(count, 1, 1, 1)`` float32 draws."""
    return torch.empty(count, 1, 1, 1).uniform_(low, high)


def jittered_crops(
    crops: torch.Tensor, size: int, *, scale: float, rotation: float, shift: float
) -> torch.Tensor:
    """Cut the middle ``size`` out of larger crops under a random small similarity and flip.

    Args:
        crops: ``(B, 3, S, S)`` with S > size.
        size: side of the result.
        scale: largest relative change of size.
        rotation: largest angle in radians.
        shift: largest displacement in pixels.
    """
    count, outer = len(crops), crops.shape[-1]
    angle = uniform(count, -rotation, rotation).flatten()
    zoom = torch.exp(uniform(count, -scale, scale).flatten()) * (size / outer)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    offset = torch.empty(2, count).uniform_(-shift, shift) * (2 / outer)
    rows = [
        torch.stack([cos * flip, -sin, offset[0]], 1),
        torch.stack([sin * flip, cos, offset[1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 3, size, size], align_corners=False)
    return F.grid_sample(crops, grid, "bicubic", padding_mode="border", align_corners=False)


def colour_jitter(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Random brightness, contrast and saturation of ``(B, 3, H, W)`` images in [-1, 1]."""
    count = len(images)
    images = images + uniform(count, -0.4, 0.4) * strength
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1 + uniform(count, -0.7, 0.7) * strength)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (images - middle) * (1 + uniform(count, -0.4, 0.4) * strength)


def whole_pixel_shift(images: torch.Tensor, largest: int) -> torch.Tensor:
    """Random shift by whole pixels and flip: nothing is resampled, fine texture stays."""
    padded = F.pad(images, [largest] * 4, mode="reflect")
    height, width = images.shape[-2:]
    result = []
    for image in padded:
        top, left = torch.randint(0, 2 * largest + 1, (2,)).tolist()
        part = image[:, top : top + height, left : left + width]
        result.append(part.flip(-1) if torch.rand(()) < 0.5 else part)
    return torch.stack(result)


def cutout(images: torch.Tensor, share: float, probability: float) -> torch.Tensor:
    """Grey out a random square of each image with the given probability."""
    count, _, height, width = images.shape
    half_y, half_x = height * share / 2, width * share / 2
    ys = torch.arange(height).view(1, 1, height, 1)
    xs = torch.arange(width).view(1, 1, 1, width)
    centre_y, centre_x = uniform(count, 0, height), uniform(count, 0, width)
    inside = ((ys - centre_y).abs() < half_y) & ((xs - centre_x).abs() < half_x)
    inside = inside & (torch.rand(count, 1, 1, 1) < probability)
    return images * ~inside


def realism_augmentation(images: torch.Tensor, amount: float) -> torch.Tensor:
    """For the realism head: shifts by whole pixels and colour only.

    A resampling augmentation would blur away exactly what this head has to see: halftones and
    smeared texture. ``amount`` in [0, 1] is adapted to overfitting during training.
    """
    images = whole_pixel_shift(images, 4)
    images = colour_jitter(images, amount)
    return cutout(images, 0.35, amount)


def expression_augmentation(images: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """For the class head: strong affine, blur and colour, so that it reads shapes, not pixels."""
    count, _, size, _ = images.shape
    angle = uniform(count, -0.3, 0.3).flatten() * amount
    zoom = torch.exp(uniform(count, -0.15, 0.15).flatten() * amount)
    stretch = torch.exp(uniform(count, -0.1, 0.1).flatten() * amount)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    offset = torch.empty(2, count).uniform_(-0.1, 0.1) * amount
    rows = [
        torch.stack([cos * flip, -sin * stretch, offset[0]], 1),
        torch.stack([sin * flip, cos * stretch, offset[1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, "bilinear", padding_mode="reflection", align_corners=False)
    images = colour_jitter(images, amount)
    small = F.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
    blurred = F.interpolate(small, size=(size, size), mode="bilinear")
    images = torch.where(torch.rand(count, 1, 1, 1) < 0.3 * amount, blurred, images)
    images = images + torch.randn_like(images) * uniform(count, 0, 0.08) * amount
    return cutout(images, 0.4, 0.5 * amount)
