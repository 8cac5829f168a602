"""Options of the verbs that work on videos. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sargan_plugin.errors import SarganError

_WHEN = "When, and whom"
_STABILITY = "How steady"
_ENCODING = "How to encode"


class Codec(str, Enum):
    """Video codecs of the result."""

    auto = "auto"
    h264 = "h264"
    hevc = "hevc"
    vp9 = "vp9"
    av1 = "av1"
    ffv1 = "ffv1"


class Unstorable(str, Enum):
    """What to do with streams that the container cannot hold."""

    refuse = "refuse"
    reencode = "reencode"
    drop = "drop"


Video = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        readable=False,
        help="A video, an animated GIF or WebP, a folder of numbered pictures, or a pattern such "
        "as in/%05d.png.",
    ),
]
Keyframes = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        readable=False,
        rich_help_panel=_WHEN,
        help="Lines of time, expression, intensity; linear in between. In place of --expr.",
    ),
]
Start = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TIME",
        rich_help_panel=_WHEN,
        help="Edit from here on: seconds or h:mm:ss. Give --start and --end several times for "
        "several ranges.",
    ),
]
End = Annotated[
    list[str] | None,
    typer.Option(metavar="TIME", rich_help_panel=_WHEN, help="Edit up to here."),
]
Ramp = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=_WHEN,
        help="Time over which the edit grows and shrinks at the ends of a range.",
    ),
]
TrackNumbers = Annotated[
    list[int] | None,
    typer.Option(
        "--track",
        metavar="NUMBER",
        min=0,
        rich_help_panel=_WHEN,
        help="Edit this person only, by the number that 'tracks' shows. May be repeated.",
        show_default="whom --faces chooses",
    ),
]
Calm = Annotated[
    bool,
    typer.Option(
        "--smooth/--no-smooth",
        rich_help_panel=_STABILITY,
        help="Smooth landmarks and edits over time.",
    ),
]
MinCutoff = Annotated[
    float,
    typer.Option(
        metavar="HZ",
        rich_help_panel=_STABILITY,
        help="One-Euro filter of the landmarks: cutoff for a face at rest; lower is calmer.",
    ),
]
Beta = Annotated[
    float,
    typer.Option(
        metavar="HZ",
        rich_help_panel=_STABILITY,
        help="How much the cutoff rises for a speed of one face size a second; higher follows "
        "quick movements more closely.",
    ),
]
Fade = Annotated[
    int,
    typer.Option(
        metavar="FRAMES",
        min=0,
        max=250,
        rich_help_panel=_STABILITY,
        help="Frames over which the edit of a face that comes or leaves grows or shrinks.",
    ),
]
DetectEvery = Annotated[
    int,
    typer.Option(
        metavar="FRAMES",
        min=1,
        max=100,
        rich_help_panel=_STABILITY,
        help="Frames between detections; movement is followed in between.",
    ),
]
CodecName = Annotated[
    Codec,
    typer.Option(
        "--codec",
        rich_help_panel=_ENCODING,
        help="auto is H.264 (HEVC above 8 bits, VP9 in webm), or what can hold the frames as they "
        "are.",
    ),
]
Crf = Annotated[
    float | None,
    typer.Option(
        metavar="0..63",
        rich_help_panel=_ENCODING,
        help="Constant quality, lower is better and larger.",
        show_default="near the source",
    ),
]
PixelFormat = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_ENCODING,
        help="Convert to it before encoding: yuv420p is what browsers and phones play.",
        show_default="as the source",
    ),
]
EncoderOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder-option",
        metavar="NAME=VALUE",
        rich_help_panel=_ENCODING,
        help="Any option of the encoder by FFmpeg's name, such as preset=slow. May be repeated.",
    ),
]
UnstorableStreams = Annotated[
    Unstorable,
    typer.Option(
        "--unstorable",
        rich_help_panel=_ENCODING,
        help="What to do with sound and subtitles that the container of OUT cannot hold.",
    ),
]
Rate = Annotated[
    float,
    typer.Option(
        "--fps",
        metavar="RATE",
        min=0.01,
        max=1000,
        rich_help_panel=_ENCODING,
        help="Of pictures read as a video.",
    ),
]


def parsed(encoder_options: Sequence[str]) -> dict[str, str]:
    """``name=value`` pairs as a mapping.

    Raises:
        SarganError: for one that is no pair.
    """
    pairs = {}
    for text in encoder_options:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise SarganError(f"{text!r} is not NAME=VALUE, such as preset=slow.")
        pairs[name] = value
    return pairs
