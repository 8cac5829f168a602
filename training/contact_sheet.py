"""The README's contact sheet: expressions down, people who were not trained on across.

    python -m sargan_training.contact_sheet --data DATA --detector SCRFD.onnx SHEET.jpg

Every picture is the whole way: photo, detection, edit at the photo's resolution, and only then
the cut of the face. LFW photos are shown at their native size, portraits shrunk to it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from sargan_plugin import EXPRESSIONS, ExpressionEditor, Face
from sargan_training.command import run_script
from sargan_training.data import held_out_people, read_rows

CELL = 150
# High-resolution portraits of a man who is not in LFW; the others show people who are.
PORTRAITS = ("obama.jpg", "obama3.jpg")


def held_out_photos(data: Path, count: int) -> list[Path]:
    """One photo each of people no model was trained on, two thirds of them not smiling."""
    chosen: dict[str, Path] = {}
    quota = {0: count - count // 3, 1: count // 3}
    rows = read_rows(data)
    held_out = held_out_people(row.person for row in rows)
    for row in rows:
        wanted = quota.get(row.label, 0) > 0 and row.path.startswith("lfw")
        if wanted and row.person in held_out and row.person not in chosen:
            chosen[row.person] = data / row.path
            quota[row.label] -= 1
    return list(chosen.values())


def face_cut(image: Image.Image, face: Face) -> Image.Image:
    """A square around the face, ``CELL`` pixels wide."""
    x, y = face.center
    half = 0.72 * face.size
    box = (round(x - half), round(y - half), round(x + half), round(y + half))
    return image.crop(box).resize((CELL, CELL), Image.Resampling.LANCZOS)


def contact_sheet(editor: ExpressionEditor, photos: list[Path]) -> Image.Image:
    """The sheet; photos without a face are left out."""
    columns = []
    for path in photos:
        image = Image.open(path).convert("RGB")
        faces = editor.find_faces(image, "largest")
        if faces:
            edits = [editor(image, expression=each, faces=faces) for each in EXPRESSIONS]
            columns.append([face_cut(each, faces[0]) for each in (image, *edits)])
    names = ("photo", *EXPRESSIONS)
    sheet = Image.new("RGB", (90 + len(columns) * CELL, len(names) * CELL), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        draw.text((8, row * CELL + CELL // 2), name, fill="black", font_size=15)
        for column, cells in enumerate(columns):
            sheet.paste(cells[row], (90 + column * CELL, row * CELL))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--people", type=int, default=9)
    parser.add_argument("sheet", type=Path)
    arguments = parser.parse_args()
    photos = held_out_photos(arguments.data, arguments.people)
    photos += [arguments.data / "portraits" / name for name in PORTRAITS]
    editor = ExpressionEditor(model=arguments.model, detector=arguments.detector)
    contact_sheet(editor, photos).save(arguments.sheet, quality=92)


if __name__ == "__main__":
    run_script(main)
