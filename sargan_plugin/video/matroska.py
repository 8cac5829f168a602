"""The shape of pixels in a Matroska or WebM file, which PyAV cannot have its muxer write.

FFmpeg's muxer leaves room between the table of contents and what follows it. The tracks move
forward into that room, so that the video's track can grow; nothing behind them changes its place.
Elements are those of RFC 9559, coded as RFC 8794 says.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

SEGMENT, SEEK_HEAD, TRACKS, VOID, CRC32 = 0x18538067, 0x114D9B74, 0x1654AE6B, 0xEC, 0xBF
SEEK, SEEK_POSITION = 0x4DBB, 0x53AC
TRACK_ENTRY, TRACK_NUMBER, VIDEO = 0xAE, 0xD7, 0xE0
PIXEL_WIDTH, PIXEL_HEIGHT = 0xB0, 0xBA
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
DISPLAY = (DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT)
ASPECT_RATIO = 3  # a unit: what is told is the picture's shape

HEAD = 1 << 20  # bytes that the tracks are looked for in
VOID_HEADER = 9  # bytes: the identifier, and a length of eight


@dataclass(frozen=True)
class Element:
    """An element and where it lies: its start, its content's start, its end."""

    identifier: int
    start: int
    inside: int
    end: int
    content: bytes

    @property
    def number(self) -> int:
        return int.from_bytes(self.content, "big")


def write_pixel_aspect(path: Path, track: int, aspect: Fraction) -> bool:
    """Say in a finished file how wide a track's pixels are, by the size it is to be shown at.

    Args:
        path: a file that FFmpeg's muxer wrote.
        track: number of the track, from 1.
        aspect: width of a pixel over its height.

    Returns:
        Whether it could be said; the file is as it was if not.
    """
    with path.open("r+b") as stream:
        head = stream.read(HEAD)
        segment = next((each for each in elements(head) if each.identifier == SEGMENT), None)
        parts = list(elements(segment.content, TRACKS)) if segment else []
        names = [part.identifier for part in parts]
        if names[:2] != [SEEK_HEAD, VOID] or names[-1] != TRACKS:
            return False
        table, room, tracks = parts[0], parts[1], parts[-1]
        if segment.inside + tracks.end > len(head):
            return False
        entries = (each for each in elements(tracks.content) if each.identifier == TRACK_ENTRY)
        if not any(is_video(entry.content, track) for entry in entries):
            return False
        longer = encoded(TRACKS, with_aspect(tracks.content, track, aspect))
        growth = len(longer) - (tracks.end - tracks.start)

        def moved(position: int) -> int:
            return position - growth if room.end <= position <= tracks.start else position

        seeks = encoded(SEEK_HEAD, with_positions(table.content, moved))
        between = segment.content[room.end : tracks.start]
        used = VOID_HEADER + sum(len(each) for each in (seeks, between, longer))
        spare = tracks.end - table.start - used
        if spare < 0:
            return False
        void = bytes([VOID, 1]) + spare.to_bytes(7, "big") + bytes(spare)
        stream.seek(segment.inside + table.start)
        stream.write(seeks + void + between + longer)
    return True


def elements(content: bytes, last: int | None = None) -> Iterator[Element]:
    """The elements in ``content`` one after another, until the one called ``last``.

    The content of the last one may be cut off.
    """
    position = 0
    while position < len(content):
        start = position
        try:
            identifier, position = number_at(content, position, marked=True)
            size, position = number_at(content, position)
        except IndexError:
            return  # even its size is cut off
        end = position + size
        yield Element(identifier, start, position, end, content[position:end])
        if identifier == last:
            return
        position = end


def number_at(content: bytes, position: int, *, marked: bool = False) -> tuple[int, int]:
    """The number of variable length at a position, and the position behind it.

    Its leading zero bits tell how many bytes it has; identifiers keep the bit that follows them.
    """
    width = 9 - content[position].bit_length()
    end = position + width
    number = int.from_bytes(content[position:end], "big")
    return (number if marked else number & ~(1 << 7 * width)), end


def encoded(identifier: int, content: bytes) -> bytes:
    """An element, its length in as few bytes as hold it."""
    width = next(width for width in range(1, 9) if len(content) < (1 << 7 * width) - 1)
    length = (len(content) | 1 << 7 * width).to_bytes(width, "big")
    return bytes_of(identifier) + length + content


def bytes_of(number: int) -> bytes:
    """A number in as few bytes as hold it."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def values_in(content: bytes) -> dict[int, int]:
    """The elements in ``content`` read as numbers, by identifier."""
    return {each.identifier: each.number for each in elements(content)}


def changed(content: bytes, identifier: int, change: Callable[[bytes], bytes]) -> bytes:
    """``content`` with that of the elements so called changed, and the checksum made anew."""
    parts = list(elements(content))
    result = b""
    for part in parts:
        if part.identifier == identifier:
            result += encoded(identifier, change(part.content))
        elif part.identifier != CRC32:
            result += encoded(part.identifier, part.content)
    if parts and parts[0].identifier == CRC32:
        result = encoded(CRC32, zlib.crc32(result).to_bytes(4, "little")) + result
    return result


def is_video(entry: bytes, track: int) -> bool:
    """Whether the content of a TrackEntry is that of this track, and the track is a video's."""
    values = values_in(entry)
    return values[TRACK_NUMBER] == track and VIDEO in values


def with_aspect(tracks: bytes, track: int, aspect: Fraction) -> bytes:
    """The content of Tracks, with the shape of one track's pixels in it."""

    def in_entry(entry: bytes) -> bytes:
        if not is_video(entry, track):
            return entry
        return changed(entry, VIDEO, lambda video: shown_at(video, aspect))

    return changed(tracks, TRACK_ENTRY, in_entry)


def shown_at(video: bytes, aspect: Fraction) -> bytes:
    """The content of a track's Video, with the size at which pixels get their shape."""
    values = values_in(video)
    width, height = values[PIXEL_WIDTH], values[PIXEL_HEIGHT]
    if (width * aspect).denominator == 1:
        shown = {DISPLAY_WIDTH: int(width * aspect), DISPLAY_HEIGHT: height}
    else:  # no whole pixels: tell the picture's shape instead
        shape = aspect * Fraction(width, height)
        shown = {DISPLAY_WIDTH: shape.numerator, DISPLAY_HEIGHT: shape.denominator}
        shown[DISPLAY_UNIT] = ASPECT_RATIO
    kept = [each for each in elements(video) if each.identifier not in DISPLAY]
    content = [encoded(each.identifier, each.content) for each in kept]
    return b"".join([*content, *(encoded(name, bytes_of(value)) for name, value in shown.items())])


def with_positions(table: bytes, moved: Callable[[int], int]) -> bytes:
    """The content of SeekHead with other positions."""

    def in_position(position: bytes) -> bytes:
        return bytes_of(moved(int.from_bytes(position, "big")))

    return changed(table, SEEK, lambda entry: changed(entry, SEEK_POSITION, in_position))
