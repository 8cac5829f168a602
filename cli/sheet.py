"""The sheet of pictures before and after that ``--compare`` writes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sargan_plugin.errors import SarganError

if TYPE_CHECKING:
    from PIL import Image

    from sargan_plugin.tasks import Plan, Task

ROWS = 12
THUMBNAIL = (384, 256)
MARGIN, LINE = 8, 20
PAPER, INK = "white", "black"


def check_sheet(path: Path | None, plan: Plan, overwrite: bool) -> None:
    """Refuse a name under which no sheet can be written, before work starts.

    Raises:
        SarganError: it does not end like a picture, is there already, or is a picture of the job.
    """
    if path is None:
        return
    from sargan_cli.drawing import check_drawing
    from sargan_plugin.images import printable_name

    check_drawing(path, overwrite)
    place = os.path.realpath(path)
    tasks = [*plan.tasks, *plan.skipped]
    if any(place in map(os.path.realpath, (task.source, task.destination)) for task in tasks):
        raise SarganError(f"{printable_name(path)}: is a picture of this job and no sheet.")


def write_sheet(path: Path, plan: Plan) -> None:
    """Draw up to 12 pictures of a job, spread evenly: a row each, the picture before, then after.

    The pictures are read again from their files one after the other, so a sheet costs no memory
    while the job runs. A picture that failed has no row.

    Raises:
        SarganError: when the sheet cannot be written.
    """
    from sargan_cli.drawing import write_drawing

    tasks = sorted([*plan.tasks, *plan.skipped], key=lambda task: task.source)
    pictures = [list(group) for _, group in itertools.groupby(tasks, key=lambda task: task.source)]
    count = min(ROWS, len(pictures))
    chosen = [pictures[index * len(pictures) // count] for index in range(count)]
    rows = [row for row in map(_row, chosen) if row]
    if rows:
        write_drawing(_arranged(rows), path)


def _row(tasks: list[Task]) -> list[tuple[str, Image.Image]]:
    """Labelled thumbnails of a picture and what became of it; empty when one cannot be read."""
    from sargan_plugin.images import printable_name

    try:
        before = (printable_name(tasks[0].source.name), _thumbnail(tasks[0].source))
        return [before, *((task.expression, _thumbnail(task.destination)) for task in tasks)]
    except SarganError:
        return []


def _thumbnail(path: Path) -> Image.Image:
    from sargan_cli.drawing import as_image
    from sargan_plugin.images import load_picture

    pixels = load_picture(path).pixels
    height, width = pixels.shape[:2]
    # Every so many pixels first, so that a large picture is not copied whole.
    step = max(1, min(width // THUMBNAIL[0], height // THUMBNAIL[1]) // 2)
    image = as_image(pixels, step)
    image.thumbnail(THUMBNAIL)
    return image


def _arranged(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    width = max(image.width for row in rows for _, image in row) + MARGIN
    heights = [LINE + max(image.height for _, image in row) + MARGIN for row in rows]
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (MARGIN + columns * width, MARGIN + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(LINE * 0.7)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, (label, image) in enumerate(row):
            left = MARGIN + column * width
            draw.text((left, top), _shortened(label, width - MARGIN, font), fill=INK, font=font)
            sheet.paste(image, (left, top + LINE))
        top += height
    return sheet


def _shortened(label: str, width: int, font) -> str:
    """The label, or its beginning and an ellipsis when it is wider than its column."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "…") > width:
        label = label[:-1]
    return label + "…"
