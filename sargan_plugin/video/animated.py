"""Animated WebP: Pillow reads what this project's FFmpeg cannot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from sargan_plugin.image_errors import reason, refusal
from sargan_plugin.video.display import display_of
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import FULL_RANGE, plane_views
from sargan_plugin.video.source import VideoFormat

MILLISECONDS = Fraction(1, 1000)
USUAL_DURATION = 100  # ms of a frame that gives none


class AnimatedWebP:
    """The frames of a WebP file, opacity included. A context manager.

    Raises:
        SarganError: naming the file, when it cannot be read.
    """

    damaged = declared = 0
    on_packet = None

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.image = Image.open(path, formats=["WEBP"])
            self.frame_count = self.image.n_frames
            self.image.load()
        except (OSError, ValueError, SyntaxError) as error:
            raise refusal(path, f"is no WebP that can be read: {reason(error)}") from error
        width, height = self.image.size
        duration = self.image.info.get("duration") or USUAL_DURATION
        self.format = VideoFormat(
            width,
            height,
            "gbrap",
            Fraction(1000, duration),
            MILLISECONDS,
            None,
            (FULL_RANGE, 2, 2, 0),
            display_of(width, height, None, None),
            plays=self.image.info.get("loop", 0),
        )

    def __enter__(self) -> AnimatedWebP:
        return self

    def __exit__(self, *_: object) -> None:
        self.image.close()

    def frames(self) -> Iterator[Frame]:
        """All frames, with the times that their durations add up to."""
        time = 0
        for index in itertools.count():
            if index == self.frame_count:
                return
            try:
                self.image.seek(index)
                pixels = np.asarray(self.image.convert("RGBA"))
            except (OSError, EOFError, ValueError):
                self.damaged += self.frame_count - index
                return
            frame = av.VideoFrame(self.format.width, self.format.height, "gbrap")
            for plane, channel in zip(plane_views(frame), (1, 2, 0, 3), strict=True):
                plane[:] = pixels[..., channel]
            duration = self.image.info.get("duration") or USUAL_DURATION
            frame.pts, frame.time_base, frame.duration = time, MILLISECONDS, duration
            frame.color_range, frame.colorspace = FULL_RANGE, 0
            yield Frame(frame, index, time / 1000)
            time += duration
