"""The One-Euro filter: calm when slow, quick when fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sargan_plugin.errors import SarganError


@dataclass(frozen=True)
class Smoothing:
    """Settings of the One-Euro filter for landmarks.

    Attributes:
        min_cutoff: in Hz, for a face at rest. Lower is calmer.
        beta: how much the cutoff rises, in Hz, for a speed of one face size a second. Higher
            follows quick movements more closely.
        derivative_cutoff: in Hz, of the speed's own filter.
    """

    min_cutoff: float = 0.5
    beta: float = 10.0
    derivative_cutoff: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.min_cutoff, self.beta, self.derivative_cutoff)
        if not all(map(math.isfinite, numbers)) or self.min_cutoff <= 0 or self.beta < 0:
            raise SarganError("The cutoff of the smoothing must be above 0, beta 0 or more.")
        if self.derivative_cutoff <= 0:
            raise SarganError("The derivative's cutoff must be above 0.")


class OneEuroFilter:
    """Filters a signal of points, ``(N, 2)`` at a time, with one cutoff for all of them.

    A cutoff of their own would bend the shape that the points make.

    Args:
        smoothing: the settings.
        size: what the speed is measured by, in the points' unit.

    Reference: Casiez, Roussel, Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy
    Input in Interactive Systems", CHI 2012.
    """

    def __init__(self, smoothing: Smoothing, size: float) -> None:
        self.smoothing, self.size = smoothing, size
        self.value: np.ndarray | None = None
        self.speed: np.ndarray | None = None

    def __call__(self, value: np.ndarray, seconds: float) -> np.ndarray:
        """The filtered points, ``seconds`` after the last ones (not heeded for the first)."""
        if self.value is None or seconds <= 0:
            self.value, self.speed = value, np.zeros_like(value)
            return value
        share = _share(self.smoothing.derivative_cutoff, seconds)
        self.speed = self.speed + share * ((value - self.value) / seconds - self.speed)
        # The points' common movement: what each does of its own is mostly noise.
        pace = float(np.linalg.norm(self.speed.mean(axis=0))) / self.size
        share = _share(self.smoothing.min_cutoff + self.smoothing.beta * pace, seconds)
        self.value = self.value + share * (value - self.value)
        return self.value


def centred(
    past: np.ndarray,
    value: np.ndarray,
    future: Sequence[tuple[np.ndarray, float]],
    *,
    smoothing: Smoothing,
    size: float,
) -> np.ndarray:
    """The mean of the filter's value and of the same filter run backwards from the future.

    Each of the two lags, one behind and one ahead; their mean does neither.

    Args:
        past: what the filter gave for this moment.
        value: what was measured at this moment.
        future: measured points of the moments after it, each with the seconds since the one before.
        smoothing: the settings.
        size: as for :class:`OneEuroFilter`.
    """
    if not future:
        return past
    backwards = OneEuroFilter(smoothing, size)
    seconds = 0.0
    for points, step in reversed(future):
        backwards(points, seconds)
        seconds = step
    return (past + backwards(value, seconds)) / 2


def _share(cutoff: float, seconds: float) -> float:
    """Weight of a new value in an exponential mean with a cutoff in Hz."""
    turn = 2 * math.pi * cutoff * seconds
    return turn / (turn + 1)
