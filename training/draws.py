"""Random numbers that belong to the rows of a batch, whoever computes them.

A step of training draws its random numbers for the whole batch, from a seed made of the recipe's
seed, the step and the purpose. Whoever computes some rows of it (one of several processes, one of
several turns of accumulation) draws all numbers too and keeps those of its rows. So the parts of a
batch add up to exactly the whole, and a resumed run draws what the uninterrupted one would have:
the random state is the seed and the step.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Rows:
    """Some rows of a batch: ``count`` of ``whole`` from ``first`` on."""

    whole: int
    first: int
    count: int

    @property
    def slice(self) -> slice:
        """Where they are in the batch."""
        return slice(self.first, self.first + self.count)

    @staticmethod
    def part(batch: int, number: int, of: int) -> Rows:
        """One of equally large parts of a batch."""
        return Rows(batch, number * (batch // of), batch // of)


class Draws:
    """Random numbers for some rows of a batch; every tensor returned has ``rows.count`` rows.

    Args:
        rows: which rows; or how many, when they are the whole batch.
        device: where the numbers are made and stay.
        seed: any number of integers; without one, the device's global generator is used.
        purpose: a word that keeps the numbers of one step apart.
    """

    def __init__(
        self,
        rows: Rows | int,
        device: torch.device | str = "cpu",
        seed: tuple[int, ...] | None = None,
        purpose: str = "",
    ) -> None:
        self.rows = Rows(rows, 0, rows) if isinstance(rows, int) else rows
        self.device = torch.device(device)
        self.generator = None
        if seed is not None:
            mixed = np.random.SeedSequence([*seed, zlib.crc32(purpose.encode())])
            self.generator = torch.Generator(self.device)
            self.generator.manual_seed(int(mixed.generate_state(1, np.uint64)[0]))

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Float32 ``(count, *shape)`` in [low, high)."""
        numbers = torch.empty(self.rows.whole, *shape, device=self.device)
        return self._mine(numbers.uniform_(low, high, generator=self.generator))

    def normal(self, *shape: int) -> torch.Tensor:
        """Float32 ``(count, *shape)`` of mean 0 and deviation 1."""
        numbers = torch.empty(self.rows.whole, *shape, device=self.device)
        return self._mine(numbers.normal_(generator=self.generator))

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        """Boolean ``(count, *shape)``, true with the given probability."""
        return self.uniform(0, 1, *shape) < probability

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        """Integers ``(count, *shape)`` in [0, below)."""
        size = (self.rows.whole, *shape)
        return self._mine(torch.randint(below, size, generator=self.generator, device=self.device))

    def choices(self, weights: torch.Tensor) -> torch.Tensor:
        """Indices ``(count,)`` into ``weights``, drawn in proportion to them."""
        weights = weights.to(self.device)
        return self._mine(
            torch.multinomial(weights, self.rows.whole, replacement=True, generator=self.generator)
        )

    def order(self) -> torch.Tensor:
        """The rows ``(count,)`` that take these rows' places when the batch is shuffled."""
        size = self.rows.whole
        return self._mine(torch.randperm(size, generator=self.generator, device=self.device))

    def _mine(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers[self.rows.slice]
