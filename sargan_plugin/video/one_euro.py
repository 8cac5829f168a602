"""The One-Euro filter: calm when slow, quick when fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sargan_plugin.errors import SarganError

# Face sizes a second by which a face at rest seems to move, because the detector errs.
AT_REST = 0.1
# Hz, the lowest cutoff where the face's texture does not tell its movement: all of it would lag.
UNSEEN_CUTOFF = 0.3


@dataclass(frozen=True)
class Smoothing:
    """Settings of the One-Euro filter for landmarks.

    Attributes:
        min_cutoff: in Hz, for a face at rest. Lower is calmer.
        beta: how much the cutoff rises, in Hz, for a speed of one face size a second beyond the
            movement that is seen in the face's texture. Higher follows quick changes more closely.
        derivative_cutoff: in Hz, of the speed's own filter.
    """

    min_cutoff: float = 0.05
    beta: float = 3.0
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
        self.measured: np.ndarray | None = None
        self.speed: np.ndarray | None = None
        self.averaged = 0.0  # about how many measurements the value is a mean of

    def __call__(
        self, value: np.ndarray, seconds: float, motion: np.ndarray | None = None
    ) -> np.ndarray:
        """The filtered points, ``seconds`` after the last ones (not heeded for the first).

        ``motion`` ``(2, 3)`` is known to have taken the points here; only what remains is
        filtered, so that movement that is known does not lag.
        """
        if self.value is None or seconds <= 0:
            self.value, self.speed, self.averaged = value, np.zeros_like(value), 1.0
            self.measured = value
            return value
        expected = _moved(self.value, motion)
        share = _share(self.smoothing.derivative_cutoff, seconds)
        speed = (value - _moved(self.measured, motion)) / seconds
        self.speed, self.measured = self.speed + share * (speed - self.speed), value
        # The points' common movement: what each does of its own is mostly noise.
        pace = float(np.linalg.norm(self.speed.mean(axis=0))) / self.size
        lowest, beta = self.smoothing.min_cutoff, self.smoothing.beta
        if motion is None:
            share = _share(max(lowest, UNSEEN_CUTOFF) + beta * pace, seconds)
        else:
            share = _share(lowest + beta * max(0.0, pace - AT_REST), seconds)
            share = max(share, 1 / (self.averaged + 1))  # a plain mean until there are enough
        self.averaged = 1 / share
        self.value = expected + share * (value - expected)
        return self.value


@dataclass(frozen=True, eq=False)
class Step:
    """One frame further.

    Attributes:
        points: measured there, ``(N, 2)``.
        seconds: since the frame before.
        motion: ``(2, 3)`` that took the points there from the frame before, None if unknown.
    """

    points: np.ndarray
    seconds: float
    motion: np.ndarray | None = None


def centred(
    past: OneEuroFilter,
    value: np.ndarray,
    future: Sequence[Step],
    *,
    smoothing: Smoothing,
    size: float,
) -> np.ndarray:
    """The mean of the filter's value and of the same filter run backwards from the future.

    Each counts as much as the measurements that it has averaged. Where movement is not known, each
    of the two lags, one behind and one ahead, by about as much; their mean does neither.

    Args:
        past: that has been given this moment's points.
        value: what was measured at this moment.
        future: the moments after it.
        smoothing: the settings.
        size: as for :class:`OneEuroFilter`.
    """
    if not future:
        return past.value
    backwards = OneEuroFilter(smoothing, size)
    seconds, motion = 0.0, None
    for step in reversed(future):
        backwards(step.points, seconds, motion)
        seconds, motion = step.seconds, _inverted(step.motion)
    backwards(value, seconds, motion)
    weight = past.averaged / (past.averaged + backwards.averaged)
    return weight * past.value + (1 - weight) * backwards.value


def _moved(points: np.ndarray, motion: np.ndarray | None) -> np.ndarray:
    return points if motion is None else points @ motion[:, :2].T + motion[:, 2]


def _inverted(motion: np.ndarray | None) -> np.ndarray | None:
    if motion is None:
        return None
    linear = np.linalg.inv(motion[:, :2])
    return np.column_stack([linear, -linear @ motion[:, 2]])


def _share(cutoff: float, seconds: float) -> float:
    """Weight of a new value in an exponential mean with a cutoff in Hz."""
    turn = 2 * math.pi * cutoff * seconds
    return turn / (turn + 1)
