"""``sargan-cli edit-dir`` against a plain loop, on the same pictures, in one run.

    python -m sargan_training.benchmark FOLDER --detector SCRFD.onnx

The plain loop is what one would write by hand from the same parts: open, detect (as InsightFace
does by itself), run the generator in float32 on one face, paste, save. Both sides edit the same
faces and write JPEG with the same encoder settings; start-up is left out on both sides. Prints
pictures per second of both, their ratio, and the peak memory of ``edit-dir``, which runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sargan_plugin import ExpressionEditor, Face
from sargan_plugin.images import is_picture_path, load_picture, save_picture

MEASURED_RUN = """
import json, resource, sys, time
from pathlib import Path
from sargan_plugin import ExpressionEditor, FaceDetector
from sargan_plugin.batch import run
from sargan_plugin.tasks import plan_folder
source, out, detector = map(Path, sys.argv[1:])
editor = ExpressionEditor("happy", detector=FaceDetector(detector, threads=1))
tasks = plan_folder(source, out, ["happy"]).tasks
editor.detector.detect(__import__("numpy").zeros((64, 64, 3), "uint8"))
start = time.perf_counter()
outcomes = list(run(tasks, editor))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
faces = sum(len(each.faces) for each in outcomes)
failed = sum(bool(each.error) for each in outcomes)
print(json.dumps({"seconds": seconds, "peak_mb": peak, "faces": faces, "failed": failed}))
"""


def plain_loop(pictures: list[Path], out: Path, detector: Path) -> tuple[float, int]:
    """Seconds and faces of the loop one would write by hand."""
    from insightface.model_zoo import get_model

    scrfd = get_model(str(detector), providers=["CPUExecutionProvider"])
    scrfd.prepare(ctx_id=-1)
    editor = ExpressionEditor("happy", dtype="float32")
    found = 0
    start = time.perf_counter()
    for path in pictures:
        picture = load_picture(path)
        bgr = np.ascontiguousarray(picture.pixels[..., ::-1])
        boxes, points = scrfd.detect(bgr, input_size=(640, 640))
        faces = [
            Face(tuple(box[:4]), five, float(box[4]))
            for box, five in zip(boxes, points, strict=True)
        ]
        pixels = picture.pixels
        for face in faces:
            pixels = editor(pixels, faces=[face])
        save_picture(picture, pixels, out / path.name)
        found += len(faces)
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="pictures, not nested")
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--plain-pictures", type=int, default=200)
    arguments = parser.parse_args()
    pictures = sorted(path for path in arguments.folder.iterdir() if is_picture_path(path))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "plain").mkdir()
        measured = subprocess.run(
            [
                sys.executable,
                "-c",
                MEASURED_RUN,
                arguments.folder,
                out / "ours",
                arguments.detector,
            ],
            capture_output=True,
            check=True,
        )
        ours = json.loads(measured.stdout.splitlines()[-1])
        some = pictures[: arguments.plain_pictures]
        seconds, faces = plain_loop(some, out / "plain", arguments.detector)
    ours_rate, plain_rate = len(pictures) / ours["seconds"], len(some) / seconds
    print(f"edit-dir    {ours_rate:6.2f} pictures/s  {ours['faces']} faces in {len(pictures)}")
    print(f"plain loop  {plain_rate:6.2f} pictures/s  {faces} faces in {len(some)}")
    print(f"ratio       {ours_rate / plain_rate:6.2f}")
    print(f"edit-dir peak memory {ours['peak_mb']:.0f} MB, {ours['failed']} failed")


if __name__ == "__main__":
    main()
