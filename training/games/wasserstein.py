"""The game StarGAN, US-GAN and SARGAN were released with: WGAN-GP, a class head, a cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_training.data import FaceSet
from sargan_training.discriminators import PatchGAN
from sargan_training.draws import Draws, Rows
from sargan_training.games.game import Autocast, Game, Turn, Values
from sargan_training.losses import (
    class_loss,
    cycle_loss,
    gradient_penalty,
    wasserstein_discriminator,
    wasserstein_generator,
)
from sargan_training.recipe import WassersteinRecipe


@dataclass(frozen=True)
class Edited:
    """Some rows of a batch: photos, what they show, and their edits towards the targets."""

    photos: torch.Tensor
    shares: torch.Tensor
    targets: torch.Tensor
    edited: torch.Tensor


class ClassHead(nn.Module):
    """What a discriminator reads: images to logits."""

    def __init__(self, discriminator: PatchGAN) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.discriminator(images)[1]


class WassersteinGame(Game[WassersteinRecipe]):
    """One discriminator with two heads; the generator is updated every few steps."""

    def __init__(
        self, recipe: WassersteinRecipe, generator: Generator, faces: FaceSet, autocast: Autocast
    ) -> None:
        super().__init__(recipe, generator, faces, autocast)
        shape = recipe.discriminator
        self.discriminator = PatchGAN(generator.crop_size, shape.channels, shape.layers)
        self.discriminator.to(self.device)
        self.networks["discriminator"] = self.discriminator
        for name, network in self.networks.items():
            rate = getattr(recipe.optimizer, name)
            betas = recipe.optimizer.betas
            self.optimizers[name] = torch.optim.Adam(network.parameters(), rate, betas)
        self._last: tuple[tuple[int, Rows], Edited] | None = None

    def begin(self, teach: Callable[[nn.Module], None]) -> None:
        if self.recipe.pretraining.steps:
            teach(ClassHead(self.discriminator))

    def turns(self, step: int) -> list[Turn]:
        turns = [Turn("discriminator")]
        if (step + 1) % self.recipe.losses.generator_every == 0:
            turns.append(Turn("generator"))
        return turns

    def loss(self, turn: Turn, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        if turn.network == "discriminator":
            return self._discriminator_loss(step, rows)
        return self._generator_loss(step, rows)

    def read(self, images: torch.Tensor) -> torch.Tensor:
        with self.autocast():
            return self.discriminator(images)[1].float()

    def _edits(self, step: int, rows: Rows) -> Edited:
        """Made once a step where one process computes the whole batch in one turn."""
        if self._last is None or self._last[0] != (step, rows):
            index = self.drawn_faces(step, "photos")
            photos = self.images(index, step, "photos", rows)
            shares = self.faces.shares[index]
            # As released: targets are the labels of the batch in another order.
            order = Draws(rows, "cpu", (self.recipe.seed, step), "targets").order()
            labels = shares[order].argmax(dim=1)
            targets = F.one_hot(labels, len(EXPRESSIONS)).float().to(self.device)
            updated = Turn("generator") in self.turns(step)
            with torch.set_grad_enabled(updated), self.autocast():
                edited = self.generator(photos, targets)
            shares = shares[rows.slice].to(self.device)
            self._last = (step, rows), Edited(photos, shares, targets, edited.float())
        return self._last[1]

    def _discriminator_loss(self, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        batch, weights = self._edits(step, rows), self.recipe.losses
        edited = batch.edited.detach()
        with self.autocast():
            realness, logits = self.discriminator(torch.cat([batch.photos, edited]))
        real, fake = realness.float().chunk(2)
        share = self.draws(step, "between", rows).uniform(0, 1, 1, 1, 1)
        # In float32: the gradient of a gradient has no bits to spare.
        penalty = gradient_penalty(
            lambda images: self.discriminator(images)[0], batch.photos, edited, share
        )
        game = wasserstein_discriminator(real, fake)
        classes = class_loss(logits[: len(real)], batch.shares)
        total = game + weights.classes * classes + weights.gradient_penalty * penalty
        return total, {
            "discriminator": total.detach(),
            "discriminator_game": game.detach(),
            "discriminator_class": classes.detach(),
            "penalty": penalty.detach(),
        }

    def _generator_loss(self, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        batch, weights = self._edits(step, rows), self.recipe.losses
        with self.autocast():
            fake, logits = self.discriminator(batch.edited)
            returned = self.generator(batch.edited, batch.shares)
        self._last = None  # its graph ends here
        game = wasserstein_generator(fake.float())
        classes = class_loss(logits, batch.targets)
        cycle = cycle_loss(batch.photos, returned.float())
        total = game + weights.classes * classes + weights.cycle * cycle
        return total, {
            "generator": total.detach(),
            "generator_game": game.detach(),
            "generator_class": classes.detach(),
            "cycle": cycle.detach(),
        }
