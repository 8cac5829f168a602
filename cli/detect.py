"""``sargan-cli detect``: which faces there are, and by which number ``--faces`` knows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.usage import UsageError, usage

if TYPE_CHECKING:
    from rich.table import Table

    from sargan_plugin.faces import Face


def detect(
    source: options.Picture,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", readable=False, help="Write the picture with the faces marked, too."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    detector: options.Detector = None,
    any_rotation: options.AnyRotation = False,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Find the faces in a picture.

    They are counted from left to right; --faces of edit takes these numbers.
    """
    from sargan_cli.drawing import as_image, check_drawing, draw_faces, write_drawing
    from sargan_plugin import FaceDetector
    from sargan_plugin.images import load_picture, printable_name
    from sargan_plugin.strips import rounded_to_8_bits

    if source.is_dir():
        raise UsageError(f"{printable_name(source)}: is a folder; give one picture.")
    if draw:
        with usage():
            check_drawing(draw, overwrite, source)
    picture = load_picture(source)
    finder = FaceDetector(detector, device=device, any_rotation=any_rotation)
    faces = finder.detect(rounded_to_8_bits(picture.pixels))
    output = Output(quiet)
    if faces:
        output.show(_table(faces))
    else:
        output.say(f"{printable_name(source)}: no face was found")
    if draw:
        image = as_image(picture.pixels)
        draw_faces(image, faces)
        write_drawing(image, draw)
    height, width = picture.pixels.shape[:2]
    return Report(
        {
            "source": json_path(source),
            "width": width,
            "height": height,
            "faces": [_described(number, face) for number, face in enumerate(faces)],
        }
    )


def _table(faces: list[Face]) -> Table:
    from rich.table import Table

    table = Table("face", "left", "top", "width", "height", "score", "roll", "turned sideways")
    for column in table.columns:
        column.justify = "right"
    for number, face in enumerate(faces):
        left, top, *_ = face.bbox
        sizes = (f"{value:.0f}" for value in (left, top, face.width, face.height))
        table.add_row(
            str(number),
            *sizes,
            f"{face.score:.2f}",
            f"{round(face.roll)}°",
            f"{face.profile_strength:.2f}",
        )
    return table


def _described(number: int, face: Face) -> dict[str, Any]:
    return {
        "index": number,
        "box": [round(value, 1) for value in face.bbox],
        "landmarks": [[round(x, 1), round(y, 1)] for x, y in face.landmarks5.tolist()],
        "score": round(face.score, 3),
        "roll": round(face.roll, 1),
        "profile_strength": round(face.profile_strength, 3),
    }
