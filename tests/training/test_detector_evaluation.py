"""The arithmetic of the detectors' comparison, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sargan_training.detector.judges import Opinions
from sargan_training.detector.scoring import (
    Found,
    Matches,
    Truth,
    joined,
    match,
    mean_distance,
    overlaps,
)
from sargan_training.detector.views import SIDE, SIZES, held_out_photographs, make_view

SHAPE = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], float)  # eyes 40 px apart


def face_at(x, y, size=100.0):
    """A box and landmarks with their top left corner at a point."""
    return np.array([x, y, x + size, y + size]), SHAPE * size / 100 + (x, y)


def found(*faces, scores=None):
    boxes, landmarks = zip(*faces, strict=True) if faces else ((), ())
    scores = np.linspace(0.9, 0.6, len(faces)) if scores is None else np.array(scores)
    return Found(scores, np.array(boxes).reshape(-1, 4), np.array(landmarks).reshape(-1, 5, 2))


def truth(*faces, counted=None):
    every = found(*faces)
    counted = np.ones(len(faces), bool) if counted is None else np.array(counted, bool)
    return Truth(every.boxes, every.landmarks, counted)


def test_overlap_of_boxes():
    iou, inside = overlaps(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 5, 2.0], [9, 9, 10, 10]]))
    assert iou[0].tolist() == [2 / 10, 0] and inside[0].tolist() == [0.5, 0]


def test_landmark_error_is_a_share_of_the_true_eye_distance():
    assert mean_distance(np.add(SHAPE, (3, 4)), SHAPE) == pytest.approx(5 / 40)


def test_each_face_takes_the_surest_detection_and_the_second_is_wrong():
    result = match(found(face_at(2, 0), face_at(0, 0), face_at(300, 0)), truth(face_at(0, 0)))
    assert result.right.tolist() == [True, False, False]
    assert result.errors[0] == pytest.approx(2 / 40) and math.isnan(result.errors[1])
    assert result.faces == 1


def test_faces_that_do_not_count_are_neither_right_nor_wrong():
    small_inside = face_at(20, 20, 50)
    result = match(
        found(face_at(0, 0), small_inside, face_at(300, 0)),
        truth(face_at(0, 0), face_at(300, 0), counted=[False, True]),
    )
    assert result.right.tolist() == [True] and result.faces == 1


def test_average_precision_by_hand():
    # Right, wrong, right of three faces: precision 1 up to a third, 2/3 up to two thirds.
    matches = Matches(
        np.array([0.9, 0.8, 0.4]), np.array([True, False, True]), np.array([0.1, np.nan, 0.3]), 3
    )
    assert matches.average_precision() == pytest.approx(1 / 3 + 2 / 9)
    assert matches.recall(0.5) == pytest.approx(1 / 3)
    assert matches.precision(0.5) == pytest.approx(1 / 2)
    assert matches.landmark_error(0.5) == pytest.approx(0.1)
    assert matches.landmark_error(0.3) == pytest.approx(0.2)


def test_pictures_are_scored_as_one_set():
    first = match(found(face_at(0, 0)), truth(face_at(0, 0)))
    second = match(found(face_at(300, 300)), truth(face_at(0, 0)))
    both = joined([first, second])
    assert both.faces == 2 and both.precision(0.5) == 0.5 and both.recall(0.5) == 0.5
    empty = joined([match(found(), truth())])
    assert empty.average_precision() == 0 and math.isnan(empty.landmark_error(0.5))


def test_no_judge_is_scored_against_itself():
    box, points = face_at(0, 0)
    opinions = Opinions({"a": found((box, points)), "b": found((box + 2, points + 2))})
    assert opinions.agreed.tolist() == [True]
    np.testing.assert_allclose(opinions.truth(without="a").landmarks[0], points + 2)
    np.testing.assert_allclose(opinions.truth(without="b").boxes[0], box)
    np.testing.assert_allclose(opinions.truth(without="other").landmarks[0], points + 1)


def test_disputed_faces_do_not_count():
    box, points = face_at(0, 0)
    near, far = np.add(points, (3, 0)), np.add(points, (4, 0))  # 7.5 and 10 % of the eye distance
    assert Opinions({"a": found((box, points)), "b": found((box, near))}).agreed.all()
    opinions = Opinions({
        "a": found((box, points), face_at(300, 0)),
        "b": found((box, far), face_at(0, 300)),
    })  # fmt: skip
    assert not opinions.truth().counted.any() and len(opinions.truth().boxes) == 3


def test_a_view_shows_the_face_where_its_truth_says():
    photo = np.full((250, 250, 3), 60, np.uint8)
    box, points = face_at(75, 70)
    for x, y in points.astype(int):
        photo[y - 1 : y + 1, x - 1 : x + 1] = 255
    random = np.random.default_rng(0)
    for _ in range(12):
        view = make_view(photo, box, np.zeros((SIDE, SIDE, 3), np.uint8), random)
        seen = view.truth(Truth(box[None], points[None], np.array([True])))
        low, high = SIZES[view.size]
        assert low <= (seen.boxes[0, 2:] - seen.boxes[0, :2]).max() < high
        assert seen.counted.all()
        for x, y in np.floor(seen.landmarks[0]).astype(int):
            around = view.pixels[y - 1 : y + 2, x - 1 : x + 2]
            assert around.max() > 65


def test_test_photographs_show_people_nobody_trains_on(shared):
    chosen = held_out_photographs(shared / "data", "choose", 3000)
    report = held_out_photographs(shared / "data", "report", 3000)
    people = [{path.parent.name for path in paths} for paths in (chosen, report)]
    assert not people[0] & people[1]
    assert "Tiger_Woods" in people[0] | people[1] and "Tony_Blair" not in people[0] | people[1]
