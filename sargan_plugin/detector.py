"""Finding faces with InsightFace's SCRFD class and an ONNX file.

What is found: faces from 32 px (longer side of the box) in pictures of up to 12 megapixels and
from ``32 * sqrt(megapixels / 12)`` px in larger ones (96 px at 108 megapixels), up to faces that
fill the frame. (With SCRFD 2.5G and 500M; the bundled detector misses some of the smallest ones.)

SCRFD finds faces that have about 20 to 400 px at the network's input. So a picture is looked at in
two sizes, 640 and 128 px on the longer side (InsightFace's own pair); a small picture as it is, for
enlarging 250 px to 640 takes four times as long and moves the landmarks by less than 0.3 % of the
eye distance; and a large one in a third size that leaves a 32-px face 26 px. (At 18 px SCRFD 2.5G
missed one of ten such faces, at 26 px one of a hundred; SCRFD 500M one of four and one of twelve.)
An ONNX with a dynamic input takes each size as it is; one with a fixed input gets it padded, or in
overlapping tiles.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sargan_plugin.detector_files import find_detector, first_line, open_detector
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face, sort_faces

if TYPE_CHECKING:
    from pathlib import Path

    from insightface.model_zoo.scrfd import SCRFD
    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)

FIT_SIDE = 640  # px of the longer side at the network's input
FRAME_FILLING = 128 / 640  # the smaller look, as a part of the fitting one
LARGEST_FACE = 400  # px at the network's input
SMALL_FACE_SCALE = 0.8  # a face of 32 px in the picture has 26 px at the network's input
SAME_FACE = 0.4  # intersection over union of two boxes, InsightFace's threshold
PART_OF_FACE = 0.8  # what lies in a surer face to this part is no other face
MAX_PIXELS = 7_700_000  # 12 megapixels at that scale
STRIDE = 32  # SCRFD's coarsest: the sides of its input are multiples of it


class FaceDetector:
    """Find faces and their five landmarks.

    Cheap to build: the file is looked for and loaded by the first :meth:`detect`. Threads may share
    a detector; it holds one ONNX Runtime session. A copied or unpickled detector loads its own.

    Args:
        model: as for :func:`find_detector`.
        device: ``"auto"`` (CUDA where ONNX Runtime has it), ``"cpu"``, ``"cuda"``, ``"cuda:1"``;
            ``"mps"`` is taken and means the CPU.
        min_score: smallest confidence, 0 to 1.
        any_rotation: try the four right angles, keep the most confident answer for each face. Four
            times the work.
        max_pixels: largest network input. Less is faster and misses small faces; 0 leaves the looks
            at 640 and 128 px, for which a face must have a 25th of the picture's longer side.
        threads: ONNX Runtime threads; None is one for each usable CPU.

    Raises:
        SarganError: for arguments out of range; in :meth:`detect` for a missing, unreadable or
            unsuitable file and for CUDA where there is none.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        min_score: float = 0.5,
        any_rotation: bool = False,
        max_pixels: int = MAX_PIXELS,
        threads: int | None = None,
    ) -> None:
        if not 0 < min_score <= 1:
            raise SarganError(f"The smallest score must be above 0 and at most 1, not {min_score}.")
        if max_pixels < 0 or (threads is not None and threads < 1):
            raise SarganError("max_pixels must be at least 0 and threads at least 1.")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(device)):
            raise SarganError(f"Unknown device {str(device)!r}; known are auto, cpu, cuda, cuda:N.")
        self.model = model
        self.device = str(device)
        self.min_score = min_score
        self.any_rotation = any_rotation
        self.max_pixels = max_pixels
        self.threads = threads
        self._forget_session()

    def __repr__(self) -> str:
        return f"FaceDetector(model={self.model!r}, device={self.device!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget_session()

    def detect(self, image: np.ndarray) -> list[Face]:
        """Find the faces of one picture.

        Args:
            image: uint8, RGB ``(H, W, 3)`` or grey ``(H, W)`` or ``(H, W, 1)``.

        Returns:
            Faces from left to right, in pixel coordinates of ``image``.
        """
        image = _checked(image)
        session = self._load()
        from insightface.model_zoo.scrfd import SCRFD

        # SCRFD keeps mutable state (anchors, input size). A new one costs 10 microseconds, so each
        # call has its own; the session is what is expensive, and it is safe to share.
        scrfd = SCRFD(session=session)
        fixed = _fixed_input(session)
        height, width = image.shape[:2]
        largest = self._looks(width, height, fixed)[0]
        picture = _to_bgr(_resized(image, min(width, largest[0]), min(height, largest[1])))
        found = []
        for turns in range(4 if self.any_rotation else 1):
            turned = np.ascontiguousarray(np.rot90(picture, turns))
            size = (height, width) if turns % 2 else (width, height)
            for look in self._looks(*size, fixed):
                scores, points = self._run(scrfd, _resized(turned, *look), fixed)
                points *= np.divide(size, look, dtype=np.float32)
                points = _turned_back(points, turns, width, height)
                found.append((scores, points, np.full(len(scores), turns)))
        scores, points, turned_by = map(np.concatenate, zip(*found, strict=True))
        return sort_faces(_merged(scores, points, turned_by))

    def _looks(
        self, width: int, height: int, fixed: tuple[int, int] | None
    ) -> list[tuple[int, int]]:
        """Sizes ``(width, height)`` in which to look at a picture, the largest first."""
        fit = min(
            side / length
            for side, length in zip(fixed or (FIT_SIDE, FIT_SIDE), (width, height), strict=True)
        )
        if fixed is None:
            fit = min(fit, 1.0)
        scales = [fit]
        if max(width, height) * fit > LARGEST_FACE:
            scales.append(fit * FRAME_FILLING)
        small_faces = min(SMALL_FACE_SCALE, math.sqrt(self.max_pixels / (width * height)))
        if small_faces > fit:
            scales.insert(0, small_faces)
        return [(max(1, round(width * s)), max(1, round(height * s))) for s in scales]

    def _run(
        self, scrfd: SCRFD, look: np.ndarray, fixed: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of one look: scores ``(N,)`` and points ``(N, 7, 2)``.

        The points are two corners of the box and five landmarks; the top left *corner* of the
        look is (0, 0), as SCRFD means it (its answers scale with the picture without an offset).
        """
        height, width = look.shape[:2]
        all_scores, all_points = [], []
        for x, y, right, bottom in _tiles(width, height, fixed):
            tile = look[y:bottom, x:right]
            canvas_width, canvas_height = fixed or (_padded(width), _padded(height))
            canvas = np.zeros((canvas_height, canvas_width, 3), np.uint8)
            canvas[: tile.shape[0], : tile.shape[1]] = tile
            try:
                scores, boxes, marks = map(np.concatenate, scrfd.forward(canvas, self.min_score))
            except Exception as error:  # ONNX Runtime's exceptions share no base class
                raise SarganError(f"{self._path} failed: {first_line(error)}") from error
            points = np.concatenate([boxes.reshape(-1, 2, 2), marks.reshape(-1, 5, 2)], axis=1)
            points = points.astype(np.float32) + np.float32([x, y])
            x1, y1, x2, y2 = points[:, :2].reshape(-1, 4).T
            sound = np.isfinite(points).all(axis=(1, 2)) & (x1 < x2) & (y1 < y2)
            # A face cut by a border between tiles is whole in the next tile or in a smaller look.
            sound &= ((x == 0) | (x1 > x + 1)) & ((right == width) | (x2 < right - 1))
            sound &= ((y == 0) | (y1 > y + 1)) & ((bottom == height) | (y2 < bottom - 1))
            all_scores.append(scores.reshape(-1)[sound])
            all_points.append(points[sound])
        return np.concatenate(all_scores), np.concatenate(all_points)

    def _forget_session(self) -> None:
        self._lock = threading.Lock()
        self._session: InferenceSession | None = None
        self._path: Path | None = None

    def _load(self) -> InferenceSession:
        with self._lock:
            if self._session is None:
                self._path = find_detector(self.model)
                self._session = open_detector(self._path, self.device, self.threads)
            return self._session


def _fixed_input(session: InferenceSession) -> tuple[int, int] | None:
    """``(width, height)`` of an input whose size is fixed, None for a dynamic one."""
    height, width = session.get_inputs()[0].shape[2:]
    fixed = all(isinstance(side, int) and side > 0 for side in (height, width))
    return (width, height) if fixed else None


def _checked(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise SarganError(f"A picture to detect faces in must be a uint8 numpy array, not {kind}.")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or image.size == 0:
        raise SarganError(f"A picture must have shape (H, W, 3) or (H, W), not {image.shape}.")
    return image


def _to_bgr(image: np.ndarray) -> np.ndarray:
    """RGB or grey to the BGR that InsightFace expects; the only place where the order changes."""
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize, with area averaging when it shrinks: bilinear sampling would alias there."""
    import cv2

    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = width * height < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation)


def _tiles(
    width: int, height: int, fixed: tuple[int, int] | None
) -> Iterator[tuple[int, int, int, int]]:
    """Parts ``(left, top, right, bottom)`` of a look, each of which fits the network's input."""
    tile_width, tile_height = fixed or (width, height)
    for y in _starts(height, tile_height):
        for x in _starts(width, tile_width):
            yield x, y, min(x + tile_width, width), min(y + tile_height, height)


def _starts(length: int, side: int) -> list[int]:
    """Evenly spread starts of parts that overlap by a quarter or more of their side."""
    if length <= side:
        return [0]
    overlap = side // 4
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(index * (length - side) / (count - 1)) for index in range(count)]


def _padded(side: int) -> int:
    return -(-side // STRIDE) * STRIDE


def _turned_back(points: np.ndarray, turns: int, width: int, height: int) -> np.ndarray:
    """Map ``(N, 7, 2)`` points of ``np.rot90(picture, turns)`` to the picture, ``width x height``.

    Exact: a quarter turn moves pixels and blends none. The first two points stay the top left and
    the bottom right corner of a box.
    """
    x, y = points[..., 0], points[..., 1]
    x, y = [(x, y), (width - y, x), (width - x, height - y), (y, height - x)][turns]
    points = np.stack([x, y], axis=-1)
    corners = points[:, :2]
    points[:, :2] = np.stack([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return points


def _merged(scores: np.ndarray, points: np.ndarray, turned_by: np.ndarray) -> list[Face]:
    """One face for each heap of overlapping candidates.

    Non-maximum suppression decides which faces there are. A face's box and landmarks are the mean
    of its candidates, weighted by their scores: SCRFD is most confident where a face has 65 px at
    its input, and most exact where it has more. On 150 photos of LFW the mean is 15 to 20 % nearer
    to 68-point landmarks than the most confident candidate is. Candidates from pictures turned
    another way have no say: their landmarks may be in another order.
    """
    faces = []
    left = np.argsort(-scores, kind="stable")
    while left.size:
        best = left[0]
        overlap, inside = _overlap(points[best], points[left])
        heap = left[(overlap > SAME_FACE) & (turned_by[left] == turned_by[best])]
        left = left[(overlap <= SAME_FACE) & (inside <= PART_OF_FACE)]
        row = np.average(points[heap], axis=0, weights=scores[heap]) - 0.5  # to pixel centres
        try:
            faces.append(Face(tuple(row[:2].ravel()), row[2:], min(float(scores[best]), 1.0)))
        except SarganError as error:
            logger.debug("left out a candidate: %s", error)
    return faces


def _overlap(row: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of one box with ``(N,)`` boxes: intersection over union, and the part of each in the one.

    A box is the first two points of a row.
    """
    sides = np.minimum(row[1], rows[:, 1]) - np.maximum(row[0], rows[:, 0])
    shared = sides.clip(min=0).prod(axis=1)
    areas = (rows[:, 1] - rows[:, 0]).prod(axis=1)
    return shared / ((row[1] - row[0]).prod() + areas - shared), shared / areas
