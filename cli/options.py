"""Options that several verbs share. Nothing here imports torch: ``--help`` answers at once."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

_EDITING = "How to edit"
_MEANS = "With what"
_TELLING = "What is told"


class Leave(str, Enum):
    """What to do with faces that may come out poorly."""

    edit = "edit"
    leave = "leave"


class OnNoFace(str, Enum):
    """What a picture without a face is."""

    ignore = "pass"
    warn = "warn"
    error = "error"


def _known_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise typer.BadParameter(f"{device!r} is not auto, cpu, cuda, cuda:N or mps.")
    return device


# readable=False: whether a file can be read is found out by reading it, and told in our words.
Picture = Annotated[Path, typer.Argument(metavar="IN", readable=False, help="The picture.")]
Expressions = Annotated[
    list[str],
    typer.Option(
        "--expr",
        metavar="EXPRESSION",
        help="neutral, happy, surprised, angry, sad, disgusted, fearful, or a mix such as "
        "surprised:0.7,happy:0.3. Give it several times for several results.",
    ),
]
Intensity = Annotated[
    float,
    typer.Option(
        metavar="0..1.5",
        rich_help_panel=_EDITING,
        help="0 changes nothing, 1 is the full expression.",
    ),
]
Faces = Annotated[
    str,
    typer.Option(
        metavar="WHICH",
        rich_help_panel=_EDITING,
        help="all, largest, an index counted from the left such as 0 or -1, several such as 0,2, "
        "or nearest:X,Y in pixels.",
    ),
]
NeutraliseFirst = Annotated[
    bool,
    typer.Option(
        "--neutralise-first",
        rich_help_panel=_EDITING,
        help="Go by way of a neutral face, so that the old expression does not shine through.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        rich_help_panel=_MEANS,
        help="Name from 'models list', or a .safetensors file.",
        show_default="the default of 'models list'",
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NAME|PACK",
        rich_help_panel=_MEANS,
        help="SCRFD ONNX file, a detector of 'models list', or an InsightFace pack.",
        show_default="$SARGAN_DETECTOR, else the bundled one",
    ),
]
AnyRotation = Annotated[
    bool,
    typer.Option(
        "--any-rotation",
        rich_help_panel=_MEANS,
        help="Look for faces that lie on their side or stand on their head too. Takes four times "
        "as long.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        callback=_known_device,
        rich_help_panel=_MEANS,
        help="auto, cpu, cuda, cuda:N or mps.",
    ),
]
SmallFaces = Annotated[
    Leave,
    typer.Option(rich_help_panel=_EDITING, help="What to do below --min-face-size."),
]
MinFaceSize = Annotated[
    float,
    typer.Option(
        metavar="PIXELS", min=0, rich_help_panel=_EDITING, help="Longer side of the smallest face."
    ),
]
Profiles = Annotated[
    Leave,
    typer.Option(
        rich_help_panel=_EDITING, help="What to do with faces turned strongly to the side."
    ),
]
NoFace = Annotated[
    OnNoFace,
    typer.Option(
        "--on-no-face",
        rich_help_panel=_EDITING,
        help="What to do with a picture without a face: copy it, copy and say so, or fail.",
    ),
]
NoGrain = Annotated[
    bool,
    typer.Option(
        "--no-grain",
        rich_help_panel=_EDITING,
        help="Paint smoothly, without texture like the photo's.",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, rich_help_panel=_EDITING, help="Of the texture that is painted.")
]
Compare = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,
        help="Write a sheet of pictures before and after too, at most 12 rows.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=_TELLING,
        help="One JSON object on stdout, all other text on stderr.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", rich_help_panel=_TELLING, help="Tell errors only.")]
Debug = Annotated[
    bool, typer.Option("--debug", rich_help_panel=_TELLING, help="Show tracebacks of errors.")
]
