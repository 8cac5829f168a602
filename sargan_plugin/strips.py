"""Large pictures some rows at a time, so that no second copy of one piles up."""

from __future__ import annotations

import numpy as np

# Pillow's crop heeds its own pixel limit; this stays far below any limit a host may have set.
_STRIP_PIXELS = 2**16


def strips(height: int, width: int) -> list[slice]:
    """The rows of a picture in slices of equal, moderate size."""
    step = max(1, _STRIP_PIXELS // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two planes of one shape hold the same; None equals None only."""
    if a is None or b is None or a is b:
        return a is b
    return all(np.array_equal(a[rows], b[rows]) for rows in strips(*a.shape[:2]))


def rounded_to_8_bits(samples: np.ndarray) -> np.ndarray:
    """``uint16`` samples as the nearest ``uint8``; ``uint8`` samples as they are, not copied."""
    if samples.dtype == np.uint8:
        return samples
    # a table, because 32-bit copies of a large picture would be needed to calculate
    table = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    rounded = np.empty(samples.shape, np.uint8)
    for rows in strips(*samples.shape[:2]):
        rounded[rows] = table[samples[rows]]
    return rounded
