"""Source and result side by side in one video."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np

from sargan_plugin.video.display import display_of
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import at_the_same_time, plane_views
from sargan_plugin.video.source import VideoFormat


class Beside:
    """Puts frames together whose halves are the source and the result.

    Args:
        frames: what the source gives.

    Attributes:
        format: of the frames put together.
    """

    def __init__(self, frames: VideoFormat) -> None:
        # What is stored below one another is shown side by side in a video that is turned.
        self.axis = 0 if frames.display.swaps_sides else 1
        self.reversed = frames.display.from_coded[:, 1 - self.axis].sum() < 0
        width, height = frames.width, frames.height
        if self.axis == 1:
            width *= 2
        else:
            height *= 2
        display = display_of(width, height, frames.aspect, frames.display.rotation)
        self.format = replace(frames, width=width, height=height, display=display)
        self._waiting: dict[int, av.VideoFrame] = {}

    def begun(self, frame: Frame) -> Frame:
        """The same frame, which is going to be edited; a copy of it is kept."""
        both = av.VideoFrame(self.format.width, self.format.height, self.format.pixels)
        self._fill(both, frame.video, second=self.reversed)
        self._waiting[frame.index] = both
        return frame

    def complete(self, frame: Frame) -> Frame:
        """Put the edited frame beside its copy; ``frame.video`` is both then."""
        both, edited = self._waiting.pop(frame.index), frame.video
        self._fill(both, edited, second=not self.reversed)
        at_the_same_time(both, edited)
        both.color_range, both.colorspace = edited.color_range, edited.colorspace
        both.color_trc, both.color_primaries = edited.color_trc, edited.color_primaries
        frame.video = both
        return frame

    def _fill(self, both: av.VideoFrame, half: av.VideoFrame, second: bool) -> None:
        for target, source in zip(plane_views(both), plane_views(half), strict=True):
            target, source = (np.moveaxis(each, self.axis, 0) for each in (target, source))
            # Chroma of odd sizes: the first half gives its last line to the second.
            start = len(target) - len(source) if second else 0
            target[start : start + len(source)] = source
