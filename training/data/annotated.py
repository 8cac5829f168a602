"""Photographs that come with landmarks: no detector is needed to align them.

Reads the official layout of Labeled Faces in the Wild beside two files: ``expressions.csv``
(path, person, expression) and ``faces.csv`` (path, face, and five landmarks by two annotators).

``face`` numbers the faces of a photograph, the largest is 0. A landmark has four columns, such as
``left_eye_x_68``, ``left_eye_y_68``, ``left_eye_x_cf`` and ``left_eye_y_cf``: pixels by the one
annotator, whose points are used, and by the other, who has to agree. The others begin with
``right_eye``, ``nose``, ``left_mouth`` and ``right_mouth``; left is on the left of the picture.
"""

from __future__ import annotations

import csv
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sargan_plugin.detector_files import first_line, usable_cpus
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS, UnknownExpressionError, canonical_name
from sargan_plugin.images import make_folder, printable_name
from sargan_training.data.crops import Crops, aligned_crop, margin_of
from sargan_training.data.faces import FaceSet
from sargan_training.data.photos import FaceRow, read_photo
from sargan_training.files import save_array

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
MIN_EYE_DISTANCE = 12  # pixels
MAX_DISAGREEMENT = 0.22  # eye distances


def read_rows(root: Path) -> list[FaceRow]:
    """Read the labelled largest face of every photograph under ``root``.

    Left out are faces whose eyes are less than ``MIN_EYE_DISTANCE`` apart, and hidden or strongly
    turned ones, whose annotators differ by more than ``MAX_DISAGREEMENT`` at any point.

    Raises:
        SarganError: when one of the files cannot be read, lacks a column or holds what it cannot.
    """
    try:
        return _read_rows(root)
    except UnknownExpressionError as error:
        raise SarganError(f"{printable_name(root / 'expressions.csv')}: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise SarganError(
            f"{printable_name(error.filename or root)}: cannot be read: {reason}"
        ) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise SarganError(
            f"{printable_name(root)}: expressions.csv and faces.csv are not as training reads "
            f"them ({type(error).__name__}: {first_line(error)})."
        ) from error


def _read_rows(root: Path) -> list[FaceRow]:
    with (root / "expressions.csv").open(newline="", encoding="utf-8-sig") as stream:
        labels = {row["path"]: row for row in csv.DictReader(stream)}
    rows = []
    with (root / "faces.csv").open(newline="", encoding="utf-8-sig") as stream:
        for face in csv.DictReader(stream):
            label = labels.get(face["path"])
            if label is None or face["face"] != "0":
                continue
            derived, detected = (annotated_points(face, who) for who in ("68", "cf"))
            eyes = np.linalg.norm(derived[0] - derived[1])
            apart = np.abs(derived - detected).max()
            if eyes < MIN_EYE_DISTANCE or apart > MAX_DISAGREEMENT * eyes:
                continue
            if not (label["person"] and label["expression"]):
                raise ValueError(f"{face['path']} has no person or no expression")
            expression = EXPRESSIONS.index(canonical_name(label["expression"]))
            rows.append(FaceRow(face["path"], label["person"], expression, derived))
    return rows


def annotated_points(face: dict[str, str], who: str) -> np.ndarray:
    """The five landmarks that one annotator gave, ``(5, 2)`` float32."""
    points = [[face[f"{name}_{axis}_{who}"] for axis in "xy"] for name in LANDMARKS]
    return np.array(points, dtype=np.float32)


def load_annotated(root: Path, folder: Path, size: int) -> FaceSet:
    """Align and cut every labelled face along the given landmarks.

    The crops are kept in ``folder``, under a name that says of which photos and landmarks.

    Raises:
        SarganError: when a file is not as it should be; the message names it.
    """
    rows = read_rows(root)
    if not rows:
        raise SarganError(
            f"{printable_name(root)}: no row of faces.csv can be trained on: of a photo that "
            f"expressions.csv knows, eyes {MIN_EYE_DISTANCE} pixels apart or more, two annotators "
            "that agree."
        )
    cache = folder / f"crops_{size}_{_digest(rows)}.npy"
    if not cache.exists():

        def cut(row: FaceRow) -> np.ndarray:
            photo = read_photo(root / row.path)
            try:
                return aligned_crop(photo, row.landmarks, size, margin_of(size))
            except SarganError as error:
                raise SarganError(f"{printable_name(root / row.path)}: {error}") from error

        with ThreadPoolExecutor(usable_cpus(), "crops") as pool:
            crops = np.stack(list(pool.map(cut, rows)))
        make_folder(folder)
        save_array(cache, crops)
    return FaceSet.labelled(Crops([np.load(cache, mmap_mode="r")]), rows)


def _digest(rows: list[FaceRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.path.encode("utf-8", "surrogateescape") + row.landmarks.tobytes())
    return digest.hexdigest()[:12]
