"""Faces and their selection; finding them is in test_detector.py."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face, parse_selection, select_faces, sort_faces

UPRIGHT = np.float32([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]])
HALF_PROFILE = UPRIGHT + np.float32([[0, 0], [0, 0], [14, 0], [0, 0], [0, 0]])

offsets = st.floats(-4000, 4000)
angles = st.floats(-180, 180)
scales = st.floats(0.2, 50)
shapes = st.sampled_from([UPRIGHT, HALF_PROFILE, UPRIGHT[[1, 0, 2, 4, 3]] * [-1, 1]])


def face_at(x: float, y: float = 50, size: float = 40, score: float = 0.9) -> Face:
    """A face whose box has the given middle and side."""
    half = size / 2
    return Face((x - half, y - half, x + half, y + half), UPRIGHT * size / 100 + [x, y], score)


def transformed(points: np.ndarray, angle: float, scale: float, dx: float, dy: float) -> np.ndarray:
    turn = np.radians(angle)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points.astype(np.float64) @ matrix.T + [dx, dy]


def turned_by(a: float, b: float) -> float:
    """Difference of two angles in degrees, 0 to 180."""
    return abs((a - b + 180) % 360 - 180)


class TestFace:
    def test_sizes_and_centre_come_from_the_box(self):
        face = Face((10, 20, 40, 80), UPRIGHT, 0.5)
        assert (face.width, face.height, face.size, face.center) == (30, 60, 60, (25, 50))
        assert face.landmarks5.dtype == np.float32 and face.score == 0.5

    def test_landmarks_are_copied(self):
        points = UPRIGHT.copy()
        face = Face.from_landmarks(points)
        points[:] = 0
        assert np.array_equal(face.landmarks5, UPRIGHT)

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
    def test_survives_copy_and_pickle(self, clone):
        face = clone(face_at(100))
        assert face.bbox == face_at(100).bbox
        assert np.array_equal(face.landmarks5, face_at(100).landmarks5)

    @pytest.mark.parametrize(
        "landmarks",
        [
            UPRIGHT[:4],
            UPRIGHT.ravel(),
            UPRIGHT * np.nan,
            np.full((5, 2), np.inf),
            np.ones((5, 2)),
            np.stack([np.arange(5), 2 * np.arange(5)], axis=1),
            "no points",
            None,
            [[1, 2], [3]],
        ],
    )
    def test_bad_landmarks_are_refused_in_one_line(self, landmarks):
        with pytest.raises(SarganError, match="landmarks must") as caught:
            Face.from_landmarks(landmarks)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "bbox", [(0, 0, 0, 9), (9, 0, 0, 9), (0, 0, 9), (0, 0, np.nan, 9), 7, (0, 0, "x", 9)]
    )
    def test_bad_boxes_are_refused(self, bbox):
        with pytest.raises(SarganError, match="bbox must"):
            Face(bbox, UPRIGHT)

    def test_bad_scores_are_refused(self):
        with pytest.raises(SarganError, match="score"):
            Face((0, 0, 9, 9), UPRIGHT, float("nan"))


class TestFaceGeometry:
    def test_known_rolls(self):
        for angle in (0, 30, 90, -90, 150):
            face = Face.from_landmarks(transformed(UPRIGHT, angle, 1, 0, 0))
            assert turned_by(face.roll, angle) < 1e-3, "clockwise is positive: y points down"

    def test_known_profile_strengths(self):
        assert Face.from_landmarks(UPRIGHT).profile_strength == 0
        level_with_eye = UPRIGHT + np.float32([[0, 0], [0, 0], [20, 0], [0, 0], [0, 0]])
        assert Face.from_landmarks(level_with_eye).profile_strength == pytest.approx(1)
        profile = np.float32([[50, 40], [52, 41], [70, 60], [50, 80], [53, 80]])
        assert Face.from_landmarks(profile).profile_strength > 3

    def test_profile_strength_stays_finite_when_the_eyes_meet(self):
        profile = np.float32([[50, 40], [50, 40], [70, 60], [50, 80], [53, 80]])
        assert Face.from_landmarks(profile).profile_strength == 10

    @given(shapes, angles, scales, offsets, offsets)
    def test_similarities_leave_profile_strength_and_add_to_roll(self, points, angle, s, dx, dy):
        before = Face.from_landmarks(points)
        after = Face.from_landmarks(transformed(points, angle, s, dx, dy))
        assert after.profile_strength == pytest.approx(before.profile_strength, abs=2e-2)
        assert turned_by(after.roll, before.roll + angle) < 0.5

    @given(shapes, angles, scales, offsets, offsets)
    def test_box_around_landmarks_holds_them_and_moves_with_them(self, points, angle, s, dx, dy):
        face = Face.from_landmarks(transformed(points, angle, s, dx, dy))
        x1, y1, x2, y2 = face.bbox
        assert ((face.landmarks5 > [x1, y1]) & (face.landmarks5 < [x2, y2])).all()
        centre = Face.from_landmarks(points).center
        expected = transformed(np.array([centre]), angle, s, dx, dy)[0]
        assert np.abs(expected - face.center).max() < 0.02 * face.size + 1e-3


face_lists = st.lists(
    st.builds(face_at, offsets, offsets, st.floats(1, 500), st.floats(0, 1)), max_size=8
)


class TestSelection:
    @given(face_lists, st.randoms())
    def test_all_is_left_to_right_whatever_the_order_given(self, faces, random):
        shuffled = random.sample(faces, len(faces))
        chosen = select_faces(shuffled, "all")
        assert [f.center for f in chosen] == [f.center for f in sort_faces(faces)]
        assert [f.center[0] for f in chosen] == sorted(f.center[0] for f in faces)

    @given(face_lists.filter(bool), st.data())
    def test_an_index_counts_in_the_order_of_all(self, faces, data):
        index = data.draw(st.integers(-len(faces), len(faces) - 1))
        assert select_faces(faces, index) == [select_faces(faces, "all")[index]]

    @given(face_lists, st.floats(0, 500), st.floats(0, 1))
    def test_minima_hold_and_faces_that_pass_stay(self, faces, min_size, min_score):
        chosen = select_faces(faces, "all", min_size=min_size, min_score=min_score)
        passing = [f for f in faces if f.size >= min_size and f.score >= min_score]
        assert {id(f) for f in chosen} == {id(f) for f in passing}

    @given(face_lists.filter(bool), offsets, offsets)
    def test_nearest_has_the_least_distance(self, faces, x, y):
        def distance(face: Face) -> float:
            inside = np.clip([x, y], face.bbox[:2], face.bbox[2:])
            return float(np.hypot(*(inside - [x, y])))

        (chosen,) = select_faces(faces, ("nearest", x, y))
        assert distance(chosen) == pytest.approx(min(map(distance, faces)))

    def test_nearest_prefers_the_face_that_holds_the_point(self):
        large, small = face_at(100, size=200), face_at(220, size=20)
        assert select_faces([small, large], ("nearest", 195, 50)) == [large]

    def test_largest_is_by_area(self):
        faces = [face_at(0, size=30), face_at(100, size=80), face_at(200, size=50)]
        assert select_faces(faces, "largest") == [faces[1]]

    def test_several_indices_keep_the_order_asked_for_and_come_once(self):
        faces = [face_at(x) for x in (0, 100, 200)]
        assert select_faces(faces, [2, 0, -1]) == [faces[2], faces[0]]

    def test_text_selects_too(self):
        faces = [face_at(x) for x in (0, 100, 200)]
        assert select_faces(faces, "2, 0") == [faces[2], faces[0]]
        assert select_faces(faces, "nearest:90,50") == [faces[1]]

    def test_small_faces_are_not_counted(self):
        faces = [face_at(0, size=10), face_at(100)]
        assert select_faces(faces, 0, min_size=32) == [faces[1]]

    @pytest.mark.parametrize("selection", ["all", "largest", ("nearest", 1, 2)])
    def test_no_faces_give_no_faces(self, selection):
        assert select_faces([], selection) == []

    @pytest.mark.parametrize(
        ("count", "index", "message"),
        [(0, 0, "no face was found"), (1, 1, "one face"), (3, -4, "3 faces.* 0 to 2")],
    )
    def test_an_index_without_a_face_says_how_many_there_are(self, count, index, message):
        with pytest.raises(SarganError, match=message):
            select_faces([face_at(100 * i) for i in range(count)], [index])


class TestParseSelection:
    @pytest.mark.parametrize(
        ("text", "meaning"),
        [
            ("all", "all"),
            (" Largest ", "largest"),
            ("0", 0),
            ("-1", -1),
            ("0,2", [0, 2]),
            ("nearest:120,80", ("nearest", 120.0, 80.0)),
            ("nearest: -1.5 , 8e1", ("nearest", -1.5, 80.0)),
            (3, 3),
            ((0, 1), [0, 1]),
            (np.int64(2), 2),
            (("nearest", 1, 2), ("nearest", 1.0, 2.0)),
        ],
    )
    def test_known_forms(self, text, meaning):
        assert parse_selection(text) == meaning
        assert parse_selection(parse_selection(text)) == meaning

    @pytest.mark.parametrize(
        "bad",
        [
            *("", "biggest", "0;2", "0,", "1.5", "nearest", "nearest:1", "nearest:1,2,3"),
            *("nearest:nan,1", "nearest:x,y", None, True, 1.5, [], [True], [0, "a"]),
            *(("nearest", 1), ("nearest", None, 2)),
        ],
    )
    def test_everything_else_is_refused_in_one_line_that_lists_what_is_known(self, bad):
        with pytest.raises(SarganError, match=r"known are all, largest.*nearest:X,Y") as caught:
            parse_selection(bad)
        assert "\n" not in str(caught.value)


def test_importing_faces_and_detector_loads_no_heavy_package():
    program = (
        "import sys, sargan_plugin.faces, sargan_plugin.detector as d; d.FaceDetector();"
        "heavy = {'insightface', 'onnxruntime', 'cv2', 'torch', 'onnx'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
