"""Put the *edit* of a face back into the photo, at the photo's own resolution.

The photo is never resampled through the small crop. With everything sampled at photo pixels::

    moved  = photo at (position + flow)
    detail = moved - (the crop, moved by the same flow and enlarged)
    result = moved + delta - replace * (detail - grain)

``delta``, ``replace`` and ``flow`` come from the crop and are enlarged smoothly; ``grain`` is
random texture with the spectrum of the person's own cheek. Where the edit is zero, the photo is
left bit for bit. Everything runs in the photo's float dtype with autocast disabled and is
differentiable in the photo, the edit and the similarity (grain counts as a constant).
"""

from __future__ import annotations

import functools
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
    pixels_where,
    scale_of,
    shifted,
    to_unit,
)
from sargan_plugin.errors import SarganError
from sargan_plugin.generators.edit import BORDER, Edit, warp_by_flow

# Photo pixels worked on at a time: bounds the memory a very large face needs.
STRIP_PIXELS = 1 << 19
MOST_FINER = 8  # times the samples of a crop, along each axis
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
    side = size / float(scale_of(matrix.detach()[None]))
    densest = float(matrix.detach()[:, :2].norm(dim=0).max())  # pixels need not be square
    border = math.floor(BORDER * size / densest)
    top, left, bottom, right = crop_rectangle(matrix, size, height, width, margin=-border)
    if top >= bottom or left >= right:
        top, left, bottom, right = crop_rectangle(matrix, size, height, width)
        if top >= bottom or left >= right:
            raise SarganError("The face lies outside the picture.")
        return EditedRectangle(top, left, photo[:, :0, :0], 0, 0)  # no more than the feather
    if texture is None and grain:
        texture = grain_texture(photo, crop, matrix, seed)
    moved = crop.to(edit.delta)[None]
    fields = [edit.delta / 2, edit.replace]
    if edit.flow is not None:
        moved = warp_by_flow(moved, edit.flow)
        fields.append(photo_flow(edit.flow, matrix))
    fields = torch.cat(
        [finer(torch.cat(fields, 1), matrix, feathered=True), finer(moved, matrix)], 1
    )
    pieces, changed, clipped = [], 0, 0
    for upper, lower in strips(top, bottom, right - left):
        grid = crop_grid(shifted(matrix, left, upper), lower - upper, right - left, size)
        strip, touched, out_of_range = edited_strip(photo, upper, left, fields, grid, side, texture)
        before = photo[:, upper:lower, left:right]
        pieces.append(pixels_where(touched, from_unit(strip, photo.dtype), before))
        changed, clipped = changed + int(touched.sum()), clipped + int(out_of_range.sum())
    return EditedRectangle(top, left, torch.cat(pieces, dim=1), changed, clipped)


def strips(top: int, bottom: int, width: int) -> Iterator[tuple[int, int]]:
    """Cut ``top..bottom`` into pieces of at most ``STRIP_PIXELS`` pixels."""
    step = max(1, STRIP_PIXELS // width)
    for upper in range(top, bottom, step):
        yield upper, min(upper + step, bottom)


def edited_strip(
    photo: torch.Tensor,
    top: int,
    left: int,
    fields: torch.Tensor,
    grid: torch.Tensor,
    side: float,
    texture: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Edit one rectangle of the photo.

    Args:
        photo: ``(C, H, W)``.
        top: first row of the rectangle.
        left: its first column.
        fields: of :func:`finer`, in the crop: the colour change ``(1, C, ., .)``, the replaced
            share, the flow in photo pixels where anything moves, and the moved crop.
        grid: ``(h, w, 2)``, where the rectangle's pixels lie in the crop.
        side: of the crop, in photo pixels.
        texture: of :func:`grain_texture`, or None.

    Returns:
        The result ``(C, h, w)`` in [0, 1], and which pixels changed and which were clipped, both
        ``(1, h, w)``.
    """
    channels = len(photo)
    flow_channels = fields.shape[1] - 2 * channels - 1
    height, width = grid.shape[:2]
    found = sampled(fields, grid)
    delta, cover, flow, low = found.split([channels, 1, flow_channels, channels])
    if flow_channels:
        reach = fields[:, channels + 1 : channels + 3].detach().abs().max()
        reach = math.ceil(float(reach)) + 2  # bicubic sampling needs 2 more
        upper, first = max(top - reach, 0), max(left - reach, 0)
        source = photo[:, upper : top + height + reach, first : left + width + reach]
        source = to_unit(source, fields.dtype).clone()  # the photo may be written into
        image = sample_at(source, flow, left - first, top - upper)
    else:
        image = to_unit(photo[:, top : top + height, left : left + width], fields.dtype)
    detail = image - low
    if texture is not None:
        detail = detail - tiled_texture(texture, grid, side)
    result = image + delta - cover.clamp(0, 1) * detail
    changed = found[:-channels].detach().any(dim=0, keepdim=True)
    clipped = ((result.detach() < -1e-6) | (result.detach() > 1 + 1e-6)).any(dim=0, keepdim=True)
    return result.clamp(0, 1), changed, clipped & changed


def crop_grid(matrix: torch.Tensor, height: int, width: int, size: int) -> torch.Tensor:
    """Where the pixels of a photo rectangle lie in the crop: ``(height, width, 2)`` in [-1, 1]
    between the crop's edges. ``matrix`` takes the rectangle's coordinates to the crop's."""
    linear, shift = matrix[:, :2] * (2 / size), (matrix[:, 2] + 0.5) * (2 / size) - 1
    xs = torch.arange(width, dtype=matrix.dtype, device=matrix.device)[:, None] * linear[:, 0]
    ys = torch.arange(height, dtype=matrix.dtype, device=matrix.device)[:, None] * linear[:, 1]
    return xs + (ys + shift)[:, None]


def finer(fields: torch.Tensor, matrix: torch.Tensor, feathered: bool = False) -> torch.Tensor:
    """Crop fields ``(1, C, S, S)`` on a finer grid of samples, for :func:`sampled`.

    Bicubic, so that an enlarged change shows no facets: what is left for the bilinear sampling
    lies within about two photo pixels. Where the face is smaller than the crop, as ``matrix``
    tells, it is shrunk first, with anti-aliasing. Resampling spreads an edit a little; what that
    would carry past the feather is cut off where ``feathered``.
    """
    scale = float(scale_of(matrix.detach()[None]))
    if scale > 1:
        side = max(1, round(fields.shape[-1] / scale))
        fields = F.interpolate(fields, (side, side), mode="bilinear", antialias=True)
    times = min(max(2, math.ceil(0.5 / scale)), MOST_FINER)
    bicubic = bicubic_matrix(fields.shape[-1], times, feathered).to(fields)
    return bicubic @ fields @ bicubic.T


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # or what a video keeps here could not serve a gradient afterwards
def bicubic_matrix(size: int, times: int, feathered: bool) -> torch.Tensor:
    """``(times * size, size)``: takes samples to ``times`` as many, as bicubic sampling does.

    Both axes by such a matrix are much faster than PyTorch's own bicubic interpolation on a CPU.
    Where ``feathered``, bilinear sampling of the result gives zero wherever a feather does.
    """
    unit = torch.eye(size, dtype=torch.float64)[None, None]
    count = times * size
    matrix = F.interpolate(unit, (count, size), mode="bicubic", align_corners=False)[0, 0]
    if feathered:
        position = (torch.arange(count) + 0.5) / count
        matrix[torch.minimum(position, 1 - position) < BORDER + 1 / count] = 0
    return matrix


def sampled(fields: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample fields ``(1, C, ., .)`` of :func:`finer` at the places of a :func:`crop_grid`.

    Beyond the crop its border is repeated.
    """
    return F.grid_sample(
        fields, grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]


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
    left, top = int(x.min()), int(y.min())
    around = to_unit(photo[:, top : int(y.max()) + 1, left : int(x.max()) + 1], crop.dtype)
    detail = around[:, y - top, x - left] - low[0, :, 0]
    return detail.view(-1, 2 * radius, 2 * radius)


def tiled_texture(texture: torch.Tensor, grid: torch.Tensor, side: float) -> torch.Tensor:
    """The periodic texture at the places of a grid, along the axes of the face's frame.

    ``side`` is that of the crop in photo pixels.
    """
    period = texture.shape[-1]
    count = math.ceil(side / period)
    tiles = texture.tile(1, count, count)[None]
    grid = (grid.detach() + 1) * (side / (count * period)) - 1
    return F.grid_sample(
        tiles, grid[None], mode="nearest", padding_mode="border", align_corners=False
    )[0]
