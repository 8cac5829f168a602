"""Data sets: from photographs with labels to aligned crops, split by person."""

from __future__ import annotations

from pathlib import Path

from sargan_plugin.errors import SarganError
from sargan_training.data.annotated import (
    LANDMARKS,
    FaceRow,
    annotated_points,
    load_annotated,
    read_photo,
    read_rows,
)
from sargan_training.data.crops import MARGIN, Crops, aligned_crop, central, to_unit
from sargan_training.data.faces import FaceSet, balanced_indices, is_held_out
from sargan_training.data.shards import is_prepared, load_shards


def load_faces(
    data: Path, cache: Path, size: int = 128, second_opinion: Path | None = None
) -> FaceSet:
    """All labelled faces of a data set.

    Args:
        data: a folder that ``sargan-cli train prepare`` made, or photographs that come with
            landmarks, see :mod:`sargan_training.data.annotated`.
        cache: where the crops of the latter are kept.
        size: of their canonical crop.
        second_opinion: a CSV of path and seven probabilities that softens the labels.

    Raises:
        SarganError: when the crops are of another size.
    """
    faces = load_shards(data) if is_prepared(data) else load_annotated(data, cache, size)
    if faces.crops.side != size + 2 * MARGIN:
        raise SarganError(
            f"{data}: holds crops of {faces.crops.side} px with their surroundings, and "
            f"{size + 2 * MARGIN} are needed; prepare with --size {size}."
        )
    return faces if second_opinion is None else faces.softened_by(second_opinion)


__all__ = [
    "LANDMARKS",
    "MARGIN",
    "Crops",
    "FaceRow",
    "FaceSet",
    "aligned_crop",
    "annotated_points",
    "balanced_indices",
    "central",
    "is_held_out",
    "load_annotated",
    "load_faces",
    "load_shards",
    "read_photo",
    "read_rows",
    "to_unit",
]
