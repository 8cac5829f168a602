"""Pictures for the person at the terminal: faces marked, thumbnails, labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.images import EXTENSIONS, is_same_file, printable_name, replacing
from sargan_plugin.strips import rounded_to_8_bits

BOX, POINT, LABEL = "#00e5ff", "#ff3d7f", "#001b2e"


def as_image(pixels: np.ndarray, step: int = 1) -> Image.Image:
    """Pixels of a picture, or every ``step``-th of them, as 8-bit RGB."""
    small = np.ascontiguousarray(rounded_to_8_bits(pixels[::step, ::step]))
    return Image.fromarray(small).convert("RGB")


def draw_faces(image: Image.Image, faces: Sequence[Face]) -> None:
    """Draw boxes, the five points and the numbers by which ``--faces`` knows the faces."""
    draw = ImageDraw.Draw(image)
    line = max(1, max(image.size) // 500)
    for number, face in enumerate(faces):
        draw.rectangle(face.bbox, outline=BOX, width=line)
        for x, y in face.landmarks5.tolist():
            radius = max(1.0, face.size / 60)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=POINT)
        font = ImageFont.load_default(max(10, face.size / 6))
        corner = max(0.0, face.bbox[0]), max(0.0, face.bbox[1])
        draw.rectangle(draw.textbbox(corner, str(number), font), fill=BOX)
        draw.text(corner, str(number), fill=LABEL, font=font)


def check_drawing(path: Path, overwrite: bool, original: Path | None = None) -> None:
    """Refuse a name under which no drawing can be written.

    Raises:
        SarganError: it does not end like a picture, is there already, or is the original.
    """
    if path.suffix.lower() not in EXTENSIONS:
        known = ", ".join(EXTENSIONS)
        raise SarganError(f"{printable_name(path)}: does not end like a picture ({known}).")
    if path.exists() and not overwrite:
        raise SarganError(f"{printable_name(path)}: is there already; --overwrite replaces it.")
    if original is None:
        return
    # The pictures of a folder or a pattern are originals too.
    folder = original if original.is_dir() else original.parent
    among_them = path.exists() and not original.is_file() and is_same_file(path.parent, folder)
    if among_them or is_same_file(path, original):
        raise SarganError(f"{printable_name(path)}: is the original, and stays as it is.")


def write_drawing(image: Image.Image, path: Path) -> None:
    """Save an image; it appears under its name when it is complete.

    Raises:
        SarganError: when it cannot be written; nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            image.save(temporary, format=EXTENSIONS[path.suffix.lower()])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SarganError(f"{printable_name(path)}: cannot be written: {reason}") from error
