"""Bootstrap intervals: how far a figure would move with other people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, over so many photos."""

    value: float
    low: float
    high: float
    photos: int

    def __str__(self) -> str:
        return self.told(2)

    def told(self, digits: int) -> str:
        """The figure and its interval, or a dash where there were no photos to measure it on."""
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def drawn(people: Sequence[str]) -> np.ndarray:
    """How often each photo is drawn ``(draws, N)``, when people are drawn anew with replacement.

    People and not photos: those of one person are alike.
    """
    names, person = np.unique(np.asarray(people), return_inverse=True)
    chosen = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    # Names of every draw apart from those of the others, to count all at once.
    apart = chosen + np.arange(DRAWS)[:, None] * len(names)
    times = np.bincount(apart.ravel(), minlength=DRAWS * len(names)).reshape(DRAWS, len(names))
    return times[:, person].astype(np.float64)


def drawn_together(people: Sequence[str], others: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`drawn`, for two sets of photos that may show the same people."""
    times = drawn([*people, *others])
    return times[:, : len(people)], times[:, len(people) :]


def estimated(value: float, samples: np.ndarray, photos: int) -> Estimate:
    """A figure whose interval is that of its finite samples ``(draws,)``."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return Estimate(float("nan"), float("nan"), float("nan"), photos)
    low, high = np.quantile(samples, [0.025, 0.975])
    return Estimate(float(value), low.item(), high.item(), photos)


def estimate(values: np.ndarray, people: Sequence[str]) -> Estimate:
    """The mean of a value for each photo, or the mean of the means of several.

    Args:
        values: ``(N,)`` or ``(N, K)`` numbers or truths, NaN where a photo was not measured.
        people: who is in each photo.
    """
    values = np.asarray(values, dtype=np.float64).reshape(len(people), -1)
    known = ~np.isnan(values)
    photos = int(known.any(axis=1).sum())
    if not photos:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)

    def mean(times: np.ndarray) -> np.ndarray:
        counts = times @ known
        means = np.divide(
            times @ np.where(known, values, 0),
            counts,
            out=np.full(counts.shape, np.nan),
            where=counts > 0,
        )
        there = ~np.isnan(means)
        total = np.where(there, means, 0).sum(axis=1)
        return np.divide(total, there.sum(axis=1), out=total * np.nan, where=there.any(axis=1))

    return estimated(mean(np.ones((1, len(people))))[0], mean(drawn(people)), photos)
