"""How well found faces agree with the true ones: precision, recall, landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAME_FACE = 0.5  # intersection over union


@dataclass
class Found:
    """What a detector says of one picture, the surest first.

    Attributes:
        scores: ``(N,)``.
        boxes: ``(N, 4)`` px.
        landmarks: ``(N, 5, 2)`` px.
    """

    scores: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray


@dataclass
class Truth:
    """The faces of one picture.

    Attributes:
        boxes: ``(F, 4)`` px.
        landmarks: ``(F, 5, 2)`` px.
        counted: ``(F,)`` bool; what is found at other faces is neither right nor wrong.
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    counted: np.ndarray


@dataclass
class Matches:
    """Detections of many pictures that count, and the faces there were.

    Attributes:
        scores: ``(N,)``, detections at faces that are not counted left out.
        right: ``(N,)`` bool.
        errors: ``(N,)`` mean landmark distance in eye distances, NaN where not right.
        faces: how many faces there were to find.
    """

    scores: np.ndarray
    right: np.ndarray
    errors: np.ndarray
    faces: int

    def average_precision(self) -> float:
        """Area under the precision-recall curve, precision made to fall from right to left."""
        if not self.faces or not len(self.scores):
            return 0.0
        right = self.right[np.argsort(-self.scores, kind="stable")].cumsum()
        precision = right / np.arange(1, len(right) + 1)
        best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.diff(right / self.faces, prepend=0.0)
        return float((steps * best_from_here).sum())

    def recall(self, threshold: float) -> float:
        return float(self.right[self.scores >= threshold].sum() / max(self.faces, 1))

    def precision(self, threshold: float) -> float:
        kept = self.right[self.scores >= threshold]
        return float(kept.mean()) if len(kept) else 1.0

    def landmark_error(self, threshold: float) -> float:
        """Median in eye distances, NaN when nothing was found."""
        errors = self.errors[self.right & (self.scores >= threshold)]
        return float(np.median(errors)) if len(errors) else float("nan")


def overlaps(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(N, M)`` intersection over union, and over the area of ``boxes``."""
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (far - near).clip(min=0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1] - shared), shared / areas[0][:, None]


def mean_distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean distance of ``(..., 5, 2)`` landmarks as a share of the second ones' eye distance."""
    eyes = np.linalg.norm(others[..., 0, :] - others[..., 1, :], axis=-1)
    return np.linalg.norm(points - others, axis=-1).mean(-1) / eyes


def match(found: Found, truth: Truth) -> Matches:
    """Give each face the surest detection that overlaps it enough; the rest are wrong."""
    iou, inside = overlaps(found.boxes, truth.boxes)
    taken = np.zeros(len(truth.boxes), bool)
    scores, right, errors = [], [], []
    for index in np.argsort(-found.scores, kind="stable"):
        free = np.where(taken, 0, iou[index])
        face = free.argmax() if len(free) else None
        is_right = face is not None and free[face] >= SAME_FACE
        if is_right:
            taken[face] = True
        if is_right and not truth.counted[face]:
            continue
        if not is_right and (inside[index][~truth.counted] >= SAME_FACE).any():
            continue
        scores.append(found.scores[index])
        right.append(is_right)
        points = truth.landmarks[face] if is_right else None
        errors.append(mean_distance(found.landmarks[index], points) if is_right else np.nan)
    return Matches(
        np.array(scores, float), np.array(right, bool), np.array(errors), int(truth.counted.sum())
    )


def joined(matches: list[Matches]) -> Matches:
    """The matches of many pictures as one."""
    return Matches(
        np.concatenate([each.scores for each in matches]),
        np.concatenate([each.right for each in matches]),
        np.concatenate([each.errors for each in matches]),
        sum(each.faces for each in matches),
    )
