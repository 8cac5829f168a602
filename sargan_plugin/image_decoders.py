"""From a picture file to upright samples, refusing what would lose something on the way through.

Pillow's decoders are called directly: ``Image.open`` applies the process-wide pixel limit.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sargan_plugin.errors import SarganError
from sargan_plugin.exif import exif_orientation
from sargan_plugin.image_errors import reason, refusal
from sargan_plugin.image_formats import encoder_settings, format_of, is_picture_path, webp_size
from sargan_plugin.metadata import read_metadata
from sargan_plugin.picture import Picture, Source
from sargan_plugin.strips import strips


class _TiffFile(TiffImagePlugin.TiffImageFile):
    """Pillow checks its own pixel limit once more while decoding a TIFF; ours has been checked."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        super().load_prepare()


_READERS: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # of an MPO it reads the first picture only
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": _TiffFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


def read_picture(path: Path, file: IO[bytes], max_pixels: int) -> Picture:
    """Decode an open file; ``path`` is its name, see :func:`sargan_plugin.images.load_picture`."""
    head = file.read(64)
    if not head:
        raise refusal(path, "is an empty file")
    format = format_of(head)
    # camera raw files are TIFF inside, and what Pillow finds in them is the preview
    if format is None or (format == "TIFF" and not is_picture_path(path)):
        raise refusal(path, "is not a JPEG, PNG, WebP, TIFF or BMP picture")
    try:
        if format == "WEBP":  # Pillow allocates the canvas while opening
            _check_size(path, webp_size(head) or (0, 0), max_pixels)
        image = _open(file, format)
        _check_size(path, image.size, max_pixels)
        _check_layout(path, image, format)
        return _decode(path, image, file, format)
    except SarganError:
        raise
    except MemoryError as error:
        raise refusal(path, "needs more memory than there is") from error
    except Exception as error:  # decoders raise whatever damaged bytes make them trip over
        raise refusal(path, f"cannot be read as {format}: {reason(error)}") from error


def size_in_header(file: IO[bytes]) -> tuple[int, int]:
    """Width and height of the picture in an open file, without decoding it."""
    head = file.read(64)
    format = format_of(head)
    if format == "WEBP":
        return webp_size(head) or (0, 0)
    return (0, 0) if format is None else _open(file, format).size


def _open(file: IO[bytes], format: str) -> Any:
    file.seek(0)
    return _READERS[format](file)


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise refusal(path, f"{width} x {height} pixels is more than the limit of {limit}")


def _check_layout(path: Path, image: Any, format: str) -> None:
    if format in ("PNG", "WEBP") and image.n_frames > 1:
        raise refusal(path, f"has {image.n_frames} frames; only single pictures can be edited")
    if format != "TIFF":
        return
    tags = image.tag_v2
    if image.is_animated:
        raise refusal(path, "has more than one page; only single pictures can be edited")
    if 0 in tags.get(338, ()):
        raise refusal(path, "has an extra channel that could not be kept")
    bits = tags.get(258, (1,))[0]
    plain_16 = tags.get(284, 1) == 1 and tags.get(262) in (1, 2) and tags.get(338, (2,)) == (2,)
    if bits not in (1, 2, 4, 8) and not (bits == 16 and plain_16 and image.mode != "I"):
        raise refusal(path, f"has {bits}-bit samples of a kind that cannot be edited")


def _decode(path: Path, image: Any, file: IO[bytes], format: str) -> Picture:
    deep = _deep_rawmode(image)
    # Pillow sets a TIFF upright while loading it, and forgets which way it was
    before = exif_orientation(image) if format == "TIFF" else 1
    settings = encoder_settings(image, file, format)
    if deep == "LA;16B":  # Pillow has no reader for it, but the same four bytes are an RGBA pixel
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    image.load()
    orientation = exif_orientation(image) if format != "TIFF" else 1
    if deep:
        pixels, alpha = _deep_planes(image, file, format, deep, orientation)
    else:
        pixels, alpha = _plain_planes(path, image, orientation)
    key = image.info.get("transparency")
    if key is not None and alpha is None:
        scale = 255 // (2 ** _png_depth(file) - 1) if image.mode == "L" else 1
        alpha = _keyed_alpha(pixels, np.multiply(key, scale))
    for plane in (pixels, alpha):
        if plane is not None:
            plane.flags.writeable = False
    metadata = read_metadata(image, file, format)
    turned = max(before, orientation) >= 5
    cmyk = _upright(image, orientation) if image.mode == "CMYK" else None
    return Picture(path, pixels, alpha, format, Source(metadata, turned, settings, cmyk))


def _plain_planes(
    path: Path, image: Image.Image, orientation: int
) -> tuple[np.ndarray, np.ndarray | None]:
    if image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    modes = {"1": "L", "LA": "L", "P": "RGB", "RGBA": "RGB", "YCbCr": "RGB", "CMYK": "RGB"}
    if image.mode not in ("L", "RGB", *modes) and not image.mode.startswith("I;16"):
        raise refusal(path, f"has {image.mode} samples, which cannot be edited")
    pixels = _upright(image, orientation, modes.get(image.mode))
    if image.mode not in ("LA", "RGBA"):
        return pixels, None
    return pixels, _upright(image.getchannel("A"), orientation)


def _keyed_alpha(pixels: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Opacity of a PNG in which one colour is transparent."""
    alpha = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
    clear = pixels == key
    alpha[clear.all(axis=-1) if clear.ndim == 3 else clear] = 0
    return alpha


def _png_depth(file: IO[bytes]) -> int:
    file.seek(24)
    return file.read(1)[0]


def _deep_rawmode(image: Any) -> str | None:
    """The layout of 16-bit colour samples in the file; None for what Pillow reads whole."""
    if not image.tile:
        return None
    args = image.tile[0].args
    rawmode = args if isinstance(args, str) else args[0]
    return rawmode if rawmode.startswith(("RGB;16", "RGBA;16", "LA;16")) else None


def _deep_planes(
    image: Any, file: IO[bytes], format: str, rawmode: str, orientation: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """16-bit colour, of which Pillow keeps the high bytes only.

    A second pass with the byte order turned round yields the low ones.
    """
    high = _upright(image, orientation)
    if rawmode == "LA;16B":
        samples = np.ascontiguousarray(high).view(">u2").astype(np.uint16)
        return np.ascontiguousarray(samples[..., 0]), np.ascontiguousarray(samples[..., 1])
    native = "L" if sys.byteorder == "little" else "B"
    order = rawmode[-1].replace("N", native)
    turned_round = rawmode[:-1] + ("B" if order == "L" else "L")
    again = _open(file, format)
    again.tile = [
        tile._replace(
            args=turned_round if isinstance(tile.args, str) else (turned_round, *tile.args[1:])
        )
        for tile in again.tile
    ]
    again.load()
    samples = high.astype(np.uint16)
    samples <<= 8
    samples |= _upright(again, orientation)
    if samples.shape[2] == 3:
        return samples, None
    return np.ascontiguousarray(samples[..., :3]), np.ascontiguousarray(samples[..., 3])


def _upright(image: Image.Image, orientation: int, mode: str | None = None) -> np.ndarray:
    """The picture as an array, converted to ``mode`` and turned upright while it is copied."""
    width, height = image.size
    upright = stored = None
    for rows in strips(height, width):
        strip = image.crop((0, rows.start, width, rows.stop))
        block = np.asarray(strip.convert(mode) if mode and mode != strip.mode else strip)
        if upright is None:
            size = (width, height) if orientation >= 5 else (height, width)
            upright = np.empty(size + block.shape[2:], block.dtype.newbyteorder("="))
            stored = _as_stored(upright, orientation)
        stored[rows] = block
    return upright


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an upright array in the order in which a file of this orientation has its rows."""
    down, right = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(
        orientation, (1, 1)
    )
    view = upright[::down, ::right]
    return view.swapaxes(0, 1) if orientation >= 5 else view
