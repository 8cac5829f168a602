"""Face photographs with expression labels: reading, splitting by person, aligned crops.

Reads the official layout of Labeled Faces in the Wild beside three files: ``expressions.csv``
(path, person, expression), ``faces.csv`` (path, face, ..., five landmarks by two annotators).
A fourth, written by ``relabel.py``, gives another reader's opinion of what each face shows.
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
# The weight of a hand-given label against the second opinion: a hand-given label stands unless the
# opinion is more than 0.82 sure of something else.
HAND_WEIGHT = 0.45
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


def aligned_crop(
    pixels: np.ndarray, landmarks: np.ndarray, size: int = 128, margin: int = MARGIN
) -> np.ndarray:
    """The canonical crop of a uint8 RGB photo with its surroundings.

    Args:
        pixels: ``(H, W, 3)``.
        landmarks: ``(5, 2)``.
        size: of the canonical crop.
        margin: of the surroundings; the result is uint8 ``(size + 2 margin, same, 3)``.
    """
    photo = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    matrix = face_matrices(torch.from_numpy(landmarks)[None], size)
    matrix = matrix + torch.tensor([[0, 0, margin], [0, 0, margin]])
    crop = crop_faces(photo, matrix, size + 2 * margin)
    return crop[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def read_photo(path: Path) -> np.ndarray:
    """A photograph as uint8 RGB ``(H, W, 3)``."""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


class _Crops(Dataset):
    def __init__(self, root: Path, rows: list[FaceRow], size: int) -> None:
        self.root, self.rows, self.size = root, rows, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        torch.set_num_threads(1)
        row = self.rows[index]
        return aligned_crop(read_photo(self.root / row.path), row.landmarks, self.size)


@dataclass
class FaceSet:
    """Aligned crops in memory: uint8 ``(N, 3, S + 2 margin, same)``, what they show, who they are.

    ``shares`` are ``(N, 7)`` distributions over the expressions; ``labels`` their largest.
    """

    crops: torch.Tensor
    shares: torch.Tensor
    people: list[str]
    paths: list[str]

    @property
    def labels(self) -> torch.Tensor:
        return self.shares.argmax(dim=1)

    def subset(self, keep: np.ndarray) -> FaceSet:
        index = torch.from_numpy(np.flatnonzero(keep))
        return FaceSet(
            self.crops[index],
            self.shares[index],
            [self.people[i] for i in index],
            [self.paths[i] for i in index],
        )

    def split(self) -> tuple[FaceSet, FaceSet]:
        """(people to train on, people held out)."""
        held_out = np.array([is_held_out(person) for person in self.people])
        return self.subset(~held_out), self.subset(held_out)


def load_faces(
    root: Path, cache: Path, size: int = 128, second_opinion: Path | None = None
) -> FaceSet:
    """Read, align and cut every labelled face; the crops are cached as ``cache``.

    With a ``second_opinion`` (a CSV of path and seven probabilities) the labels are softened by it.
    """
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
    shares = torch.eye(len(EXPRESSIONS))[[row.label for row in rows]]
    if second_opinion is not None:
        opinions = read_opinions(second_opinion)
        missing = [row.path for row in rows if row.path not in opinions]
        if missing:
            raise SystemExit(
                f"{second_opinion} says nothing of {missing[0]} and {len(missing) - 1} more."
            )
        other = torch.tensor([opinions[row.path] for row in rows])
        shares = HAND_WEIGHT * shares + (1 - HAND_WEIGHT) * other
    return FaceSet(
        crops,
        shares,
        [row.person for row in rows],
        [row.path for row in rows],
    )


def read_opinions(path: Path) -> dict[str, list[float]]:
    """Seven probabilities for each photograph's path."""
    with path.open(newline="") as stream:
        return {
            row["path"]: [float(row[name]) for name in EXPRESSIONS]
            for row in csv.DictReader(stream)
        }


def to_unit(crops: torch.Tensor) -> torch.Tensor:
    """uint8 to float in [-1, 1]."""
    return crops.float() / 127.5 - 1


def central(crops: torch.Tensor) -> torch.Tensor:
    """The canonical crop without its surroundings."""
    return crops[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def balanced_indices(shares: torch.Tensor, count: int) -> torch.Tensor:
    """Draw indices so that every expression is shown equally often, soft labels counted as such."""
    weights = shares @ (1 / shares.sum(dim=0).clamp(min=1))
    return torch.multinomial(weights, count, replacement=True)
