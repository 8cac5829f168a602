"""The sheet of pictures before and after that ``--compare`` writes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sargan_plugin.errors import SarganError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from sargan_plugin.tasks import Plan, Task

ROWS = 12
THUMBNAIL = (480, 320)
LARGEST = 1200  # pixels of the shorter side that are looked at
BLOCK, SEEN = 8, 4  # an edit shows where a block of so many pixels changes by so many grey levels
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
    from sargan_plugin.images import is_same_file, printable_name

    check_drawing(path, overwrite)
    place = os.path.realpath(path)
    tasks = [*plan.tasks, *plan.skipped]
    pictures = {file for task in tasks for file in (task.source, task.destination)}
    if any(os.path.realpath(file) == place or is_same_file(file, path) for file in pictures):
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
        write_drawing(arranged(rows), path)


def _row(tasks: list[Task]) -> list[tuple[str, Image.Image]]:
    """Labelled thumbnails of a picture and what became of it; empty when one cannot be read."""
    from sargan_plugin.images import load_picture, printable_name

    try:
        before = load_picture(tasks[0].source).pixels
        afters = [(task.expression, _reduced(task.destination, before)) for task in tasks]
    except SarganError:
        return []
    small = _reduced(tasks[0].source, before)
    part = _changed_part(small, [after for _, after in afters])
    row = [(printable_name(tasks[0].source.name), small), *afters]
    return [(label, thumbnail(pixels[part])) for label, pixels in row]


def _reduced(path: Path, like: np.ndarray) -> np.ndarray:
    """Every so many pixels of a picture: enough for a sheet, and a small part of the memory."""
    from sargan_plugin.images import load_picture
    from sargan_plugin.strips import rounded_to_8_bits

    step = max(1, min(like.shape[:2]) // LARGEST)
    return rounded_to_8_bits(load_picture(path).pixels[::step, ::step]).copy()


def _changed_part(before: np.ndarray, afters: list[np.ndarray]) -> tuple[slice, slice]:
    """The rectangle in which edits are seen, with some surroundings; everything if nowhere.

    Compared in blocks, so that what a JPEG encoder changes does not count.
    """
    import numpy as np

    height, width = (side // BLOCK * BLOCK for side in before.shape[:2])
    seen = np.zeros((height // BLOCK, width // BLOCK), dtype=bool)
    for after in afters:
        if seen.size and after.shape == before.shape:
            change = np.abs(after[:height, :width].astype(np.int16) - before[:height, :width])
            blocks = change.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, -1)
            seen |= blocks.mean(axis=(1, 3, 4)) > SEEN
    if not seen.any():  # nothing changed, or too small for a block
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) * BLOCK for axis in (1, 0))
    room = max(rows[-1] - rows[0], columns[-1] - columns[0]) // 3 + BLOCK
    return (
        slice(max(0, rows[0] - room), rows[-1] + BLOCK + room),
        slice(max(0, columns[0] - room), columns[-1] + BLOCK + room),
    )


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """Pixels of a picture, uint8, as an image that fits on a sheet."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail(THUMBNAIL)
    return image


def arranged(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    """Rows of labelled pictures on one sheet."""
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
