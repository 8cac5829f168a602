"""From five landmarks to the canonical crop: similarity transforms and crops.

Conventions: a pixel's centre has integer coordinates, points are ``(x, y)``, and a similarity is a
``(2, 3)`` matrix that maps **picture** coordinates to **crop** coordinates. Everything here runs in
the dtype of its input with autocast disabled, and is differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from kornia.geometry.transform import invert_affine_transform, warp_affine

from sargan_plugin.errors import SarganError

TEMPLATE_SIZE = 128
# Mean five points of Labeled Faces in the Wild, made symmetric about the crop's middle and drawn
# in by a tenth, so that an opened jaw and the feather still fit below the chin.
TEMPLATE = (
    (44.9, 44.0),
    (82.1, 44.0),
    (63.5, 66.3),
    (47.9, 84.5),
    (79.1, 84.5),
)


def full_precision(function: Callable) -> Callable:
    """Run a function with autocast disabled on the device of its first argument.

    Under bfloat16 autocast even a 2x2 matrix product loses whole pixels.
    """

    @wraps(function)
    def without_autocast(first: torch.Tensor, *others, **options):
        with torch.autocast(first.device.type, enabled=False):
            return function(first, *others, **options)

    return without_autocast


def template(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The five landmarks of the canonical crop of ``size`` pixels, ``(5, 2)``."""
    points = torch.tensor(TEMPLATE, dtype=dtype)
    return (points + 0.5) * (size / TEMPLATE_SIZE) - 0.5


@full_precision
def estimate_similarity(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Least-squares similarity (rotation, scale, shift; never a reflection) from points to points.

    In the plane Umeyama's solution without reflections has the closed form of a complex division,
    which needs no singular value decomposition and so has a gradient everywhere.

    Args:
        source: ``(B, N, 2)`` points with N >= 2.
        target: ``(B, N, 2)`` or ``(N, 2)`` points.

    Returns:
        ``(B, 2, 3)`` matrices with ``target ~= source @ M[:, :, :2].mT + M[:, :, 2]``.

    Raises:
        SarganError: when the source points of a row coincide or are not finite.

    Reference: S. Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", TPAMI 1991.
    """
    target = target.to(source).expand_as(source)
    source_mean, target_mean = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    (x, y), (u, v) = (source - source_mean).unbind(-1), (target - target_mean).unbind(-1)
    spread = (x * x + y * y).sum(1)
    if not bool((spread > 1e-6).all()):
        raise SarganError("Face landmarks must be finite and must not coincide.")
    cos = (x * u + y * v).sum(1) / spread
    sin = (x * v - y * u).sum(1) / spread
    linear = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    shift = target_mean.mT - linear @ source_mean.mT
    return torch.cat([linear, shift], dim=2)


def face_matrices(landmarks: torch.Tensor, size: int) -> torch.Tensor:
    """Similarities ``(B, 2, 3)`` from ``(B, 5, 2)`` picture landmarks to the canonical crop."""
    return estimate_similarity(landmarks, template(size, landmarks.dtype))


def scale_of(matrices: torch.Tensor) -> torch.Tensor:
    """Crop pixels per picture pixel of similarities ``(B, 2, 3)``, as ``(B,)``."""
    return matrices[:, :, 0].norm(dim=1)


@full_precision
def apply_matrix(matrices: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Map points ``(B, N, 2)`` through affine matrices ``(B, 2, 3)``."""
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


@full_precision
def crop_rectangle(
    matrix: torch.Tensor, size: int, height: int, width: int, margin: int = 0
) -> tuple[int, int, int, int]:
    """Smallest rectangle of the picture that holds the crop, cut to the picture.

    Args:
        matrix: one ``(2, 3)`` similarity.
        size: side of the crop in pixels.
        height: of the picture.
        width: of the picture.
        margin: picture pixels to add on each side.

    Returns:
        ``(top, left, bottom, right)``, the last two exclusive; empty (top == bottom or
        left == right) when the crop lies outside the picture.
    """
    edge = size - 0.5
    corners = matrix.new_tensor([[[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge]]])
    corners = apply_matrix(invert_affine_transform(matrix[None].detach()), corners)[0]
    left, top = (math.floor(value) - margin for value in corners.amin(0).tolist())
    right, bottom = (math.ceil(value) + 1 + margin for value in corners.amax(0).tolist())
    top, bottom = (min(max(value, 0), height) for value in (top, bottom))
    left, right = (min(max(value, 0), width) for value in (left, right))
    return top, left, bottom, right


@full_precision
def shifted(matrix: torch.Tensor, left: float, top: float) -> torch.Tensor:
    """The similarity for coordinates that count from ``(left, top)`` of the picture."""
    offset = matrix.new_tensor([left, top])
    return torch.cat([matrix[..., :2], matrix[..., 2:] + (matrix[..., :2] @ offset)[..., None]], -1)


@full_precision
def crop_faces(images: torch.Tensor, matrices: torch.Tensor, size: int) -> torch.Tensor:
    """Resample pictures into canonical crops.

    Where the face is larger than the crop, the picture is first shrunk with an anti-aliasing
    filter, so that no texture folds into the crop. Parts of a face outside the picture repeat the
    picture's edge.

    Args:
        images: ``(B, C, H, W)`` float pictures, all with about the same face size (the
            anti-aliasing shrinks the batch as one).
        matrices: ``(B, 2, 3)`` picture-to-crop similarities.
        size: side of the crop.

    Returns:
        ``(B, C, size, size)`` crops.
    """
    images, matrices = shrink_to_scale(images, matrices)
    return warp_affine(
        images, matrices, (size, size), "bilinear", padding_mode="border", align_corners=True
    )


@full_precision
def shrink_to_scale(
    images: torch.Tensor, matrices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shrink pictures to about the crop's resolution and adapt the similarities to it."""
    height, width = images.shape[-2:]
    scale = float(scale_of(matrices.detach()).max())
    new_height, new_width = (max(1, round(side * scale)) for side in (height, width))
    if scale >= 1 or (new_height, new_width) == (height, width):
        return images, matrices
    images = F.interpolate(
        images, (new_height, new_width), mode="bilinear", antialias=True, align_corners=False
    )
    # Shrinking maps x to (x + 0.5) * s - 0.5; the similarity must undo that first.
    undo = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
    undo[0, 0], undo[1, 1] = width / new_width, height / new_height
    undo[0, 2], undo[1, 2] = (undo[0, 0] - 1) / 2, (undo[1, 1] - 1) / 2
    return images, matrices @ undo


def crop_face(photo: torch.Tensor, matrix: torch.Tensor, size: int) -> torch.Tensor:
    """The canonical crop ``(C, size, size)`` of one face, float in [0, 1].

    Only the face's rectangle of the photo, ``(C, H, W)`` of uint8, uint16 or float in [0, 1], is
    converted to float. ``matrix`` is ``(2, 3)``; its dtype is the crop's.

    Raises:
        SarganError: when the crop lies outside the photo.
    """
    height, width = photo.shape[-2:]
    top, left, bottom, right = crop_rectangle(matrix, size, height, width, margin=2)
    if top >= bottom or left >= right:
        raise SarganError("The face lies outside the picture.")
    rectangle = to_unit(photo[:, top:bottom, left:right], matrix.dtype)
    return crop_faces(rectangle[None], shifted(matrix, left, top)[None], size)[0]


def to_unit(pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Integer pixels as floats of ``dtype`` in [0, 1]; floats only change their dtype."""
    if pixels.dtype.is_floating_point:
        return pixels.to(dtype)
    return pixels.to(dtype) / torch.iinfo(pixels.dtype).max


def from_unit(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Floats in [0, 1] as pixels of ``dtype``, rounded to nearest."""
    if dtype.is_floating_point:
        return values.to(dtype)
    return (values * torch.iinfo(dtype).max).round().to(dtype)


def pixels_where(mask: torch.Tensor, pixels: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """``torch.where`` for pixels of any dtype; older versions of PyTorch lack uint16 there."""
    if pixels.dtype != torch.uint16:
        return torch.where(mask, pixels, others)
    return torch.where(mask, pixels.view(torch.int16), others.view(torch.int16)).view(torch.uint16)
