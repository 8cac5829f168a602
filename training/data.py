"""Face photographs with expression labels: reading, splitting by person, aligned crops.

Reads the official layout of Labeled Faces in the Wild beside three files: ``expressions.csv``
(path, person, expression), ``faces.csv`` (path, face, ..., five landmarks by two annotators).
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sargan_plugin.align import crop_faces, face_matrices
from sargan_plugin.expressions import EXPRESSIONS

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
# Crops are kept with this many pixels of surroundings on each side, for geometric augmentation.
MARGIN = 16


@dataclass(frozen=True)
class FaceRow:
    """One labelled face: where it is, whose it is, what it shows."""

    path: str
    person: str
    label: int
    landmarks: np.ndarray


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


def is_held_out(person: str, share: float = 0.12) -> bool:
    """Whether a person belongs to the people no model is trained on; stable for ever."""
    digest = hashlib.sha256(f"sargan:{person}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share


def aligned_crop(root: Path, row: FaceRow, size: int, margin: int = MARGIN) -> np.ndarray:
    """The canonical crop with its surroundings, uint8 ``(size + 2 margin, same, 3)``."""
    with Image.open(root / row.path) as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float()
    matrix = face_matrices(torch.from_numpy(row.landmarks)[None], size)
    matrix = matrix + torch.tensor([[0, 0, margin], [0, 0, margin]])
    crop = crop_faces(pixels, matrix, size + 2 * margin)
    return crop[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


class _Crops(Dataset):
    def __init__(self, root: Path, rows: list[FaceRow], size: int) -> None:
        self.root, self.rows, self.size = root, rows, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        torch.set_num_threads(1)
        return aligned_crop(self.root, self.rows[index], self.size)


@dataclass
class FaceSet:
    """Aligned crops in memory: uint8 ``(N, 3, S + 2 margin, same)``, labels, people, paths."""

    crops: torch.Tensor
    labels: torch.Tensor
    people: list[str]
    paths: list[str]

    def subset(self, keep: np.ndarray) -> FaceSet:
        index = torch.from_numpy(np.flatnonzero(keep))
        return FaceSet(
            self.crops[index],
            self.labels[index],
            [self.people[i] for i in index],
            [self.paths[i] for i in index],
        )

    def split(self) -> tuple[FaceSet, FaceSet]:
        """(people to train on, people held out)."""
        held_out = np.array([is_held_out(person) for person in self.people])
        return self.subset(~held_out), self.subset(held_out)


def load_faces(root: Path, cache: Path, size: int = 128) -> FaceSet:
    """Read, align and cut every labelled face; the crops are cached as ``cache``."""
    rows = read_rows(root)
    if not cache.exists():
        loader = DataLoader(_Crops(root, rows, size), batch_size=64, num_workers=2)
        crops = np.concatenate([batch.numpy() for batch in loader])
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".part.npy")
        np.save(partial, crops)
        partial.replace(cache)
    crops = torch.from_numpy(np.load(cache)).permute(0, 3, 1, 2)
    if len(crops) != len(rows):
        raise SystemExit(f"{cache} does not belong to {root}; delete it and start again.")
    return FaceSet(
        crops,
        torch.tensor([row.label for row in rows]),
        [row.person for row in rows],
        [row.path for row in rows],
    )


def to_unit(crops: torch.Tensor) -> torch.Tensor:
    """uint8 to float in [-1, 1]."""
    return crops.float() / 127.5 - 1


def central(crops: torch.Tensor) -> torch.Tensor:
    """The canonical crop without its surroundings."""
    return crops[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def balanced_indices(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Draw indices so that every label present is equally likely."""
    weights = 1.0 / labels.bincount(minlength=len(EXPRESSIONS)).clamp(min=1)
    return torch.multinomial(weights[labels], count, replacement=True)
