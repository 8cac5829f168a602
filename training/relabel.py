"""Ask another network what every face shows, to correct noisy labels and find rare expressions.

    npm pack @vladmandic/face-api@1.7.15
    python -m sargan_training.relabel --data DATA --package vladmandic-face-api-1.7.15.tgz \\
        --output runs/opinions.csv

The crops of annotated photos are kept beside the output, where runs look for them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import make_folder
from sargan_training.command import run_script
from sargan_training.data import MARGIN, FaceSet, load_faces, to_unit
from sargan_training.face_api import TRIM, FaceApiExpression, read_weights
from sargan_training.files import replace_with


@torch.no_grad()
def opinions(network: torch.nn.Module, faces: FaceSet) -> torch.Tensor:
    """``(N, 7)`` probabilities, each photo read as it is and mirrored."""
    cut = MARGIN + TRIM
    result = []
    for part in faces.crops.split(64):
        images = to_unit(part[..., cut:-cut, cut:-cut])
        result.append(((network(images) + network(images.flip(-1))) / 2).softmax(dim=1))
    return torch.cat(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    network = FaceApiExpression(read_weights(arguments.package)).eval()
    make_folder(arguments.output.parent)
    faces = load_faces(arguments.data, arguments.output.parent)
    rows = opinions(network, faces).tolist()
    replace_with(arguments.output, lambda partial: write(partial, faces.paths, rows))


def write(file: Path, paths: list[str], rows: list[list[float]]) -> None:
    """The CSV that :func:`sargan_training.data.faces.read_opinions` reads."""
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", *EXPRESSIONS])
        for path, row in zip(paths, rows, strict=True):
            writer.writerow([path, *(f"{value:.4f}" for value in row)])


if __name__ == "__main__":
    run_script(main)
