"""What an edit does to colour and sharpness, and what skin it does it to."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from kornia.color import rgb_to_lab
from kornia.filters import gaussian_blur2d

from sargan_plugin.align import face_matrices, scale_of
from sargan_plugin.generators.skin import light
from sargan_training.data import MARGIN, margin_of

# Rectangles (left, top, right, bottom) in a 128-px canonical crop: skin away from mouth, eyes and
# brows, which must keep its colour, and the mouth.
CHEEKS = ((34, 62, 46, 74), (81, 62, 93, 74))
NOSE_BRIDGE = ((58, 46, 69, 56),)
FOREHEAD = ((44, 14, 83, 28),)
JAW = ((30, 82, 40, 96), (87, 82, 97, 96))
SKIN = (*FOREHEAD, *NOSE_BRIDGE, *CHEEKS, *JAW)
MOUTH = (46, 74, 81, 96)
# Limits in degrees of the individual typology angle (Chardon et al., 1991), dark to light.
SKIN_TONES = {"dark": -30.0, "brown": 10.0, "tan": 28.0, "light": 90.0}


def region(crops: torch.Tensor, box: tuple[int, int, int, int]) -> torch.Tensor:
    """A rectangle of crops with their surroundings ``(N, C, S, S)``, given in coordinates of the
    canonical crop of 128 px."""
    scale = crops.shape[-1] / (128 + 2 * MARGIN)
    left, top, right, bottom = (round((side + MARGIN) * scale) for side in box)
    return crops[..., top:bottom, left:right]


def colour_difference(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    """CIEDE2000 of every pixel of skin in uint8 crops before and after; 1 is just noticeable.

    Crops are blurred a little first, so that grain laid anew is no difference in colour.

    Returns:
        ``(N, P)`` for the P pixels of forehead, bridge of the nose, cheeks and jaw.
    """
    from skimage.color import deltaE_ciede2000

    lab = [
        rgb_to_lab(gaussian_blur2d(crops.float() / 255, (9, 9), (2.0, 2.0)))
        for crops in (before, after)
    ]
    skin = [
        torch.cat([region(each, box).flatten(2) for box in SKIN], dim=2).transpose(1, 2).numpy()
        for each in lab
    ]
    return deltaE_ciede2000(*skin)


def skin_tones(crops: torch.Tensor) -> list[str]:
    """The group of each face by the typology angle of its cheeks: atan((L* - 50) / b*)."""
    cheeks = [region(crops, box).float() / 255 for box in CHEEKS]
    lab = torch.stack([rgb_to_lab(cheek).mean(dim=(2, 3)) for cheek in cheeks]).mean(dim=0)
    angle = torch.rad2deg(torch.atan2(lab[:, 0] - 50, lab[:, 2].clamp(min=1e-3)))
    return [next(name for name, top in SKIN_TONES.items() if a <= top) for a in angle.tolist()]


def natural_size(landmarks: np.ndarray) -> tuple[int, int]:
    """Size and margin of a canonical crop that has as many pixels as the photo has there.

    Not under 64 px, where the regions would have no pixels left.
    """
    scale = scale_of(face_matrices(torch.from_numpy(landmarks)[None], 128)).item()
    size = max(64, round(128 / scale))
    return size, margin_of(size)


def laplacian_energy(images: torch.Tensor) -> torch.Tensor:
    """Mean squared Laplacian of the luminance of ``(N, 3, H, W)`` uint8 images, ``(N,)``."""
    luminance = light(images.float())
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return F.conv2d(luminance, kernel).square().mean(dim=(1, 2, 3))


def mouth_sharpness(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """How sharp the mouth is for its face, after over before, ``(N,)``; 1 is as sharp.

    The Laplacian energy in the mouth over that of the cheeks, as a ratio of the edit to the photo.

    Args:
        before: crops with their surroundings ``(N, 3, S, S)``, of any size.
        after: the same ones, edited.
    """

    def relative(crops):
        cheeks = sum(laplacian_energy(region(crops, box)) for box in CHEEKS) / len(CHEEKS)
        return laplacian_energy(region(crops, MOUTH)) / cheeks.clamp(min=1e-3)

    return (relative(after) / relative(before).clamp(min=1e-6)).sqrt()
