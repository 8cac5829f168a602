"""Where videos come from and where they go, told from their paths."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import av

from sargan_plugin.image_errors import reason, refusal
from sargan_plugin.images import is_picture_path, is_same_file
from sargan_plugin.video.animated import AnimatedWebP
from sargan_plugin.video.codecs import Encoding, container_of
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.pictures import (
    PictureSequence,
    PictureSink,
    check_sequence_name,
    is_pattern,
)
from sargan_plugin.video.sink import FileSink
from sargan_plugin.video.source import VideoFile, VideoFormat


class Source(Protocol):
    """Anything that gives frames; a context manager."""

    path: Path
    format: VideoFormat
    frame_count: int | None
    declared: int
    damaged: int
    on_packet: Callable[[av.Packet], None] | None

    def frames(self) -> Iterator[Frame]: ...


class Sink(Protocol):
    """Anything that takes frames."""

    def write(self, frame: Frame) -> None: ...
    def copy(self, packet: av.Packet) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


def open_source(path: Path, rate: float) -> Source:
    """Open a video file, an animated WebP, or pictures by folder or pattern.

    Raises:
        SarganError: naming the path and what is wrong with it.
    """
    if path.is_dir() or is_pattern(path):
        return PictureSequence(path, rate)
    if path.suffix.lower() == ".webp":
        return AnimatedWebP(path)
    if is_picture_path(path) and path.is_file():
        raise refusal(path, "is one picture; use edit")
    return VideoFile(path)


class Target:
    """A destination and the temporary name beside it.

    Args:
        destination: a video file, or a folder or pattern of pictures.
        pictures: whether pictures are written.

    Attributes:
        temporary: what to write to; a folder for pictures.
        name: the pictures' pattern, None to keep their names.
    """

    def __init__(self, destination: Path, pictures: bool) -> None:
        self.destination, self.pictures = destination, pictures
        self.name = destination.name if pictures and is_pattern(destination) else None
        self.folder = destination.parent if self.name else destination
        # A folder that is there may be a disk of its own, onto which nothing can be renamed.
        place = self.folder if pictures and self.folder.is_dir() else self.folder.parent
        self.temporary = place / f".sargan-{secrets.token_hex(8)}.tmp"

    def finish(self, partial: bool = False) -> Path:
        """Give what was written its name; a partial one says so. Returns the new path.

        Raises:
            SarganError: it cannot be named so.
        """
        try:
            return self._finish(partial)
        except OSError as error:
            raise refusal(self.destination, f"cannot be written: {reason(error)}") from error

    def _finish(self, partial: bool) -> Path:
        path = self.folder
        if partial:
            path = path if path.name else Path("pictures")  # of the working folder
            names = (f"{path.stem}.partial{n}{path.suffix}" for n in ("", *range(2, 10_000)))
            places = (self.temporary.with_name(name) for name in names)
            path = next(place for place in places if not place.exists())
        if not self.pictures or not path.exists():
            self.temporary.replace(path)
            return path
        for file in self.temporary.iterdir():
            file.replace(path / file.name)
        self.temporary.rmdir()
        return path

    def remove(self) -> None:
        """Leave nothing under the temporary name."""
        with contextlib.suppress(OSError):
            if self.temporary.is_dir():
                shutil.rmtree(self.temporary)
            else:
                self.temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def output(source: Path, destination: Path, overwrite: bool) -> Iterator[Target]:
    """Check a destination and make its parents; nothing is left there when the work fails.

    Raises:
        SarganError: it is the source, is there already, names no container, or cannot be made.
    """
    check_destination(source, destination, overwrite)
    target = Target(destination, _are_pictures(source, destination))
    try:
        target.temporary.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(target.temporary.parent, f"cannot be made: {reason(error)}") from error
    try:
        yield target
    finally:
        target.remove()


def check_destination(source: Path, destination: Path, overwrite: bool) -> None:
    """Refuse a destination that cannot be right, before anything is opened.

    Raises:
        SarganError: it is the source, is there already, or names no container.
    """
    if _are_pictures(source, destination):
        folder = destination
        if is_pattern(destination):
            check_sequence_name(destination)
            folder = destination.parent
        place = source.parent if is_pattern(source) else source
        if is_same_file(folder, place):
            raise refusal(destination, "is the original, which is never overwritten")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise refusal(folder, "is there already and not empty; --overwrite writes into it")
        return
    container_of(destination)
    if destination.exists():
        if is_same_file(destination, source):
            raise refusal(destination, "is the original, which is never overwritten")
        if destination.is_dir():
            raise refusal(destination, "is a folder")
        if not overwrite:
            raise refusal(destination, "is there already; --overwrite replaces it")


def _are_pictures(source: Path, destination: Path) -> bool:
    """Whether pictures are written: to a pattern, a folder that is there, or, when pictures are
    read, to any name without an ending."""
    if is_pattern(destination) or destination.is_dir():
        return True
    from_pictures = source.is_dir() or is_pattern(source)
    return from_pictures and not destination.suffix


def open_sink(
    target: Target, frames: VideoFormat, source: Source, encoding: Encoding, unstorable: str
) -> Sink:
    """Open what the target says under its temporary name.

    Raises:
        SarganError: it cannot be written, or cannot hold what the source has.
    """
    if target.pictures:
        return PictureSink(target.temporary, target.destination, target.name, frames, source)
    container = source if isinstance(source, VideoFile) else None
    return FileSink(target.temporary, target.destination, frames, container, encoding, unstorable)
