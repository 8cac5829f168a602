"""Train a generator, whichever system and game a recipe names. Read it from top to bottom.

``sargan-cli train run RECIPE --data DATA --run RUN`` comes here. A run goes on from
``RUN/checkpoint.pt`` when there is one, with the numbers it would have had without the break: all
that is random follows from the recipe's seed and the step, see :mod:`sargan_training.draws`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sargan_plugin.detector_files import first_line
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_plugin.images import make_folder, printable_name
from sargan_plugin.zoo import create_generator, generator_names
from sargan_training.backbones import ModelEmaV3
from sargan_training.bundle import HALF_OF_PAIR, PAIR
from sargan_training.checkpoints import (
    changes_since,
    read_state,
    save_state,
    set_state,
)
from sargan_training.data import FaceSet, load_faces
from sargan_training.draws import Rows
from sargan_training.games import GAMES
from sargan_training.hardware import (
    Fabric,
    Hardware,
    LossScale,
    average_gradients,
    averaged,
    computes_in_16_bits,
    described,
    first_process_first,
    first_process_tells,
)
from sargan_training.held_out import HeldOut
from sargan_training.interruption import Interruption
from sargan_training.lessons import Lessons
from sargan_training.logbook import Logbook
from sargan_training.recipe import Recipe

SMALLEST_CROP = 64  # what the discriminators halve their way through
DIVERGED = 1e6  # no figure of a game that is still being played is as large


@dataclass(frozen=True)
class Trained:
    """What a run ended with.

    Attributes:
        step: steps done.
        average: the last average's file; None when nothing was left to do.
        best: the best share of held-out edits that the run's own network read as the target, and
            the step it was reached at; None without held-out people.
    """

    step: int
    average: Path | None
    best: tuple[float, int] | None


def train(
    recipe: Recipe,
    data: Path,
    run: Path,
    hardware: Hardware | None = None,
    *,
    second_opinion: Path | None = None,
    say: Callable[[str], None] = print,
    report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
) -> Trained:
    """Train until the recipe's last step, from the checkpoint in ``run`` if there is one.

    Args:
        recipe: what to train and how.
        data: what :func:`sargan_training.data.load_faces` reads.
        run: folder of the checkpoint, averages, sheets and TensorBoard's figures.
        hardware: what to compute on.
        second_opinion: a CSV written by ``relabel.py``, to soften the labels.
        say: takes a line for people.
        report: takes the step and its figures after every step.

    Raises:
        SarganError: when the data, the recipe or the machine do not fit, or the training diverges.
        KeyboardInterrupt: after SIGINT or SIGTERM, with the checkpoint saved.
    """
    hardware = hardware or Hardware()
    fabric = hardware.launch()
    with first_process_tells(fabric):
        if not fabric.is_global_zero:
            say, report = (lambda line: None), (lambda step, values: None)
        if hardware.compile and fabric.device.type == "cpu" and computes_in_16_bits(fabric):
            # Two reflection paddings of one tensor are enough (torch 2.14); in fp32 all is well.
            raise SarganError(
                "Compiled generators have gradients that are not finite on a CPU in bf16-mixed. "
                "Leave --compile out, or take --precision fp32."
            )
        mine = rows_of_this_process(fabric, recipe.batch, hardware.accumulate)
        make_folder(run)
        torch.manual_seed(recipe.seed)
        checkpoint, step = run / "checkpoint.pt", 0
        generator = new_generator(recipe)
        if recipe.start and not checkpoint.exists():
            set_start(generator, recipe)
        generator = fabric.to_device(generator)
        if computes_in_16_bits(fabric):  # whose convolutions are half as fast in another layout
            generator = generator.to(memory_format=torch.channels_last)
        faces, held_out = people(fabric, data, run, generator.crop_size, second_opinion)
        if held_out is None:
            say("nobody is held out to choose by: there will be no sheets and no best average")

        torch.manual_seed(recipe.seed)  # whatever the generator, its judges start alike
        game = GAMES[recipe.game](recipe, generator, faces, fabric.autocast)
        average = ModelEmaV3(generator, decay=recipe.average, use_warmup=True)
        if hardware.compile:  # not the judges: compiled code cannot be differentiated twice
            generator.edit = torch.compile(generator.edit)
        judges = [network for name, network in game.networks.items() if name != "generator"]
        optimizers = {name: fabric.setup_optimizers(each) for name, each in game.optimizers.items()}
        settings = {  # as the recipe says now, and not as it did when a checkpoint was written
            name: [{k: v for k, v in group.items() if k != "params"} for group in each.param_groups]
            for name, each in optimizers.items()
        }

        logbook = Logbook(run, recipe, held_out, writes=fabric.is_global_zero)
        state = {**game.networks, "average": average, "game": game, "logbook": logbook}
        state |= {f"{name} optimizer": optimizer for name, optimizer in optimizers.items()}
        state["precision"] = LossScale(fabric.strategy.precision)
        say(f"{described(fabric)}, {len(faces.crops)} photos of {len(set(faces.people))} people")
        with Interruption() as interruption, logbook:
            if checkpoint.exists():
                saved = read_state(checkpoint)
                changed = changes_since(checkpoint, saved, recipe, faces.digest)
                set_state(checkpoint, saved, state)
                step = saved["step"]
                say("; ".join([f"resumed at step {step}", *changed]))
            else:
                lessons = Lessons(run, recipe, faces, fabric, interruption, say)
                game.begin(lessons.teach)
            logbook.open(step)

            while step < recipe.steps:
                for name, optimizer in optimizers.items():
                    for group, own in zip(optimizer.param_groups, settings[name], strict=True):
                        group.update(own, lr=own["lr"] * share_of_rate(step, recipe))
                torch.manual_seed(recipe.seed + step)  # for networks that draw, as dropout does

                values: dict[str, torch.Tensor] = {}
                for turn in game.turns(step):
                    for judge in judges:
                        judge.requires_grad_(turn.network != "generator")
                    network, optimizer = game.networks[turn.network], optimizers[turn.network]
                    optimizer.zero_grad(set_to_none=True)
                    parts: list[dict[str, torch.Tensor]] = []
                    for rows in mine:
                        loss, figures = game.loss(turn, step, rows)
                        fabric.backward(loss / len(mine))
                        parts.append(figures)
                    average_gradients(fabric, network)
                    optimizer.step()
                    values |= {n: torch.stack([each[n] for each in parts]).mean() for n in parts[0]}

                step += 1
                average.update(generator, step)
                values["stopped"] = torch.tensor(float(interruption.wanted), device=fabric.device)
                means = averaged(fabric, values)
                stopped = means.pop("stopped") > 0
                stop_if_diverged(means, step, checkpoint)
                game.adapt(means)
                report(step, means)
                logbook.figures(step, means)

                due = step % recipe.save_every == 0 or step == recipe.steps
                if due or stopped:
                    stop_if_broken(game.networks, step, checkpoint)
                if due:
                    logbook.milestone(step, game, average.module)
                if (due or stopped) and fabric.is_global_zero:
                    facts = {"recipe": recipe.to_dict(), "faces": faces.digest}
                    save_state(checkpoint, state, step=step, **facts)
                if stopped:
                    fabric.barrier()  # nobody leaves before the checkpoint is written
                    say(f"stopped at step {step}; the same command goes on from there")
                    raise KeyboardInterrupt
        fabric.barrier()
    return Trained(step, logbook.average, logbook.best)


def new_generator(recipe: Recipe) -> Generator:
    """The recipe's generator, with random weights.

    Raises:
        SarganError: when it cannot be built or cannot edit crops of its own size.
    """
    if "." in recipe.system:
        systems = ", ".join(name for name in generator_names() if name != PAIR)
        raise SarganError(
            f"system is an architecture ({systems}), not {recipe.system!r}; "
            "weights to go on from are named by start."
        )
    if recipe.system == PAIR:
        raise SarganError(
            f"{PAIR} is two generators that learnt apart: train {HALF_OF_PAIR} twice, with another "
            "seed the second time, and make them a pair (python -m sargan_training.bundle)."
        )
    try:
        generator = create_generator(recipe.system, pretrained=False, **recipe.generator)
        size = generator.crop_size
        if size < SMALLEST_CROP or size % 16:
            raise SarganError(
                f"generator.crop_size must be a multiple of 16 from {SMALLEST_CROP} on, not {size}."
            )
        with torch.no_grad():
            generator.eval().edit(torch.zeros(1, 3, size, size), torch.zeros(1, len(EXPRESSIONS)))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise SarganError(
            f"{recipe.system} cannot be built with {recipe.generator}: {first_line(error)}"
        ) from error
    return generator.train()


def set_start(generator: Generator, recipe: Recipe) -> None:
    """Set a new run's generator to the weights that the recipe names.

    Raises:
        SarganError: when those are not there, or of another generator.
    """
    try:
        generator.load_state_dict(create_generator(recipe.start).state_dict())
    except RuntimeError as error:
        raise SarganError(
            f"{printable_name(recipe.start)}: its weights do not fit the recipe's generator, "
            f"{recipe.system} with {recipe.generator or 'its usual options'}."
        ) from error


def rows_of_this_process(fabric: Fabric, batch: int, accumulate: int) -> list[Rows]:
    """The parts of every batch that this process computes, one after another."""
    parts = fabric.world_size * accumulate
    if batch % parts:
        raise SarganError(f"A batch of {batch} does not fall into {parts} equal parts.")
    first = fabric.global_rank * accumulate
    return [Rows.part(batch, first + number, parts) for number in range(accumulate)]


def share_of_rate(step: int, recipe: Recipe) -> float:
    """Share of the learning rates at a step: constant, then falling linearly to nothing."""
    return min(1.0, (1 - step / recipe.steps) / recipe.optimizer.falling)


def people(
    fabric: Fabric, data: Path, run: Path, size: int, second_opinion: Path | None
) -> tuple[FaceSet, HeldOut | None]:
    """Faces to train on, and photos of held-out people to choose by, if there are any."""

    def load() -> FaceSet:
        return load_faces(data, run.parent, size, second_opinion)

    faces = first_process_first(fabric, load)  # it cuts the crops of annotated photos for all
    faces, others = faces.split()
    if not len(faces.crops):
        raise SarganError(f"{printable_name(data)}: everybody in it is held out; add people.")
    others = others.to_choose_by()
    return faces, HeldOut(others, fabric.device) if len(others.crops) else None


def stop_if_diverged(values: dict[str, float], step: int, checkpoint: Path) -> None:
    """Raise a SarganError when a figure is not finite or absurdly large."""
    for name, value in values.items():
        if not math.isfinite(value) or abs(value) > DIVERGED:
            raise SarganError(
                f"Training diverged at step {step}: {name} is {value:g}. {last_good(checkpoint)}"
            )


def stop_if_broken(networks: dict[str, nn.Module], step: int, checkpoint: Path) -> None:
    """Raise a SarganError when a weight is not finite, before it gets into a checkpoint."""
    for name, network in networks.items():
        if not all(bool(weight.isfinite().all()) for weight in network.parameters()):
            raise SarganError(
                f"Training diverged at step {step}: a weight of the {name} is not finite. "
                f"{last_good(checkpoint)}"
            )


def last_good(checkpoint: Path) -> str:
    """What is left of a run that failed, and what to do with it."""
    if not checkpoint.exists():
        return "No checkpoint had been saved yet."
    return (
        f"{printable_name(checkpoint)} is from before, and the same command would go on from it "
        "and get here again: lower the rates (--set optimizer.generator=...), or start another run "
        "from one of this run's averages (--set start=FILE)."
    )
