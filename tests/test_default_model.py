"""The bundled weights on a real photo, with landmarks given: no detector, no network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from sargan_plugin import EXPRESSIONS, ExpressionEditor, Face
from sargan_plugin.manifest import Manifest

POINTS = np.array([[203, 104], [243, 101], [226, 125], [207, 147], [246, 145]], np.float32)
PHOTO = astronaut()[:256, 80:368].copy()
FACES = [Face.from_landmarks(POINTS - np.float32([80, 0]))]


@pytest.fixture(scope="module")
def editor() -> ExpressionEditor:
    return ExpressionEditor("happy", dtype="float32")


def as_tensor() -> torch.Tensor:
    return torch.from_numpy(PHOTO).permute(2, 0, 1).float() / 255


def test_every_expression_is_another_edit(editor):
    edits = [editor(PHOTO, expression=each, faces=FACES).astype(int) for each in EXPRESSIONS]
    for index, edit in enumerate(edits):
        assert np.abs(edit - PHOTO).max() > 8, EXPRESSIONS[index]
        for other in edits[index + 1 :]:
            assert np.abs(edit - other).max() > 4


def test_identity_stays(editor):
    """An edit changes a small part of the face, and little of it: most pixels stay near."""
    edit = editor(PHOTO, faces=FACES).astype(int)
    assert np.abs(edit - PHOTO).mean() < 4


def test_gradients_reach_the_pixels_through_the_real_model(editor):
    photo = as_tensor().requires_grad_()
    intensity = torch.tensor([0.7], requires_grad=True)
    condition = torch.eye(7)[[2]].requires_grad_()
    edited = editor(photo, faces=FACES, intensity=intensity, expression=condition)
    (edited - photo).square().sum().backward()
    for tensor in (photo, intensity, condition):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0


def test_outer_bfloat16_autocast_changes_nothing(editor):
    plain = editor(as_tensor(), faces=FACES)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(editor(as_tensor(), faces=FACES), plain)


def test_bfloat16_is_close_to_float32(editor):
    fast = ExpressionEditor("happy", dtype="bfloat16")(PHOTO, faces=FACES).astype(int)
    exact = editor(PHOTO, faces=FACES).astype(int)
    assert np.abs(fast - exact).mean() < 0.3


def test_a_pipeline_in_training_mode_edits_the_same(editor):
    before = editor(PHOTO, faces=FACES)
    pipeline = torch.nn.Sequential(editor).train()
    assert (editor(PHOTO, faces=FACES) == before).all()
    pipeline.eval()


def test_intensity_grows_the_edit(editor):
    def amount(intensity: float) -> float:
        return np.abs(editor(PHOTO, faces=FACES, intensity=intensity).astype(int) - PHOTO).mean()

    amounts = [amount(intensity) for intensity in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert amounts[0] == 0
    assert amounts == sorted(amounts)


def test_turning_the_picture_turns_the_edit(editor):
    """Landmarks given and turned along: within 0.5 grey levels on average in the face."""
    turned_points = np.stack(
        [FACES[0].landmarks5[:, 1], PHOTO.shape[1] - 1 - FACES[0].landmarks5[:, 0]], axis=1
    )
    turned = editor(np.rot90(PHOTO), faces=[Face.from_landmarks(turned_points)])
    upright = editor(PHOTO, faces=FACES)
    touched = (upright != PHOTO).any(-1)
    difference = np.abs(np.rot90(turned, -1).astype(int) - upright)[touched]
    assert difference.mean() < 0.5


@pytest.mark.parametrize("name", Manifest().weights)
def test_manifest_describes_the_weights(name):
    weights = Manifest().find(name)
    path = Manifest().path_of(weights)
    assert path.stat().st_size < 10_000_000
    assert (Manifest().folder / weights.card).is_file()
    recognised = {each: weights.metrics[f"recognised_{each}"] for each in EXPRESSIONS}
    assert set(weights.experimental) == {each for each in EXPRESSIONS if recognised[each] < 0.4}
    assert weights.licence and weights.data and weights.recipe and weights.metrics
