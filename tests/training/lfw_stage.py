"""A tiny synthetic data set in LFW's layout, with labels and landmarks."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from sargan_plugin.align import template
from sargan_plugin.expressions import EXPRESSIONS
from sargan_training.data import LANDMARKS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 people, one noise picture each, landmarks where the template's are."""
    root = tmp_path_factory.mktemp("data")
    points = (template(128).numpy() + 40).round(2)
    labels, faces = [], []
    for number in range(40):
        path = f"person{number}/person{number}_0001.jpg"
        (root / path).parent.mkdir()
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((220, 220)).save(root / path)
        labels.append({
            "path": path,
            "person": f"person{number}",
            "expression": EXPRESSIONS[number % len(EXPRESSIONS)],
        })  # fmt: skip
        face = {"path": path, "face": "0"}
        for who in ("cf", "68"):
            for name, (x, y) in zip(LANDMARKS, points, strict=True):
                face |= {f"{name}_x_{who}": x, f"{name}_y_{who}": y}
        faces.append(face)
    for name, rows in (("expressions.csv", labels), ("faces.csv", faces)):
        with (root / name).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return root
