"""``sargan-cli train``: from photographs to models."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import hardware_options, options, train_detector
from sargan_cli.console import Output, Report, json_path
from sargan_cli.progress import Progress
from sargan_cli.usage import usage

if TYPE_CHECKING:
    from sargan_training.data.layouts import Listing
    from sargan_training.recipe import Recipe

# Of photos skipped; a big set has thousands.
TOLD_ONE_BY_ONE = 20

app = typer.Typer(help="From photographs to models.", rich_markup_mode="rich")
app.add_typer(train_detector.app, name="detector")


class Layout(str, Enum):
    """The layouts that labelled photographs come in."""

    auto = "auto"
    folders = "folders"
    csv = "csv"
    lfw = "lfw"
    kdef = "kdef"
    rafd = "rafd"


def _halved_often(size: int) -> int:
    if size % 16:
        raise typer.BadParameter(f"{size} is no multiple of 16, as networks halve it four times.")
    return size


@app.callback()
def train() -> None:
    """From photographs to models."""


@app.command("prepare")
def prepare(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", readable=False, help="Folder of photographs, or a CSV."),
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", readable=False, help="Folder for the aligned crops.")
    ],
    layout: Annotated[
        Layout,
        typer.Option(
            help="folders: EXPRESSION/PERSON/photo; csv: path, person, expression; lfw: with "
            "expressions.csv; kdef, rafd: their file names."
        ),
    ] = Layout.auto,
    size: Annotated[
        int,
        typer.Option(
            min=64,
            max=512,
            metavar="PIXELS",
            callback=_halved_often,
            help="Side of the canonical crop, a multiple of 16.",
        ),
    ] = 128,
    detector: options.Detector = None,
    device: options.Device = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", show_default="one for each CPU")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Find and align the face of every labelled photo, ready for training.

    Goes on where an interrupted run stopped. People are split into training and held out by name.
    """
    from sargan_plugin import FaceDetector
    from sargan_plugin.compute import detector_device
    from sargan_plugin.detector_files import find_detector, usable_cpus
    from sargan_plugin.images import printable_name
    from sargan_plugin.manifest import checksum
    from sargan_training.data import prepare as preparation
    from sargan_training.data.layouts import read_listing

    output = Output(quiet)
    listing = read_listing(source, layout.value)
    for reason, count in listing.left_out.items():
        output.warn(f"{printable_name(source)}: {count} photos left out: {reason}")
    if listing.nameless:
        output.warn(
            f"{printable_name(source)}: {listing.nameless} photos say nothing of who they show; "
            "each counts as another person, so photos of one person may be trained and measured on"
        )
    workers = workers or usable_cpus()
    found = find_detector(detector)
    finder = FaceDetector(found, device=detector_device(device), threads=1)
    folder = source if source.is_dir() else source.parent
    people, skipped = [], []
    shards = preparation.prepare(
        listing.photos, folder, destination, finder, checksum(found), size=size, workers=workers
    )
    with Progress(len(listing.photos), quiet=quiet, doing="preparing") as progress:
        for shard in shards:
            people += shard.people
            skipped += shard.skipped
            progress.advance(shard.photos)
    for each in skipped[:TOLD_ONE_BY_ONE]:
        output.warn(f"{printable_name(each['path'])}: skipped: {each['reason']}")
    for reason, count in Counter(each["reason"] for each in skipped).most_common():
        output.warn(f"{count} photos skipped: {reason}")
    if len(skipped) > TOLD_ONE_BY_ONE:
        output.warn(f"{len(skipped) - TOLD_ONE_BY_ONE} more are named with --json")
    data = _summary(listing, people, skipped)
    output.say(
        "{faces} faces of {photos} photos in {folder}; {training} people to train on, "
        "{held_out} held out".format(folder=printable_name(destination), **data)
    )
    return Report(data, 0 if data["faces"] else 1)


@app.command("run")
def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name from 'train recipes', or a .toml file.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            readable=False,
            help="What 'train prepare' wrote, or annotated photos.",
        ),
    ],
    run: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            readable=False,
            help="For checkpoints, averages and figures; the crops of annotated photos are kept "
            "beside it. A run that is there is gone on with.",
        ),
    ],
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Change a field of the recipe: losses.mask=4."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Short for --set steps=N.")
    ] = None,
    second_opinion: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Labels written by sargan_training.relabel, mixed in."),
    ] = None,
    accelerator: hardware_options.AcceleratorOption = hardware_options.Accelerator.auto,
    devices: hardware_options.Devices = 1,
    strategy: hardware_options.StrategyOption = hardware_options.Strategy.auto,
    precision: hardware_options.PrecisionOption = hardware_options.Precision.auto,
    accumulate: hardware_options.Accumulate = 1,
    compile_generator: hardware_options.Compile = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Train a generator by a recipe. Ctrl-C saves; the same command goes on from there."""
    from sargan_training.recipe_files import load_recipe

    changes = [*(change or []), *([] if steps is None else [f"steps={steps}"])]
    with usage():
        wanted = load_recipe(recipe, changes)
    from sargan_cli.training_progress import TrainingProgress
    from sargan_training.hardware import Hardware
    from sargan_training.train import train as train_generator

    hardware = Hardware(
        accelerator.value, devices, strategy.value, precision.value, accumulate, compile_generator
    )
    output = Output(quiet)
    with TrainingProgress(wanted.steps, wanted.batch, quiet=quiet) as progress:
        trained = train_generator(
            wanted,
            data,
            run,
            hardware,
            second_opinion=second_opinion,
            say=progress.say,
            report=progress.report,
        )
    if trained.average is not None:
        output.say(f"{json_path(trained.average)}: the average of step {trained.step}")
    if trained.best is not None:
        share, step = trained.best
        output.say(
            f"{json_path(run / 'best.safetensors')}: the average of step {step}; {share:.0%} of "
            "held-out edits were read as the target by the run's own network, which flatters: "
            "see sargan-cli evaluate"
        )
    return Report({
        "run": json_path(run),
        "step": trained.step,
        "average": None if trained.average is None else json_path(trained.average),
        "best": trained.best and {"read": trained.best[0], "step": trained.best[1]},
    })  # fmt: skip


@app.command("recipes")
def recipes(
    json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> Report:
    """List the recipes that 'train run' takes."""
    from rich.table import Table

    from sargan_training.recipe_files import load_recipe, recipe_names

    table = Table("name", "system", "what it trains", "losses", "steps", "batch")
    known = {name: load_recipe(name) for name in recipe_names()}
    for name, recipe in known.items():
        size = str(recipe.steps), str(recipe.batch)
        table.add_row(name, recipe.system, recipe.description, _losses(recipe), *size)
    Output(quiet).show(table)
    return Report({"recipes": {name: recipe.to_dict() for name, recipe in known.items()}})


def _losses(recipe: Recipe) -> str:
    from sargan_training.recipe import WassersteinRecipe

    if isinstance(recipe, WassersteinRecipe):
        weights = recipe.losses
        return (
            f"WGAN-GP {weights.gradient_penalty:g}, class {weights.classes:g}, "
            f"cycle {weights.cycle:g}"
        )
    weights = recipe.losses
    return f"hinge, R1 {weights.r1:g}, reader, mask {weights.mask:g}, flow {weights.flow:g}"


def _summary(listing: Listing, people: list[str], skipped: list[dict[str, str]]) -> dict[str, Any]:
    """Of the photos that were prepared: people are those on the crops."""
    from sargan_training.data import held_out_people, is_held_out

    return {
        "photos": len(listing.photos),
        "faces": len(people),
        "training": sum(not is_held_out(each) for each in set(people)),
        "held_out": len(held_out_people(people)),
        "skipped": [each | {"path": json_path(each["path"])} for each in skipped],
        "left_out": dict(listing.left_out),
    }
