"""Video files made for tests, and what tests that compare them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

RATE = 25
MILLISECOND = Fraction(1, 1000)


def face_photo() -> np.ndarray:
    """A real face of some 40 pixels at (88, 45), ``(200, 200, 3)`` uint8."""
    return np.asarray(Image.fromarray(astronaut()).resize((200, 200)))


def panned(frames: int, width: int = 160, height: int = 160) -> list[np.ndarray]:
    """The face under a camera that moves slowly; it stays in the upper left part."""
    photo = face_photo()
    pictures = []
    for step in range(frames):
        left, top = (round(way * step / max(frames - 1, 1)) for way in (12, 8))
        pictures.append(photo[top : top + height, 20 + left : 20 + left + width])
    return pictures


@dataclass
class Clip:
    """What :func:`write_clip` shall write.

    Attributes:
        pictures: RGB uint8, one a frame.
        times: of the frames in milliseconds; None is 25 frames a second.
        codec: FFmpeg's name of an encoder.
        pixels: pixel format.
        colour: range, primaries, transfer, matrix.
        aspect: of a pixel.
        rotation: degrees counter-clockwise, or None.
        sound: seconds of sound.
        sound_codec: FFmpeg's name of an encoder.
        subtitles: texts, each shown for half a second.
        subtitle_codec: FFmpeg's name of an encoder.
        chapters: titles, each of half a second.
        metadata: of the container.
        options: of the video encoder.
    """

    pictures: Sequence[np.ndarray] = field(default_factory=lambda: panned(12))
    times: Sequence[int] | None = None
    codec: str = "libx264"
    pixels: str = "yuv420p"
    colour: tuple[int, int, int, int] | None = None
    aspect: Fraction | None = None
    rotation: int | None = None
    sound: float = 0.0
    sound_codec: str = "aac"
    subtitles: Sequence[str] = ()
    subtitle_codec: str = "mov_text"
    chapters: Sequence[str] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def write_clip(path: Path, clip: Clip | None = None, **settings: Any) -> Path:
    """Write a clip with PyAV; the settings are those of :class:`Clip`."""
    clip = clip or Clip(**settings)
    height, width = clip.pictures[0].shape[:2]
    with av.open(str(path), "w", metadata_encoding="utf-8") as result:
        result.metadata.update(clip.metadata)
        options = dict(clip.options)
        if clip.codec.startswith("libx26"):
            options = {"preset": "ultrafast", "crf": "10"} | options
        video = result.add_stream(clip.codec, rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = width, height, clip.pixels
        if clip.times is not None:
            video.codec_context.time_base = MILLISECOND
        if clip.aspect:
            video.codec_context.sample_aspect_ratio = clip.aspect
        if clip.colour:
            context = video.codec_context
            (
                context.color_range,
                context.color_primaries,
                context.color_trc,
                context.colorspace,
            ) = clip.colour
        if clip.rotation is not None:
            video.set_display_rotation(clip.rotation)
        sound = result.add_stream(clip.sound_codec, rate=48000) if clip.sound else None
        texts = result.add_stream(clip.subtitle_codec) if clip.subtitles else None
        if texts is not None:
            texts.codec_context.time_base = MILLISECOND
            texts.codec_context.subtitle_header = b"[Script Info]\n"
            texts.metadata["language"] = "eng"
        if clip.chapters:
            result.set_chapters(
                [
                    {
                        "id": number + 1,
                        "start": 500 * number,
                        "end": 500 * (number + 1),
                        "time_base": MILLISECOND,
                        "metadata": {"title": title},
                    }
                    for number, title in enumerate(clip.chapters)
                ]
            )
        for number, picture in enumerate(clip.pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame = frame.reformat(format=clip.pixels, dst_colorspace=_matrix(clip))
            frame.pts = number if clip.times is None else clip.times[number]
            frame.time_base = Fraction(1, RATE) if clip.times is None else MILLISECOND
            result.mux(video.encode(frame))
        result.mux(video.encode(None))
        if sound is not None:
            for packet in _tone(sound, clip.sound):
                result.mux(packet)
        for number, text in enumerate(clip.subtitles):
            written = av.subtitles.subtitle.SubtitleSet.create(
                f"{number},0,Default,,0,0,0,,{text}".encode(), 0, 500, 500 * number
            )
            packet = texts.codec_context.encode_subtitle(written)
            packet.pts = packet.dts = 500 * number
            packet.duration, packet.time_base, packet.stream = 500, MILLISECOND, texts
            result.mux(packet)
    return path


def _matrix(clip: Clip) -> int | None:
    return (
        None if clip.colour is None or clip.pixels.startswith(("gbr", "gray")) else clip.colour[3]
    )


def _tone(stream: av.AudioStream, seconds: float) -> Iterator[list[av.Packet]]:
    layout = "stereo"
    for start in range(0, int(seconds * 48000), 1024):
        wave = 0.2 * np.sin(2 * np.pi * 440 * (start + np.arange(1024)) / 48000)
        samples = np.tile(wave.astype(np.float32), (2, 1))
        frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield stream.encode(frame)
    yield stream.encode(None)


def frames_of(path: Path) -> list[av.VideoFrame]:
    """All frames of the first video stream."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times_of(path: Path) -> list[Fraction]:
    """Exact times of all frames, in seconds."""
    return [frame.pts * frame.time_base for frame in frames_of(path)]


def packets_of(path: Path, kind: str) -> list[list[tuple]]:
    """Of each stream of a kind, time and content of each packet."""
    found = []
    with av.open(str(path)) as container:
        indices = [stream.index for stream in container.streams if stream.type == kind]
    for index in indices:
        with av.open(str(path)) as container:
            found.append(
                [
                    (packet.pts * packet.time_base, bytes(packet))
                    for packet in container.demux(container.streams[index])
                    if packet.size
                ]
            )
    return found


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """Copies of all planes; samples that are interleaved are put into planes."""
    from sargan_plugin.video.planes import in_planes, plane_views

    return [plane.copy() for plane in plane_views(in_planes(frame))]


@pytest.fixture
def video_editor(scrfd_path: Path, plain_generator):
    """Makes a ``VideoEditor`` with a small generator that changes every face it is given."""
    from sargan_plugin import ExpressionEditor, FaceDetector
    from sargan_plugin.video.editor import VideoEditor

    def make(**settings: Any) -> VideoEditor:
        editor_settings = settings.pop("editor", {})
        detector = FaceDetector(scrfd_path, device="cpu", threads=1)
        options = {"model": plain_generator, "dtype": "float32", "detector": detector}
        return VideoEditor(ExpressionEditor("happy", **options | editor_settings), **settings)

    return make
