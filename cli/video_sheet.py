"""Sheets of video frames: previews, and the people that tracks are of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sargan_cli.sheet import arranged, thumbnail

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from sargan_plugin.video.display import Display
    from sargan_plugin.video.editor import VideoEditor
    from sargan_plugin.video.frame import Frame

COLUMNS = 4
AROUND = 0.6  # of a face's size, shown around it


def preview_sheet(video: VideoEditor, source: Path, count: int) -> tuple[Image.Image, list[float]]:
    """A sheet of edited frames with their times, and the times in seconds."""
    cells, times = [], []
    for frame, display in video.preview(source, count):
        cells.append((clock(frame.seconds), thumbnail(shown(frame, display))))
        times.append(round(frame.seconds, 3))
    return in_rows(cells, COLUMNS // 2 if video.beside else COLUMNS), times


def in_rows(cells: Sequence[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """Labelled pictures on one sheet."""
    columns = min(columns, max(1, math.ceil(math.sqrt(len(cells)))))
    rows = [list(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return arranged(rows)


def shown(frame: Frame, display: Display) -> np.ndarray:
    """A frame as it is shown: turned, with square pixels, ``(H, W, 3)`` uint8 RGB."""
    from sargan_plugin.video.planes import as_rgb

    width, height = display.coded_size(max(display.width, display.height))
    rgb = as_rgb(frame.video, width=width, height=height).to_ndarray()
    return display.view(rgb)


def face_part(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The part of a shown picture around a face."""
    from sargan_plugin.faces import Face

    face = Face.from_landmarks(landmarks)
    room = AROUND * face.size
    left, top = (max(0, int(value - room)) for value in face.bbox[:2])
    right, bottom = (max(1, int(value + room)) for value in face.bbox[2:])
    part = picture[top:bottom, left:right]
    return part if part.size else picture


def clock(seconds: float) -> str:
    """A time as ``m:ss.cc``, or ``h:mm:ss.cc``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{minutes}:{rest:05.2f}"
    return f"{hours}:{minutes:02}:{rest:05.2f}" if hours else text
