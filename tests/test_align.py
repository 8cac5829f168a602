from __future__ import annotations

import math

import pytest
import torch
from conftest import photo_landmarks, smooth_photo
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.align import (
    apply_matrix,
    crop_face,
    crop_faces,
    crop_rectangle,
    estimate_similarity,
    face_matrices,
    scale_of,
    template,
)
from sargan_plugin.errors import SarganError

angles = st.floats(-math.pi, math.pi)
scales = st.floats(0.05, 20)
shifts = st.floats(-500, 500)


def similarity(angle: float, scale: float, dx: float, dy: float) -> torch.Tensor:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[[cos, -sin, dx], [sin, cos, dy]]], dtype=torch.float64)


@given(angles, scales, shifts, shifts)
def test_recovers_any_similarity_exactly(angle, scale, dx, dy):
    truth = similarity(angle, scale, dx, dy)
    points = template(128, torch.float64)[None]
    found = estimate_similarity(points, apply_matrix(truth, points))
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-8)


@given(st.integers(0, 1000))
def test_is_the_least_squares_solution(seed):
    random = torch.Generator().manual_seed(seed)
    source = 100 * torch.rand(1, 5, 2, generator=random, dtype=torch.float64)
    target = 100 * torch.rand(1, 5, 2, generator=random, dtype=torch.float64)
    found = estimate_similarity(source, target)
    best = (apply_matrix(found, source) - target).square().sum()
    for _ in range(5):
        a, b, dx, dy = 0.01 * torch.randn(4, generator=random, dtype=torch.float64)
        nudge = torch.stack([a, -b, dx, b, a, dy]).view(1, 2, 3)
        assert (apply_matrix(found + nudge, source) - target).square().sum() >= best


def test_never_reflects():
    mirrored = template(128)[None] * torch.tensor([-1.0, 1.0])
    matrix = estimate_similarity(mirrored, template(128))
    assert torch.linalg.det(matrix[:, :, :2]) > 0


def test_gradcheck():
    source = photo_landmarks(50, 40, 20, 13)[None].requires_grad_()
    target = template(128, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(estimate_similarity, (source, target))


@pytest.mark.parametrize("bad", [torch.zeros(1, 5, 2), torch.full((1, 5, 2), math.nan)])
def test_degenerate_landmarks_are_refused(bad):
    with pytest.raises(SarganError, match="landmarks"):
        face_matrices(bad, 128)


@pytest.mark.parametrize("size", [64, 128, 192])
def test_template_scales_with_the_crop(size):
    share = (template(size) + 0.5) / size
    torch.testing.assert_close(share, (template(128) + 0.5) / 128)


def test_identity_crop_copies_pixels():
    photo = smooth_photo(128, 128)[None]
    crop = crop_faces(photo, face_matrices(template(128)[None], 128), 128)
    torch.testing.assert_close(crop, photo, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [1.7, 4.0, 9.3])
@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_crop_does_not_shift_at_any_scale(factor, degrees):
    """A linear ramp is resampled exactly by any correct geometry."""
    side = round(200 * factor)
    ys, xs = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    photo = torch.stack([xs, ys, xs + ys]).double()[None] / (2 * side)
    landmarks = photo_landmarks(side / 2, side / 2, 37.2 * factor, degrees)[None]
    matrix = face_matrices(landmarks, 128)
    crop = crop_faces(photo, matrix, 128)[0]
    ys, xs = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    grid = torch.stack([xs, ys], -1).double().view(1, -1, 2)
    linear, shift = matrix[:, :, :2], matrix[:, :, 2:]
    positions = ((grid.mT - shift).mT @ torch.linalg.inv(linear).mT)[0].view(128, 128, 2)
    middle = slice(10, -10)
    error = crop[0] * 2 * side - positions[..., 0]
    assert error[middle, middle].mean().abs() < 0.005 * factor
    assert error[middle, middle].abs().max() < 0.1 * factor


def test_large_face_is_antialiased():
    """A one-pixel checkerboard must become grey, not a moire."""
    board = (torch.arange(1280)[:, None] + torch.arange(1280)[None]) % 2
    photo = board.float().expand(1, 3, -1, -1)
    crop = crop_faces(photo, face_matrices(10 * template(128)[None], 128), 128)
    assert (crop[..., 8:-8, 8:-8] - 0.5).abs().max() < 0.02


def test_face_partly_outside_repeats_the_edge():
    photo = smooth_photo(100, 100)
    matrix = face_matrices(photo_landmarks(5, 50, 40)[None].float(), 128)[0]
    crop = crop_face(photo, matrix, 128)
    assert torch.isfinite(crop).all()
    assert crop.min() > 0.1  # no black border


def test_crop_face_equals_crop_of_the_whole_picture():
    photo = smooth_photo(90, 120)
    matrix = face_matrices(photo_landmarks(60, 45, 25, 20)[None].float(), 64)
    whole = crop_faces(photo[None], matrix, 64)[0]
    torch.testing.assert_close(crop_face(photo, matrix[0], 64), whole, atol=0.02, rtol=0)


def test_integer_photo_gives_the_same_crop():
    photo = (smooth_photo(90, 120) * 255).round().byte()
    matrix = face_matrices(photo_landmarks(60, 45, 25)[None].float(), 64)[0]
    torch.testing.assert_close(
        crop_face(photo, matrix, 64), crop_face(photo.float() / 255, matrix, 64)
    )


def test_rectangle_holds_the_crop_and_is_cut_to_the_picture():
    matrix = face_matrices(photo_landmarks(100, 80, 37.2)[None], 128)[0]
    top, left, bottom, right = crop_rectangle(matrix, 128, 1000, 1000)
    assert right - left in range(128, 132)
    assert bottom - top in range(128, 132)
    top, left, bottom, right = crop_rectangle(matrix, 128, 90, 70)
    assert (bottom, right) == (90, 70)
    assert crop_rectangle(matrix, 128, 5, 5) == (5, 5, 5, 5)


def test_scale_is_crop_pixels_per_photo_pixel():
    matrix = face_matrices(photo_landmarks(0, 0, 2 * 37.2, 70)[None], 128)
    torch.testing.assert_close(scale_of(matrix), torch.tensor([0.5], dtype=torch.float64))


def test_outer_autocast_does_not_touch_the_geometry():
    photo, landmarks = smooth_photo(200, 200)[None], photo_landmarks(100, 100, 60)[None].float()
    plain = crop_faces(photo, face_matrices(landmarks, 128), 128)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(crop_faces(photo, face_matrices(landmarks, 128), 128), plain)
