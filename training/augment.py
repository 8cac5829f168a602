"""Differentiable augmentation: parameters are drawn once, then applied.

Crops are kept with a margin of surroundings, so that one jittered as in our recipes shows no
invented border.
Every function takes the :class:`Draws` of its rows, or draws from the global generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sargan_training.data import Crops, to_unit
from sargan_training.draws import Draws
from sargan_training.recipe import Jitter


def training_crops(crops: Crops, index: torch.Tensor, jitter: Jitter, draws: Draws) -> torch.Tensor:
    """Some crops, jittered and flipped, ``(B, 3, S, S)`` in [-1, 1] where ``draws`` lives."""
    images, size = to_unit(crops[index.cpu()].to(draws.device)), crops.size
    shift = jitter.shift * size / 128
    return jittered_crops(
        images, size, draws, scale=jitter.scale, rotation=jitter.rotation, shift=shift
    )


def jittered_crops(
    crops: torch.Tensor,
    size: int,
    draws: Draws | None = None,
    *,
    scale: float,
    rotation: float,
    shift: float,
) -> torch.Tensor:
    """Cut the middle ``size`` out of larger crops under a random small similarity and flip.

    Args:
        crops: ``(B, 3, S, S)`` with S > size.
        size: side of the result.
        draws: of these rows.
        scale: largest relative change of size.
        rotation: largest angle in radians.
        shift: largest displacement in pixels.
    """
    draws = draws or Draws(len(crops), crops.device)
    outer = crops.shape[-1]
    angle = draws.uniform(-rotation, rotation)
    zoom = torch.exp(draws.uniform(-scale, scale)) * (size / outer)
    flip = torch.where(draws.chance(0.5), -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    offset = draws.uniform(-shift, shift, 2).T * (2 / outer)
    rows = [
        torch.stack([cos * flip, -sin, offset[0]], 1),
        torch.stack([sin * flip, cos, offset[1]], 1),
    ]
    shape = [len(crops), 3, size, size]
    grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    return F.grid_sample(crops, grid, "bicubic", padding_mode="border", align_corners=False)


def colour_jitter(
    images: torch.Tensor, strength: float, draws: Draws | None = None
) -> torch.Tensor:
    """Random brightness, contrast and saturation of ``(B, 3, H, W)`` images in [-1, 1]."""
    draws = draws or Draws(len(images), images.device)
    images = images + draws.uniform(-0.4, 0.4, 1, 1, 1) * strength
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1 + draws.uniform(-0.7, 0.7, 1, 1, 1) * strength)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (images - middle) * (1 + draws.uniform(-0.4, 0.4, 1, 1, 1) * strength)


def whole_pixel_shift(
    images: torch.Tensor, largest: int, draws: Draws | None = None
) -> torch.Tensor:
    """Random shift by whole pixels and flip: nothing is resampled, fine texture stays."""
    draws = draws or Draws(len(images), images.device)
    padded = F.pad(images, [largest] * 4, mode="reflect")
    height, width = images.shape[-2:]
    corners = draws.integers(2 * largest + 1, 2).tolist()
    flips = draws.chance(0.5).tolist()
    result = []
    for image, (top, left), flip in zip(padded, corners, flips, strict=True):
        part = image[:, top : top + height, left : left + width]
        result.append(part.flip(-1) if flip else part)
    return torch.stack(result)


def cutout(
    images: torch.Tensor, share: float, probability: float, draws: Draws | None = None
) -> torch.Tensor:
    """Grey out a random square of each image with the given probability."""
    draws = draws or Draws(len(images), images.device)
    height, width = images.shape[-2:]
    half_y, half_x = height * share / 2, width * share / 2
    ys = torch.arange(height, device=images.device).view(1, 1, height, 1)
    xs = torch.arange(width, device=images.device).view(1, 1, 1, width)
    centre_y, centre_x = draws.uniform(0, height, 1, 1, 1), draws.uniform(0, width, 1, 1, 1)
    inside = ((ys - centre_y).abs() < half_y) & ((xs - centre_x).abs() < half_x)
    return images * ~(inside & draws.chance(probability, 1, 1, 1))


def realism_augmentation(
    images: torch.Tensor, amount: float, draws: Draws | None = None
) -> torch.Tensor:
    """For the realism head: shifts by whole pixels and colour only.

    A resampling augmentation would blur away exactly what this head has to see: halftones and
    smeared texture. ``amount`` in [0, 1] is adapted to overfitting during training.
    """
    draws = draws or Draws(len(images), images.device)
    images = whole_pixel_shift(images, 4, draws)
    images = colour_jitter(images, amount, draws)
    return cutout(images, 0.35, amount, draws)


def expression_augmentation(images: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
    """For the class head: strong affine, blur and colour, so that it reads shapes, not pixels."""
    draws = draws or Draws(len(images), images.device)
    size = images.shape[-1]
    angle = draws.uniform(-0.3, 0.3)
    zoom = torch.exp(draws.uniform(-0.15, 0.15))
    stretch = torch.exp(draws.uniform(-0.1, 0.1))
    flip = torch.where(draws.chance(0.5), -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    offset = draws.uniform(-0.1, 0.1, 2).T
    rows = [
        torch.stack([cos * flip, -sin * stretch, offset[0]], 1),
        torch.stack([sin * flip, cos * stretch, offset[1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, "bilinear", padding_mode="reflection", align_corners=False)
    images = colour_jitter(images, 1, draws)
    small = F.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True)
    blurred = F.interpolate(small, size=(size, size), mode="bilinear")
    images = torch.where(draws.chance(0.3, 1, 1, 1), blurred, images)
    noise = draws.normal(*images.shape[1:]) * draws.uniform(0, 0.08, 1, 1, 1)
    return cutout(images + noise, 0.4, 0.5, draws)
