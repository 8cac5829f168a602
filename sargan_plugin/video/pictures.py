"""A video as a folder of numbered pictures."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import printable_name, reason, refusal
from sargan_plugin.images import EXTENSIONS, is_picture_path, load_picture, save_picture
from sargan_plugin.picture import Picture
from sargan_plugin.video.animated import AnimatedWebP
from sargan_plugin.video.codecs import CONTAINERS
from sargan_plugin.video.display import display_of
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import FULL_RANGE, as_rgb, plane_views
from sargan_plugin.video.source import VideoFile, VideoFormat

_NUMBER = re.compile(r"%(0\d+)?d")
RGB, UNSPECIFIED, BT601 = 0, 2, 6
BEST = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def is_pattern(path: Path) -> bool:
    """Whether a path names many pictures: ``in/%05d.png`` or ``in/*.png``."""
    if path.suffix.lower() in CONTAINERS and not is_picture_path(path):
        return False  # brackets and per cents are common in the names of videos
    if path.exists():
        return False  # and of folders
    return bool(_NUMBER.search(path.name)) or any(sign in path.name for sign in "*?[")


class PictureSequence:
    """The pictures of a folder or a pattern, in the order of the numbers in their names.

    Args:
        path: a folder, ``in/%05d.png`` or ``in/*.png``.
        rate: frames a second.

    Raises:
        SarganError: when there is no picture, or pictures differ in size.

    Attributes:
        is_transparent: whether a picture read so far has opacity, which frames do not.
    """

    damaged = declared = 0
    on_packet = None

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.files = sorted(_files(path), key=_in_order)
        if not self.files:
            raise refusal(path, "holds no picture")
        first = load_picture(self.files[0])
        height, width = first.pixels.shape[:2]
        frame = _frame(first, 0)
        exact = Fraction(rate).limit_denominator(1001)
        colour = (FULL_RANGE, UNSPECIFIED, UNSPECIFIED, int(frame.colorspace))
        self.format = VideoFormat(
            width,
            height,
            frame.format.name,
            exact,
            1 / exact,
            None,
            colour,
            display_of(width, height, None, None),
        )
        self.frame_count = len(self.files)
        self.is_transparent = first.alpha is not None

    def __enter__(self) -> PictureSequence:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def frames(self) -> Iterator[Frame]:
        """All pictures as frames; each keeps its file's :class:`Picture`."""
        for index, file in enumerate(self.files):
            picture = load_picture(file)
            self.is_transparent |= picture.alpha is not None
            frame = _frame(picture, index)
            frame.time_base = self.format.time_base
            made = (frame.width, frame.height, frame.format.name)
            if made != (self.format.width, self.format.height, self.format.pixels):
                raise refusal(
                    file, "is not of the size and kind of the first picture of this video"
                )
            yield Frame(frame, index, float(index / self.format.rate), picture)


class PictureSink:
    """Writes frames as pictures: each as its source was, or PNG.

    Args:
        temporary: the folder to write into.
        destination: to name in errors.
        name: what the pictures are called, with ``%d``; None keeps the names they have.
        frames: what will be written.
        source: where they come from.

    Attributes:
        notes: what pictures do not hold, a line each.

    Raises:
        SarganError: for frames of more than 8 bits that were no pictures before.
    """

    def __init__(
        self,
        temporary: Path,
        destination: Path,
        name: str | None,
        frames: VideoFormat,
        source: PictureSequence | VideoFile | AnimatedWebP,
    ) -> None:
        if frames.bits > 8 and not isinstance(source, PictureSequence):
            raise refusal(
                destination, f"pictures would lose the {frames.bits} bits of this video; write .mkv"
            )
        self.temporary, self.name, self.frames = temporary, name, frames
        self.encoder = _PictureEncoder()
        self.notes = tuple(self._lost(source))
        try:
            temporary.mkdir()
        except OSError as error:
            raise refusal(destination, f"cannot be written to: {reason(error)}") from error

    def _lost(self, source: PictureSequence | VideoFile | AnimatedWebP) -> Iterator[str]:
        if isinstance(source, VideoFile):
            others = {s.type for s in source.container.streams if s.index != source.stream.index}
            if others:
                yield f"pictures hold no {', no '.join(sorted(others))}; it is left out"
        if self.frames.aspect not in (None, 1):
            yield f"pictures do not say that pixels are not square ({self.frames.aspect})"
        if self._is_transparent and self.name and not _keeps_opacity(self.name):
            yield f"{Path(self.name).suffix} pictures hold no opacity; it is left out"

    @property
    def _is_transparent(self) -> bool:
        return any(part.is_alpha for part in av.VideoFormat(self.frames.pixels).components)

    def write(self, frame: Frame) -> None:
        """Save one frame; one that was not edited is copied byte for byte, if it was a file."""
        picture = frame.picture
        if self.name:
            name = _NUMBER.sub(lambda match: match[0] % (frame.index + 1), self.name)
        else:
            name = picture.path.name if picture else f"{frame.index + 1:06d}.png"
        path = self.temporary / name
        if picture is not None and _shape(picture) == (frame.video.height, frame.video.width):
            pixels = _pixels(frame.video) if frame.edited else picture.pixels
            save_picture(picture, pixels.reshape(picture.pixels.shape), path)
            return
        rgba = self._is_transparent and _keeps_opacity(name)
        pixels = as_rgb(frame.video, "rgba" if rgba else "rgb24").to_ndarray()
        upright = np.ascontiguousarray(self.frames.display.view(pixels))
        format = EXTENSIONS[path.suffix.lower()]
        Image.fromarray(upright).save(path, format, **BEST.get(format, {}))

    def copy(self, packet: av.Packet) -> None:
        """Packets of other streams are left out, as :attr:`notes` says."""

    def close(self) -> None:
        """All is written already."""

    def abandon(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def _keeps_opacity(name: str) -> bool:
    return Path(name).suffix.lower() in (".png", ".webp", ".tif", ".tiff")


class _PictureEncoder:
    name = "pictures"


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [each for each in path.iterdir() if is_picture_path(each) and each.is_file()]
    if _NUMBER.search(path.name):
        before, after = _NUMBER.split(path.name)[0], _NUMBER.split(path.name)[-1]
        wanted = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        with contextlib.suppress(OSError):
            return [each for each in path.parent.iterdir() if wanted.fullmatch(each.name)]
        raise refusal(path.parent, "is no folder that can be read")
    return [each for each in path.parent.glob(path.name) if is_picture_path(each)]


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Numbers count as numbers: frame 10 comes after frame 9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _shape(picture: Picture) -> tuple[int, int]:
    return picture.pixels.shape[:2]


def _frame(picture: Picture, index: int) -> av.VideoFrame:
    """The samples of a picture in planes."""
    pixels = picture.pixels
    deep = pixels.dtype == np.uint16
    grey = pixels.ndim == 2
    name = ("gray" if grey else "gbrp") + ("16le" if deep else "")
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], name)
    channels = [pixels] if grey else [pixels[..., place] for place in (1, 2, 0)]
    for plane, channel in zip(plane_views(frame), channels, strict=True):
        plane[:] = channel
    frame.pts = index
    frame.color_range, frame.colorspace = FULL_RANGE, BT601 if grey else RGB
    return frame


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    """What :func:`_frame` took, after it was edited."""
    planes = plane_views(frame)
    if len(planes) == 1:
        return planes[0].copy()
    green, blue, red = planes
    return np.dstack([red, green, blue])


def check_sequence_name(path: Path) -> None:
    """Refuse a pattern from which no names of pictures can be made.

    Raises:
        SarganError: it has no ``%d``, or does not end like a picture.
    """
    if not _NUMBER.search(path.name):
        raise SarganError(f"{printable_name(path)}: needs a number such as %05d in its name.")
    if not is_picture_path(path.name):
        raise SarganError(f"{printable_name(path)}: does not end like a picture.")
