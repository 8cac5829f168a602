"""``sargan-cli train``: from photographs to models."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report
from sargan_cli.progress import Progress

if TYPE_CHECKING:
    from sargan_training.data.layouts import Listing

app = typer.Typer(help="From photographs to models.", rich_markup_mode="rich")


class Layout(str, Enum):
    """The layouts that labelled photographs come in."""

    auto = "auto"
    folders = "folders"
    csv = "csv"
    lfw = "lfw"
    kdef = "kdef"
    rafd = "rafd"


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
        int, typer.Option(min=64, max=512, metavar="PIXELS", help="Side of the canonical crop.")
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
    from sargan_plugin.detector_files import usable_cpus
    from sargan_plugin.images import printable_name
    from sargan_training.data import prepare as preparation
    from sargan_training.data.layouts import read_listing

    output = Output(quiet)
    listing = read_listing(source, layout.value)
    for reason, count in listing.left_out.items():
        output.warn(f"{printable_name(source)}: {count} photos left out: {reason}")
    workers = workers or usable_cpus()
    finder = FaceDetector(detector, device=detector_device(device), threads=1)
    folder = source if source.is_dir() else source.parent
    faces, skipped = 0, []
    shards = preparation.prepare(
        listing.photos, folder, destination, finder, size=size, workers=workers
    )
    with Progress(len(listing.photos), quiet=quiet, doing="preparing") as progress:
        for shard in shards:
            faces += shard.faces
            skipped += shard.skipped
            progress.advance(shard.photos)
    for reason, count in Counter(each["reason"] for each in skipped).most_common():
        output.warn(f"{count} photos skipped: {reason}")
    data = _summary(listing, faces, skipped)
    output.say(
        "{faces} faces of {photos} photos in {folder}; {training} people to train on, "
        "{held_out} held out".format(folder=printable_name(destination), **data)
    )
    return Report(data, 0 if faces else 1)


def _summary(listing: Listing, faces: int, skipped: list[dict[str, str]]) -> dict[str, Any]:
    from sargan_training.data import is_held_out

    people = {photo.person for photo in listing.photos}
    held_out = sum(map(is_held_out, people))
    return {
        "photos": len(listing.photos),
        "faces": faces,
        "training": len(people) - held_out,
        "held_out": held_out,
        "skipped": skipped,
        "left_out": dict(listing.left_out),
    }
