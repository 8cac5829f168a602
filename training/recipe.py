"""What a recipe says: every setting of a training, with its range.

There are no defaults: what a run did stands in its recipe. Imports no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sargan_plugin.expressions import EXPRESSIONS


def between(low: float, high: float) -> Any:
    """A field whose numbers lie between ``low`` and ``high``."""
    return field(metadata={"low": low, "high": high})


@dataclass(frozen=True)
class Jitter:
    """How far a crop is moved before it is shown, see :func:`augment.jittered_crops`.

    Attributes:
        scale: largest relative change of size.
        rotation: largest angle in radians.
        shift: largest displacement in pixels of a 128-pixel crop.
    """

    scale: float = between(0, 0.2)
    rotation: float = between(0, 0.5)
    shift: float = between(0, 16)


@dataclass(frozen=True)
class Adam:
    """Adam for every network; rates are constant and then fall linearly to nothing.

    Attributes:
        generator: learning rate.
        discriminator: of the discriminator, or the realism critic.
        betas: of the two moments.
        falling: share of the steps in which the rates fall.
    """

    generator: float = between(0, 1)
    discriminator: float = between(0, 1)
    betas: tuple[float, float] = between(0, 0.9999)
    falling: float = between(1e-9, 1)


@dataclass(frozen=True)
class FlowAdam(Adam):
    """The same with two more networks' rates.

    Attributes:
        reader: rate of the expression reader.
        flow_head: times the generator's rate, for the layer that predicts the flow.
    """

    reader: float = between(0, 1)
    flow_head: float = between(0, 100)


@dataclass(frozen=True)
class Pretraining:
    """How the network that reads expressions is taught before the game starts.

    Attributes:
        steps: of training; 0 for none.
        batch: photos a step.
        rate: learning rate of AdamW, constant for three quarters of the steps, then falling.
        weight_decay: of AdamW.
        smoothing: of the labels; the reader's in the hinge game too.
        jitter: augmentation of the photos.
    """

    steps: int = between(0, 100_000_000)
    batch: int = between(1, 65_536)
    rate: float = between(0, 1)
    weight_decay: float = between(0, 1)
    smoothing: float = between(0, 0.9)
    jitter: Jitter


@dataclass(frozen=True)
class Recipe:
    """What every recipe says.

    Attributes:
        description: what it trains, in one line.
        system: a generator's architecture, as ``sargan_plugin.create_generator`` knows it; of a
            pair, that of its two generators.
        generator: options of the architecture, such as ``channels``.
        start: weights that the generator goes on from, by name or as a ``.safetensors`` file; empty
            for random ones.
        game: ``"wasserstein"`` or ``"hinge"``: losses and discriminators, see ``games/``.
        steps: of training; each updates every discriminator, once or more often.
        batch: photos a step, all processes together.
        seed: of everything random.
        balanced: whether every expression is drawn equally often.
        average: decay of the generator's exponential moving average; at first it is less, at most
            1 - (1 + step) ** (-2 / 3), or the random beginnings would count for long.
        save_every: steps between checkpoints.
        report_every: steps between figures for TensorBoard.
        jitter: augmentation of the photos besides the horizontal flip.
        pretraining: of the network that reads expressions.
    """

    description: str
    system: str
    generator: dict[str, Any]
    start: str
    game: str
    steps: int = between(1, 100_000_000)
    batch: int = between(1, 65_536)
    seed: int = between(0, 2**32 - 1)
    balanced: bool
    average: float = between(0, 0.999999)
    save_every: int = between(1, 100_000_000)
    report_every: int = between(1, 100_000_000)
    jitter: Jitter
    pretraining: Pretraining

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class PatchGANShape:
    """Size of the released discriminator.

    Attributes:
        channels: of the first convolution.
        layers: convolutions of stride 2.
    """

    channels: int = between(1, 4096)
    layers: int = between(1, 10)


@dataclass(frozen=True)
class PairShape:
    """Size of the critic and of the reader.

    Attributes:
        channels: of the first convolution.
    """

    channels: int = between(1, 4096)


@dataclass(frozen=True)
class WassersteinLosses:
    """Weights of the released game's losses.

    Attributes:
        gradient_penalty: of WGAN-GP.
        classes: of the class cross-entropy, of both networks.
        cycle: of the way there and back (lambda_rec).
        generator_every: steps between updates of the generator.
    """

    gradient_penalty: float = between(0, 1e6)
    classes: float = between(0, 1e6)
    cycle: float = between(0, 1e6)
    generator_every: int = between(1, 1000)


@dataclass(frozen=True)
class WassersteinRecipe(Recipe):
    """A recipe of the game that StarGAN, US-GAN and SARGAN were released with."""

    discriminator: PatchGANShape
    optimizer: Adam
    losses: WassersteinLosses


@dataclass(frozen=True)
class HingeLosses:
    """Weights of the flow model's losses.

    Attributes:
        game: of the hinge loss.
        worst_patches: share of an edit's patches that count in it: those that look least real.
        same: of staying the same where the photo shows what is asked for.
        mask: of how much is painted over.
        mask_variation: of the mask's total variation.
        flow: of the flow's roughness.
        read_enough: nats from the target at which an edit is read well enough.
        r1: of the critic's R1 penalty.
        r1_every: steps between two penalties ("lazy").
        critic_updates: a step.
        paint_from: step from which the generator may paint; before, it may only move.
    """

    game: float = between(0, 1e6)
    worst_patches: float = between(0, 1)
    same: float = between(0, 1e6)
    mask: float = between(0, 1e6)
    mask_variation: float = between(0, 1e6)
    flow: float = between(0, 1e6)
    read_enough: float = between(0, 10)
    r1: float = between(0, 1e6)
    r1_every: int = between(1, 100_000)
    critic_updates: int = between(1, 100)
    paint_from: int = between(0, 100_000_000)


@dataclass(frozen=True)
class Targets:
    """What edits are asked for.

    Attributes:
        odds: of the seven expressions.
        emphasis: how much it counts whether an edit towards each of them is read as that.
        mixed: share of mixes of two expressions.
        weakened: share of edits at an intensity from 0.25 to 1.
        read_as: expressions that are to be read as a mix of others.
    """

    odds: tuple[float, ...] = between(0, 1e6)
    emphasis: tuple[float, ...] = between(0, 1e6)
    mixed: float = between(0, 1)
    weakened: float = between(0, 1)
    read_as: dict[str, str] = field(metadata={"keys": EXPRESSIONS})


@dataclass(frozen=True)
class CriticAugmentation:
    """Augmentation that adapts to how far the critic overfits (Karras et al., 2020).

    Attributes:
        target: mean sign of the scores of real photos above which there is more of it.
        first: amount at the start.
        change: of the amount at every step.
        least: smallest amount.
        most: largest amount.
    """

    target: float = between(-1, 1)
    first: float = between(0, 1)
    change: float = between(0, 1)
    least: float = between(0, 1)
    most: float = between(0, 1)


@dataclass(frozen=True)
class HingeRecipe(Recipe):
    """A recipe of the game that the flow model is trained with."""

    discriminator: PairShape
    optimizer: FlowAdam
    losses: HingeLosses
    targets: Targets
    augmentation: CriticAugmentation
