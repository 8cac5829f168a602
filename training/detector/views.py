"""Test pictures: photographs of people kept for tests, at many sizes and angles; test scenes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sargan_training.detector.geometry import (
    covered_share,
    face_points,
    similarity,
    transform,
    warp_into,
)
from sargan_training.detector.pictures import read_pixels
from sargan_training.detector.scoring import Truth
from sargan_training.detector.sources import person_of, read_face_rows, scene_of, scenes

SIDE = 640  # px of a view
SIZES = ((20, 32), (32, 64), (64, 128), (128, 256), (256, 420))  # px, a face's longer side
TURNS = ((0, 10), (10, 35), (35, 60))  # degrees
TURN_ODDS = (0.5, 0.25, 0.25)
VISIBLE = 0.9  # share of a face on the view, below which it does not count
VIEWS_OF_A_SCENE = 3


@dataclass
class View:
    """A photograph laid on a face-free scene, and how.

    Attributes:
        pixels: ``(640, 640, 3)`` uint8 RGB.
        matrix: ``(3, 3)`` from the photograph to the view.
        outline: ``(4, 2)`` the photograph's corners on the view.
        size, turn: which of :data:`SIZES` and :data:`TURNS` the largest face belongs to.
    """

    pixels: np.ndarray
    matrix: np.ndarray
    outline: np.ndarray
    size: int
    turn: int

    def truth(self, of_photo: Truth) -> Truth:
        """The photograph's faces on the view; those of other sizes or cut do not count."""
        known = np.nan_to_num(of_photo.landmarks)
        boxes, landmarks = face_points(self.matrix, of_photo.boxes, known)
        low, high = SIZES[self.size]
        lengths = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        border = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float32)
        seen = [min(covered_share(box, border), covered_share(box, self.outline)) for box in boxes]
        counted = of_photo.counted & (lengths >= low) & (lengths < high)
        return Truth(boxes, landmarks, counted & (np.array(seen) >= VISIBLE))


def held_out_photographs(data: Path, half: str, count: int) -> list[Path]:
    """Photographs of people kept for tests, one for each person first, then a second, and so on.

    Args:
        data: folder of ``faces.csv``.
        half: ``"choose"`` or ``"report"``, the half of these people.
        count: how many at most.
    """
    by_person: dict[str, list[Path]] = {}
    for path, _ in read_face_rows(data, held_out=True):
        by_person.setdefault(person_of(path), []).append(data / path)
    people = sorted(by_person)[half == "report" :: 2]
    paths = [
        (turn, person, path) for person in people for turn, path in enumerate(by_person[person])
    ]
    return [path for _, _, path in sorted(paths)[:count]]


def make_view(
    photo: np.ndarray, box: np.ndarray, background: np.ndarray, random: np.random.Generator
) -> View:
    """Lay a photograph on a background so that a face has a drawn size and angle.

    Args:
        photo: ``(H, W, 3)`` uint8 RGB.
        box: of the face, ``(4,)`` px.
        background: ``(640, 640, 3)`` uint8 RGB.
        random: draws size, angle and place.
    """
    size, turn = int(random.integers(len(SIZES))), int(random.choice(len(TURNS), p=TURN_ODDS))
    angle = math.radians(random.uniform(*TURNS[turn]) * random.choice([-1, 1]))
    # The turned box is longer or shorter than the upright one; its own length is what is drawn.
    unit = similarity(np.zeros(2), np.zeros(2), 1.0, angle)
    turned = face_points(unit, box[None], np.zeros((1, 5, 2)))[0][0]
    length = (turned[2:] - turned[:2]).max()
    low, high = SIZES[size]
    scale = np.exp(random.uniform(np.log(low * 1.02), np.log(high * 0.98))) / length
    room = length * scale / 2 + 4
    centre = random.uniform(room, SIDE - room, 2)
    matrix = similarity((box[:2] + box[2:]) / 2, centre, scale, angle)
    height, width = photo.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    outline = transform(matrix, corners)
    pixels = background.copy()
    warp_into(pixels, photo, matrix, outline)
    return View(pixels, matrix, outline, size, turn)


def scene_views(folder: Path) -> list[np.ndarray]:
    """Face-free views: of every test scene the whole, and parts of it nearer."""
    largest: dict[str, Path] = {}
    for path in scenes(folder, held_out=True):
        known = largest.get(scene_of(path))
        if known is None or path.stat().st_size > known.stat().st_size:
            largest[scene_of(path)] = path
    random = np.random.default_rng(0)
    views = []
    for path in largest.values():
        pixels = read_pixels(path)
        for share in (1.0, *random.uniform(0.3, 0.8, VIEWS_OF_A_SCENE - 1)):
            side = max(1, round(min(pixels.shape[:2]) * share))
            top, left = (int(random.integers(0, each - side + 1)) for each in pixels.shape[:2])
            part = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            shrinks = side > SIDE
            way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            views.append(cv2.resize(part, (SIDE, SIDE), interpolation=way))
    return views
