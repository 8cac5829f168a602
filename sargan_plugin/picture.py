"""A picture between its file and the editor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sargan_plugin.metadata import Metadata


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the editor sees it, and what is needed to write it back.

    Attributes:
        path: the file it came from.
        pixels: upright samples, ``(H, W, 3)`` RGB or ``(H, W)`` greyscale; ``uint8``, or
            ``uint16`` when the file holds 16 bits a sample. Read-only: an edit needs its own
            array, otherwise it could not be told from an untouched picture.
        alpha: upright opacity ``(H, W)`` in the dtype of ``pixels``, 0 is clear; None if opaque.
        format: ``JPEG``, ``PNG``, ``WEBP``, ``TIFF`` or ``BMP``, told from the content and not
            from the name. A phone's MPO file is a ``JPEG``, namely its first picture.
        source: how the file stored the picture; used to write it back only.
    """

    path: Path
    pixels: np.ndarray = field(repr=False)
    alpha: np.ndarray | None = field(repr=False)
    format: str
    source: Source = field(repr=False)


@dataclass(frozen=True, eq=False)
class Source:
    """How a file stored its picture."""

    metadata: Metadata
    turned: bool  # setting it upright made width and height change places
    encoder: dict[str, Any]  # save arguments that repeat the file's encoding
    cmyk: np.ndarray | None = None  # upright inks (H, W, 4), 255 is full ink
