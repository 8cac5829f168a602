"""Labelled photographs at their own resolution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sargan_plugin.images import load_picture
from sargan_plugin.strips import rounded_to_8_bits


@dataclass(frozen=True)
class FaceRow:
    """One labelled face: where it is, whose it is, what it shows.

    Attributes:
        path: of the photo, below the data set's folder.
        person: who is in it.
        label: index of an expression.
        landmarks: ``(5, 2)`` float32.
    """

    path: str
    person: str
    label: int
    landmarks: np.ndarray


def read_photo(path: Path) -> np.ndarray:
    """A photograph as uint8 RGB ``(H, W, 3)``, upright.

    Raises:
        SarganError: when it cannot be read; the message names the file.
    """
    pixels = rounded_to_8_bits(load_picture(path).pixels)
    return np.array(pixels) if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
