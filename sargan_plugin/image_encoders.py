"""From edited samples to a picture file that is encoded like the one they came from."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import numpy as np
from PIL import Image, PngImagePlugin

from sargan_plugin.exif import EXIF_PREFIX
from sargan_plugin.metadata import XMP_KEYWORD, Metadata, photoshop_segments
from sargan_plugin.picture import Picture
from sargan_plugin.strips import rounded_to_8_bits, strips
from sargan_plugin.tiff_writer import write_tiff

_JPEG_EXIF_ROOM = 65533 - len(EXIF_PREFIX)


def write_picture(
    file: IO[bytes],
    picture: Picture,
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    target: str,
    quality: int | None,
) -> None:
    """Encode an edit of ``picture`` in the format ``target``, repeating its encoding."""
    source = picture.source
    settings = source.encoder if target == picture.format else {}
    metadata = source.metadata.for_new_pixels(turned=source.turned, thumbnail=_thumbnail(pixels))
    if target == "JPEG" and len(metadata.exif) > _JPEG_EXIF_ROOM:
        metadata = source.metadata.for_new_pixels(turned=source.turned, thumbnail=None)
    if pixels.dtype == np.uint16 and target not in ("PNG", "TIFF"):
        pixels = rounded_to_8_bits(pixels)
        alpha = None if alpha is None else rounded_to_8_bits(alpha)
    if source.cmyk is not None:
        if target in ("JPEG", "TIFF"):
            pixels = _inks(source.cmyk, picture.pixels, pixels)
        else:  # a profile of inks says nothing about colours
            metadata = replace(metadata, icc=b"")
    if target == "JPEG":
        _write_jpeg(file, pixels, metadata, settings, quality)
    elif target == "PNG":
        _write_png(file, pixels, alpha, metadata)
    elif target == "WEBP":
        lossless = settings.get("lossless", picture.format != "JPEG")
        _write_webp(file, pixels, alpha, metadata, lossless, quality)
    elif target == "TIFF":
        write_tiff(file, pixels, alpha, metadata, settings.get("compression", "deflate"))
    else:
        _pillow_image(pixels).save(_Sink(file), "BMP", dpi=metadata.dpi or (96, 96))


def _thumbnail(pixels: np.ndarray) -> bytes:
    """A JPEG of at most 160 x 120 pixels, the size EXIF prescribes."""
    step = max(1, max(pixels.shape[:2]) // 640)
    small = rounded_to_8_bits(pixels[::step, ::step])
    image = Image.fromarray(np.ascontiguousarray(small))
    image.thumbnail((160, 120))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _inks(old_inks: np.ndarray, old: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A CMYK plane with the edited pixels recomputed.

    This is Pillow's CMYK to RGB formula turned round for a given black. Keeping the black makes a
    small change of colour a small change of ink, so no seam shows between old and new pixels.
    """
    inks = old_inks.copy()
    for rows in strips(*inks.shape[:2]):
        changed = (pixels[rows] != old[rows]).any(axis=-1)
        colours = pixels[rows][changed].astype(np.float32)
        black = np.minimum(inks[rows][changed][:, 3], 255 - colours.max(axis=-1, initial=0))
        paper = 255 - black[:, None]
        cmy = 255 - 255 * colours / np.maximum(paper, 1)
        fresh = np.concatenate([cmy, black[:, None]], axis=-1)
        inks[rows][changed] = np.rint(fresh).clip(0, 255).astype(np.uint8)
    return inks


def _pillow_image(samples: np.ndarray, alpha: np.ndarray | None = None) -> Image.Image:
    if samples.ndim == 3 and samples.shape[2] == 4:
        size = samples.shape[1::-1]
        return Image.frombuffer("CMYK", size, np.ascontiguousarray(samples), "raw", "CMYK", 0, 1)
    image = Image.fromarray(samples)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image


class _Sink:
    """A file without a descriptor.

    Given a descriptor, Pillow writes past Python and does not notice that a full disk took only
    part of the last block.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.seek, self.tell, self.flush = file.write, file.seek, file.tell, file.flush


def _write_jpeg(
    file: IO[bytes],
    samples: np.ndarray,
    metadata: Metadata,
    settings: dict[str, Any],
    quality: int | None,
) -> None:
    options = {"subsampling": 0, **settings}
    if quality is not None or not settings:
        options.pop("qtables", None)
        options["quality"] = 95 if quality is None else quality
    if metadata.exif:
        options["exif"] = EXIF_PREFIX + metadata.exif
    if metadata.dpi:
        options["dpi"] = metadata.dpi
    for name, value in (("xmp", metadata.xmp), ("icc_profile", metadata.icc)):
        if value:
            options[name] = value
    options["comment"] = metadata.comment
    options["extra"] = photoshop_segments(metadata.photoshop)
    image, buffer = _pillow_image(samples), io.BytesIO()
    try:
        image.save(buffer, "JPEG", **options)
    except OSError:
        # Pillow's buffer for a progressive file is too small for fine tables on a noisy picture
        if not options.pop("progressive", False):
            raise
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", **options)
    file.write(buffer.getbuffer())


def _write_png(
    file: IO[bytes], samples: np.ndarray, alpha: np.ndarray | None, metadata: Metadata
) -> None:
    chunks = PngImagePlugin.PngInfo()
    for name, data in metadata.png_chunks:
        chunks.add(name, data)
    if metadata.xmp:
        chunks.add_itxt(XMP_KEYWORD, metadata.xmp)
    options = {
        "pnginfo": chunks,
        "exif": metadata.exif,
        "icc_profile": metadata.icc,
        "dpi": metadata.dpi,
    }
    if samples.dtype == np.uint16 and (samples.ndim == 3 or alpha is not None):
        _write_deep_png(file, samples, alpha, options)
    else:
        _pillow_image(samples, alpha).save(_Sink(file), "PNG", **options)


def _write_deep_png(
    file: IO[bytes], samples: np.ndarray, alpha: np.ndarray | None, options: dict[str, Any]
) -> None:
    """16-bit colour or grey with alpha, which Pillow cannot write: its chunks, our samples."""
    height, width = samples.shape[:2]
    colour_type = 2 * (samples.ndim == 3) + 4 * (alpha is not None)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    for name, data, _ in PngImagePlugin.getchunks(Image.new("RGB", (1, 1)), **options):
        if name == b"IDAT":
            for piece in _deflated_rows(samples, alpha):
                PngImagePlugin.putchunk(file, b"IDAT", piece)
        else:
            PngImagePlugin.putchunk(file, name, header if name == b"IHDR" else data)


def _deflated_rows(samples: np.ndarray, alpha: np.ndarray | None) -> Iterator[bytes]:
    """Big-endian rows, each less the row above (PNG filter 2), compressed strip by strip."""
    compressor = zlib.compressobj(6)
    above = None
    for rows in strips(*samples.shape[:2]):
        block = samples[rows] if alpha is None else np.dstack((samples[rows], alpha[rows]))
        block = block.astype(">u2").reshape(len(block), -1).view(np.uint8)
        above = np.zeros_like(block[:1]) if above is None else above
        filtered = np.full((len(block), block.shape[1] + 1), 2, np.uint8)
        filtered[:, 1:] = np.diff(block, axis=0, prepend=above)
        above = block[-1:]
        yield compressor.compress(filtered.tobytes())
    yield compressor.flush()


def _write_webp(
    file: IO[bytes],
    samples: np.ndarray,
    alpha: np.ndarray | None,
    metadata: Metadata,
    lossless: bool,
    quality: int | None,
) -> None:
    # WebP has no greyscale, and a greyscale profile on colours would be wrong
    icc = b"" if metadata.icc[16:20] == b"GRAY" else metadata.icc
    options: dict[str, Any] = {"lossless": True} if lossless and quality is None else {}
    if not options:
        options["quality"] = 95 if quality is None else quality
    image = _pillow_image(samples, alpha).convert("RGB" if alpha is None else "RGBA")
    # exact: keep the colours under clear pixels
    image.save(
        _Sink(file),
        "WEBP",
        exact=True,
        exif=metadata.exif,
        xmp=metadata.xmp,
        icc_profile=icc,
        **options,
    )
