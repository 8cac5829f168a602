"""What a picture file says beside its pixels: read once, then written back fitting the new pixels.

Blocks are handled as bytes rather than through Pillow's ``Exif`` class. Maker notes hold offsets
counted from the start of the EXIF block, so re-serialising the block breaks them; patching it in
place does not. Old pixels also hide in metadata (EXIF and Photoshop thumbnails, portrait originals
in XMP, Photoshop layers in TIFF); those go, because they show the old face.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from PIL import Image, ImageFile

EXIF_PREFIX = b"Exif\0\0"
XMP_KEYWORD = b"XML:com.adobe.xmp"

# tag numbers of TIFF 6.0 and EXIF 2.32
ORIENTATION, X_RESOLUTION, Y_RESOLUTION = 0x0112, 0x011A, 0x011B
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
XMP_TAG, PHOTOSHOP_TAG, ICC_TAG = 700, 34377, 34675
_WIDTH_HEIGHT_PAIRS = ((0x0100, 0x0101), (X_RESOLUTION, Y_RESOLUTION), (0xA002, 0xA003))
_FIELD_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# TIFF tags that describe how the old samples were stored, or hold other versions of the picture
# (sub-images, Photoshop layers, camera raw); tags this module writes itself are among them.
_STORAGE_TAGS = (
    {*range(254, 260), 262, *range(263, 267), 273, *range(277, 282), *range(284, 294), 301}
    | {317, *range(320, 326), 330, *range(332, 348), *range(512, 522), *range(529, 533)}
    | {XMP_TAG, PHOTOSHOP_TAG, ICC_TAG, 37724, *range(50706, 50782)}
)
_PNG_CHUNKS = {b"cHRM", b"gAMA", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt"}
_LEGACY_EXIF_KEYWORD = b"Raw profile type exif"


@dataclass(frozen=True)
class Metadata:
    """Everything kept beside the pixels; an empty value means the file had none."""

    exif: bytes = b""  # a TIFF block, without the "Exif" prefix
    xmp: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: bytes = b""  # JPEG
    photoshop: bytes = b""  # "8BIM" resources: IPTC captions and keywords
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()

    def for_new_pixels(self, *, turned: bool, thumbnail: bytes | None) -> Metadata:
        """The same metadata for an upright picture whose face has changed.

        Args:
            turned: width and height changed places when the picture was set upright.
            thumbnail: a JPEG file showing the new picture; it takes the place of an EXIF
                thumbnail and is ignored when the source had none. ``None`` drops the old one.
        """
        return replace(
            self,
            exif=refresh_exif(self.exif, turned=turned, thumbnail=thumbnail),
            xmp=_refresh_xmp(self.xmp),
            dpi=self.dpi[::-1] if turned and self.dpi else self.dpi,
            photoshop=_without_thumbnails(self.photoshop),
        )


def read_metadata(image: ImageFile.ImageFile, file: IO[bytes], format: str) -> Metadata:
    """Collect the metadata of a loaded picture; ``file`` is the open file it came from."""
    info = image.info
    exif = info.get("exif") or b""
    xmp = info.get("xmp") or b""
    found = Metadata(
        exif=re.sub(rb"^(Exif\0\0)+", b"", exif),
        xmp=xmp.encode() if isinstance(xmp, str) else bytes(xmp),
        icc=info.get("icc_profile") or b"",
        dpi=_dpi(info, format),
    )
    if format == "JPEG":
        marker = b"Photoshop 3.0\0"
        blocks = [data for name, data in image.applist if name == "APP13"]
        return replace(
            found,
            comment=info.get("comment") or b"",
            photoshop=b"".join(b[len(marker) :] for b in blocks if b.startswith(marker)),
        )
    if format == "PNG":
        return replace(
            found,
            exif=found.exif or _legacy_png_exif(info),
            png_chunks=tuple(_kept_png_chunks(file)),
        )
    if format == "TIFF":
        block = _tiff_exif(file)
        photoshop = image.tag_v2.get(PHOTOSHOP_TAG, b"")
        return replace(
            found,
            exif=block,
            photoshop=photoshop if isinstance(photoshop, bytes) else b"",
        )
    return found


def _dpi(info: dict, format: str) -> tuple[float, float] | None:
    # Pillow reports 72 dpi for a JPEG whose EXIF does not say; that is a guess, not metadata
    if format == "JPEG" and info.get("jfif_unit") not in (1, 2) and info.get("dpi") == (72, 72):
        return None
    try:
        x, y = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


# ------------------------------------------------------------------------------------------ EXIF


def refresh_exif(block: bytes, *, turned: bool, thumbnail: bytes | None) -> bytes:
    """Say "upright" in an EXIF block, swap its sizes if the picture turned, renew its thumbnail.

    A block that cannot be parsed is dropped: no reader could use it, and what it hides is unknown.
    """
    order = _byte_order(block)
    if order is None:
        return b""
    data = bytearray(block)
    try:
        directory = struct.unpack_from(order + "I", data, 4)[0]
        entries, next_pointer = _entries(data, order, directory)
        if ORIENTATION in entries:
            struct.pack_into(order + "HIHH", data, entries[ORIENTATION] + 2, 3, 1, 1, 0)
        exif = _child(data, order, directory, EXIF_IFD)
        gps = _child(data, order, directory, GPS_IFD)
        interop = _child(data, order, exif, INTEROP_IFD)
        if turned:
            _swap_sizes(data, entries)
            _swap_sizes(data, _entries(data, order, exif)[0] if exif else {})
        # some writers leave the pointer to the thumbnail's directory out when there is none
        has_next = next_pointer + 4 <= len(data)
        old = struct.unpack_from(order + "I", data, next_pointer)[0] if has_next else 0
        if old:
            struct.pack_into(order + "I", data, next_pointer, 0)
            living = [start for start in (directory, exif, gps, interop) if start]
            _erase_thumbnail(data, order, old, living)
            if thumbnail:
                data += bytes(len(data) % 2)
                struct.pack_into(order + "I", data, next_pointer, len(data))
                data += _thumbnail_directory(order, len(data), thumbnail)
    except struct.error:
        return b""
    return bytes(data)


def _byte_order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))


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
    size = count * _FIELD_SIZES.get(kind, 0)
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
    """Blank the old thumbnail's bytes; cut them off where they end the block, as they mostly do."""
    try:
        entries, _ = _entries(data, order, start)
    except struct.error:
        return
    used = [span for directory in living for span in _spans(data, order, directory)]
    for offset_tag, length_tag in ((0x0201, 0x0202), (0x0111, 0x0117)):
        if offset_tag not in entries or length_tag not in entries:
            continue
        offsets = _numbers(data, order, entries[offset_tag])
        lengths = _numbers(data, order, entries[length_tag])
        for first, length in sorted(zip(offsets, lengths, strict=False), reverse=True):
            last = min(first + length, len(data))
            # a corrupt offset must not blank the tags that are to survive
            if first < 8 or any(first < end and begin < last for begin, end in used):
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
        size = count * _FIELD_SIZES.get(kind, 0)
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


# ---------------------------------------------------------------------- TIFF directories as values


@dataclass(frozen=True)
class Field:
    """One directory entry in file byte order; ``children`` instead of data for a sub-directory."""

    kind: int
    data: bytes = b""
    children: dict[int, Field] | None = None


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
        size = number * _FIELD_SIZES.get(kind, 0)
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
        count = 1 if field.children is not None else len(data) // _FIELD_SIZES[field.kind]
        if field.children is None and len(data) <= 4:
            inline = data.ljust(4, b"\0")
        else:
            inline = struct.pack(order + "I", tail + len(values))
            values += data + bytes(len(data) % 2)
        head += struct.pack(order + "HHI4s", tag, field.kind, count, inline)
    return head + bytes(4) + values


def tiff_fields(metadata: Metadata) -> tuple[str, dict[int, Field]]:
    """The byte order and descriptive tags for a TIFF that shall carry this metadata."""
    order = _byte_order(metadata.exif) or "<"
    fields: dict[int, Field] = {}
    if metadata.exif:
        start = struct.unpack_from(order + "I", metadata.exif, 4)[0]
        fields = read_directory(io.BytesIO(metadata.exif), order, start)
    for tag, data in ((XMP_TAG, metadata.xmp), (PHOTOSHOP_TAG, metadata.photoshop)):
        if data:
            fields[tag] = Field(1, data)
    if metadata.icc:
        fields[ICC_TAG] = Field(7, metadata.icc)
    if metadata.dpi:
        for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), metadata.dpi, strict=True):
            fields[tag] = Field(5, struct.pack(order + "II", round(value * 1000), 1000))
        fields[0x0128] = Field(3, struct.pack(order + "H", 2))
    return order, fields


def _tiff_exif(file: IO[bytes]) -> bytes:
    """A TIFF file's descriptive tags as an EXIF block, the form every other format carries."""
    file.seek(0)
    head = file.read(8)
    order = _byte_order(head)
    if order is None:
        return b""
    try:
        fields = read_directory(file, order, struct.unpack(order + "I", head[4:])[0])
    except struct.error:
        return b""
    if not fields:
        return b""
    return head[:4] + struct.pack(order + "I", 8) + write_directory(fields, order, 8)


# ------------------------------------------------------------------------------ XMP, Photoshop


_XMP_EDITS = (
    (rb'(tiff:Orientation=["\'])\d+(["\'])', rb"\g<1>1\2"),
    (rb"(<tiff:Orientation>)\s*\d+\s*(</tiff:Orientation>)", rb"\g<1>1\2"),
    # thumbnails, and pointers to pictures and films behind the first picture, which are not kept
    (rb"(?s)<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>", b""),
    (rb"(?s)<(Container|GContainer):Directory\b.*?</\1:Directory>", b""),
    (rb'(?s)\s(xmpNote:HasExtendedXMP|hdrgm:\w+|GCamera:M(icroVideo|otionPhoto)\w*)="[^"]*"', b""),
)


def _refresh_xmp(packet: bytes) -> bytes:
    for pattern, replacement in _XMP_EDITS:
        packet = re.sub(pattern, replacement, packet)
    return packet


def _without_thumbnails(resources: bytes) -> bytes:
    """Photoshop resources less the two kinds that hold a thumbnail; unreadable ones are dropped."""
    kept, at = b"", 0
    while resources[at : at + 4] == b"8BIM" and len(resources) >= at + 12:
        number, name = struct.unpack_from(">HB", resources, at + 4)
        size_at = at + 6 + (name + 2) // 2 * 2
        if size_at + 4 > len(resources):
            break
        size = struct.unpack_from(">I", resources, size_at)[0]
        end = size_at + 4 + size + size % 2
        if number not in (0x0409, 0x040C):
            kept += resources[at:end]
        at = end
    return kept


def photoshop_segments(resources: bytes) -> bytes:
    """Photoshop resources as JPEG APP13 segments, cut where a segment would overflow."""
    marker, room = b"Photoshop 3.0\0", 65533 - 14
    pieces = [resources[at : at + room] for at in range(0, len(resources), room)]
    return b"".join(
        b"\xff\xed" + struct.pack(">H", 2 + len(marker) + len(piece)) + marker + piece
        for piece in pieces
    )


# ------------------------------------------------------------------------------------- PNG, WebP


def _kept_png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Text, colour chunks, and private chunks marked safe to copy after an edit (PNG 5.4).

    EXIF and XMP are carried elsewhere. Bytes are kept as they are: compressed text stays so.
    """
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        private = name[0:1].islower() and name[1:2].islower() and name[3:4].islower()
        if name not in _PNG_CHUNKS and not private:
            file.seek(size + 4, io.SEEK_CUR)
            continue
        data = file.read(size + 4)[:-4]
        if data.partition(b"\0")[0] not in (XMP_KEYWORD, _LEGACY_EXIF_KEYWORD):
            yield name, data


def _legacy_png_exif(info: dict) -> bytes:
    """EXIF from the text chunk ImageMagick wrote before PNG had a chunk for it."""
    text = info.get(_LEGACY_EXIF_KEYWORD.decode())
    try:
        block = bytes.fromhex("".join(text.split("\n")[3:])) if text else b""
    except ValueError:
        return b""
    return block.removeprefix(EXIF_PREFIX)


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from a WebP file's first 30 bytes; Pillow allocates the canvas to tell."""
    kind = head[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def webp_is_lossless(file: IO[bytes]) -> bool:
    """Whether a still WebP holds its pixels in the lossless form."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        file.seek(size + size % 2, io.SEEK_CUR)
    return False


def exif_orientation(image: Image.Image) -> int:
    """The EXIF (or else XMP) orientation, 1 to 8; 1 if there is none that makes sense."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises whatever a corrupt block makes it trip over
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
