"""The planes of a video frame, and how colour is written in them.

A frame stays in its own pixel format. What a face needs is cut out of the planes as a canonical
crop in RGB, and what comes back is a *difference* in RGB: it goes through the linear part of the
frame's RGB-to-YUV matrix and is added to each plane at that plane's own resolution and bit depth.
Samples that an edit does not reach are not written to.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import av
import numpy as np
import torch

from sargan_plugin.align import crop_face, crop_rectangle
from sargan_plugin.errors import SarganError
from sargan_plugin.generators import Edit
from sargan_plugin.paste import grain_texture, paste_edit
from sargan_plugin.video.display import composed

# Weights of red and blue in luma, by the numbers of ITU-T H.273 that FFmpeg uses too.
BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
LUMA_WEIGHTS = {
    1: BT709,
    4: (0.30, 0.11),  # FCC
    5: BT601,
    6: BT601,
    7: (0.212, 0.087),  # SMPTE 240M
    9: BT2020,
    10: BT2020,
}
UNSPECIFIED = (2, 3)
HD_MATRIX, SD_MATRIX = 1, 6
FULL_RANGE = 2
# Formats whose samples are interleaved, and the planar format that holds the same samples.
PLANAR_TWINS = {
    **dict.fromkeys(("nv12", "nv21"), "yuv420p"),
    **dict.fromkeys(("yuyv422", "uyvy422", "yvyu422", "nv16"), "yuv422p"),
    **dict.fromkeys(("nv24", "nv42"), "yuv444p"),
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    **dict.fromkeys(("rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr"), "gbrp"),
    **dict.fromkeys(("rgba", "bgra", "argb", "abgr", "pal8", "ya8"), "gbrap"),
    **dict.fromkeys(("rgb48le", "bgr48le"), "gbrp16le"),
    **dict.fromkeys(("rgba64le", "bgra64le", "ya16le"), "gbrap16le"),
    **dict.fromkeys(("monow", "monob"), "gray"),
}


@dataclass(frozen=True)
class PlaneGroup:
    """Planes of one resolution.

    Attributes:
        planes: their indices in the frame.
        to_luma: ``(2, 3)`` from sample coordinates of these planes to those of the frame.
        colours: ``(C, 3)`` change of each plane, as a share of the sample type's range, for a
            change of red, green and blue in [0, 1].
        legal: lowest and highest code value of each plane.
    """

    planes: tuple[int, ...]
    to_luma: torch.Tensor
    colours: torch.Tensor
    legal: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PlaneLayout:
    """How a pixel format holds colour.

    Attributes:
        groups: the planes with colour; opacity is in none of them.
        to_rgb: ``(3, C)`` from all samples of a pixel, less ``offset``, to RGB in [0, 1].
        offset: ``(C,)`` samples of black.
    """

    groups: tuple[PlaneGroup, ...]
    to_rgb: torch.Tensor
    offset: torch.Tensor


def planar_format(name: str) -> str:
    """The format to work in: the format itself, or its planar twin.

    Raises:
        SarganError: for formats whose samples are neither 8 to 16 bit integers nor have a twin.
    """
    name = PLANAR_TWINS.get(name, name)
    try:
        found = av.VideoFormat(name)
    except ValueError:
        raise SarganError(f"pixel format {name} is not supported") from None
    components = found.components
    own_planes = len({part.plane for part in components}) == len(components)
    depths = {part.bits for part in components}
    whole = len(depths) == 1 and 8 <= max(depths) <= 16 and "f" not in name[-5:]
    if not (own_planes and whole) or found.is_big_endian or found.is_bayer or found.has_palette:
        raise SarganError(f"pixel format {name} is not supported")
    return name


def in_planes(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame itself, or the same samples in planes; time and colour description are kept."""
    name = planar_format(frame.format.name)
    if name == frame.format.name:
        return frame
    return at_the_same_time(frame.reformat(format=name), frame)


def at_the_same_time(frame: av.VideoFrame, other: av.VideoFrame) -> av.VideoFrame:
    """The first frame, shown when and for as long as the other."""
    frame.pts, frame.duration = other.pts, other.duration
    if other.time_base is not None:
        frame.time_base = other.time_base
    return frame


def plane_views(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes as writable arrays ``(h, w)`` that share the frame's memory."""
    views = []
    for plane in frame.planes:
        deep = frame.format.components[0].bits > 8
        samples = np.frombuffer(plane, np.uint16 if deep else np.uint8)
        stride = plane.line_size // samples.itemsize
        rows = samples[: plane.height * stride].reshape(plane.height, stride)
        views.append(rows[:, : plane.width])
    return views


def layout_of(frame: av.VideoFrame) -> PlaneLayout:
    """How the planes of a frame hold colour.

    What the stream leaves open is taken as players take it: BT.709 from 720 lines on and BT.601
    below, limited range except in the JPEG formats.

    Raises:
        SarganError: for colour matrices that are not linear in RGB, such as ICtCp.
    """
    name = frame.format.name
    full = frame.color_range == FULL_RANGE or name.startswith("yuvj")
    return _layout(name, _matrix_of(frame), full)


def as_rgb(frame: av.VideoFrame, format: str = "rgb24", **size: int) -> av.VideoFrame:
    """The frame in an RGB format, and in another size where ``width`` and ``height`` are given.

    FFmpeg by itself takes BT.601 where the stream leaves open what :func:`layout_of` decides.
    """
    return frame.reformat(format=format, src_colorspace=_matrix_of(frame), **size)


def _matrix_of(frame: av.VideoFrame) -> int:
    space = int(frame.colorspace)
    if space in UNSPECIFIED:
        return HD_MATRIX if frame.height >= 720 or frame.width >= 1280 else SD_MATRIX
    return space


@functools.lru_cache(maxsize=32)
def _layout(name: str, space: int, full: bool) -> PlaneLayout:
    pixel_format = av.VideoFormat(name, 64, 64)
    components = [part for part in pixel_format.components if not part.is_alpha]
    bits = components[0].bits
    top = (1 << bits) - 1
    whole = float(2 ** (16 if bits > 8 else 8) - 1)  # what to_unit() divides by
    if pixel_format.is_rgb:
        colours = torch.eye(3, dtype=torch.float64) * (top / whole)
        order = tuple(part.plane for part in components)
        group = PlaneGroup(order, _to_luma(1, 1, False), colours.float(), ((0, top),) * 3)
        return PlaneLayout((group,), torch.linalg.inv(colours).float(), torch.zeros(3))
    if space not in LUMA_WEIGHTS:
        raise SarganError(f"the colour matrix number {space} of H.273 is not supported")
    red, blue = LUMA_WEIGHTS[space]
    unit = 1 << (bits - 8)
    black, light, hue = (0, top, top) if full else (16 * unit, 219 * unit, 224 * unit)
    luma = torch.tensor([red, 1 - red - blue, blue], dtype=torch.float64)
    axes = torch.eye(3, dtype=torch.float64)
    chroma = torch.stack([(axes[2] - luma) / (2 * (1 - blue)), (axes[0] - luma) / (2 * (1 - red))])
    luma_range = (0, top) if full else (black, black + light)
    chroma_range = (0, top) if full else (black, black + hue)
    groups = [
        PlaneGroup(
            (0,), _to_luma(1, 1, False), (luma[None] * (light / whole)).float(), (luma_range,)
        )
    ]
    if len(components) == 1:
        to_rgb = torch.full((3, 1), whole / light)
        return PlaneLayout((groups[0],), to_rgb, torch.tensor([black / whole]))
    steps = [64 // side for side in (components[1].width, components[1].height)]
    chroma = chroma * (hue / whole)
    groups.append(PlaneGroup((1, 2), _to_luma(*steps, full), chroma.float(), (chroma_range,) * 2))
    colours = torch.cat([luma[None] * (light / whole), chroma])
    offset = torch.tensor([black / whole] + [(1 << (bits - 1)) / whole] * 2)
    return PlaneLayout(tuple(groups), torch.linalg.inv(colours).float(), offset)


def _to_luma(step_x: int, step_y: int, centred: bool) -> torch.Tensor:
    """From chroma samples to luma samples. MPEG places chroma on the left luma sample of a pair,
    JPEG between the two; vertically both place it between."""
    left = (step_x - 1) / 2 if centred else 0.0
    return torch.tensor([[step_x, 0.0, left], [0.0, step_y, (step_y - 1) / 2]])


@dataclass(frozen=True)
class PlaneCrop:
    """The canonical crop of one face in one frame.

    Attributes:
        rgb: ``(3, S, S)`` in [0, 1], for the generator.
        samples: for each group of planes ``(C, S, S)``, as shares of the sample type's range.
        matrix: ``(2, 3)`` from luma samples to the crop.
    """

    rgb: torch.Tensor
    samples: tuple[torch.Tensor, ...]
    matrix: torch.Tensor


def crop_planes(frame: av.VideoFrame, matrix: torch.Tensor, size: int) -> PlaneCrop | None:
    """Cut a face out of the planes; None when next to nothing of it lies in the frame.

    Args:
        frame: in planes.
        matrix: ``(2, 3)`` float32 from the frame's pixels to the crop.
        size: side of the crop.
    """
    layout, views = layout_of(frame), plane_views(frame)
    samples = []
    for group in layout.groups:
        planes = _stacked(views, group)
        here = composed(matrix, group.to_luma)
        top, left, bottom, right = crop_rectangle(here, size, *planes.shape[-2:])
        if bottom - top < 2 or right - left < 2:
            return None
        samples.append(crop_face(planes, here, size))
    centred = torch.cat(samples) - layout.offset[:, None, None]
    rgb = torch.einsum("rc,chw->rhw", layout.to_rgb, centred).clamp(0, 1)
    return PlaneCrop(rgb, tuple(samples), matrix)


def add_edit(
    frame: av.VideoFrame, crop: PlaneCrop, edit: Edit, texture: torch.Tensor | None
) -> int:
    """Add the edit of one face to the planes of a frame; the number of luma samples it reaches.

    Results are rounded, and kept within the legal code values; a sample that was outside them
    before may stay where it was.

    Args:
        frame: in planes; its memory must be its own (``make_writable``).
        crop: of this face in this frame.
        edit: batch size 1, colour changes in RGB, at its intensity.
        texture: of :func:`luma_texture`, or None for none.
    """
    layout, views = layout_of(frame), plane_views(frame)
    reached = 0
    for group, samples in zip(layout.groups, crop.samples, strict=True):
        delta = torch.einsum("cr,brhw->bchw", group.colours, edit.delta)
        first = group is layout.groups[0]
        rectangle = paste_edit(
            _stacked(views, group),
            Edit(delta, edit.replace, edit.flow),
            samples,
            composed(crop.matrix, group.to_luma),
            grain=False,
            texture=texture if first else None,
        )
        reached = max(reached, rectangle.changed)
        top, left = rectangle.top, rectangle.left
        for index, after, (low, high) in zip(
            group.planes, rectangle.pixels.numpy(), group.legal, strict=True
        ):
            before = views[index][top : top + after.shape[0], left : left + after.shape[1]]
            before[:] = np.clip(after, np.minimum(before, low), np.maximum(before, high))
    return reached


def luma_texture(frame: av.VideoFrame, crop: PlaneCrop, seed: int) -> torch.Tensor | None:
    """Skin texture for what is painted on this face, see :func:`sargan_plugin.paste.grain_texture`.

    Of the planes with full resolution only: chroma hardly has texture after a video codec.
    """
    group = layout_of(frame).groups[0]
    planes = _stacked(plane_views(frame), group)
    return grain_texture(planes, crop.samples[0], crop.matrix, seed)


def _stacked(views: list[np.ndarray], group: PlaneGroup) -> torch.Tensor:
    planes = [torch.from_numpy(views[index]) for index in group.planes]
    return planes[0][None] if len(planes) == 1 else torch.stack(planes)
