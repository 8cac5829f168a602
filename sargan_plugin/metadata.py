"""What a picture file says beside its pixels: read once, then written back fitting the new pixels.

Old pixels hide in metadata too (EXIF and Photoshop thumbnails, portrait originals in XMP, Photoshop
layers in TIFF); those go, because they show the old face.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from PIL import ImageFile

from sargan_plugin.exif import EXIF_PREFIX, exif_of_tiff, refresh_exif
from sargan_plugin.tiff_directory import PHOTOSHOP_TAG

XMP_KEYWORD = b"XML:com.adobe.xmp"
_PHOTOSHOP_MARKER = b"Photoshop 3.0\0"
_PNG_CHUNKS = {b"cHRM", b"gAMA", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt"}
_LEGACY_EXIF_KEYWORD = b"Raw profile type exif"
_XMP_EDITS = (
    (rb'(tiff:Orientation=["\'])\d+(["\'])', rb"\g<1>1\2"),
    (rb"(<tiff:Orientation>)\s*\d+\s*(</tiff:Orientation>)", rb"\g<1>1\2"),
    # thumbnails, and pointers to pictures and films behind the first picture, which are not kept
    (rb"(?s)<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>", b""),
    (rb"(?s)<(Container|GContainer):Directory\b.*?</\1:Directory>", b""),
    (rb'(?s)\s(xmpNote:HasExtendedXMP|hdrgm:\w+|GCamera:M(icroVideo|otionPhoto)\w*)="[^"]*"', b""),
)


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
        segments = [data for name, data in image.applist if name == "APP13"]
        pieces = [
            data.removeprefix(_PHOTOSHOP_MARKER)
            for data in segments
            if data.startswith(_PHOTOSHOP_MARKER)
        ]
        return replace(found, comment=info.get("comment") or b"", photoshop=b"".join(pieces))
    if format == "PNG":
        exif = found.exif or _legacy_png_exif(info)
        return replace(found, exif=exif, png_chunks=tuple(_kept_png_chunks(file)))
    if format == "TIFF":
        photoshop = image.tag_v2.get(PHOTOSHOP_TAG)
        photoshop = photoshop if isinstance(photoshop, bytes) else b""
        return replace(found, exif=exif_of_tiff(file), photoshop=photoshop)
    return found


def photoshop_segments(resources: bytes) -> bytes:
    """Photoshop resources as JPEG APP13 segments, cut where a segment would overflow."""
    room = 65533 - len(_PHOTOSHOP_MARKER)
    pieces = [resources[at : at + room] for at in range(0, len(resources), room)]
    return b"".join(
        struct.pack(">HH", 0xFFED, 2 + len(_PHOTOSHOP_MARKER) + len(piece))
        + _PHOTOSHOP_MARKER
        + piece
        for piece in pieces
    )


def _dpi(info: dict, format: str) -> tuple[float, float] | None:
    # Pillow reports 72 dpi for a JPEG whose EXIF does not say; that is a guess, not metadata
    if format == "JPEG" and info.get("jfif_unit") not in (1, 2) and info.get("dpi") == (72, 72):
        return None
    try:
        x, y = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


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
