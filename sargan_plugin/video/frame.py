"""A frame on its way through the stages."""

from __future__ import annotations

from dataclasses import dataclass, field

import av
import numpy as np

from sargan_plugin.picture import Picture


@dataclass(frozen=True, eq=False)
class SteadyFace:
    """One face of a frame, as it is edited.

    Attributes:
        landmarks: ``(5, 2)`` in pixels of the picture that is shown, smoothed over time.
        share: 0 to 1, below 1 while the face comes into view or leaves it.
    """

    landmarks: np.ndarray
    share: float


@dataclass(eq=False)
class Frame:
    """One frame, and what the stages have found out about it.

    Attributes:
        video: the planes, in a format of :func:`sargan_plugin.video.planes.planar_format`.
        index: counted from 0.
        seconds: after the first frame of the video.
        picture: the file it came from, when the video is a folder of pictures.
        colours: that a frame from a GIF had, see :func:`sargan_plugin.video.palette.colours_of`.
        begins_shot: whether the frame before it, if any, belongs to another scene.
        landmarks: by track number, ``(5, 2)`` in pixels of the picture that is shown, as found.
        motions: by track number, ``(2, 3)`` similarity that took the face here from the frame
            before, as seen in its texture; not there where it is not known.
        faces: by track number, the chosen ones as they shall be edited.
        edited: number of faces that were edited.
    """

    video: av.VideoFrame
    index: int
    seconds: float
    picture: Picture | None = None
    colours: np.ndarray | None = None
    begins_shot: bool = False
    landmarks: dict[int, np.ndarray] = field(default_factory=dict)
    motions: dict[int, np.ndarray] = field(default_factory=dict)
    faces: dict[int, SteadyFace] = field(default_factory=dict)
    edited: int = 0
