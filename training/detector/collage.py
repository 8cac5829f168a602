"""Training pictures made of photographs: collages with faces of many sizes, angles and neighbours.

The photographs mostly show one frontal face of the same size in the middle; everything a detector
must know beyond that is made here. Parameters come from one generator, so a seed fixes a collage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from sargan_plugin.errors import SarganError
from sargan_training.detector.geometry import (
    covered_share,
    face_points,
    placement,
    swap_sides,
    transform,
    warp_into,
)
from sargan_training.detector.pictures import Picture, PictureStore, without_faces

SMALLEST, LARGEST = 12, 450  # px, longer side of a face
SMALLEST_SURE = 10  # px, below which a face may be found or not
VISIBLE, GUESSED = 0.6, 0.25  # share of a face that makes it one, and that may make it one
TURN, STRONG_TURN = math.radians(15), math.radians(60)
LABEL_JITTER = 0.01  # eye distances; about what the labels of two frames of a still face differ by
BLENDED = 0.3  # of the textures are two scenes at once: there are few scenes
LARGEST_ENLARGEMENT = 4  # of a photographed face; beyond it there is nothing but blur


@dataclass(frozen=True)
class Layout:
    """A way to fill a canvas.

    Attributes:
        odds: how often it is drawn.
        photos: fewest and most photographs.
        sizes: smallest and largest face, px.
        textures: most rectangles without a face.
        tight: paste no more of a photograph than the surroundings of one face.
    """

    odds: float
    photos: tuple[int, int]
    sizes: tuple[int, int]
    textures: int = 3
    tight: bool = False


LAYOUTS = (
    Layout(0.06, photos=(0, 0), sizes=(SMALLEST, LARGEST)),
    Layout(0.20, photos=(1, 1), sizes=(60, LARGEST), textures=0),
    Layout(0.24, photos=(2, 6), sizes=(24, 160)),
    # Landmarks are learnt from faces of this size; one canvas shows several for the same work.
    Layout(0.35, photos=(4, 9), sizes=(56, 140), textures=1, tight=True),
    Layout(0.15, photos=(8, 19), sizes=(SMALLEST, 48), tight=True),
)


@dataclass
class Canvas:
    """A picture being filled; faces pasted over are dropped at the end."""

    pixels: np.ndarray
    boxes: list[np.ndarray]
    landmarks: list[np.ndarray]
    sure: list[bool]
    hidden: list[float]

    @classmethod
    def on(cls, pixels: np.ndarray) -> Canvas:
        return cls(pixels, [], [], [], [])

    def cover(self, region: np.ndarray) -> None:
        """Note that a convex region ``(K, 2)`` hides what was below it."""
        for index, box in enumerate(self.boxes):
            self.hidden[index] = min(1.0, self.hidden[index] + covered_share(box, region))

    def room_for(self, region: np.ndarray) -> bool:
        return all(covered_share(box, region) < 0.1 for box in self.boxes)

    def finished(self) -> Picture:
        """The picture with the faces that can still be seen, cut at the border."""
        side = np.array(self.pixels.shape[1::-1], np.float32)
        kept = []
        for index, box in enumerate(self.boxes):
            cut = np.concatenate([box[:2].clip(0), np.minimum(box[2:], side)])
            inside = (cut[2:] - cut[:2]).clip(0).prod() / max((box[2:] - box[:2]).prod(), 1e-6)
            seen = inside * (1 - self.hidden[index])
            if seen < GUESSED:
                continue
            large_enough = (cut[2:] - cut[:2]).max() >= SMALLEST_SURE
            sure = self.sure[index] and seen >= VISIBLE and large_enough
            kept.append((cut, self.landmarks[index], sure))
        if not kept:
            return without_faces(self.pixels)
        boxes, landmarks, sure = zip(*kept, strict=True)
        return Picture(
            self.pixels,
            np.array(boxes, np.float32),
            np.array(landmarks, np.float32),
            np.array(sure, bool),
        )


class CollageMaker:
    """Draw collages from a store.

    Args:
        store: pictures with faces, and without as backgrounds and things that are no faces.
        side: of the square canvas in px.
    """

    def __init__(self, store: PictureStore, side: int) -> None:
        self.store, self.side = store, side
        self.with_faces = np.flatnonzero(store.counts > 0)
        self.face_free = np.flatnonzero(store.counts == 0)
        if not len(self.with_faces):
            raise SarganError(f"{store.folder}: no picture in this store has a face.")

    def draw(self, random: np.random.Generator) -> Picture:
        """One collage with its faces."""
        layout = LAYOUTS[random.choice(len(LAYOUTS), p=[each.odds for each in LAYOUTS])]
        canvas = Canvas.on(self._background(random))
        for _ in range(random.integers(0, layout.textures, endpoint=True)):
            self._paste_texture(canvas, random)
        count = random.integers(*layout.photos, endpoint=True)
        sizes = np.exp(random.uniform(*np.log(layout.sizes), count))
        for size in sorted(sizes, reverse=True):
            self._paste_photo(canvas, size, random, layout.tight)
        for box in list(canvas.boxes):
            if random.random() < 0.15:
                self._occlude(canvas, box, random)
        return canvas.finished()

    def _background(self, random: np.random.Generator) -> np.ndarray:
        """A part of a face-free picture, or a plain or smoothly changing colour."""
        side = self.side
        if random.random() < 0.1 or not len(self.face_free):
            cells = int(random.integers(1, 5))
            colours = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            return cv2.resize(colours, (side, side), interpolation=cv2.INTER_CUBIC)
        return self._texture(side, side, random)

    def _texture(self, width: int, height: int, random: np.random.Generator) -> np.ndarray:
        """A part of a face-free picture, or of two on top of each other, ``(height, width, 3)``."""
        part = self._scene(width, height, random)
        if random.random() > BLENDED:
            return part
        share = random.uniform(0.2, 0.8)
        return cv2.addWeighted(part, share, self._scene(width, height, random), 1 - share, 0)

    def _scene(self, width: int, height: int, random: np.random.Generator) -> np.ndarray:
        """A part of a face-free picture, turned by right angles and mirrored at will."""
        turns = int(random.integers(4))
        if turns % 2:
            width, height = height, width
        pixels = self.store[random.choice(self.face_free)].pixels
        fit = min(pixels.shape[1] / width, pixels.shape[0] / height)
        scale = fit * np.exp(random.uniform(math.log(0.3), 0))
        cut_width, cut_height = max(1, int(width * scale)), max(1, int(height * scale))
        left = random.integers(0, pixels.shape[1] - cut_width + 1)
        top = random.integers(0, pixels.shape[0] - cut_height + 1)
        part = pixels[top : top + cut_height, left : left + cut_width]
        way = cv2.INTER_AREA if cut_width > 1.5 * width else cv2.INTER_LINEAR
        part = cv2.resize(part, (width, height), interpolation=way)
        part = part[:, ::-1] if random.random() < 0.5 else part
        return np.ascontiguousarray(np.rot90(part, turns))

    def _paste_texture(self, canvas: Canvas, random: np.random.Generator) -> None:
        """A rectangle without a face, so that an edge round something is no sign of a face."""
        if not len(self.face_free):
            return
        width, height = (int(random.uniform(0.1, 0.6) * self.side) for _ in range(2))
        left, top = (int(random.uniform(0, self.side - each)) for each in (width, height))
        canvas.pixels[top : top + height, left : left + width] = self._texture(
            width, height, random
        )

    def _paste_photo(
        self, canvas: Canvas, size: float, random: np.random.Generator, tight: bool
    ) -> None:
        """Warp a photograph, or one face of it, onto the canvas so that the face is ``size`` px."""
        photo = self.store[random.choice(self.with_faces)]
        box = _face_to_place(photo, size, random)
        mirrored = random.random() < 0.5
        angle = random.uniform(-1, 1) * (TURN if random.random() < 0.5 else STRONG_TURN)
        for _ in range(4):
            centre = random.uniform(0, self.side, 2)
            if size > self.side / 2:  # a face this large belongs to the middle
                centre = self.side / 2 + random.normal(0, self.side / 6, 2)
            matrix = placement(box, size, centre, angle, mirrored, random)
            region = transform(matrix, _outline(photo, box, random, tight))
            if canvas.room_for(region):
                break
        else:
            if random.random() < 0.8:
                return
        canvas.cover(region)
        warp_into(canvas.pixels, photo.pixels, matrix, region, feather=random.random() < 0.5)
        boxes, landmarks = face_points(matrix, photo.boxes, photo.landmarks)
        for index in range(len(photo.boxes)):
            outside = 1 - covered_share(boxes[index], region)
            if outside < 1:
                canvas.boxes.append(boxes[index])
                points = landmarks[index]
                eyes = np.linalg.norm(points[1] - points[0])
                points = points + random.normal(0, LABEL_JITTER, (5, 2)) * eyes
                canvas.landmarks.append(swap_sides(points) if mirrored else points)
                canvas.sure.append(bool(photo.sure[index]))
                canvas.hidden.append(outside)

    def _occlude(self, canvas: Canvas, box: np.ndarray, random: np.random.Generator) -> None:
        """Hide a part of a face behind a turned rectangle of texture or of one colour."""
        size = box[2:] - box[:2]
        half = size * random.uniform(0.15, 0.4, 2) / 2
        centre = (box[:2] + box[2:]) / 2 + size * random.uniform(-0.5, 0.5, 2)
        angle = random.uniform(0, math.pi)
        axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ axes + centre
        canvas.cover(corners.astype(np.float32))
        mask = np.zeros(canvas.pixels.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, corners.round().astype(np.int32), 1)
        if len(self.face_free) and random.random() < 0.6:
            patch = self._texture(self.side, self.side, random)
        else:
            patch = np.empty_like(canvas.pixels)
            patch[:] = random.integers(0, 256, 3)
        canvas.pixels = cv2.copyTo(patch, mask, canvas.pixels)


def _face_to_place(photo: Picture, size: float, random: np.random.Generator) -> np.ndarray:
    """The box of a face that bears enlarging to ``size``: any such face, or else the largest."""
    lengths = (photo.boxes[:, 2:] - photo.boxes[:, :2]).max(axis=1)
    able = np.flatnonzero(photo.sure & (lengths * LARGEST_ENLARGEMENT >= size))
    return photo.boxes[random.choice(able) if len(able) else lengths.argmax()]


def _outline(
    photo: Picture, box: np.ndarray, random: np.random.Generator, tight: bool
) -> np.ndarray:
    """Corners ``(4, 2)`` of the part of a photograph to paste: all of it, or round the face."""
    height, width = photo.pixels.shape[:2]
    low, high = np.zeros(2), np.array([width, height], float)
    if tight or random.random() < 0.3:
        size = (box[2:] - box[:2]).max()
        low = np.maximum(low, box[:2] - size * random.uniform(0.05, 0.9, 2))
        high = np.minimum(high, box[2:] + size * random.uniform(0.05, 0.9, 2))
    (left, top), (right, bottom) = low, high
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
