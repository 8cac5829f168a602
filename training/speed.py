"""How fast a training is, in the words that all trainings tell it in."""

from __future__ import annotations

from datetime import timedelta


def told_speed(done: int, seconds: float, left: int, batch: int) -> str:
    """Images a second and the time left.

    Args:
        done: steps, of ``batch`` images each.
        seconds: that they took.
        left: steps to come.
        batch: images a step.
    """
    rate = done / max(seconds, 1e-6)
    return f"{rate * batch:.1f} images/s, {timedelta(seconds=round(left / rate))} left"
