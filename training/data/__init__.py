"""Data sets: from photographs with labels to aligned crops, split by person."""

from __future__ import annotations

from pathlib import Path

from sargan_plugin.errors import SarganError
from sargan_plugin.images import printable_name
from sargan_training.data.annotated import (
    LANDMARKS,
    annotated_points,
    load_annotated,
    read_rows,
)
from sargan_training.data.crops import (
    MARGIN,
    Crops,
    aligned_crop,
    by_parts,
    central,
    margin_of,
    to_unit,
)
from sargan_training.data.faces import (
    FaceSet,
    balanced_weights,
    few_of_each,
    half_of,
    held_out_people,
    is_held_out,
    softened,
)
from sargan_training.data.layouts import pictures_under
from sargan_training.data.photos import FaceRow, read_photo
from sargan_training.data.shards import is_prepared, load_shards, read_shard_rows


def load_faces(
    data: Path, folder: Path, size: int = 128, second_opinion: Path | None = None
) -> FaceSet:
    """All labelled faces of a data set.

    Args:
        data: a folder that ``sargan-cli train prepare`` made, or photographs that come with
            landmarks, see :mod:`sargan_training.data.annotated`.
        folder: where the crops of the latter are kept.
        size: of their canonical crop.
        second_opinion: a CSV of path and seven probabilities that softens the labels.

    Raises:
        SarganError: when there is no such data, or the crops are of another size.
    """
    faces = load_shards(data) if _is_prepared(data) else load_annotated(data, folder, size)
    side = size + 2 * margin_of(size)
    if faces.crops.side != side:
        raise SarganError(
            f"{data}: holds crops of {faces.crops.side} px with their surroundings, and "
            f"{side} are needed; prepare with --size {size}."
        )
    return faces if second_opinion is None else faces.softened_by(second_opinion)


def load_photo_rows(data: Path) -> tuple[Path, list[FaceRow]]:
    """The folder that a data set's photos lie in, and the labelled face of each.

    Args:
        data: as for :func:`load_faces`.

    Raises:
        SarganError: when there is no such data.
    """
    return read_shard_rows(data) if _is_prepared(data) else (data, read_rows(data))


def _is_prepared(data: Path) -> bool:
    """Whether these are prepared crops, and not annotated photos.

    Raises:
        SarganError: when they are neither.
    """
    if is_prepared(data):
        return True
    missing = [name for name in ("expressions.csv", "faces.csv") if not (data / name).is_file()]
    if missing:
        raise SarganError(
            f"{printable_name(data)}: holds neither prepared crops (see train prepare) nor "
            f"annotated photos: there is no {missing[0]}."
        )
    return False


__all__ = [
    "LANDMARKS",
    "MARGIN",
    "Crops",
    "FaceRow",
    "FaceSet",
    "aligned_crop",
    "annotated_points",
    "balanced_weights",
    "by_parts",
    "central",
    "few_of_each",
    "half_of",
    "held_out_people",
    "is_held_out",
    "load_annotated",
    "load_faces",
    "load_photo_rows",
    "load_shards",
    "margin_of",
    "pictures_under",
    "read_photo",
    "read_rows",
    "softened",
    "to_unit",
]
