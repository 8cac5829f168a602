"""Reading WIDER FACE (Yang et al., 2016), with RetinaFace's landmarks where they are at hand.

Two layouts, as they are unpacked:

- the official one: ``WIDER_train/images`` and ``wider_face_split/wider_face_train_bbx_gt.txt``;
- RetinaFace's: ``images`` and ``label.txt``, which has five landmarks for many faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sargan_plugin.errors import SarganError
from sargan_training.detector.pictures import Picture, read_pixels

OFFICIAL = (Path("wider_face_split/wider_face_train_bbx_gt.txt"), Path("WIDER_train/images"))
RETINAFACE = (Path("label.txt"), Path("images"))
INVALID = 7  # column of the official rows: 1 where a face cannot be made out
NO_LANDMARKS = np.full((5, 2), np.nan, np.float32)


def wider_pictures(folder: Path) -> Iterator[Picture]:
    """The training pictures of a copy of WIDER FACE.

    Raises:
        SarganError: when the folder has neither layout, or its annotations cannot be read.
    """
    for (labels, images), read in ((RETINAFACE, _retinaface_rows), (OFFICIAL, _official_rows)):
        if (folder / labels).is_file():
            for path, rows in read(folder / labels):
                yield _picture(folder / images / path, rows)
            return
    raise SarganError(f"{folder}: no WIDER FACE here; neither {RETINAFACE[0]} nor {OFFICIAL[0]}.")


def _picture(path: Path, rows: list[tuple[list[float], np.ndarray, bool]]) -> Picture:
    """A picture of ``(left, top, width, height)``, landmarks and whether it is surely a face."""
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    landmarks = np.array([row[1] for row in rows], np.float32).reshape(-1, 5, 2)
    return Picture(read_pixels(path), boxes, landmarks, np.array([row[2] for row in rows], bool))


def _official_rows(labels: Path) -> Iterator[tuple[str, list]]:
    """A path, a count, and that many rows; a picture without a face has one row of zeros."""
    lines = iter(labels.read_text().splitlines())
    for path in lines:
        try:
            count = int(next(lines))
            rows = [_numbers(next(lines), 10) for _ in range(max(count, 1))]
        except (StopIteration, RuntimeError, ValueError) as error:
            raise SarganError(f"{labels}: the rows of {path} cannot be read ({error}).") from error
        yield (
            path,
            [(row[:4], NO_LANDMARKS, row[INVALID] == 0) for row in rows if min(row[2:4]) > 0],
        )


def _retinaface_rows(labels: Path) -> Iterator[tuple[str, list]]:
    """``# path``, then rows of a box, five times x, y and a flag (-1 for none), and a blur."""
    path, rows = None, []
    for line in labels.read_text().splitlines():
        if line.startswith("#"):
            if path is not None:
                yield path, rows
            path, rows = line[1:].strip(), []
            continue
        try:
            numbers = _numbers(line, 19)
        except ValueError as error:
            raise SarganError(f"{labels}: a row of {path} cannot be read ({error}).") from error
        points = np.array(numbers[4:19], np.float32).reshape(5, 3)[:, :2]
        if min(numbers[2:4]) > 0:
            rows.append((numbers[:4], NO_LANDMARKS if (points < 0).any() else points, True))
    if path is not None:
        yield path, rows


def _numbers(line: str, least: int) -> list[float]:
    numbers = [float(word) for word in line.split()]
    if len(numbers) < least:
        raise ValueError(f"{least} numbers expected in {line!r}")
    return numbers
