"""Gather training pictures into one store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from sargan_training.detector.pictures import write_store
from sargan_training.detector.sources import face_free_pictures, face_pictures
from sargan_training.detector.wider import wider_pictures


def prepare_pictures(
    store: Path,
    *,
    data: Sequence[Path] = (),
    wider: Sequence[Path] = (),
    negatives: Sequence[Path] = (),
) -> int:
    """Write the pictures of all folders into one store and return how many there are.

    Args:
        store: the folder to write.
        data: folders of ``faces.csv`` and photographs; people kept for tests are left out.
        wider: copies of WIDER FACE.
        negatives: folders of pictures without any face; scenes kept for tests are left out.

    Raises:
        SarganError: when a folder or a picture cannot be read, or there is none.
    """
    readers = ((face_pictures, data), (wider_pictures, wider), (face_free_pictures, negatives))
    pictures = chain.from_iterable(read(folder) for read, folders in readers for folder in folders)
    return write_store(store, pictures)
