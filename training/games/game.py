"""What the games have in common: their place in the loop, and photos drawn for a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_training.augment import training_crops
from sargan_training.data import FaceSet, balanced_weights
from sargan_training.draws import Draws, Rows
from sargan_training.recipe import Recipe

# Losses and other figures by name, scalar tensors without a gradient.
Values = dict[str, torch.Tensor]
Autocast = Callable[[], AbstractContextManager]
R = TypeVar("R", bound=Recipe)


class Turn(NamedTuple):
    """One update within a step: of which network, and its how manyth."""

    network: str
    number: int = 0


class Game(Generic[R]):
    """Networks that play against each other, and the losses of each.

    A subclass makes the other networks and their optimizers and says :meth:`turns`, :meth:`loss`
    and :meth:`read`. Its losses are means over the rows asked for, and its random numbers come from
    :meth:`draws`, so that the parts of a batch add up to the whole.

    Args:
        recipe: of the subclass's kind.
        generator: the network to train, on its device.
        faces: people to train on.
        autocast: context in which networks compute.

    Attributes:
        networks: by name; ``"generator"`` is one of them.
        optimizers: one for each network.
        read_as: ``(7, 7)``: as what an edit towards each expression is to be read.
    """

    def __init__(self, recipe: R, generator: Generator, faces: FaceSet, autocast: Autocast) -> None:
        self.recipe, self.generator, self.faces, self.autocast = recipe, generator, faces, autocast
        self.device = next(generator.parameters()).device
        self.networks: dict[str, nn.Module] = {"generator": generator}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.read_as = torch.eye(len(EXPRESSIONS), device=self.device)
        self.weights = torch.ones(len(faces.labels))
        self.balanced = balanced_weights(faces.shares)
        if recipe.balanced:
            self.weights = self.balanced

    def begin(self, teach: Callable[[nn.Module], None]) -> None:
        """Do what comes before the first step of a new run.

        Args:
            teach: trains a network, images to logits, to read expressions.
        """

    def turns(self, step: int) -> list[Turn]:
        """The updates of a step, in their order."""
        raise NotImplementedError

    def loss(self, turn: Turn, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        """The loss of one network on some rows of the step's batch, and figures to be told."""
        raise NotImplementedError

    def adapt(self, values: dict[str, float]) -> None:
        """Take the figures of a finished step into account."""

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """What this game's own network reads in ``(B, 3, S, S)``: logits ``(B, 7)``."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides networks and optimizers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""

    def draws(self, step: int, purpose: str, rows: Rows) -> Draws:
        """Random numbers of a step for one purpose, on the generator's device."""
        return Draws(rows, self.device, (self.recipe.seed, step), purpose)

    def drawn_faces(
        self, step: int, purpose: str, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Indices ``(batch,)`` of the step's photos: of the whole batch, on the CPU."""
        draws = Draws(self.recipe.batch, "cpu", (self.recipe.seed, step), f"{purpose}: faces")
        return draws.choices(self.weights if weights is None else weights)

    def images(self, index: torch.Tensor, step: int, purpose: str, rows: Rows) -> torch.Tensor:
        """The jittered crops of some rows of a batch, ``(count, 3, S, S)`` in [-1, 1]."""
        draws = self.draws(step, f"{purpose}: jitter", rows)
        return training_crops(self.faces.crops, index[rows.slice], self.recipe.jitter, draws)
