"""Tag directories, the structure that TIFF files and EXIF blocks share, read and written as values.

Values stay bytes: types, odd encodings and maker notes pass through untouched.
"""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import IO

# tag numbers of TIFF 6.0 and EXIF 2.32
ORIENTATION, X_RESOLUTION, Y_RESOLUTION = 0x0112, 0x011A, 0x011B
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
XMP_TAG, PHOTOSHOP_TAG, ICC_TAG = 700, 34377, 34675
FIELD_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes a value of each field type takes."""

# TIFF tags that describe how the old samples were stored, or hold other versions of the picture
# (sub-images, Photoshop layers, camera raw); tags the TIFF writer fills in are among them.
_STORAGE_TAGS = (
    {*range(254, 260), 262, *range(263, 267), 273, *range(277, 282), *range(284, 294), 301}
    | {317, *range(320, 326), 330, *range(332, 348), *range(512, 522), *range(529, 533)}
    | {XMP_TAG, PHOTOSHOP_TAG, ICC_TAG, 37724, *range(50706, 50782)}
)


@dataclass(frozen=True)
class Field:
    """One directory entry in file byte order; ``children`` instead of data for a sub-directory."""

    kind: int
    data: bytes = b""
    children: dict[int, Field] | None = None


def byte_order(block: bytes) -> str | None:
    """The :mod:`struct` sign of a TIFF file's or EXIF block's byte order; None if it is neither."""
    return {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))


def read_directory(file: IO[bytes], order: str, start: int, depth: int = 2) -> dict[int, Field]:
    """Read a directory's descriptive tags and its EXIF and GPS sub-directories, types untouched.

    Sub-directories are followed ``depth`` levels down and the values of one directory may not
    add up to more than the file, so that a crafted file cannot loop or blow up the memory.
    """
    fields: dict[int, Field] = {}
    room = file.seek(0, io.SEEK_END)
    file.seek(start)
    count = struct.unpack(order + "H", file.read(2))[0]
    entries = file.read(12 * count)
    for tag, kind, number, inline in struct.iter_unpack(order + "HHI4s", entries):
        size = number * FIELD_SIZES.get(kind, 0)
        where = struct.unpack(order + "I", inline)[0]
        if tag in (EXIF_IFD, GPS_IFD, INTEROP_IFD):
            if depth:
                with contextlib.suppress(struct.error):
                    children = read_directory(file, order, where, depth - 1)
                    fields[tag] = Field(4, children=children)
        elif 0 < size <= room and tag not in _STORAGE_TAGS:
            room -= size
            file.seek(where)
            data = inline[:size] if size <= 4 else file.read(size)
            if len(data) == size:
                fields[tag] = Field(kind, data)
    return fields


def write_directory(fields: dict[int, Field], order: str, start: int) -> bytes:
    """Serialise a directory that will stand at ``start``; its values and children follow it."""
    tail = start + 2 + 12 * len(fields) + 4
    head, values = struct.pack(order + "H", len(fields)), b""
    for tag, field in sorted(fields.items()):
        data = field.data
        if field.children is not None:
            data = write_directory(field.children, order, tail + len(values))
        count = 1 if field.children is not None else len(data) // FIELD_SIZES[field.kind]
        if field.children is None and len(data) <= 4:
            inline = data.ljust(4, b"\0")
        else:
            inline = struct.pack(order + "I", tail + len(values))
            values += data + bytes(len(data) % 2)
        head += struct.pack(order + "HHI4s", tag, field.kind, count, inline)
    return head + bytes(4) + values
