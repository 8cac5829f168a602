"""``sargan-cli edit-video`` against a plain loop, on the same clip, in one run.

    python -m sargan_training.benchmark_video PHOTO

Makes a clip of one face (by default 1280 x 720, 25 frames a second, the face about 300 pixels
high) under a camera that pans slowly, H.264, and edits it twice. The plain loop is what one would
write by hand from the same parts: decode, detect in each frame, run the generator in float32 on
one face, paste into RGB, encode with the same settings. Start-up is left out on both sides. Prints
frames per second of both, their ratio, and the share of each stage of the command. The two take
turns, so that a machine whose speed drifts is as fast for one as for the other.

The largest share on the critical path names the limit: reading and writing run in threads of
their own beside the editing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from sargan_plugin import ExpressionEditor, FaceDetector
from sargan_plugin.detector_files import find_detector
from sargan_plugin.faces import select_faces
from sargan_plugin.video.codecs import ENCODERS
from sargan_training.command import run_script

RATE = 25
PAN = (60.0, 20.0)  # px over the clip


def make_clip(
    photo: np.ndarray,
    size: tuple[int, int],
    face_height: float,
    frames: int,
    detector: Path,
    path: Path,
) -> None:
    """A face of a height in pixels in the middle; the photo's edges are drawn out to the frame's.

    Mirrored edges would show parts of the face a second time.
    """
    face = max(FaceDetector(detector, device="cpu").detect(photo), key=lambda face: face.size)
    scale = face_height / face.height
    width, height = size
    with av.open(str(path), "w") as result:
        stream = result.add_stream("libx264", rate=RATE, options={"crf": "17", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            way = np.sin(2 * np.pi * index / 125)
            x, y = np.array(size) / 2 + way * np.array(PAN) - scale * np.array(face.center)
            place = np.array([[scale, 0, x], [0, scale, y]])
            picture = cv2.warpAffine(photo, place, size, borderMode=cv2.BORDER_REPLICATE)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            result.mux(stream.encode(frame))
        result.mux(stream.encode(None))


def run_command(source: Path, out: Path, detector: Path) -> dict[str, Any]:
    """Run ``sargan-cli edit-video`` in a process of its own; what ``--json`` prints."""
    command = [sys.executable, "-m", "sargan_cli", "edit-video", source, out, "--expr", "happy"]
    command += ["--detector", detector, "--json", "--quiet", "--overwrite"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def plain_loop(source: Path, out: Path, detector: Path, limit: int) -> tuple[int, float]:
    """Frames and seconds of the loop one would write by hand."""
    from insightface.model_zoo import get_model

    from sargan_plugin.faces import Face

    scrfd = get_model(str(detector), providers=["CPUExecutionProvider"])
    scrfd.prepare(ctx_id=-1)
    editor = ExpressionEditor("happy", dtype="float32")
    count, begun = 0, time.perf_counter()
    with av.open(str(source)) as container, av.open(str(out), "w") as result:
        video = container.streams.video[0]
        name, options = ENCODERS["h264"][0]
        stream = result.add_stream(name, rate=video.average_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for frame in container.decode(video):
            if count == limit:
                break
            rgb = frame.to_ndarray(format="rgb24")
            boxes, points = scrfd.detect(np.ascontiguousarray(rgb[..., ::-1]), (640, 640))
            faces = [
                Face(tuple(box[:4]), five, float(box[4]))
                for box, five in zip(boxes, points, strict=True)
            ]
            edited = editor(rgb, faces=select_faces(faces, "largest")) if faces else rgb
            new = av.VideoFrame.from_ndarray(edited, "rgb24")
            new.pts, new.time_base = frame.pts, frame.time_base
            result.mux(stream.encode(new))
            count += 1
        result.mux(stream.encode(None))
    return count, time.perf_counter() - begun


def compare(photo: np.ndarray, size: tuple[int, int], arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        height = arguments.face * size[1] / 720
        make_clip(photo, size, height, arguments.frames, arguments.detector, clip)
        ours: Counter[str] = Counter()
        threads: Counter[str] = Counter()
        count, seconds = 0, 0.0
        for _ in range(arguments.rounds):
            found = run_command(clip, folder / "ours.mp4", arguments.detector)
            ours.update({key: found[key] for key in ("frames", "edited_frames", "seconds")})
            threads.update(found["stage_seconds"])
            done, spent = plain_loop(
                clip, folder / "plain.mp4", arguments.detector, arguments.plain_frames
            )
            count, seconds = count + done, seconds + spent
    rate, plain_rate = ours["frames"] / ours["seconds"], count / seconds
    print(f"{size[0]}x{size[1]}, a face {height:.0f} px high, {ours['frames']} frames")
    print(f"edit-video  {rate:6.2f} frames/s, {ours['edited_frames']} edited")
    print(f"plain loop  {plain_rate:6.2f} frames/s  ({count} frames)")
    print(f"ratio       {rate / plain_rate:6.2f}")
    for stage, spent in threads.items():
        share = spent / ours["seconds"]
        print(f"  {stage:9} {1000 * spent / ours['frames']:6.1f} ms a frame, {100 * share:3.0f} %")
    editing = sum(spent for stage, spent in threads.items() if stage not in ("read", "write"))
    slowest = max((threads["read"], "reading"), (threads["write"], "writing"), (editing, "editing"))
    print(f"limit: {slowest[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, help="a portrait")
    parser.add_argument("--detector", type=find_detector, default=find_detector())
    parser.add_argument("--size", default="1280x720,1920x1080")
    parser.add_argument("--face", type=float, default=300, help="height in a picture of 720 lines")
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--plain-frames", type=int, default=50, help="in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    photo = np.asarray(Image.open(arguments.photo).convert("RGB"))
    for text in arguments.size.split(","):
        width, height = map(int, text.split("x"))
        compare(photo, (width, height), arguments)


if __name__ == "__main__":
    run_script(main)
