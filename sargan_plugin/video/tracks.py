"""Which face of one frame is which face of another: tracks and their association."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from sargan_plugin.align import template
from sargan_plugin.faces import Face
from sargan_plugin.video.frame import Frame

LOOK_SIZE = 32
# The look reaches beyond the canonical crop's middle: hair and collar tell people apart too.
LOOK_TEMPLATE = np.asarray(template(LOOK_SIZE), np.float32)
NEW_LOOK = 0.3  # weight of a new look in a track's
# Mean distance of two sets of landmarks over the size of the face.
SAME_PLACE, FAR_AWAY = 0.35, 1.0
# Correlation of looks: from here on two faces may be one that was lost, or one across a cut.
SAME_LOOK = 0.75
OTHER_LOOK = 0.3
LOOK_WEIGHT = 2.0
IMPOSSIBLE = 1e6


@dataclass(eq=False)
class Track:
    """One face through time.

    Attributes:
        number: as the user knows it, from 0 in the order of appearance.
        landmarks: ``(5, 2)`` where it was seen last, in pixels of the picture that is shown.
        look: what it looks like, ``(LOOK_SIZE, LOOK_SIZE, 3)`` with mean 0 and length 1.
        seen: index of the frame in which a detector saw it last.
        chosen: whether it is to be edited.
        velocity: of the landmarks' middle, pixels a frame.
        missed: detections since then in which it was not found.
        lost: whether it is out of sight; it may come back.
        confirmed: whether a detector has seen it twice.
        unconfirmed: frames that it was put into since a detector saw it last, or only once.
    """

    number: int
    landmarks: np.ndarray
    look: np.ndarray
    seen: int
    chosen: bool = True
    velocity: np.ndarray | None = None
    missed: int = 0
    lost: bool = False
    confirmed: bool = False
    unconfirmed: list[Frame] = field(default_factory=list)

    @property
    def size(self) -> float:
        """Of the face, in pixels."""
        return face_size(self.landmarks)

    @property
    def phantom(self) -> bool:
        """Whether a detector saw it once, and nothing when it looked again."""
        return self.missed > 0 and not self.confirmed

    def update(self, face: Face, look: np.ndarray, index: int) -> None:
        """The face has been found again."""
        frames = max(1, index - self.seen)
        moved = face.landmarks5.mean(axis=0) - self.landmarks.mean(axis=0)
        self.velocity = None if self.lost else moved / frames
        self.landmarks, self.seen = face.landmarks5, index
        mixed = look if self.lost else self.look + NEW_LOOK * (look - self.look)
        self.look = mixed / max(float(np.linalg.norm(mixed)), 1e-6)
        self.missed, self.lost = 0, False
        self.confirmed = True
        self.unconfirmed.clear()

    def lose(self) -> None:
        """The face is out of sight; where it was only thought to be in the end, it was not."""
        self.lost = True
        if self.missed:
            for frame in self.unconfirmed:
                del frame.landmarks[self.number]
        self.unconfirmed.clear()


def face_size(landmarks: np.ndarray) -> float:
    """Longer side of the box around a face, in the unit of its landmarks."""
    return Face.from_landmarks(landmarks).size


def look_of(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What a face looks like: a small upright crop of an RGB picture, mean 0 and length 1."""
    matrix, _ = cv2.estimateAffinePartial2D(
        landmarks.astype(np.float32), LOOK_TEMPLATE, method=cv2.LMEDS
    )
    if matrix is None:
        return np.zeros((LOOK_SIZE, LOOK_SIZE, 3), np.float32)
    crop = cv2.warpAffine(
        picture, matrix, (LOOK_SIZE, LOOK_SIZE), borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    crop -= crop.mean()
    return crop / max(float(np.linalg.norm(crop)), 1e-6)


def associate(
    tracks: Sequence[Track],
    expected: Sequence[np.ndarray],
    faces: Sequence[Face],
    looks: Sequence[np.ndarray],
) -> dict[int, int]:
    """Which track each face continues: indices of faces by indices of tracks.

    Landmarks near where a track is expected count, and so does the look; between two people who
    cross the look decides. A track that was lost needs the look in any case.
    """
    if not tracks or not faces:
        return {}
    costs = np.full((len(tracks), len(faces)), IMPOSSIBLE)
    for row, (track, points) in enumerate(zip(tracks, expected, strict=True)):
        for column, (face, look) in enumerate(zip(faces, looks, strict=True)):
            size = max(face.size, track.size)
            distance = float(np.linalg.norm(face.landmarks5 - points, axis=1).mean()) / size
            alike = float((track.look * look).sum())
            ratio = face.size / track.size
            near = distance < SAME_PLACE and alike > OTHER_LOOK
            again = alike > SAME_LOOK and (track.lost or distance < FAR_AWAY)
            if (near and not track.lost) or (again and 0.4 < ratio < 2.5):
                costs[row, column] = min(distance, FAR_AWAY) + LOOK_WEIGHT * (1 - alike)
    rows, columns = linear_sum_assignment(costs)
    return {
        int(row): int(column)
        for row, column in zip(rows, columns, strict=True)
        if costs[row, column] < IMPOSSIBLE
    }
