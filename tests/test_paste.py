from __future__ import annotations

import pytest
import torch
from conftest import photo_landmarks, smooth_photo
from hypothesis import assume, given
from hypothesis import strategies as st

from sargan_plugin.align import crop_face, crop_rectangle, face_matrices
from sargan_plugin.generators.edit import Edit
from sargan_plugin.paste import bicubic_matrix, paste_edit

SIZE = 64


def zeros(dtype: torch.dtype = torch.float32, flow: bool = True) -> Edit:
    return Edit(
        torch.zeros(1, 3, SIZE, SIZE, dtype=dtype),
        torch.zeros(1, 1, SIZE, SIZE, dtype=dtype),
        torch.zeros(1, 2, SIZE, SIZE, dtype=dtype) if flow else None,
    )


def blob(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A smooth bump in the middle of the crop, exactly zero towards its border."""
    position = torch.linspace(-1, 1, SIZE, dtype=dtype)
    bump = (1 - (position / 0.6) ** 2).clamp(min=0) ** 2
    return (bump[:, None] * bump[None, :])[None, None]


def paste(photo: torch.Tensor, edit: Edit, landmarks: torch.Tensor, **options):
    matrix = face_matrices(landmarks[None].to(edit.delta), SIZE)[0]
    crop = crop_face(photo, matrix, SIZE)
    rectangle = paste_edit(photo, edit, crop, matrix, **options)
    result = photo.clone()
    rectangle.write_into(result)
    return result, rectangle


@given(st.floats(10, 200), st.floats(-180, 180), st.floats(-20, 320), st.floats(-20, 220))
def test_zero_edit_returns_the_photo_bit_for_bit(eyes, degrees, x, y):
    photo = smooth_photo(200, 300)
    landmarks = photo_landmarks(x, y, eyes, degrees)
    top, left, bottom, right = crop_rectangle(
        face_matrices(landmarks[None], SIZE)[0], SIZE, *photo.shape[-2:]
    )
    assume(top < bottom and left < right)
    result, rectangle = paste(photo, zeros(), landmarks)
    assert torch.equal(result, photo)
    assert rectangle.changed == 0


def test_a_face_with_only_its_feather_in_the_picture_changes_nothing():
    photo = smooth_photo(200, 300)
    edit = Edit(0.3 * torch.ones(1, 3, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE)).feathered()
    # The crop, 344 px wide, ends 3 px inside the picture: a fortieth of it is 8 px.
    result, rectangle = paste(photo, edit, photo_landmarks(-169, 100, 100))
    assert torch.equal(result, photo)
    assert rectangle.changed == 0


def test_an_edit_begins_softly_where_pixels_are_not_square():
    photo = torch.full((1, 256, 256), 0.5)
    matrix = torch.tensor([[0.5, 0.0, -20.0], [0.0, 1.0, -20.0]])
    edit = Edit(torch.full((1, 1, 128, 128), 0.8), torch.zeros(1, 1, 128, 128)).feathered()
    result = paste_edit(photo, edit, torch.full((1, 128, 128), 0.5), matrix).pixels
    assert (result - 0.5).max() > 0.3 and (result[:, 0] - 0.5).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_untouched_pixels_are_copied(dtype):
    photo = smooth_photo(200, 300)
    if not dtype.is_floating_point:
        photo = (photo * torch.iinfo(dtype).max).round().to(torch.int32).to(dtype)
    edit = Edit(0.3 * blob().expand(1, 3, -1, -1), 0.5 * blob(), 2 * blob().expand(1, 2, -1, -1))
    landmarks = photo_landmarks(150, 100, 37.2)
    result, rectangle = paste(photo, edit, landmarks)
    assert result.dtype == dtype
    touched = (result.to(torch.float64) != photo.to(torch.float64)).any(0)
    ys, xs = touched.nonzero().unbind(1)
    assert 1000 < touched.sum() <= rectangle.changed
    # The bump ends at 0.6 of half the crop (64 photo px here), plus the reach of the sampling.
    assert (xs - 150).abs().max() < 0.6 * 64 + 8
    assert ys.max() - ys.min() < 1.2 * 64 + 16


@pytest.mark.parametrize("eyes", [9.3, 37.2, 150.0])
def test_delta_arrives_with_its_colour_at_any_size(eyes):
    photo = smooth_photo(600, 600)
    delta = torch.tensor([0.4, -0.2, 0.1]).view(1, 3, 1, 1) * blob()
    edit = Edit(delta, torch.zeros(1, 1, SIZE, SIZE))
    result, _ = paste(photo, edit, photo_landmarks(300, 300, eyes))
    change = (result - photo).flatten(1)
    strongest = change[:, change[0].argmax()]
    torch.testing.assert_close(strongest, torch.tensor([0.2, -0.1, 0.05]), atol=0.012, rtol=0)


def test_flow_moves_the_photo_itself():
    """A constant flow in the crop shifts photo texture by flow / scale pixels, undistorted."""
    photo = smooth_photo(400, 400, torch.float64)
    flow = torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, SIZE, SIZE)
    edit = Edit(zeros(torch.float64).delta, zeros(torch.float64).replace, flow)
    landmarks = photo_landmarks(200, 200, 2 * 37.2 * SIZE / 128)  # two photo px for a crop px
    result, _ = paste(photo, edit, landmarks, grain=False)
    torch.testing.assert_close(
        result[:, 180:220, 180:220], photo[:, 176:216, 186:226], atol=1e-9, rtol=0
    )


def test_flow_turns_with_a_turned_face():
    photo = smooth_photo(400, 400, torch.float64)
    flow = torch.tensor([2.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, SIZE, SIZE)
    edit = Edit(zeros(torch.float64).delta, zeros(torch.float64).replace, flow)
    landmarks = photo_landmarks(200, 200, 2 * 37.2 * SIZE / 128, degrees=90)
    result, _ = paste(photo, edit, landmarks, grain=False)
    # The crop's x axis points down in the photo.
    torch.testing.assert_close(
        result[:, 190:210, 190:210], photo[:, 194:214, 190:210], atol=1e-9, rtol=0
    )


def test_replace_removes_texture_finer_than_the_crop():
    photo = smooth_photo(600, 600)
    landmarks = photo_landmarks(300, 300, 300)
    kept, _ = paste(photo, Edit(zeros().delta, zeros().replace), landmarks)
    gone, _ = paste(
        photo, Edit(zeros().delta, torch.ones(1, 1, SIZE, SIZE)), landmarks, grain=False
    )

    def fine_energy(image):
        middle = image[:, 250:350, 250:350]
        return (middle[:, 1:] - middle[:, :-1]).square().mean()

    assert fine_energy(gone) < 0.02 * fine_energy(kept)


def test_grain_restores_the_energy_of_the_cheek():
    """Replaced texture must be as sharp as the skin around it, at photo resolution."""
    photo = smooth_photo(600, 600)
    cover = torch.ones(1, 1, SIZE, SIZE)
    result, _ = paste(photo, Edit(zeros().delta, cover), photo_landmarks(300, 300, 300))

    def laplacian(image):
        middle = image[:, 200:400, 200:400]
        inner = middle[:, 1:-1, 1:-1]
        around = middle[:, :-2, 1:-1] + middle[:, 2:, 1:-1]
        around = around + middle[:, 1:-1, :-2] + middle[:, 1:-1, 2:]
        return (around - 4 * inner).square().mean()

    assert 0.8 < laplacian(result) / laplacian(photo) < 1.25


def test_grain_is_seeded():
    photo, landmarks = smooth_photo(400, 400), photo_landmarks(200, 200, 200)
    edit = Edit(zeros().delta, torch.ones(1, 1, SIZE, SIZE))
    first, again, other = (paste(photo, edit, landmarks, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_clipping_is_counted():
    photo = torch.full((3, 100, 100), 0.9)
    edit = Edit(blob().expand(1, 3, -1, -1), zeros().replace)
    result, rectangle = paste(photo, edit, photo_landmarks(50, 50, 20))
    assert result.max() == 1
    assert 0 < rectangle.clipped < rectangle.changed


def test_strips_do_not_show(monkeypatch):
    photo = smooth_photo(300, 300)
    edit = Edit(0.3 * blob().expand(1, 3, -1, -1), 0.5 * blob(), 3 * blob().expand(1, 2, -1, -1))
    landmarks = photo_landmarks(150, 150, 90, 17)
    whole, _ = paste(photo, edit, landmarks)
    monkeypatch.setattr("sargan_plugin.paste.STRIP_PIXELS", 2000)
    cut, _ = paste(photo, edit, landmarks)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=0)


def test_gradients_pass_after_a_paste_in_inference_mode():
    photo, landmarks = smooth_photo(60, 60, torch.float64), photo_landmarks(30, 30, 12)
    edit = Edit(0.2 * blob(torch.float64).expand(1, 3, -1, -1), blob(torch.float64))
    bicubic_matrix.cache_clear()
    with torch.inference_mode():
        paste(photo, edit, landmarks)
    photo.requires_grad_()
    paste(photo, edit, landmarks)[0].sum().backward()
    assert torch.isfinite(photo.grad).all()


@pytest.mark.parametrize("flow", [True, False])
def test_gradcheck(flow):
    photo = smooth_photo(24, 24, torch.float64).requires_grad_()
    size = 16
    random = torch.Generator().manual_seed(1)
    delta, cover, way = (
        0.2 * torch.rand(1, count, size, size, generator=random, dtype=torch.float64)
        for count in (3, 1, 2)
    )
    landmarks = photo_landmarks(12.3, 11.7, 4.1, 10)[None]

    def run(photo, delta, cover, way, landmarks):
        matrix = face_matrices(landmarks, size)[0]
        crop = crop_face(photo, matrix, size)
        edit = Edit(delta, cover, way if flow else None)
        return paste_edit(photo, edit, crop, matrix).pixels

    inputs = [photo, delta, cover, way, landmarks]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
