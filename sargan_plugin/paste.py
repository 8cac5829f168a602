"""Put the *edit* of a face back into the photo, at the photo's own resolution.

The photo is never resampled through the small crop. With everything sampled at photo pixels::

    moved  = photo at (position + flow)
    detail = moved - (the crop, enlarged, at the same moved positions)
    result = moved + delta - replace * (detail - grain)

``delta``, ``replace`` and ``flow`` come from the crop and are enlarged smoothly; ``grain`` is
random texture with the spectrum of the person's own cheek. Where the edit is zero, the photo is
left bit for bit. Everything runs in the photo's float dtype with autocast disabled and is
differentiable in the photo, the edit and the similarity (grain counts as a constant).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from kornia.geometry.transform import invert_affine_transform

from sargan_plugin.align import (
    apply_matrix,
    crop_rectangle,
    from_unit,
    full_precision,
    scale_of,
    shifted,
    to_unit,
)
from sargan_plugin.errors import SarganError
from sargan_plugin.generators.edit import BORDER, Edit

# Photo pixels worked on at a time: bounds the memory a very large face needs.
STRIP_PIXELS = 1 << 19
# Both cheeks of the canonical crop, as (x, y) shares of its side: skin with nothing in its way.
CHEEKS = ((0.36, 0.56), (0.64, 0.56))
CHEEK_RADIUS = 0.055


@dataclass(frozen=True)
class EditedRectangle:
    """The part of a photo around one face after its edit.

    Attributes:
        top: row of the rectangle's first line in the photo.
        left: column of its first pixel.
        pixels: ``(C, h, w)`` in the photo's dtype.
        changed: pixels in which the edit is not zero; all others are copies of the photo's.
        clipped: changed pixels that would have left the range of the dtype.
    """

    top: int
    left: int
    pixels: torch.Tensor
    changed: int
    clipped: int

    def write_into(self, photo: torch.Tensor) -> None:
        """Overwrite the rectangle in ``photo`` ``(C, H, W)``."""
        height, width = self.pixels.shape[-2:]
        photo[:, self.top : self.top + height, self.left : self.left + width] = self.pixels


@full_precision
def paste_edit(
    photo: torch.Tensor,
    edit: Edit,
    crop: torch.Tensor,
    matrix: torch.Tensor,
    *,
    grain: bool = True,
    seed: int = 0,
    texture: torch.Tensor | None = None,
) -> EditedRectangle:
    """Apply the edit of one face to the part of a photo that it covers.

    Args:
        photo: ``(C, H, W)``, uint8, uint16 or float in [0, 1]. Not modified. Three channels of
            colour, or any planes of which ``edit`` and ``crop`` have as many.
        edit: of this face, batch size 1, already feathered and at its intensity.
        crop: ``(C, S, S)`` canonical crop of this photo, float in [0, 1].
        matrix: ``(2, 3)`` similarity from photo to crop; part of the crop must lie in the photo.
        grain: whether replaced texture gets random texture like the cheek's.
        seed: of the grain.
        texture: what :func:`grain_texture` gave for another picture of this face; then nothing
            is measured here.

    Raises:
        SarganError: when the crop lies outside the photo.
    """
    size = crop.shape[-1]
    height, width = photo.shape[-2:]
    top, left, bottom, right = crop_rectangle(matrix, size, height, width)
    if top >= bottom or left >= right:
        raise SarganError("The face lies outside the picture.")
    pieces, changed, clipped = [], 0, 0
    fields = [edit.delta / 2, edit.replace]
    if edit.flow is not None:
        fields.append(photo_flow(edit.flow, matrix))
    if texture is None and grain:
        texture = grain_texture(photo, crop, matrix, seed)
    for upper, lower in strips(top, bottom, right - left):
        rectangle = (upper, left, lower, right)
        strip, touched, out_of_range = edited_strip(
            photo, rectangle, torch.cat(fields, dim=1), crop.to(edit.delta), matrix, texture
        )
        before = photo[:, upper:lower, left:right]
        pieces.append(torch.where(touched, from_unit(strip, photo.dtype), before))
        changed, clipped = changed + int(touched.sum()), clipped + int(out_of_range.sum())
    return EditedRectangle(top, left, torch.cat(pieces, dim=1), changed, clipped)


def strips(top: int, bottom: int, width: int) -> Iterator[tuple[int, int]]:
    """Cut ``top..bottom`` into pieces of at most ``STRIP_PIXELS`` pixels."""
    step = max(1, STRIP_PIXELS // width)
    for upper in range(top, bottom, step):
        yield upper, min(upper + step, bottom)


def edited_strip(
    photo: torch.Tensor,
    rectangle: tuple[int, int, int, int],
    fields: torch.Tensor,
    crop: torch.Tensor,
    matrix: torch.Tensor,
    texture: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Edit one rectangle of the photo.

    ``fields`` ``(1, C + 1 or C + 3, S, S)`` are the colour change, the replaced share and, where
    anything moves, the flow in photo pixels. Returns the result ``(C, h, w)`` in [0, 1], and which
    pixels changed and which were clipped, both ``(1, h, w)``.
    """
    channels = len(crop)
    upper, left, lower, right = rectangle
    size = crop.shape[-1]
    grid = crop_grid(shifted(matrix, left, upper), lower - upper, right - left, size)
    painted = enlarge(fields, grid, matrix)[0] * within_feather(grid)
    delta, cover, flow = painted.tensor_split((channels, channels + 1))
    cover = cover.clamp(0, 1)
    window = reached(rectangle, flow, *photo.shape[-2:])
    window_top, window_left, window_bottom, window_right = window
    source = to_unit(photo[:, window_top:window_bottom, window_left:window_right], fields.dtype)
    window_grid = crop_grid(shifted(matrix, window_left, window_top), *source.shape[-2:], size)
    low = enlarge(crop[None], window_grid, matrix)[0]
    both = torch.cat([source, source - low])
    inside = both[
        :,
        upper - window_top : lower - window_top,
        left - window_left : right - window_left,
    ]
    moved = inside
    if len(flow):
        moved = sample_at(both, flow, left - window_left, upper - window_top)
    image, detail = moved.tensor_split(2)
    if texture is not None:
        side = size / float(scale_of(matrix.detach()[None]))
        detail = detail - tiled_texture(texture, grid, side)
    result = image + delta - cover * detail
    changed = (painted.detach() != 0).any(dim=0, keepdim=True)
    result = torch.where(changed, result, inside[:channels])
    clipped = ((result.detach() < -1e-6) | (result.detach() > 1 + 1e-6)).any(dim=0, keepdim=True)
    return result.clamp(0, 1), changed, clipped & changed


def reached(
    rectangle: tuple[int, int, int, int], flow: torch.Tensor, height: int, width: int
) -> tuple[int, int, int, int]:
    """The part of the photo that a rectangle's pixels come from; flow is ``(0 or 2, h, w)``."""
    left_by, up_by, right_by, down_by = 0, 0, 0, 0
    if len(flow):
        lowest, highest = (extreme.tolist() for extreme in flow.detach().flatten(1).aminmax(dim=1))
        left_by, up_by = (math.floor(min(value, 0)) - 2 for value in lowest)
        right_by, down_by = (math.ceil(max(value, 0)) + 2 for value in highest)
    upper, left, lower, right = rectangle
    return (
        max(upper + up_by, 0),
        max(left + left_by, 0),
        min(lower + down_by, height),
        min(right + right_by, width),
    )


def crop_grid(matrix: torch.Tensor, height: int, width: int, size: int) -> torch.Tensor:
    """Where the pixels of a photo rectangle lie in the crop: ``(height, width, 2)`` in [-1, 1]
    between the crop's edges. ``matrix`` takes the rectangle's coordinates to the crop's."""
    linear, shift = matrix[:, :2] * (2 / size), (matrix[:, 2] + 0.5) * (2 / size) - 1
    xs = torch.arange(width, dtype=matrix.dtype, device=matrix.device)[:, None] * linear[:, 0]
    ys = torch.arange(height, dtype=matrix.dtype, device=matrix.device)[:, None] * linear[:, 1]
    return xs + (ys + shift)[:, None]


def within_feather(grid: torch.Tensor) -> torch.Tensor:
    """``(height, width)``: whether a feathered edit may be felt at the places of a grid.

    Resampling spreads an edit a little; what it would carry past the feather is cut off.
    """
    x, y = grid.detach().abs().unbind(-1)
    return (x < 1 - 2 * BORDER) & (y < 1 - 2 * BORDER)


def enlarge(fields: torch.Tensor, grid: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Sample crop fields ``(1, C, S, S)`` at the places of a :func:`crop_grid`.

    Bicubic, so that an enlarged change shows no facets; anti-aliased where the face is smaller
    than the crop, as ``matrix`` tells. Beyond the crop its border is repeated.
    """
    scale = float(scale_of(matrix.detach()[None]))
    if scale > 1:
        side = max(1, round(fields.shape[-1] / scale))
        fields = F.interpolate(fields, (side, side), mode="bilinear", antialias=True)
    return F.grid_sample(
        fields, grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )


def pixel_positions(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """``(height, width, 2)`` coordinates ``(x, y)`` in the dtype and on the device of ``like``."""
    ys = torch.arange(height, dtype=like.dtype, device=like.device)
    xs = torch.arange(width, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)


def photo_flow(flow: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """A flow in crop pixels along the crop's axes, as one in photo pixels along the photo's."""
    linear = torch.linalg.inv(matrix[:, :2].to(flow))
    return torch.einsum("ij,bjhw->bihw", linear, flow)


def sample_at(source: torch.Tensor, way: torch.Tensor, left: int, top: int) -> torch.Tensor:
    """Sample ``(C, H, W)`` bicubically at ``(left + x, top + y) + way``; way is ``(2, h, w)``."""
    height, width = source.shape[-2:]
    xs = torch.arange(way.shape[-1], dtype=way.dtype, device=way.device) + (left + 0.5)
    ys = torch.arange(way.shape[-2], dtype=way.dtype, device=way.device) + (top + 0.5)
    x = (way[0] + xs) * (2 / width) - 1
    y = (way[1] + ys[:, None]) * (2 / height) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(
        source[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )[0]


@torch.no_grad()
def grain_texture(
    photo: torch.Tensor, crop: torch.Tensor, matrix: torch.Tensor, seed: int
) -> torch.Tensor | None:
    """A tile of random texture ``(C, n, n)`` with the spectrum of the finer cheek texture.

    Of the two cheeks the calmer is taken: the other may be under hair or at the face's edge.
    Returns None where the crop holds all there is (a small face) or no cheek is in the picture.
    Texture is measured and laid in the face's frame (the crop's axes and origin, the photo's
    pixel size), so that it turns with the face.

    Reference: Galerne et al., "Random phase textures", IEEE TIP 2011.
    """
    scale, size = float(scale_of(matrix[None])), crop.shape[-1]
    radius = min(int(CHEEK_RADIUS * size / scale), 128)
    if scale > 0.9 or radius < 4:
        return None
    details = [
        fine_detail(photo, crop, matrix, (size * x / scale, size * y / scale), radius)
        for x, y in CHEEKS
    ]
    details = [detail for detail in details if detail is not None]
    if not details:
        return None
    calm = min(details, key=lambda detail: float(detail.square().mean()))
    side = calm.shape[-1]
    # A window keeps the patch's borders from counting as texture; its loss of energy is undone.
    fade = torch.hann_window(side, dtype=calm.dtype, device=calm.device)
    fade = fade[:, None] * fade[None, :]
    calm = (calm - calm.mean(dim=(1, 2), keepdim=True)) * fade / fade.square().mean().sqrt()
    noise = torch.randn(side, side, generator=torch.Generator().manual_seed(seed)).to(calm)
    phase = torch.fft.fft2(noise)
    phase = phase / phase.abs().clamp(min=1e-12)
    return torch.fft.ifft2(torch.fft.fft2(calm) * phase).real


def fine_detail(
    photo: torch.Tensor,
    crop: torch.Tensor,
    matrix: torch.Tensor,
    centre: tuple[float, float],
    radius: int,
) -> torch.Tensor | None:
    """What the crop cannot hold of a square of skin, ``(C, 2 radius, 2 radius)``.

    The square lies along the axes of the face's frame; its pixels are the nearest of the photo.
    None when it reaches out of the photo.
    """
    scale = float(scale_of(matrix[None]))
    inside = pixel_positions(2 * radius, 2 * radius, like=matrix)
    inside = inside + matrix.new_tensor(centre) - radius
    back = invert_affine_transform(matrix[None])
    nearest = apply_matrix(back, (inside * scale - 0.5).view(1, -1, 2))[0].round()
    x, y = nearest.long().unbind(-1)
    height, width = photo.shape[-2:]
    if x.min() < 0 or y.min() < 0 or x.max() >= width or y.max() >= height:
        return None
    grid = (apply_matrix(matrix[None], nearest[None]) + 0.5) * (2 / crop.shape[-1]) - 1
    low = F.grid_sample(
        crop[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    detail = to_unit(photo[:, y, x], crop.dtype) - low[0, :, 0]
    return detail.view(-1, 2 * radius, 2 * radius)


def tiled_texture(texture: torch.Tensor, grid: torch.Tensor, side: float) -> torch.Tensor:
    """The periodic texture at the places of a grid, along the axes of the face's frame.

    ``side`` is that of the crop in photo pixels.
    """
    period = texture.shape[-1]
    pixels = ((grid.detach() + 1) * (side / 2)).floor().int().remainder(period)
    columns, rows = pixels.unbind(-1)
    places = (rows * period + columns).flatten()
    return texture.flatten(1).index_select(1, places).view(-1, *grid.shape[:2])
