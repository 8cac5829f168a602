"""Whom models are judged on, and their photos edited through the whole editor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from sargan_plugin import ExpressionEditor
from sargan_plugin.editor import Detector
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS, Expression
from sargan_plugin.faces import Face, select_faces
from sargan_plugin.images import printable_name
from sargan_training.data import (
    FaceRow,
    aligned_crop,
    few_of_each,
    half_of,
    held_out_people,
    load_photo_rows,
    pictures_under,
    read_photo,
    softened,
)
from sargan_training.evaluation.appearance import mouth_sharpness, natural_size

# Photos edited at a time: more of twelve megapixels each would fill the memory.
TOGETHER = 16
# The label of a face of which nobody said what it shows.
UNKNOWN = -1


@dataclass(frozen=True)
class Subjects:
    """Photos that nothing was trained on, with one face in each.

    Attributes:
        root: folder of the photos.
        rows: where the face is, whose it is, what it shows (``UNKNOWN`` where nobody said).
        colour: whether the photos are taken as they are or as grey ones.
        detector: finds what to edit, as a user's editor does; None for the faces of the rows.
        intensity: of their edits.
    """

    root: Path
    rows: list[FaceRow]
    colour: bool = True
    detector: Detector | None = None
    intensity: float = 1.0

    @property
    def people(self) -> list[str]:
        return [row.person for row in self.rows]

    @property
    def labels(self) -> torch.Tensor:
        return torch.tensor([row.label for row in self.rows])

    @cached_property
    def crops(self) -> torch.Tensor:
        """The canonical crops with their surroundings, uint8 ``(N, 3, 160, 160)``."""
        return _stacked([aligned_crop(self.photo(row), row.landmarks) for row in self.rows])

    @cached_property
    def faces(self) -> list[list[Face]]:
        """What to edit in each photo."""
        if self.detector is None:
            return [[Face.from_landmarks(row.landmarks)] for row in self.rows]
        return [self.detector.detect(self.photo(row)) for row in self.rows]

    def photo(self, row: FaceRow) -> np.ndarray:
        """The photo with this face, uint8 RGB ``(H, W, 3)``."""
        photo = read_photo(self.root / row.path)
        if self.colour:
            return photo
        grey = (photo @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)

    def grey(self) -> Subjects:
        """The same photos without colour."""
        return replace(self, colour=False)

    def weakly(self, intensity: float) -> Subjects:
        """The same photos, to be edited at another intensity."""
        return replace(self, intensity=intensity)

    def crops_found(self, detector: Detector) -> torch.Tensor:
        """As :attr:`crops`, each where the detector finds the face."""
        return _stacked([crop_found(self.photo(row), row.landmarks, detector) for row in self.rows])

    def parted(self, first: int) -> tuple[Subjects, Subjects]:
        """(So many of the photos, the rest of them.)"""
        rows = self.rows
        return replace(self, rows=rows[:first]), replace(self, rows=rows[first:])

    def found_by(self, detector: Detector) -> Subjects:
        """The same photos, with every face that a detector finds in them."""
        return replace(self, detector=detector)


def crop_found(picture: np.ndarray, landmarks: np.ndarray, detector: Detector) -> np.ndarray:
    """The canonical crop of a face where a detector finds it.

    An edit moves the corners of a mouth, so a crop cut by the landmarks of the photo sits otherwise
    on the edit than the crop of any photo does, whose landmarks are its own.

    Args:
        picture: uint8 RGB ``(H, W, 3)``.
        landmarks: ``(5, 2)`` of about there; taken where no face is found whose middle is nearer to
            theirs than a quarter of their face's size: of one in 350 photos and edits here.
        detector: finds the faces.
    """
    about = Face.from_landmarks(landmarks)
    faces = select_faces(detector.detect(picture), ("nearest", *about.center))
    there = [face for face in faces if math.dist(face.center, about.center) <= about.size / 4]
    (face,) = there or [about]
    return aligned_crop(picture, face.landmarks5)


def _stacked(crops: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Edits:
    """Photos edited towards an expression.

    Attributes:
        crops: where the photo's face was, ``(N, 3, 160, 160)``, uint8.
        found: where a detector finds the face after the edit, as large; None where nobody asked.
        clipped: share of clipped pixels among the changed ones ``(N,)``.
        sharpness: of the mouth at the photo's resolution, see :func:`mouth_sharpness`, ``(N,)``.
    """

    crops: torch.Tensor
    found: torch.Tensor | None
    clipped: np.ndarray
    sharpness: np.ndarray


def held_out_subjects(
    data: Path, half: str, second_opinion: Path | None = None, most: int = 3
) -> Subjects:
    """The photos of held-out people in random order, few of each person.

    Args:
        data: the data set, as for :func:`sargan_training.data.load_photo_rows`.
        half: ``"choose"`` or ``"report"``: the half of the people that checkpoints are chosen by,
            or the other.
        second_opinion: what softens the labels, as for :func:`sargan_training.data.load_faces`.
        most: of one person.

    Raises:
        SarganError: when there are no two such people, or nothing is said of some photo.
    """
    root, rows = load_photo_rows(data)
    names = held_out_people(row.person for row in rows)
    rows = [row for row in rows if row.person in names and half_of(row.person) == half]
    if len({row.person for row in rows}) < 2:
        raise SarganError(
            f"{printable_name(data)}: {len(names)} of its people are held out of training (about "
            f"an eighth, by name), and the half to {half} is too few to measure anything on."
        )
    chosen = [rows[i] for i in few_of_each([row.person for row in rows], most)]
    if second_opinion is not None:
        shares = F.one_hot(torch.tensor([row.label for row in chosen]), len(EXPRESSIONS)).float()
        labels = softened(shares, [row.path for row in chosen], second_opinion).argmax(dim=1)
        chosen = [
            replace(row, label=label) for row, label in zip(chosen, labels.tolist(), strict=True)
        ]
    return Subjects(root, chosen)


def pictures_in(
    folder: Path, detector: Detector, photos: int, warn: Callable[[str], None]
) -> Subjects:
    """The largest face of each picture under a folder; nobody said what it shows.

    Args:
        folder: of paintings, drawings, other photos.
        detector: finds the faces.
        photos: how many, in the order of their names.
        warn: takes a line for every picture left out.

    Raises:
        SarganError: when there is no face in any.
    """
    rows: list[FaceRow] = []
    for path in pictures_under(folder):
        if len(rows) == photos:
            break
        try:
            faces = detector.detect(read_photo(path))
        except SarganError as error:
            warn(str(error))
            continue
        if not faces:
            warn(f"{printable_name(path)}: no face found")
            continue
        face = max(faces, key=lambda each: each.size)
        name = str(path.relative_to(folder))
        rows.append(FaceRow(name, name, UNKNOWN, face.landmarks5.astype(np.float32)))
    if not rows:
        raise SarganError(f"{printable_name(folder)}: holds no picture with a face.")
    return Subjects(folder, rows)


def edit_subjects(
    editor: ExpressionEditor,
    subjects: Subjects,
    expression: Expression,
    finder: Detector | None = None,
) -> Edits:
    """Every photo edited towards an expression or a mix of some, at its own resolution.

    A photo in which no face is found is left as it is, as a user's would be.

    Args:
        editor: edits them.
        subjects: whose photos.
        expression: what they shall show.
        finder: finds the faces of the edits, see :attr:`Edits.found`.
    """
    crops, found, clipped, sharpness = [], [], [], []
    for start in range(0, len(subjects.rows), TOGETHER):
        rows = subjects.rows[start : start + TOGETHER]
        photos = [subjects.photo(row) for row in rows]
        requests = [
            editor.request(expression, subjects.intensity, faces)
            for faces in subjects.faces[start : start + TOGETHER]
        ]
        for row, photo, result in zip(rows, photos, editor.edit(photos, requests), strict=True):
            crops.append(aligned_crop(result.image, row.landmarks))
            if finder is not None:
                found.append(crop_found(result.image, row.landmarks, finder))
            changed = sum(face.changed for face in result.faces)
            clipped.append(sum(face.clipped for face in result.faces) / max(1, changed))
            natural = [
                _stacked([aligned_crop(pixels, row.landmarks, *natural_size(row.landmarks))])
                for pixels in (photo, result.image)
            ]
            sharpness.append(mouth_sharpness(*natural).item())
    return Edits(
        _stacked(crops),
        _stacked(found) if found else None,
        np.array(clipped),
        np.array(sharpness),
    )
