"""Data sets: from photographs with labels to aligned crops, split by person."""

from __future__ import annotations

from pathlib import Path

from sargan_plugin.errors import SarganError
from sargan_plugin.images import printable_name
from sargan_training.data.annotated import (
    LANDMARKS,
    FaceRow,
    annotated_points,
    load_annotated,
    read_photo,
    read_rows,
)
from sargan_training.data.crops import MARGIN, Crops, aligned_crop, central, margin_of, to_unit
from sargan_training.data.faces import FaceSet, balanced_indices, balanced_weights, is_held_out
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
        SarganError: when there is no such data, or the crops are of another size.
    """
    prepared = is_prepared(data)
    missing = [name for name in ("expressions.csv", "faces.csv") if not (data / name).is_file()]
    if missing and not prepared:
        raise SarganError(
            f"{printable_name(data)}: holds neither prepared crops (see train prepare) nor "
            f"annotated photos: there is no {missing[0]}."
        )
    faces = load_shards(data) if prepared else load_annotated(data, cache, size)
    side = size + 2 * margin_of(size)
    if faces.crops.side != side:
        raise SarganError(
            f"{data}: holds crops of {faces.crops.side} px with their surroundings, and "
            f"{side} are needed; prepare with --size {size}."
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
    "balanced_weights",
    "central",
    "is_held_out",
    "load_annotated",
    "load_faces",
    "load_shards",
    "margin_of",
    "read_photo",
    "read_rows",
    "to_unit",
]
