"""``sargan-cli edit-dir`` against a plain loop, on the same pictures, in one run.

    python -m sargan_training.benchmark FOLDER
    python -m sargan_training.benchmark FOLDER --expr neutral
    python -m sargan_training.benchmark --megapixels 108

The plain loop is what one would write by hand from the same parts: open, detect (InsightFace's own
call at 640 x 640), run the generator in float32 on one face, paste, save. Both sides edit the
largest face of each picture and write with the same encoder settings; start-up is left out on both
sides. Prints pictures per second of both, their ratio, how many faces both edited in the same
place, and the peak memory of the command. With ``--megapixels`` it edits one picture of that size
with six faces (InsightFace's group photo, enlarged) and prints the peak memory only.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sargan_plugin import ExpressionEditor, Face
from sargan_plugin.detector_files import find_detector
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.faces import select_faces
from sargan_plugin.images import is_picture_path, load_picture, save_picture
from sargan_training.command import run_script

SAME_PLACE = 0.25  # of the box's width, between the centres of two boxes


def run_command(
    verb: str, source: Path, out: Path, expression: str, detector: Path, *more: str
) -> dict[str, Any]:
    """Run ``sargan-cli`` in a process of its own; what ``--json`` prints."""
    command = [sys.executable, "-m", "sargan_cli", verb, source, out, "--expr", expression]
    command += ["--detector", detector, "--json", "--quiet", *more]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def peak_of_commands() -> float:
    """Peak memory of the largest process run so far, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def plain_loop(
    pictures: list[Path], out: Path, expression: str, detector: Path
) -> tuple[float, list[Face | None]]:
    """Seconds, and the face edited in each picture, of the loop one would write by hand."""
    from insightface.model_zoo import get_model

    scrfd = get_model(str(detector), providers=["CPUExecutionProvider"])
    scrfd.prepare(ctx_id=-1)
    editor = ExpressionEditor(expression, dtype="float32")
    edited: list[Face | None] = []
    start = time.perf_counter()
    for path in pictures:
        picture = load_picture(path)
        bgr = np.ascontiguousarray(picture.pixels[..., ::-1])
        boxes, points = scrfd.detect(bgr, input_size=(640, 640))
        faces = [
            Face(tuple(box[:4]), five, float(box[4]))
            for box, five in zip(boxes, points, strict=True)
        ]
        faces = select_faces(faces, "largest") if faces else []
        save_picture(picture, editor(picture.pixels, faces=faces), out / path.name)
        edited.append(faces[0] if faces else None)
    return time.perf_counter() - start, edited


def in_the_same_place(face: Face | None, boxes: list[list[float]]) -> bool:
    """Whether both sides edited the same face, or both none."""
    if face is None or not boxes:
        return face is None and not boxes
    x1, y1, x2, y2 = boxes[0]
    centre = np.array([x1 + x2, y1 + y2]) / 2
    return bool(np.abs(centre - face.center).max() < SAME_PLACE * face.width)


def compare(folder: Path, expression: str, detector: Path, plain_pictures: int) -> None:
    pictures = sorted(path for path in folder.iterdir() if is_picture_path(path))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        ours = run_command(
            "edit-dir", folder, out / "ours", expression, detector, "--faces", "largest"
        )
        peak = peak_of_commands()
        (out / "plain").mkdir()
        some = pictures[:plain_pictures]
        seconds, faces = plain_loop(some, out / "plain", expression, detector)
    boxes = {
        Path(each["source"]).name: [face["box"] for face in each["faces"]]
        for each in ours["results"]
    }
    same = sum(
        in_the_same_place(face, boxes[path.name]) for path, face in zip(some, faces, strict=True)
    )
    ours_rate, plain_rate = len(pictures) / ours["seconds"], len(some) / seconds
    print(f"edit-dir    {ours_rate:6.2f} pictures/s  ({len(pictures)} pictures)")
    print(f"plain loop  {plain_rate:6.2f} pictures/s  ({len(some)} pictures)")
    print(f"ratio       {ours_rate / plain_rate:6.2f}")
    print(f"same face edited by both in {same} of {len(some)} pictures")
    print(f"edit-dir: peak memory {peak:.0f} MB, {ours['failed']} failed")


def one_large_picture(megapixels: float, expression: str, detector: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        with Image.open(str(files("insightface") / "data/images/t1.jpg")) as group:
            factor = (megapixels * 1e6 / (group.width * group.height)) ** 0.5
            large = group.resize((round(group.width * factor), round(group.height * factor)))
        large.save(out / "large.jpg", quality=90)
        del large
        result = run_command("edit", out / "large.jpg", out / "edited.jpg", expression, detector)
    faces = result["results"][0]["faces"]
    edited = sum(face["changed_pixels"] > 0 for face in faces)
    print(f"{megapixels:g} megapixels, {edited} faces: peak memory {peak_of_commands():.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="pictures, not nested")
    parser.add_argument(
        "--expr", choices=EXPRESSIONS, default="happy", help="neutral takes the longest"
    )
    parser.add_argument("--detector", type=find_detector, default=find_detector())
    parser.add_argument("--plain-pictures", type=int, default=200)
    parser.add_argument("--megapixels", type=float)
    arguments = parser.parse_args()
    if arguments.megapixels:
        one_large_picture(arguments.megapixels, arguments.expr, arguments.detector)
    if arguments.folder:
        compare(arguments.folder, arguments.expr, arguments.detector, arguments.plain_pictures)


if __name__ == "__main__":
    run_script(main)
