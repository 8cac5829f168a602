"""Bootstrap intervals: how far a figure would move with other people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, over so many photos."""

    mean: float
    low: float
    high: float
    photos: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f}-{self.high:.2f})"


def estimate(values: np.ndarray, people: Sequence[str], draws: int = 1000) -> Estimate:
    """The mean of one value a photo; people are drawn anew, not photos: theirs are alike.

    Args:
        values: ``(N,)`` numbers or truths.
        people: who is in each photo.
        draws: of the bootstrap.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    names, person = np.unique(np.asarray(people), return_inverse=True)
    sums = np.bincount(person, values, len(names))
    counts = np.bincount(person, minlength=len(names))
    chosen = np.random.default_rng(0).integers(0, len(names), (draws, len(names)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(values.mean().item(), low.item(), high.item(), len(values))
