"""EXIF blocks: patched in place where the new pixels make them untrue.

Pillow's ``Exif`` class is not used to write: maker notes hold offsets counted from the start of the
block, so re-serialising it breaks them; patching it does not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from PIL import Image

from sargan_plugin.tiff_directory import (
    EXIF_IFD,
    FIELD_SIZES,
    GPS_IFD,
    INTEROP_IFD,
    ORIENTATION,
    X_RESOLUTION,
    Y_RESOLUTION,
    byte_order,
    read_directory,
    write_directory,
)

EXIF_PREFIX = b"Exif\0\0"
_WIDTH_HEIGHT_PAIRS = ((0x0100, 0x0101), (X_RESOLUTION, Y_RESOLUTION), (0xA002, 0xA003))
_THUMBNAIL_PARTS = ((0x0201, 0x0202), (0x0111, 0x0117))  # offset and length: JPEG, plain strips


def exif_orientation(image: Image.Image) -> int:
    """The EXIF (or else XMP) orientation, 1 to 8; 1 if there is none that makes sense."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises whatever a corrupt block makes it trip over
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def exif_of_tiff(file: IO[bytes]) -> bytes:
    """A TIFF file's descriptive tags as an EXIF block, the form every other format carries."""
    file.seek(0)
    head = file.read(8)
    order = byte_order(head)
    if order is None:
        return b""
    try:
        fields = read_directory(file, order, struct.unpack(order + "I", head[4:])[0])
    except struct.error:
        return b""
    if not fields:
        return b""
    return head[:4] + struct.pack(order + "I", 8) + write_directory(fields, order, 8)


def refresh_exif(block: bytes, *, turned: bool, thumbnail: bytes | None) -> bytes:
    """Say "upright" in an EXIF block, swap its sizes if the picture turned, renew its thumbnail.

    A block that cannot be parsed is dropped: no reader could use it, and what it hides is unknown.
    """
    order = byte_order(block)
    if order is None:
        return b""
    data = bytearray(block)
    try:
        directory = struct.unpack_from(order + "I", data, 4)[0]
        entries, next_pointer = _entries(data, order, directory)
        if ORIENTATION in entries:
            struct.pack_into(order + "HIHH", data, entries[ORIENTATION] + 2, 3, 1, 1, 0)
        exif = _child(data, order, directory, EXIF_IFD)
        if turned:
            _swap_sizes(data, entries)
            _swap_sizes(data, _entries(data, order, exif)[0] if exif else {})
        # some writers leave the pointer to the thumbnail's directory out when there is none
        has_next = next_pointer + 4 <= len(data)
        old = struct.unpack_from(order + "I", data, next_pointer)[0] if has_next else 0
        if old:
            struct.pack_into(order + "I", data, next_pointer, 0)
            gps = _child(data, order, directory, GPS_IFD)
            interop = _child(data, order, exif, INTEROP_IFD)
            living = [start for start in (directory, exif, gps, interop) if start]
            _erase_thumbnail(data, order, old, living)
            if thumbnail:
                data += bytes(len(data) % 2)
                struct.pack_into(order + "I", data, next_pointer, len(data))
                data += _thumbnail_directory(order, len(data), thumbnail)
    except struct.error:
        return b""
    return bytes(data)


def _entries(data: bytes | bytearray, order: str, start: int) -> tuple[dict[int, int], int]:
    """Positions of a directory's 12-byte entries by tag, and of the pointer that follows them."""
    count = struct.unpack_from(order + "H", data, start)[0]
    end = start + 2 + 12 * count
    if end > len(data):
        raise struct.error("the directory is cut short")
    positions = range(start + 2, end, 12)
    return {struct.unpack_from(order + "H", data, at)[0]: at for at in positions}, end


def _numbers(data: bytes | bytearray, order: str, at: int) -> tuple[int, ...]:
    """The value of a SHORT or LONG entry; empty for other types or outside the block."""
    kind, count = struct.unpack_from(order + "HI", data, at + 2)
    code = {3: "H", 4: "I", 13: "I"}.get(kind)
    size = count * FIELD_SIZES.get(kind, 0)
    where = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
    if code is None or where + size > len(data):
        return ()
    return struct.unpack_from(f"{order}{count}{code}", data, where)


def _child(data: bytearray, order: str, parent: int | None, tag: int) -> int | None:
    """Where the directory that ``tag`` of ``parent`` points to starts; None if it is unreadable."""
    if parent is None:
        return None
    entries, _ = _entries(data, order, parent)
    value = _numbers(data, order, entries[tag]) if tag in entries else ()
    try:
        _entries(data, order, value[0])
    except (IndexError, struct.error):
        return None
    return value[0]


def _swap_sizes(data: bytearray, entries: dict[int, int]) -> None:
    for width, height in _WIDTH_HEIGHT_PAIRS:
        if width in entries and height in entries:
            a = slice(entries[width] + 2, entries[width] + 12)
            b = slice(entries[height] + 2, entries[height] + 12)
            data[a], data[b] = data[b], data[a]


def _erase_thumbnail(data: bytearray, order: str, start: int, living: list[int]) -> None:
    """Blank a thumbnail's bytes; cut them off where they end the block, as they mostly do.

    Args:
        data: the block.
        order: its byte order.
        start: where the thumbnail's directory is.
        living: where the directories that survive are.
    """
    try:
        entries, _ = _entries(data, order, start)
    except struct.error:
        return
    used = [span for directory in living for span in _spans(data, order, directory)]
    for offset_tag, length_tag in _THUMBNAIL_PARTS:
        if offset_tag not in entries or length_tag not in entries:
            continue
        offsets = _numbers(data, order, entries[offset_tag])
        lengths = _numbers(data, order, entries[length_tag])
        for first, length in sorted(zip(offsets, lengths, strict=False), reverse=True):
            last = min(first + length, len(data))
            # a corrupt offset must not blank the tags that are to survive
            if not 8 <= first < len(data) or any(
                first < end and begin < last for begin, end in used
            ):
                continue
            data[first:last] = bytes(last - first)
            if last >= len(data) - 1:
                del data[first:]


def _spans(data: bytearray, order: str, start: int) -> Iterator[tuple[int, int]]:
    """The byte ranges a directory and its values take up."""
    entries, end = _entries(data, order, start)
    yield start, end + 4
    for at in entries.values():
        kind, count, where = struct.unpack_from(order + "HII", data, at + 2)
        size = count * FIELD_SIZES.get(kind, 0)
        if size > 4:
            yield where, where + size


def _thumbnail_directory(order: str, offset: int, thumbnail: bytes) -> bytes:
    """IFD1 for a JPEG thumbnail, to be placed at ``offset``, followed by the thumbnail itself."""
    values = offset + 2 + 6 * 12 + 4
    fields = (
        (0x0103, 3, 6 if order == "<" else 6 << 16),  # compression: JPEG
        (X_RESOLUTION, 5, values),
        (Y_RESOLUTION, 5, values),
        (0x0128, 3, 2 if order == "<" else 2 << 16),  # resolution unit: inch
        (0x0201, 4, values + 8),
        (0x0202, 4, len(thumbnail)),
    )
    packed = b"".join(struct.pack(order + "HHII", tag, kind, 1, v) for tag, kind, v in fields)
    head = struct.pack(order + "H", len(fields)) + packed + bytes(4)
    return head + struct.pack(order + "II", 72, 1) + thumbnail
