"""Where training and test pictures come from: LFW-like folders and folders without faces.

``wider.py`` reads WIDER FACE.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from sargan_plugin.errors import SarganError
from sargan_plugin.image_formats import is_picture_path
from sargan_training.data import annotated_points, is_held_out
from sargan_training.detector.pictures import Picture, read_pixels, without_faces

# The points derived from the 68 lie a pixel up and left of SCRFD's coordinates: half a pixel is
# SCRFD's origin at the corner, half the crop of the 68-point network, which is cut at whole pixels.
# Seen against CenterFace's points on the 8 000 training faces of 120 to 140 px: 0.94 and 1.06 px.
POINT_SHIFT = 1.0
MAX_DISAGREEMENT = 0.22  # eye distances between the annotators, beyond which points are not used
MIN_EYE_DISTANCE = 8  # px, below which points are not used
SURE_SCORE = 0.5  # the annotator's own, below which a box may be no face
HELD_OUT_SCENES = 0.3  # there are few face-free scenes, and a test needs a hundred views


def person_of(path: str) -> str:
    """The person a photograph shows: LFW's folder, elsewhere the name before the number."""
    inside = Path(path)
    folder = inside.parent.name
    return folder if inside.name.startswith(folder) else inside.stem.rpartition("_")[0]


def read_face_rows(data: Path, held_out: bool) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """``(path, rows of faces.csv)`` of each photograph of people who are held out, or are not."""
    try:
        with (data / "faces.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise SarganError(f"{data / 'faces.csv'}: cannot be read ({error.strerror}).") from error
    for path, faces in groupby(rows, key=lambda row: row["path"]):
        if is_held_out(person_of(path)) == held_out:
            yield path, list(faces)


def face_pictures(data: Path) -> Iterator[Picture]:
    """The photographs of ``faces.csv`` that show people one may train on."""
    for path, rows in read_face_rows(data, held_out=False):
        pixels = read_pixels(data / path)
        yield Picture(
            pixels,
            np.array([box_of(row) for row in rows], np.float32),
            np.array([_trusted_points(row) for row in rows], np.float32),
            np.array([float(row["score"]) >= SURE_SCORE for row in rows]),
        )


def box_of(row: dict[str, str]) -> list[float]:
    return [float(row[side]) for side in ("x1", "y1", "x2", "y2")]


def _trusted_points(row: dict[str, str]) -> np.ndarray:
    """The points derived from the 68, NaN where the other annotator's are far from them."""
    points = annotated_points(row, "68") + POINT_SHIFT
    eyes = np.linalg.norm(points[0] - points[1])
    difference = np.abs(points - annotated_points(row, "cf")).max()
    trusted = eyes >= MIN_EYE_DISTANCE and difference <= MAX_DISAGREEMENT * eyes
    return points if trusted else np.full_like(points, np.nan)


def scene_of(path: Path) -> str:
    """What a face-free picture shows: wallpapers come in several sizes and colours.

    KDE's lie in ``SCENE/contents/images*/SIZE.png``; elsewhere light and dark ones end alike.
    """
    if "contents" in path.parts:
        return path.parts[path.parts.index("contents") - 1]
    return re.sub(r"([-_](l|d|light|dark|\d+x\d+))+$", "", path.stem)


def scenes(folder: Path, held_out: bool) -> Iterator[Path]:
    """Face-free pictures below a folder, of one side of the split."""
    if not folder.is_dir():
        raise SarganError(f"{folder}: there is no such folder.")
    for path in sorted(folder.rglob("*")):
        is_picture = path.is_file() and is_picture_path(path)
        if is_picture and is_held_out(scene_of(path), HELD_OUT_SCENES) == held_out:
            yield path


def face_free_pictures(folder: Path) -> Iterator[Picture]:
    """The face-free pictures below a folder that one may train on."""
    for path in scenes(folder, held_out=False):
        yield without_faces(read_pixels(path))
