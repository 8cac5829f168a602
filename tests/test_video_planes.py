"""Edits in the planes of a frame, in its own colours and bit depth."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from conftest import photo_landmarks, smooth_photo
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.align import crop_face, face_matrices
from sargan_plugin.errors import SarganError
from sargan_plugin.generators import Edit
from sargan_plugin.paste import paste_edit
from sargan_plugin.video.planes import (
    add_edit,
    crop_planes,
    in_planes,
    layout_of,
    planar_format,
    plane_views,
)

SIZE = 32
HEIGHT, WIDTH = 97, 131
FORMATS = [
    ("yuv420p", 1, 1),
    ("yuv420p", 6, 1),
    ("yuvj420p", 5, 2),
    ("yuv422p", 1, 1),
    ("yuv444p", 9, 1),
    ("yuv420p10le", 9, 1),
    ("yuv422p12le", 1, 1),
    ("yuv444p16le", 1, 2),
    ("gbrp", 0, 2),
    ("gbrp10le", 0, 2),
]


def frame_of(photo: torch.Tensor, name: str, space: int, colour_range: int) -> av.VideoFrame:
    """A photo ``(3, H, W)`` in [0, 1] as a frame, by FFmpeg."""
    pixels = (photo.permute(1, 2, 0).numpy() * 65535).round().astype(np.uint16)
    deep = av.VideoFrame.from_ndarray(pixels, "rgb48le")
    options = {} if name.startswith("gbr") else {"dst_colorspace": space}
    frame = deep.reformat(format=name, dst_color_range=colour_range, **options)
    frame.colorspace, frame.color_range = space, colour_range
    return frame


def photo_frame(name: str, space: int, colour_range: int) -> tuple[torch.Tensor, av.VideoFrame]:
    """A smooth photo, and the same in a frame."""
    photo = smooth_photo(HEIGHT, WIDTH)
    return photo, frame_of(photo, name, space, colour_range)


def matrix() -> torch.Tensor:
    return face_matrices(photo_landmarks(66, 45, 18, 8.0).float()[None], SIZE)[0]


def some_edit(strength: float = 1.0) -> Edit:
    torch.manual_seed(1)
    coarse = torch.nn.functional.interpolate(torch.randn(1, 6, 5, 5), (SIZE, SIZE), mode="bicubic")
    delta, cover, flow = coarse.split([3, 1, 2], dim=1)
    edit = Edit(0.2 * strength * delta, torch.sigmoid(cover) * strength, flow * strength)
    return edit.feathered()


@pytest.mark.parametrize(("name", "space", "colour_range"), FORMATS)
def test_the_crop_has_the_colours_of_the_photo(name, space, colour_range):
    photo, frame = photo_frame(name, space, colour_range)
    crop = crop_planes(frame, matrix(), SIZE)
    wanted = crop_face(photo, matrix(), SIZE)
    assert (crop.rgb - wanted).abs().mean() < 0.012


@pytest.mark.parametrize(("name", "space", "colour_range"), FORMATS)
def test_an_edit_does_the_same_as_in_the_photo(name, space, colour_range):
    """The planes become those of the edited photo."""
    photo, frame = photo_frame(name, space, colour_range)
    before = [plane.astype(float) for plane in plane_views(frame)]
    crop = crop_planes(frame, matrix(), SIZE)
    assert add_edit(frame, crop, some_edit(), None) > 1000
    edited = photo.clone()
    photo_crop = crop_face(photo, matrix(), SIZE)
    paste_edit(photo, some_edit(), photo_crop, matrix(), grain=False).write_into(edited)
    wanted = plane_views(frame_of(edited, name, space, colour_range))
    for old, new, other in zip(before, plane_views(frame), wanted, strict=True):
        assert np.abs(new - other.astype(float)).mean() < 0.15 * np.abs(old - other).mean()


@pytest.mark.parametrize(("name", "space", "colour_range"), FORMATS)
def test_beyond_the_edit_the_planes_stay_bit_for_bit(name, space, colour_range):
    _, frame = photo_frame(name, space, colour_range)
    before = [plane.copy() for plane in plane_views(frame)]
    add_edit(frame, crop_planes(frame, matrix(), SIZE), some_edit(), None)
    for old, new in zip(before, plane_views(frame), strict=True):
        changed = old != new
        assert changed.any()
        rows = np.flatnonzero(changed.any(axis=1)) * (HEIGHT / len(old))
        columns = np.flatnonzero(changed.any(axis=0)) * (WIDTH / old.shape[1])
        assert rows.min() > 5 and columns.min() > 20 and columns.max() < 112


@given(st.sampled_from(FORMATS))
def test_an_edit_of_nothing_changes_nothing(kind):
    _, frame = photo_frame(*kind)
    before = [plane.copy() for plane in plane_views(frame)]
    nothing = Edit(torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE))
    assert add_edit(frame, crop_planes(frame, matrix(), SIZE), nothing, None) == 0
    for old, new in zip(before, plane_views(frame), strict=True):
        assert np.array_equal(old, new)


def test_results_stay_within_the_legal_range():
    _, frame = photo_frame("yuv420p", 1, 1)
    bright = Edit(torch.full((1, 3, SIZE, SIZE), 2.0), torch.zeros(1, 1, SIZE, SIZE)).feathered()
    add_edit(frame, crop_planes(frame, matrix(), SIZE), bright, None)
    luma, *chroma = plane_views(frame)
    assert luma.max() == 235
    assert all(plane.max() <= 240 and plane.min() >= 16 for plane in chroma)


def test_a_sample_outside_the_legal_range_is_not_clipped_where_nothing_changes_it():
    _, frame = photo_frame("yuv420p", 1, 1)
    plane_views(frame)[0][:] = 250
    slight = Edit(torch.full((1, 3, SIZE, SIZE), 1e-4), torch.zeros(1, 1, SIZE, SIZE)).feathered()
    add_edit(frame, crop_planes(frame, matrix(), SIZE), slight, None)
    assert (plane_views(frame)[0] == 250).all()


def test_grey_gets_the_luminance_of_the_change():
    frame = av.VideoFrame(WIDTH, HEIGHT, "gray")
    frame.color_range = 2
    plane_views(frame)[0][:] = 100
    green = torch.zeros(1, 3, SIZE, SIZE)
    green[:, 1] = 0.5  # a quarter of the range
    frame.colorspace = 6
    edit = Edit(green, torch.zeros(1, 1, SIZE, SIZE)).feathered()
    add_edit(frame, crop_planes(frame, matrix(), SIZE), edit, None)
    assert plane_views(frame)[0].max() == pytest.approx(100 + 0.587 * 0.25 * 255, abs=2.5)


def test_interleaved_formats_become_planes_and_lose_nothing():
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ("rgb24", "bgr24", "rgba", "bgra"):
        packed = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=name)
        packed.pts = 7
        planar = in_planes(packed)
        green, blue, red = plane_views(planar)[:3]
        assert planar.pts == 7
        assert np.array_equal(np.dstack([red, green, blue]), rgb)
    nv12 = av.VideoFrame(60, 40, "nv12")
    luma = random.integers(16, 236, (40, 60), dtype=np.uint8)
    chroma = random.integers(16, 241, (20, 60), dtype=np.uint8)
    for plane, values in zip(nv12.planes, (luma, chroma), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows[: len(values), : values.shape[1]] = values
    planes = plane_views(in_planes(nv12))
    assert np.array_equal(planes[0], luma)
    assert np.array_equal(planes[1], chroma[:, ::2])
    assert np.array_equal(planes[2], chroma[:, 1::2])


@pytest.mark.parametrize("name", ["gbrpf32le", "yuv420p10be", "bayer_bggr8", "xyz12le"])
def test_formats_that_cannot_be_kept_are_refused(name):
    with pytest.raises(SarganError, match=f"pixel format {name} is not supported"):
        planar_format(name)


def test_colours_that_are_not_linear_in_rgb_are_refused():
    frame = av.VideoFrame(64, 64, "yuv420p10le")
    frame.colorspace = 14  # ICtCp
    with pytest.raises(SarganError, match="colour matrix number 14"):
        layout_of(frame)


def test_a_face_outside_the_frame_is_left_out():
    _, frame = photo_frame("yuv420p", 1, 1)
    away = face_matrices(photo_landmarks(900, 900, 26).float()[None], SIZE)[0]
    assert crop_planes(frame, away, SIZE) is None
