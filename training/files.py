"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sargan_plugin.detector_files import first_line
from sargan_plugin.errors import SarganError
from sargan_plugin.images import printable_name, replacing


def replace_with(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name and rename it, see :func:`replacing`.

    Raises:
        SarganError: when it cannot be written.
    """
    try:
        with replacing(path) as partial:
            write(partial)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = first_line(error)
        raise SarganError(f"{printable_name(path)}: cannot be written: {reason}") from error


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file.

    Raises:
        SarganError: when it cannot be written.
    """

    def write(partial: Path) -> None:
        with partial.open("wb") as stream:  # of a name, NumPy would make one that ends with .npy
            np.save(stream, array)

    replace_with(path, write)
