"""The flow model's game: hinge loss and lazy R1 against a critic, a reader that knows its trade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS, condition_of
from sargan_plugin.generators import Edit, Generator, apply_edit
from sargan_training.augment import expression_augmentation, realism_augmentation
from sargan_training.data import FaceSet
from sargan_training.discriminators import ExpressionReader, RealismCritic
from sargan_training.draws import Draws, Rows
from sargan_training.games.game import Autocast, Game, Turn, Values
from sargan_training.losses import (
    class_loss,
    flow_roughness,
    hinge_discriminator,
    hinge_generator,
    mask_sparsity,
    r1_penalty,
    reading_loss,
    same_loss,
    total_variation,
)
from sargan_training.recipe import HingeRecipe


@dataclass(frozen=True)
class Asked:
    """What a batch's edits are to be: conditions ``(B, 7)``, intensities ``(B,)``, which rows ask
    for what is there already ``(B,)``, how much each row's reading counts ``(B,)``."""

    condition: torch.Tensor
    intensity: torch.Tensor
    same: torch.Tensor
    reading: torch.Tensor

    def part(self, rows: Rows, device: torch.device) -> Asked:
        return Asked(*(each[rows.slice].to(device) for each in vars(self).values()))


@dataclass(frozen=True)
class Edited:
    """Some rows of a batch: photos, what they show, what was asked for, and the edits."""

    photos: torch.Tensor
    shares: torch.Tensor
    asked: Asked
    edit: Edit
    edited: torch.Tensor


class HingeGame(Game[HingeRecipe]):
    """A realism critic and an expression reader that start from the same pre-trained trunk."""

    def __init__(
        self, recipe: HingeRecipe, generator: Generator, faces: FaceSet, autocast: Autocast
    ) -> None:
        super().__init__(recipe, generator, faces, autocast)
        channels = recipe.discriminator.channels
        self.critic = RealismCritic(channels).to(self.device)
        self.reader = ExpressionReader(channels, generator.crop_size).to(self.device)
        self.networks |= {"critic": self.critic, "reader": self.reader}
        rates, named = recipe.optimizer, list(generator.named_parameters())
        head = [each for name, each in named if name.startswith("to_flow")]
        rest = [each for name, each in named if not name.startswith("to_flow")]
        groups = {
            "generator": [{"params": rest, "lr": rates.generator}],
            "critic": [{"params": self.critic.parameters(), "lr": rates.discriminator}],
            "reader": [{"params": self.reader.parameters(), "lr": rates.reader}],
        }
        if head:
            groups["generator"] += [{"params": head, "lr": rates.generator * rates.flow_head}]
        for name, each in groups.items():
            self.optimizers[name] = torch.optim.Adam(each, betas=rates.betas)
        for name, mix in recipe.targets.read_as.items():
            self.read_as[EXPRESSIONS.index(name)] = condition_of(mix)
        self.amount = recipe.augmentation.first
        self._last: tuple[tuple[int, Rows], Edited] | None = None

    def begin(self, teach: Callable[[nn.Module], None]) -> None:
        if self.recipe.pretraining.steps:
            teach(self.reader)
        self.critic.trunk.load_state_dict(self.reader.trunk.state_dict())

    def turns(self, step: int) -> list[Turn]:
        critic = [Turn("critic", number) for number in range(self.recipe.losses.critic_updates)]
        return [*critic, Turn("reader"), Turn("generator")]

    def loss(self, turn: Turn, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        if turn.network == "critic":
            return self._critic_loss(turn, step, rows)
        if turn.network == "reader":
            return self._reader_loss(step, rows)
        return self._generator_loss(step, rows)

    def adapt(self, values: dict[str, float]) -> None:
        """Augment more while the critic is too sure of real photos, less otherwise."""
        way = self.recipe.augmentation
        self.amount += way.change if values["real_sign"] > way.target else -way.change
        self.amount = min(max(self.amount, way.least), way.most)
        values["amount"] = self.amount

    def read(self, images: torch.Tensor) -> torch.Tensor:
        self.reader.eval()
        with self.autocast():
            logits = self.reader(images).float()
        self.reader.train()
        return logits

    def state_dict(self) -> dict[str, Any]:
        return {"amount": self.amount}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.amount = state["amount"]

    def asked(self, step: int, labels: torch.Tensor) -> Asked:
        """What is asked of a step's whole batch, given the labels ``(B,)`` of its photos."""
        ways, count = self.recipe.targets, len(EXPRESSIONS)
        draws = Draws(len(labels), "cpu", (self.recipe.seed, step), "targets")
        odds = torch.tensor(ways.odds)
        targets = draws.choices(odds)
        condition = F.one_hot(targets, count).float()
        other = F.one_hot(draws.choices(odds), count)
        mixed = draws.chance(ways.mixed)
        share = draws.uniform(0, 1, 1)
        condition = torch.where(mixed[:, None], share * condition + (1 - share) * other, condition)
        weakened = draws.chance(ways.weakened) & ~mixed
        intensity = torch.where(weakened, draws.uniform(0.25, 1.0), 1.0)
        # A weakened edit has to be believable, not recognisable.
        whole = (intensity == 1).float()
        reading = whole / whole.mean().clamp(min=1 / len(whole))
        reading = reading * (condition @ torch.tensor(ways.emphasis))
        return Asked(condition, intensity, (targets == labels) & ~mixed, reading)

    def _edits(self, step: int, rows: Rows) -> Edited:
        """Made once a step where one process computes the whole batch in one turn."""
        if self._last is None or self._last[0] != (step, rows):
            index = self.drawn_faces(step, "photos")
            photos = self.images(index, step, "photos", rows)
            asked = self.asked(step, self.faces.labels[index]).part(rows, self.device)
            with self.autocast():
                edit = self.generator.edit(photos, asked.condition)
            # Geometry in float32, networks in what the run computes in.
            edit = edit.to(photos).feathered()
            if step < self.recipe.losses.paint_from:
                edit = Edit(edit.delta * 0, edit.replace * 0, edit.flow)
            edited = apply_edit(photos, edit.at_intensity(asked.intensity))
            shares = self.faces.shares[index[rows.slice]].to(self.device)
            self._last = (step, rows), Edited(photos, shares, asked, edit, edited)
        return self._last[1]

    def _critic_loss(self, turn: Turn, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        weights, purpose = self.recipe.losses, f"critic {turn.number}"
        batch = self._edits(step, rows)
        # Photos and edits of these very photos, augmented alike: what sets them apart is the edit.
        shown = [
            realism_augmentation(images, self.amount, self.draws(step, purpose, rows))
            for images in (batch.photos, batch.edited.detach())
        ]
        with self.autocast():
            scores = [score.float().chunk(2) for score in self.critic(torch.cat(shown))]
        real_scores, edited_scores = (list(each) for each in zip(*scores, strict=True))
        loss = hinge_discriminator(real_scores, edited_scores)
        values = {
            "critic": loss.detach(),
            "real_sign": mean_sign(real_scores),
            "edited_sign": mean_sign(edited_scores),
        }
        if step % weights.r1_every == 0 and turn.number == 0:
            penalty = r1_penalty(self.critic, batch.photos)
            loss = loss + weights.r1_every * weights.r1 * penalty
            values["r1"] = penalty.detach()
        return loss, values

    def _reader_loss(self, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        index = self.drawn_faces(step, "reader", self.balanced)
        images = self.images(index, step, "reader", rows)
        draws = self.draws(step, "reader", rows)
        images = expression_augmentation(images, draws=draws)
        with self.autocast():
            logits = self.reader(images, draws)
        shares = self.faces.shares[index[rows.slice]].to(self.device)
        loss = class_loss(logits, shares, self.recipe.pretraining.smoothing)
        return loss, {"reader": loss.detach()}

    def _generator_loss(self, step: int, rows: Rows) -> tuple[torch.Tensor, Values]:
        batch, weights = self._edits(step, rows), self.recipe.losses
        self._last = None  # its graph ends here
        edit, asked = batch.edit, batch.asked
        draws = self.draws(step, "generator", rows)
        for_critic = realism_augmentation(batch.edited, self.amount, draws)
        for_reader = expression_augmentation(batch.edited, draws=draws)
        with self.autocast():
            scores = self.critic(for_critic)
            logits = self.reader(for_reader, draws)
        game = hinge_generator([score.float() for score in scores], weights.worst_patches)
        wanted = asked.condition @ self.read_as
        reading = reading_loss(logits, wanted, asked.reading, weights.read_enough)
        same = same_loss(batch.photos, batch.edited, asked.same)
        mask, variation = mask_sparsity(edit.replace), total_variation(edit.replace)
        total = weights.game * game + reading + weights.same * same
        total = total + weights.mask * mask + weights.mask_variation * variation
        values = {"game": game, "class": reading, "same": same, "mask": mask}
        if edit.flow is not None:
            roughness = flow_roughness(edit.flow)
            total = total + weights.flow * roughness
            values |= {"flow": edit.flow.abs().mean(), "rough": roughness}
        if (source := getattr(self.generator, "source", None)) is not None:
            with self.autocast():
                logits = source(batch.photos)
            values["source"] = class_loss(logits, batch.shares)
            total = total + values["source"]
        values["generator"] = total
        return total, {name: value.detach() for name, value in values.items()}


def mean_sign(scores: list[torch.Tensor]) -> torch.Tensor:
    """Share of patches called real minus share called edited, averaged over the scales."""
    return torch.stack([score.detach().sign().mean() for score in scores]).mean()
