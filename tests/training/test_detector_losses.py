"""The detector's anchors, assignment and losses, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sargan_training.detector.anchors import (
    box_iou,
    decode_boxes,
    decode_landmarks,
    encode_boxes,
    encode_landmarks,
    make_anchors,
)
from sargan_training.detector.assignment import BACKGROUND, IGNORED, assign
from sargan_training.detector.losses import (
    Targets,
    detection_loss,
    diou_loss,
    landmark_loss,
    quality_focal_loss,
)
from sargan_training.detector.network import Predictions

ANCHORS = make_anchors(128, 160)
NO_BOXES = torch.zeros(0, 4)


def test_anchors_lie_cell_by_cell_and_level_by_level():
    assert ANCHORS.counts == [16 * 20 * 2, 8 * 10 * 2, 4 * 5 * 2]
    assert ANCHORS.centres[:4].tolist() == [[0, 0], [0, 0], [8, 0], [8, 0]]
    assert ANCHORS.sides[:2].tolist() == [16, 32]
    assert ANCHORS.centres[-1].tolist() == [128, 96] and ANCHORS.sides[-1] == 512


coordinates = st.floats(-500, 500, width=32)


@given(st.tuples(*[coordinates] * 4), st.lists(coordinates, min_size=10, max_size=10))
def test_decoding_undoes_encoding(box, points):
    boxes = torch.tensor(box).expand(len(ANCHORS.sides), 4)
    landmarks = torch.tensor(points).reshape(5, 2).expand(len(ANCHORS.sides), 5, 2)
    close = {"rtol": 1e-4, "atol": 1e-3}
    torch.testing.assert_close(decode_boxes(ANCHORS, encode_boxes(ANCHORS, boxes)), boxes, **close)
    offsets = encode_landmarks(ANCHORS, landmarks)
    torch.testing.assert_close(decode_landmarks(ANCHORS, offsets), landmarks, **close)


def test_overlap_and_distance_of_boxes():
    square = torch.tensor([0.0, 0, 2, 2])
    assert box_iou(square, torch.tensor([1.0, 0, 3, 2])).item() == pytest.approx(1 / 3)
    assert diou_loss(square, square).item() == pytest.approx(0)
    # Apart: no overlap; centres 4 apart, the enclosing box 6 by 2.
    assert diou_loss(square, torch.tensor([4.0, 0, 6, 2])).item() == pytest.approx(1 + 16 / 40)


def test_quality_focal_loss_weighs_by_distance_from_the_quality():
    logit = torch.tensor([0.0])
    assert quality_focal_loss(logit, torch.tensor([0.5])).item() == 0
    expected = 0.5**2 * math.log(2)
    assert quality_focal_loss(logit, torch.tensor([1.0])).item() == pytest.approx(expected)
    assert quality_focal_loss(logit, torch.tensor([0.0])).item() == pytest.approx(expected)


def test_landmark_loss_is_relative_to_the_face_less_in_small_ones_and_skips_unknown_points():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 100, 100], [0, 0, 10, 10]])
    landmarks = torch.zeros(3, 5, 2)
    predicted = (landmarks + torch.tensor([1.0, 10, 1])[:, None, None]).requires_grad_()
    landmarks[2, 4, 1] = float("nan")
    loss = landmark_loss(predicted, landmarks, boxes)
    assert loss.tolist() == pytest.approx([(0.1 - 0.005) * 10 / 64, 0.1 - 0.005, 0])
    loss.sum().backward()
    assert torch.isfinite(predicted.grad).all()


def test_a_face_gets_anchors_of_its_size_whose_centre_it_holds():
    face = torch.tensor([[40.0, 40, 72, 72]])
    assigned = assign(ANCHORS, face, NO_BOXES)
    chosen = assigned == 0
    assert 1 <= chosen.sum() <= 9
    assert set(ANCHORS.sides[chosen].tolist()) == {32.0}
    inside = (ANCHORS.centres[chosen] > 40) & (ANCHORS.centres[chosen] < 72)
    assert inside.all() and (assigned[~chosen] == BACKGROUND).all()


def test_a_face_between_the_cells_gets_its_best_anchor():
    assigned = assign(ANCHORS, torch.tensor([[41.0, 41, 46, 46]]), NO_BOXES)
    assert (assigned == 0).sum() == 1


def test_an_anchor_of_two_faces_goes_to_the_one_it_overlaps_more():
    exact, shifted = torch.tensor([[48.0, 48, 80, 80]]), torch.tensor([[51.0, 48, 83, 80]])
    for faces, expected in (((exact, shifted), 0), ((shifted, exact), 1)):
        assigned = assign(ANCHORS, torch.cat(faces), NO_BOXES)
        best = box_iou(ANCHORS.boxes(), exact).argmax()
        assert assigned[best] == expected


def test_what_may_be_a_face_is_ignored_unless_it_is_one():
    region = torch.tensor([[30.0, 30, 60, 60]])
    assigned = assign(ANCHORS, NO_BOXES, region)
    inside = ((ANCHORS.centres >= 30) & (ANCHORS.centres <= 60)).all(1)
    assert ((assigned == IGNORED) == inside).all()
    assert (assign(ANCHORS, region, region) == 0).any()


def test_perfect_predictions_cost_little_and_ignored_anchors_nothing():
    face = torch.tensor([[40.0, 40, 72, 72]])
    points = torch.tensor([[[48.0, 50], [62, 50], [55, 57], [49, 64], [61, 64]]])
    assigned = assign(ANCHORS, face, torch.tensor([[90.0, 90, 120, 120]]))[None]
    count = int((assigned == 0).sum())
    targets = Targets(assigned, face.expand(count, 4), points.expand(count, 5, 2))
    everywhere = len(ANCHORS.sides)
    logits = torch.full((1, everywhere), -12.0)
    logits[assigned == 0] = 12.0
    logits[assigned == IGNORED] = 12.0
    predictions = Predictions(
        logits,
        encode_boxes(ANCHORS, face.expand(1, everywhere, 4)),
        encode_landmarks(ANCHORS, points.expand(1, everywhere, 5, 2)),
    )
    loss, parts = detection_loss(predictions, targets, ANCHORS)
    assert loss.item() < 1e-3 and set(parts) == {"score", "box", "landmark"}


def test_a_batch_without_faces_has_a_finite_loss():
    everywhere = len(ANCHORS.sides)
    targets = Targets(torch.full((1, everywhere), BACKGROUND), NO_BOXES, torch.zeros(0, 5, 2))
    shapes = [(1, everywhere), (1, everywhere, 4), (1, everywhere, 10)]
    predictions = Predictions(*(torch.zeros(shape, requires_grad=True) for shape in shapes))
    loss, _ = detection_loss(predictions, targets, ANCHORS)
    loss.backward()
    assert loss.item() > 0 and torch.isfinite(predictions.logits.grad).all()
