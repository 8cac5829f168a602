"""Photographs that come with landmarks: no detector is needed to align them.

Reads the official layout of Labeled Faces in the Wild beside two files: ``expressions.csv``
(path, person, expression) and ``faces.csv`` (path, face, ..., five landmarks by two annotators).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import replacing
from sargan_training.data.crops import Crops, aligned_crop, margin_of
from sargan_training.data.faces import FaceSet
from sargan_training.data.photos import FaceRow, read_photo

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def read_rows(root: Path, max_disagreement: float = 0.22) -> list[FaceRow]:
    """Read the labelled largest face of every photograph under ``root``.

    Faces whose two annotators differ by more than ``max_disagreement`` eye distances at any of
    the five points (hidden or strongly turned faces) are left out.
    """
    with (root / "expressions.csv").open(newline="") as stream:
        labels = {row["path"]: row for row in csv.DictReader(stream)}
    rows = []
    with (root / "faces.csv").open(newline="") as stream:
        for face in csv.DictReader(stream):
            label = labels.get(face["path"])
            if label is None or face["face"] != "0":
                continue
            derived, detected = (annotated_points(face, who) for who in ("68", "cf"))
            eyes = np.linalg.norm(derived[0] - derived[1])
            if eyes < 12 or np.abs(derived - detected).max() > max_disagreement * eyes:
                continue
            expression = EXPRESSIONS.index(label["expression"])
            rows.append(FaceRow(face["path"], label["person"], expression, derived))
    return rows


def annotated_points(face: dict[str, str], who: str) -> np.ndarray:
    """The five landmarks that one annotator gave, ``(5, 2)`` float32."""
    points = [[face[f"{name}_{axis}_{who}"] for axis in "xy"] for name in LANDMARKS]
    return np.array(points, dtype=np.float32)


class _Photos(Dataset):
    def __init__(self, root: Path, rows: list[FaceRow], size: int) -> None:
        self.root, self.rows, self.size = root, rows, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        torch.set_num_threads(1)
        row = self.rows[index]
        photo = read_photo(self.root / row.path)
        return aligned_crop(photo, row.landmarks, self.size, margin_of(self.size))


def load_annotated(root: Path, cache: Path, size: int) -> FaceSet:
    """Align and cut every labelled face along the given landmarks; crops are kept as ``cache``.

    Raises:
        SarganError: when ``cache`` holds the crops of other photos.
    """
    rows = read_rows(root)
    if not cache.exists():
        loader = DataLoader(_Photos(root, rows, size), batch_size=64, num_workers=2)
        crops = np.concatenate([batch.numpy() for batch in loader])
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as temporary, temporary.open("wb") as stream:
            np.save(stream, crops)
    crops = Crops([np.load(cache, mmap_mode="r")])
    if len(crops) != len(rows):
        raise SarganError(f"{cache} does not belong to {root}; delete it and start again.")
    return FaceSet(
        crops,
        torch.eye(len(EXPRESSIONS))[[row.label for row in rows]],
        [row.person for row in rows],
        [row.path for row in rows],
    )
