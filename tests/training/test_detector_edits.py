"""How much edits differ when another detector found the face."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import FixedDetector, photo_landmarks, smooth_photo
from PIL import Image

from sargan_plugin import ExpressionEditor, Face
from sargan_training.detector import edits


@pytest.fixture
def photo(tmp_path):
    pixels = (smooth_photo(200, 200).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def difference(monkeypatch, plain_generator, photo):
    """Of two detectors that find the face at given landmarks, or nothing."""

    def compute(*landmarks):
        faces = [[] if each is None else [Face.from_landmarks(each)] for each in landmarks]
        detectors = map(FixedDetector, faces)
        monkeypatch.setattr(edits, "FaceDetector", lambda path: next(detectors))
        editor = ExpressionEditor("happy", model=plain_generator)
        monkeypatch.setattr(edits, "ExpressionEditor", lambda expression: editor)
        return edits.edit_difference(photo, photo, [photo])

    return compute


def test_the_same_landmarks_make_the_same_edit_and_others_another(difference):
    points = photo_landmarks(100, 100, 40).numpy().astype(np.float32)
    assert difference(points, points) == 0
    little, much = difference(points + 1, points), difference(points + 6, points)
    assert 0 < little < much


def test_photographs_without_a_face_are_left_out(difference):
    points = photo_landmarks(100, 100, 40).numpy().astype(np.float32)
    assert np.isnan(difference(None, points))
