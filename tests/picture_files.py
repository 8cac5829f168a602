"""Picture files made for tests, and what tests of reading and writing them share."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from sargan_plugin.errors import SarganError
from sargan_plugin.images import load_picture, printable_name, save_picture

ORIENTATION, EXIF_IFD, GPS_IFD, IFD1 = 0x0112, 0x8769, 0x8825, -1
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKER_NOTE = b"ACME\0" + bytes(range(200)) + b"the maker's own offsets"
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation=\"6\" "
    b'xmpNote:HasExtendedXMP="ABCD" dc:rights="me">'
    b"<xmp:Thumbnails><rdf:Alt>OLDFACE</rdf:Alt></xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)


def smooth(height: int = 90, width: int = 130) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = (x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height))
    return np.stack(planes, axis=-1).astype(np.uint8)


def edited(pixels: np.ndarray) -> np.ndarray:
    result = pixels.copy()
    result[10:30, 20:50] = result[10:30, 20:50] // 2 + np.iinfo(pixels.dtype).max // 5
    return result


def round_trip(path: Path, **options) -> tuple:
    """Load, edit, save beside and load again: source, edited samples, destination, result."""
    source = load_picture(path)
    wanted = edited(source.pixels)
    destination = path.with_name("edited-" + path.name)
    save_picture(source, wanted, destination, **options)
    return source, wanted, destination, load_picture(destination)


def jpeg_bytes(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


OLD_THUMBNAIL = jpeg_bytes(Image.effect_noise((96, 64), 90).convert("RGB"), quality=70)


def exif_block(orientation: int = 1, thumbnail: bytes | None = None, tail: bytes = b"") -> bytes:
    """An EXIF block with GPS, a maker note, interoperability tags and perhaps a thumbnail."""
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    exif[ORIENTATION] = orientation
    exif[EXIF_IFD] = {
        0x9003: "2024:05:06 07:08:09",
        0x927C: MAKER_NOTE,
        0xA002: 130,
        0xA003: 90,
        0xA005: {1: "R98"},
    }
    exif[GPS_IFD] = {1: "N", 2: (52.0, 31.0, 12.5), 3: "E", 4: (13.0, 24.0, 18.25)}
    block = bytearray(exif.tobytes()[6:])
    if thumbnail is None:
        return bytes(block)
    order = "<" if block[:2] == b"II" else ">"
    (count,) = struct.unpack_from(order + "H", block, 8)
    start = len(block)
    struct.pack_into(order + "I", block, 10 + 12 * count, start)
    fields = ((0x0201, start + 30), (0x0202, len(thumbnail)))
    block += struct.pack(order + "H", 2)
    block += b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in fields)
    return bytes(block + bytes(4) + thumbnail + tail)


def deep_png(path: Path, samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> None:
    """A 16-bit PNG from first principles: unfiltered rows, samples (H, W, channels)."""
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
            PngImagePlugin.putchunk(file, name, body)


def refused(action, path: Path | str, *words: str) -> str:
    """The action raises one printable line that names the file and holds the words."""
    with pytest.raises(SarganError) as caught:
        action()
    message = str(caught.value)
    message.encode("utf-8")
    assert "\n" not in message and "\r" not in message
    assert message.startswith(printable_name(path) + ": ")
    for word in words:
        assert word in message
    return message
