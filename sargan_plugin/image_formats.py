"""The picture formats: their file names, their first bytes, and how a file used its format."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO, Any

from PIL import JpegImagePlugin

EXTENSIONS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""File name endings that are read and written, and the format each stands for."""


def is_picture_path(path: str | os.PathLike[str]) -> bool:
    """Whether the name ends like a picture that can be read; the file is not looked at."""
    return Path(path).suffix.lower() in EXTENSIONS


def format_of(head: bytes) -> str | None:
    """The format that a file's first bytes announce."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    return "BMP" if head.startswith(b"BM") else None


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


def encoder_settings(image: Any, file: IO[bytes], format: str) -> dict[str, Any]:
    """Save arguments that repeat the way the file is encoded."""
    if format == "JPEG":
        return _jpeg_settings(image)
    if format == "WEBP":
        return {"lossless": _webp_is_lossless(file)}
    if format == "TIFF":
        return {"compression": image.info.get("compression", "raw")}
    return {}


def _jpeg_settings(image: Any) -> dict[str, Any]:
    tables = [component[3] for component in image.layer]
    if len(tables) == 4 and image.info.get("adobe_transform") == 2:
        tables = tables[:1]  # stored as YCCK, written as CMYK: no ink is a chroma channel
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()  # the last table given serves all further components
    return {
        "qtables": [image.quantization[table] for table in tables],
        # -1 is greyscale, CMYK, or a layout Pillow cannot write, for which none is the safe choice
        "subsampling": max(JpegImagePlugin.get_sampling(image), 0),
        "progressive": bool(image.info.get("progressive")),
    }


def _webp_is_lossless(file: IO[bytes]) -> bool:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        file.seek(size + size % 2, os.SEEK_CUR)
    return False
