"""A TIFF of one page, written here because Pillow has no 16-bit colour and loses tag types."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

import numpy as np
from PIL import Image, TiffImagePlugin

from sargan_plugin.metadata import Metadata
from sargan_plugin.tiff_directory import (
    ICC_TAG,
    PHOTOSHOP_TAG,
    X_RESOLUTION,
    XMP_TAG,
    Y_RESOLUTION,
    Field,
    byte_order,
    read_directory,
    write_directory,
)

_RAW, _LZW, _DEFLATE = 1, 5, 8
_COMPRESSIONS = {"raw": _RAW, "tiff_lzw": _LZW}
_RESOLUTION_UNIT, _INCH = 0x0128, 2


def write_tiff(
    file: IO[bytes],
    samples: np.ndarray,
    alpha: np.ndarray | None,
    metadata: Metadata,
    compression: str,
) -> None:
    """Write grey, RGB or CMYK samples of 8 or 16 bits.

    Args:
        file: an empty file, open for writing.
        samples: ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.
        alpha: opacity ``(H, W)`` in the dtype of ``samples``, or None.
        metadata: what goes with them; its EXIF block gives the byte order.
        compression: Pillow's name of it; other than ``raw`` and ``tiff_lzw`` becomes deflate.
    """
    order = byte_order(metadata.exif) or "<"
    if samples.ndim == 2 and alpha is not None and samples.dtype == np.uint16:
        # few readers, Pillow not among them, know it as greyscale
        samples = np.broadcast_to(samples[..., None], (*samples.shape, 3))
    height, width = samples.shape[:2]
    bands = (samples.shape[2] if samples.ndim == 3 else 1) + (alpha is not None)
    sample_type = samples.dtype.newbyteorder(order)
    code = _COMPRESSIONS.get(compression, _DEFLATE)
    rows_per_strip = max(1, 2**20 // (width * bands * sample_type.itemsize))
    file.write((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    offsets, sizes = [], []
    for top in range(0, height, rows_per_strip):
        rows = slice(top, top + rows_per_strip)
        block = samples[rows] if alpha is None else np.dstack((samples[rows], alpha[rows]))
        block = block.reshape(len(block), width, bands)
        if code != _RAW:  # neighbouring differences compress far better
            block = np.diff(block, axis=1, prepend=block.dtype.type(0))
        strip = _compressed(block.astype(sample_type, copy=False), code)
        offsets.append(file.tell())
        sizes.append(file.write(strip))

    def numbers(code: str, *values: int) -> Field:
        return Field(3 if code == "H" else 4, struct.pack(f"{order}{len(values)}{code}", *values))

    fields = _descriptive_fields(metadata, order) | {
        # baseline tags by their numbers, width to planar configuration
        256: numbers("I", width),
        257: numbers("I", height),
        258: numbers("H", *[8 * sample_type.itemsize] * bands),
        259: numbers("H", code),
        262: numbers("H", {1: 1, 3: 2, 4: 5}[bands - (alpha is not None)]),
        273: numbers("I", *offsets),
        277: numbers("H", bands),
        278: numbers("I", rows_per_strip),
        279: numbers("I", *sizes),
        284: numbers("H", 1),
    }
    if code != _RAW:
        fields[317] = numbers("H", 2)  # predictor: differences
    if alpha is not None:
        fields[338] = numbers("H", 2)  # extra samples: opacity, not multiplied
    file.write(bytes(file.tell() % 2))
    start = file.tell()
    file.write(write_directory(fields, order, start))
    file.seek(4)
    file.write(struct.pack(order + "I", start))


def _descriptive_fields(metadata: Metadata, order: str) -> dict[int, Field]:
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
        fields[_RESOLUTION_UNIT] = Field(3, struct.pack(order + "H", _INCH))
    return fields


def _compressed(block: np.ndarray, code: int) -> bytes:
    raw = block.tobytes()
    if code == _RAW:
        return raw
    if code == _DEFLATE:
        return zlib.compress(raw)
    # to LZW all samples are bytes, so a greyscale TIFF in memory yields the strip
    buffer = io.BytesIO()
    rows = len(block)
    image = Image.frombytes("L", (len(raw) // rows, rows), raw)
    image.save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={278: rows})
    buffer.seek(0)
    tags = TiffImagePlugin.TiffImageFile(buffer).tag_v2
    start, size = tags[273][0], tags[279][0]
    return buffer.getvalue()[start : start + size]
