"""Where the detector's pictures come from and how collages are made of them."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from sargan_plugin.errors import SarganError
from sargan_training.data import LANDMARKS, is_held_out
from sargan_training.detector.collage import SMALLEST_SURE, CollageMaker
from sargan_training.detector.degrade import degrade
from sargan_training.detector.geometry import (
    covered_share,
    face_points,
    placement,
    similarity,
    swap_sides,
    transform,
    warp_into,
)
from sargan_training.detector.pictures import (
    STORED_SIDE,
    Picture,
    PictureStore,
    without_faces,
    write_store,
)
from sargan_training.detector.sources import (
    POINT_SHIFT,
    face_free_pictures,
    face_pictures,
    person_of,
    scene_of,
    scenes,
)
from sargan_training.detector.wider import wider_pictures

POINTS = np.array([[40, 45], [60, 45], [50, 58], [42, 70], [58, 70]], np.float32)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def one_face(height=120, width=100):
    return Picture(
        noise(height, width),
        np.array([[30, 25, 70, 80]], np.float32),
        POINTS[None].copy(),
        np.array([True]),
    )


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path, [one_face(), without_faces(noise(90, 200)), one_face()])
    return PictureStore(tmp_path)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


# --- store


def test_store_gives_back_what_was_written_and_shrinks_what_is_large(tmp_path):
    large = one_face(300, STORED_SIDE * 2)
    write_store(tmp_path, [one_face(), large])
    store = PictureStore(tmp_path)
    assert len(store) == 2
    np.testing.assert_array_equal(store[0].pixels, one_face().pixels)
    np.testing.assert_array_equal(store[0].landmarks, one_face().landmarks)
    assert store[1].pixels.shape == (150, STORED_SIDE, 3)
    np.testing.assert_allclose(store[1].boxes, large.boxes / 2)


def test_no_store_is_one_clear_line(tmp_path):
    with pytest.raises(SarganError, match="no picture store"):
        PictureStore(tmp_path)


# --- sources


@pytest.fixture
def data(tmp_path):
    """A photograph each of 30 people, the second annotator far off on every third."""
    rows = []
    for number in range(30):
        path = f"lfw/Person_{number}/Person_{number}_0001.png"
        save(tmp_path / path, noise(120, 100, number))
        row = {"path": path, "face": 0, "score": 0.9, "x1": 30, "y1": 25, "x2": 70, "y2": 80}
        for who, shift in (("68", 0), ("cf", 9 if number % 3 == 0 else 1)):
            for name, (x, y) in zip(LANDMARKS, POINTS + shift, strict=True):
                row |= {f"{name}_x_{who}": x, f"{name}_y_{who}": y}
        rows.append(row)
    with (tmp_path / "faces.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_people_kept_for_tests_are_no_training_pictures(data):
    pictures = list(face_pictures(data))
    kept = [number for number in range(30) if not is_held_out(f"Person_{number}")]
    assert 15 < len(kept) < 30
    for picture, number in zip(pictures, kept, strict=True):
        np.testing.assert_array_equal(picture.pixels[..., ::-1], noise(120, 100, number))
        known = np.isfinite(picture.landmarks).all()
        assert known == (number % 3 != 0)
        if known:
            np.testing.assert_allclose(picture.landmarks[0], POINTS + POINT_SHIFT)


def test_person_of_a_path():
    assert person_of("lfw-deepfunneled/Ann_Lee/Ann_Lee_0003.jpg") == "Ann_Lee"
    assert person_of("extra/Dileep_12.jpg") == "Dileep"


def test_variants_of_a_wallpaper_are_one_scene_on_one_side(tmp_path):
    for name in ("A/contents/images/10x10.png", "A/contents/images_dark/20x20.png"):
        save(tmp_path / name, noise(8, 8))
    for number in range(20):
        for light in "ld":
            save(tmp_path / f"hill{number}-{light}.png", noise(8, 8))
    train = set(scenes(tmp_path, held_out=False))
    test = set(scenes(tmp_path, held_out=True))
    assert len(train) + len(test) == 42 and train and test
    assert not {scene_of(path) for path in train} & {scene_of(path) for path in test}
    assert len(list(face_free_pictures(tmp_path))) == len(train)


# --- WIDER FACE


def test_wider_face_in_its_official_layout(tmp_path):
    save(tmp_path / "WIDER_train/images/0--Parade/a.png", noise(50, 60))
    save(tmp_path / "WIDER_train/images/0--Parade/b.png", noise(40, 30))
    labels = tmp_path / "wider_face_split/wider_face_train_bbx_gt.txt"
    labels.parent.mkdir()
    labels.write_text(
        "0--Parade/a.png\n3\n"
        "10 12 20 25 0 0 0 0 0 0 \n30 5 8 9 2 0 0 1 2 0 \n5 5 0 4 0 0 0 0 0 0 \n"
        "0--Parade/b.png\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    )
    first, second = wider_pictures(tmp_path)
    assert first.boxes.tolist() == [[10, 12, 30, 37], [30, 5, 38, 14]]
    assert first.sure.tolist() == [True, False]
    assert np.isnan(first.landmarks).all()
    assert second.pixels.shape == (40, 30, 3) and len(second.boxes) == 0


def test_wider_face_with_landmarks(tmp_path):
    save(tmp_path / "images/0--Parade/a.png", noise(50, 60))
    marks = " ".join(f"{x} {y} 0.0" for x, y in POINTS)
    unknown = " ".join(["-1.0 -1.0 -1.0"] * 5)
    text = f"# 0--Parade/a.png\n10 12 20 25 {marks} 0.82\n30 5 8 9 {unknown} 0.2\n"
    (tmp_path / "label.txt").write_text(text)
    (picture,) = wider_pictures(tmp_path)
    assert picture.boxes.tolist() == [[10, 12, 30, 37], [30, 5, 38, 14]]
    np.testing.assert_array_equal(picture.landmarks[0], POINTS)
    assert np.isnan(picture.landmarks[1]).all()


@pytest.mark.parametrize("text", ["a.png\n2\n1 2 3 4 0 0 0 0 0 0\n", "a.png\nmany\n", "a.png\n"])
def test_broken_wider_annotations_name_the_file(tmp_path, text):
    labels = tmp_path / "wider_face_split/wider_face_train_bbx_gt.txt"
    labels.parent.mkdir()
    labels.write_text(text)
    with pytest.raises(SarganError, match=r"wider_face_train_bbx_gt\.txt.*a\.png"):
        list(wider_pictures(tmp_path))


def test_a_folder_without_wider_face_is_one_clear_line(tmp_path):
    with pytest.raises(SarganError, match="no WIDER FACE"):
        list(wider_pictures(tmp_path))


# --- geometry


def test_a_turned_box_bounds_the_turned_ellipse():
    box = np.array([[10, 0, 30, 40]], np.float32)
    quarter = similarity(np.array([20, 20]), np.array([20, 20]), 1.0, np.pi / 2)
    boxes, _ = face_points(quarter, box, np.zeros((1, 5, 2)))
    np.testing.assert_allclose(boxes[0], [0, 10, 40, 30], atol=1e-3)
    eighth = similarity(np.array([20, 20]), np.array([20, 20]), 1.0, np.pi / 4)
    boxes, _ = face_points(eighth, box, np.zeros((1, 5, 2)))
    half = np.sqrt((10**2 + 20**2) / 2)
    np.testing.assert_allclose(boxes[0], [20 - half, 20 - half, 20 + half, 20 + half], atol=0.2)


def test_a_placed_face_has_the_size_and_place_asked_for():
    random = np.random.default_rng(0)
    box = np.array([30, 25, 70, 80], np.float32)
    for _ in range(20):
        matrix = placement(box, 50, np.array([90.0, 60]), 0.0, False, random)
        (moved,), _ = face_points(matrix, box[None], POINTS[None])
        assert 40 < (moved[2:] - moved[:2]).max() < 60
        np.testing.assert_allclose((moved[:2] + moved[2:]) / 2, [90, 60], atol=4)


def test_mirrored_landmarks_are_named_as_the_viewer_sees_them():
    matrix = similarity(np.array([50, 50]), np.array([50, 50]), 1.0, 0.0, mirrored=True)
    moved = swap_sides(transform(matrix, POINTS))
    np.testing.assert_allclose(moved, POINTS)  # POINTS are symmetric about x = 50


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0, 3.0])
def test_pixels_and_points_move_together(scale):
    photo = np.zeros((100, 100, 3), np.uint8)
    cv2.circle(photo, (60, 40), 12, (255, 255, 255), -1)
    centre = np.array([60.5, 40.5])  # of pixel (60, 40), with corners at (0, 0)
    target = np.array([81.3, 70.6])
    matrix = similarity(centre, target, scale, 0.4)
    canvas = np.zeros((160, 160, 3), np.uint8)
    corners = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], np.float32)
    warp_into(canvas, photo, matrix, transform(matrix, corners))
    weights = canvas[..., 0].astype(float)
    ys, xs = np.mgrid[:160, :160] + 0.5
    found = np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()
    np.testing.assert_allclose(found, target, atol=0.1)


def test_covered_share_of_a_box():
    box = np.array([0, 0, 10, 10], np.float32)
    half = np.array([[5, -5], [20, -5], [20, 20], [5, 20]], np.float32)
    assert covered_share(box, half) == pytest.approx(0.5)
    assert covered_share(box, half + 100) == 0


# --- collages


def test_collages_are_the_same_for_a_seed_and_hold_sound_faces(store):
    maker = CollageMaker(store, 96)
    faces = 0
    for number in range(25):
        first = maker.draw(np.random.default_rng(number))
        again = maker.draw(np.random.default_rng(number))
        np.testing.assert_array_equal(first.pixels, again.pixels)
        np.testing.assert_array_equal(first.boxes, again.boxes)
        assert first.pixels.shape == (96, 96, 3) and first.pixels.dtype == np.uint8
        assert (first.boxes[:, :2] >= 0).all() and (first.boxes[:, 2:] <= 96).all()
        sure = first.boxes[first.sure]
        assert ((sure[:, 2:] - sure[:, :2]).max(1, initial=99) >= SMALLEST_SURE).all()
        faces += len(sure)
    assert faces > 25


def test_collages_need_no_face_free_pictures(tmp_path):
    write_store(tmp_path, [one_face()])
    maker = CollageMaker(PictureStore(tmp_path), 64)
    for number in range(8):
        assert maker.draw(np.random.default_rng(number)).pixels.shape == (64, 64, 3)


def test_degrading_keeps_the_shape_and_leaves_the_original_alone():
    pixels = noise(64, 48)
    for number in range(60):
        kept = pixels.copy()
        worse = degrade(pixels, np.random.default_rng(number))
        assert worse.shape == pixels.shape and worse.dtype == np.uint8
        np.testing.assert_array_equal(pixels, kept)
