"""Faces: where they are in a picture, and which of them are meant.

Conventions: coordinates are ``(x, y)`` in pixels of the picture, a pixel's centre has integer
coordinates. "Left" is the viewer's left, with the face upright. Faces are counted from the left of
the picture to the right, starting with 0.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sargan_plugin.errors import SarganError

Selection = str | int | Sequence[int] | tuple[str, float, float]

KNOWN_SELECTIONS = "all, largest, an index such as 0 or -1, indices such as 0,2, nearest:X,Y"
# Median box of SCRFD around the five points of upright faces, in units of the longer of the eye
# distance and the way from the eyes to the mouth; its centre lies above the middle of the points.
BOX_WIDTH, BOX_HEIGHT, BOX_RISE = 2.1, 2.9, 0.19
STRONGEST_PROFILE = 10.0


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a picture.

    Args:
        bbox: ``(x1, y1, x2, y2)``; may reach over the edge of the picture when the face does.
        landmarks5: ``(5, 2)`` float32, treat as read-only: left eye, right eye, nose, left mouth
            corner, right mouth corner, as seen with the face upright (viewer's left).
        score: the detector's confidence, 0 to 1.

    Raises:
        SarganError: for values that are not finite, an empty box, or points that coincide or lie
            on one line.
    """

    bbox: tuple[float, float, float, float]
    landmarks5: np.ndarray
    score: float = 1.0

    def __post_init__(self) -> None:
        points = _five_points(self.landmarks5)
        try:
            box = tuple(float(value) for value in self.bbox)
            score = float(self.score)
        except (TypeError, ValueError):
            raise SarganError("A face's bbox must be four numbers and its score one.") from None
        if len(box) != 4 or not all(map(math.isfinite, (*box, score))):
            raise SarganError(f"A face's bbox must be four finite numbers, its score one: {box}.")
        if box[2] <= box[0] or box[3] <= box[1]:
            raise SarganError(
                f"A face's bbox must be (x1, y1, x2, y2) with x1 < x2, y1 < y2: {box}."
            )
        object.__setattr__(self, "bbox", box)
        object.__setattr__(self, "landmarks5", points)
        object.__setattr__(self, "score", score)

    @classmethod
    def from_landmarks(cls, landmarks5: np.ndarray, score: float = 1.0) -> Face:
        """Build a face from its five points; the box is what SCRFD would draw around them.

        Example:
            >>> face = Face.from_landmarks([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]])
            >>> [round(value) for value in face.bbox]
            [8, -6, 92, 110]
        """
        points = _five_points(landmarks5).astype(np.float64)
        right, down = _face_axes(points)
        unit = max(np.linalg.norm(down), np.linalg.norm(points[1] - points[0]))
        upright = down / (np.linalg.norm(down) or 1.0)
        centre = (points[[0, 1, 3, 4]].mean(axis=0)) - BOX_RISE * unit * upright
        # An ellipse's upright box: it turns with the face and grows no corners on the way.
        half = np.hypot(right * BOX_WIDTH, upright * BOX_HEIGHT) * unit / 2
        return cls((*(centre - half), *(centre + half)), points, score)

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.bbox[2] - self.bbox[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.bbox[3] - self.bbox[1]

    @property
    def size(self) -> float:
        """Longer side of the box: a profile's box is narrow and its face is no smaller for it."""
        return max(self.width, self.height)

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box."""
        return (self.bbox[0] + self.bbox[2]) / 2, (self.bbox[1] + self.bbox[3]) / 2

    @property
    def roll(self) -> float:
        """Degrees the face is turned in the picture's plane, clockwise positive, in (-180, 180]."""
        right, _ = _face_axes(self.landmarks5.astype(np.float64))
        return math.degrees(math.atan2(right[1], right[0]))

    @property
    def profile_strength(self) -> float:
        """How far the head is turned sideways: 0 is frontal, 1 has the nose level with an eye.

        The distance of the nose from the line through the middle of the eyes and the middle of the
        mouth, over half the distance of the eyes measured across that line. Does not change when
        the picture is turned, shifted or scaled. At most 10.
        """
        points = self.landmarks5.astype(np.float64)
        eyes = points[:2].mean(axis=0)
        down = points[3:].mean(axis=0) - eyes
        nose_offset = abs(_cross(down, points[2] - eyes))
        half_eye_span = abs(_cross(down, points[1] - points[0])) / 2
        if nose_offset >= STRONGEST_PROFILE * half_eye_span:
            return STRONGEST_PROFILE
        return float(nose_offset / half_eye_span)


def sort_faces(faces: Sequence[Face]) -> list[Face]:
    """Order faces as they are counted: left to right by the middle of the box, then downwards."""
    return sorted(faces, key=lambda face: face.center)


def parse_selection(selection: Selection) -> Selection:
    """Read ``all``, ``largest``, ``0``, ``0,2`` or ``nearest:120,80``; check everything else.

    Returns:
        ``"all"``, ``"largest"``, an int, a list of ints or ``("nearest", x, y)``.

    Raises:
        SarganError: naming what is known.

    Example:
        >>> parse_selection("0,2"), parse_selection("nearest:120,80")
        ([0, 2], ('nearest', 120.0, 80.0))
    """
    unknown = SarganError(f"Unknown face selection {selection!r}; known are {KNOWN_SELECTIONS}.")
    try:
        if isinstance(selection, str):
            return _parse_text(selection.strip().lower())
        if isinstance(selection, Sequence) and selection and selection[0] == "nearest":
            _, x, y = selection
            return _point(x, y)
        if isinstance(selection, Sequence | np.ndarray) and len(selection):
            return [_index(value) for value in selection]
        return _index(selection)
    except (TypeError, ValueError):
        raise unknown from None


def select_faces(
    faces: Sequence[Face],
    selection: Selection = "all",
    *,
    min_size: float = 0,
    min_score: float = 0,
) -> list[Face]:
    """Pick the faces that are meant.

    Faces that are too small or too doubtful are left out first and are not counted: who numbers
    faces for a user passes the same minima there.

    Args:
        faces: in any order.
        selection: ``"all"``; ``"largest"`` (by area); an index or several, counted left to right
            from 0, negative ones from the right; ``("nearest", x, y)``, the face whose box holds
            the point or is nearest to it; or any of these as text, see :func:`parse_selection`.
        min_size: smallest :attr:`Face.size` in pixels.
        min_score: smallest score.

    Returns:
        Left to right; for several indices in the order asked for, each face once. Empty when
        there is no face to choose from and no index was asked for.

    Raises:
        SarganError: for an unknown selection, and for an index there is no face for.
    """
    selection = parse_selection(selection)
    faces = sort_faces([f for f in faces if f.size >= min_size and f.score >= min_score])
    if selection == "all":
        return faces
    if selection == "largest":
        return [max(faces, key=lambda face: face.width * face.height)] if faces else []
    if isinstance(selection, tuple):
        _, x, y = selection
        return [min(faces, key=lambda face: _distance(face, x, y))] if faces else []
    indices = selection if isinstance(selection, list) else [selection]
    for index in indices:
        if not -len(faces) <= index < len(faces):
            raise SarganError(f"There is no face {index}: {_how_many(len(faces))}.")
    return [faces[index] for index in dict.fromkeys(index % len(faces) for index in indices)]


def _how_many(count: int) -> str:
    if count == 0:
        return "no face was found"
    if count == 1:
        return "one face was found, its index is 0"
    return f"{count} faces were found, counted 0 to {count - 1} from left to right"


def _parse_text(text: str) -> Selection:
    if text in ("all", "largest"):
        return text
    if text.startswith("nearest:"):
        x, y = text.removeprefix("nearest:").split(",")
        return _point(x, y)
    indices = [int(part) for part in text.split(",")]
    return indices if len(indices) > 1 else indices[0]


def _point(x: str | float, y: str | float) -> tuple[str, float, float]:
    x, y = float(x), float(y)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("not a point")
    return "nearest", x, y


def _index(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError("not an index")
    return int(value)


def _distance(face: Face, x: float, y: float) -> tuple[float, float]:
    """Distance of a point from the box (0 inside), then from its middle."""
    x1, y1, x2, y2 = face.bbox
    outside = math.hypot(max(x1 - x, 0, x - x2), max(y1 - y, 0, y - y2))
    return outside, math.dist((x, y), face.center)


def _five_points(landmarks5: object) -> np.ndarray:
    try:
        points = np.array(landmarks5, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError):
        raise SarganError("Face landmarks must be five (x, y) points.") from None
    if points.shape != (5, 2):
        raise SarganError(f"Face landmarks must be five (x, y) points, not shape {points.shape}.")
    if not np.isfinite(points).all():
        raise SarganError("Face landmarks must be finite.")
    spread = np.linalg.svd(points - points.mean(axis=0, dtype=np.float64), compute_uv=False)
    if spread[0] < 1e-3 or spread[1] < 1e-3 * spread[0]:
        raise SarganError("Face landmarks must not coincide or lie on one line.")
    return points


def _face_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vector to the face's right (viewer's), and the way from its eyes to its mouth.

    Eyes and mouth give one estimate of the direction, the line between them another; their sum
    is steady for profiles, whose eyes nearly meet.
    """
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    across = (points[1] - points[0]) + (points[4] - points[3])
    right = across + np.array([down[1], -down[0]])
    length = np.linalg.norm(right)
    return (right / length if length > 0 else np.array([1.0, 0.0])), down


def _cross(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[0] * b[1] - a[1] * b[0])
