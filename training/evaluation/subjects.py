"""Whom models are judged on, and their photos edited through the whole editor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sargan_plugin import ExpressionEditor
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.faces import Face
from sargan_training.data import FaceRow, aligned_crop, is_held_out, read_photo, read_rows


@dataclass(frozen=True)
class Subjects:
    """Photos of people that nothing was trained on, with a canonical crop of each.

    Attributes:
        rows: where the face is, whose it is, what it shows.
        photos: uint8 RGB ``(H, W, 3)``.
        crops: uint8 ``(N, 3, 160, 160)``.
    """

    rows: list[FaceRow]
    photos: list[np.ndarray]
    crops: torch.Tensor

    @property
    def people(self) -> list[str]:
        return [row.person for row in self.rows]

    @property
    def labels(self) -> torch.Tensor:
        return torch.tensor([row.label for row in self.rows])

    def grey(self) -> Subjects:
        """The same photos without colour."""
        weights = np.array([0.299, 0.587, 0.114])
        photos = [
            np.repeat((photo @ weights).round().astype(np.uint8)[..., None], 3, axis=2)
            for photo in self.photos
        ]
        return Subjects(self.rows, photos, crops_of(photos, self.rows))


@dataclass(frozen=True)
class Edits:
    """Photos edited towards one expression: crops ``(N, 3, 160, 160)`` and shares of clipped pixels
    among the changed ones ``(N,)``."""

    crops: torch.Tensor
    clipped: np.ndarray


def held_out_subjects(root: Path, half: str, photos: int, most: int = 3) -> Subjects:
    """Random photos of held-out people, at most ``most`` of one person: some are in hundreds.

    Args:
        root: the data set.
        half: ``"choose"`` or ``"report"``: the half of the people that checkpoints are chosen by,
            or the other.
        photos: how many.
        most: of one person.
    """
    rows = [row for row in read_rows(root) if is_held_out(row.person)]
    names = sorted({row.person for row in rows})
    wanted = set(names[half == "report" :: 2])
    rows = [row for row in rows if row.person in wanted]
    order = np.random.default_rng(0).permutation(len(rows))
    count: Counter[str] = Counter()
    chosen = []
    for row in (rows[i] for i in order):
        if count[row.person] < most and len(chosen) < photos:
            chosen.append(row)
            count[row.person] += 1
    pictures = [read_photo(root / row.path) for row in chosen]
    return Subjects(chosen, pictures, crops_of(pictures, chosen))


def crops_of(photos: Sequence[np.ndarray], rows: Sequence[FaceRow]) -> torch.Tensor:
    """The canonical crops of photos with their surroundings, uint8 ``(N, 3, 160, 160)``."""
    crops = [aligned_crop(p, row.landmarks) for p, row in zip(photos, rows, strict=True)]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def edit_subjects(editor: ExpressionEditor, subjects: Subjects, target: int) -> Edits:
    """Every photo edited towards one expression, at its own resolution."""
    requests = [
        editor.request(EXPRESSIONS[target], faces=[Face.from_landmarks(row.landmarks)])
        for row in subjects.rows
    ]
    images, clipped = [], []
    for start in range(0, len(requests), 32):
        part = slice(start, start + 32)
        for result in editor.edit(subjects.photos[part], requests[part]):
            images.append(result.image)
            clipped.append(sum(f.clipped for f in result.faces) / max(1, result.faces[0].changed))
    return Edits(crops_of(images, subjects.rows), np.array(clipped))
