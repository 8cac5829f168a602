"""What a detector's landmarks do to the edits made with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sargan_plugin import ExpressionEditor, Face
from sargan_plugin.detector import FaceDetector
from sargan_plugin.faces import select_faces
from sargan_training.detector.pictures import read_pixels


def edit_difference(ours: Path, reference: Path, photos: list[Path]) -> float:
    """How much the same edit differs when another detector found the face.

    The largest face of each photograph is made to smile twice. Photographs in which either
    detector finds no face are left out.

    Returns:
        Median over the photographs of the mean absolute difference of the two results in the face,
        as a share of the reference edit's own mean absolute change there; NaN without photographs.
    """
    detectors = [FaceDetector(path) for path in (ours, reference)]
    editor = ExpressionEditor("happy")
    shares = []
    for path in photos:
        photo = read_pixels(path)
        found = [select_faces(detector.detect(photo), "largest") for detector in detectors]
        if not all(found):
            continue
        edits = [editor(photo, faces=faces).astype(float) for faces in found]
        inside = _box_of(found[1][0])
        change = np.abs(edits[1] - photo)[inside].mean()
        if change > 0:
            shares.append(np.abs(edits[0] - edits[1])[inside].mean() / change)
    return float(np.median(shares)) if shares else float("nan")


def _box_of(face: Face) -> tuple[slice, slice]:
    left, top, right, bottom = np.round(face.bbox).astype(int).clip(0)
    return slice(top, bottom), slice(left, right)
