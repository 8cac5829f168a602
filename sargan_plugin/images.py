"""Picture files in and out: upright pixels for the editor, everything else put back as it was.

The original is never written to, an unedited picture is copied byte for byte, and a result appears
under its name only when it is complete. Pillow's process-wide settings (pixel limit, warnings) are
neither read nor changed: hosts load pictures in other threads, and the limit here is higher than
Pillow's because phones take photos of 108 and 200 megapixels.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
from sargan_plugin.metadata import (
    EXIF_PREFIX,
    XMP_KEYWORD,
    Field,
    Metadata,
    exif_orientation,
    photoshop_segments,
    read_metadata,
    tiff_fields,
    webp_is_lossless,
    webp_size,
    write_directory,
)

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

DEFAULT_MAX_PIXELS = 250_000_000
"""Room for a 200-megapixel phone photo; a float copy of more would not fit most machines anyway."""

_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_JPEG_EXIF_ROOM = 65533 - len(EXIF_PREFIX)
# Pictures are copied in strips of this many pixels: no second copy piles up, and Pillow's crop,
# which heeds its own pixel limit, stays far below any limit a host may have set.
_STRIP_PIXELS = 2**16


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the editor sees it, and what is needed to write it back.

    Attributes:
        path: the file it came from.
        pixels: upright samples, ``(H, W, 3)`` RGB or ``(H, W)`` greyscale; ``uint8``, or
            ``uint16`` when the file holds 16 bits a sample. Read-only: an edit needs its own
            array, otherwise it could not be told from an untouched picture.
        alpha: upright opacity ``(H, W)`` in the dtype of ``pixels``, 0 is clear; None if opaque.
        format: ``JPEG``, ``PNG``, ``WEBP``, ``TIFF`` or ``BMP``, told from the content and not
            from the name. A phone's MPO file is a ``JPEG``, namely its first picture.
        source: how the file stored the picture; used by :func:`save_picture` only.
    """

    path: Path
    pixels: np.ndarray = field(repr=False)
    alpha: np.ndarray | None = field(repr=False)
    format: str
    source: Source = field(repr=False)


@dataclass(frozen=True, eq=False)
class Source:
    """How a file stored its picture. Arrays are upright like :attr:`Picture.pixels`."""

    metadata: Metadata
    turned: bool  # setting it upright made width and height change places
    encoder: dict[str, Any]  # save arguments that repeat the file's encoding
    bilevel: bool = False
    cmyk: np.ndarray | None = None  # (H, W, 4), 255 is full ink
    indices: np.ndarray | None = None  # (H, W) into palette
    palette: np.ndarray | None = None  # (256, 4) RGBA


def is_picture_path(path: str | os.PathLike[str]) -> bool:
    """Whether the name ends like a picture that can be read; the file is not looked at."""
    return Path(path).suffix.lower() in EXTENSIONS


def printable_name(path: str | os.PathLike[str]) -> str:
    """The path on one line that any UTF-8 stream takes; unprintable characters are escaped.

    Example:
        >>> printable_name("holiday\\n1.jpg")
        'holiday\\\\n1.jpg'
    """
    return "".join(map(_printable, os.fspath(path)))


def _printable(character: str) -> str:
    if character.isprintable() or character == "\u200d":  # the joiner inside family emoji
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of the name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


# ------------------------------------------------------------------------------------------- load


def load_picture(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture file.

    The EXIF orientation, mirrored ones too, is applied. CMYK and palette pictures arrive as RGB
    with their inks or indices kept aside; 16-bit samples stay 16 bits; a transparent colour
    (PNG ``tRNS``) arrives as alpha.

    Args:
        path: a JPEG, PNG, WebP, TIFF or BMP file.
        max_pixels: larger pictures are refused by their header, before memory is taken.

    Raises:
        SarganError: the file cannot be read, is no such picture, is damaged, animated, has
            several pages, or is too large. The message is one line and names the file.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _refusal(path, "is a folder, not a picture")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise _refusal(path, "is not a regular file")
        with path.open("rb") as file:
            return _read(path, file, max_pixels)
    except (OSError, ValueError) as error:
        raise _refusal(path, f"cannot be opened: {_reason(error)}") from error


def _refusal(path: Path, problem: str) -> SarganError:
    return SarganError(f"{printable_name(path)}: {problem}")


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return printable_name(" ".join(text.split())) or type(error).__name__


def _read(path: Path, file: IO[bytes], max_pixels: int) -> Picture:
    head = file.read(64)
    if not head:
        raise _refusal(path, "is an empty file")
    format = _sniff(head)
    # camera raw files are TIFF inside, and what Pillow finds in them is the preview
    if format is None or (format == "TIFF" and not is_picture_path(path)):
        raise _refusal(path, "is not a JPEG, PNG, WebP, TIFF or BMP picture")
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
        raise _refusal(path, "needs more memory than there is") from error
    except Exception as error:  # decoders raise whatever damaged bytes make them trip over
        raise _refusal(path, f"cannot be read as {format}: {_reason(error)}") from error


def _sniff(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    return "BMP" if head.startswith(b"BM") else None


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


def _open(file: IO[bytes], format: str) -> Any:
    # not Image.open, which applies the process-wide pixel limit and warns below it
    file.seek(0)
    return _READERS[format](file)


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise _refusal(path, f"{width} x {height} pixels is more than the limit of {limit}")


def _check_layout(path: Path, image: Any, format: str) -> None:
    """Refuse what would lose something on the way through."""
    if format in ("PNG", "WEBP") and image.n_frames > 1:
        raise _refusal(path, f"has {image.n_frames} frames; only single pictures can be edited")
    if format != "TIFF":
        return
    tags = image.tag_v2
    if image.is_animated:
        raise _refusal(path, "has more than one page; only single pictures can be edited")
    if 0 in tags.get(338, ()):
        raise _refusal(path, "has an extra channel that could not be kept")
    bits = tags.get(258, (1,))[0]
    plain_16 = tags.get(284, 1) == 1 and tags.get(262) in (1, 2) and tags.get(338, (2,)) == (2,)
    if bits not in (1, 2, 4, 8) and not (bits == 16 and plain_16 and image.mode != "I"):
        raise _refusal(path, f"has {bits}-bit samples of a kind that cannot be edited")


def _decode(path: Path, image: Any, file: IO[bytes], format: str) -> Picture:
    deep = _deep_rawmode(image)
    # Pillow sets a TIFF upright while loading it, and forgets which way it was
    before = exif_orientation(image) if format == "TIFF" else 1
    settings = _encoder_settings(image, file, format)
    if deep == "LA;16B":  # Pillow has no reader for it, but the same four bytes are an RGBA pixel
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    image.load()
    orientation = exif_orientation(image) if format != "TIFF" else 1
    key = image.info.get("transparency")
    kept: dict[str, Any] = {"bilevel": image.mode == "1"}
    if deep:
        pixels, alpha = _deep_planes(image, file, format, deep, orientation)
    elif image.mode == "P":
        kept["palette"] = palette = _palette(image)
        kept["indices"] = indices = _upright(image, orientation)
        pixels = _looked_up(palette[:, :3], indices)
        alpha, key = (None if key is None else _looked_up(palette[:, 3], indices)), None
    elif image.mode == "CMYK":
        kept["cmyk"] = _upright(image, orientation)
        pixels, alpha = _upright(image, orientation, "RGB"), None
    else:
        pixels, alpha = _plain_planes(path, image, orientation)
    if key is not None and alpha is None:  # PNG: one colour is transparent
        file.seek(24)
        bits = file.read(1)[0]
        scale = 255 // (2**bits - 1) if image.mode == "L" else 1
        clear = pixels == np.multiply(key, scale)
        alpha = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
        alpha[clear.all(axis=-1) if clear.ndim == 3 else clear] = 0
    for plane in (pixels, alpha):
        if plane is not None:
            plane.flags.writeable = False
    metadata = read_metadata(image, file, format)
    turned = max(before, orientation) >= 5
    return Picture(path, pixels, alpha, format, Source(metadata, turned, settings, **kept))


def _plain_planes(
    path: Path, image: Image.Image, orientation: int
) -> tuple[np.ndarray, np.ndarray | None]:
    modes = {"1": "L", "LA": "L", "La": "L", "PA": "RGB", "RGBA": "RGB", "YCbCr": "RGB"}
    if image.mode not in ("L", "RGB", *modes) and not image.mode.startswith("I;16"):
        raise _refusal(path, f"has {image.mode} samples, which cannot be edited")
    if image.mode in ("La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    pixels = _upright(image, orientation, modes.get(image.mode))
    if image.mode not in ("LA", "RGBA"):
        return pixels, None
    return pixels, _upright(image.getchannel("A"), orientation)


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


def _palette(image: Image.Image) -> np.ndarray:
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    palette[: len(colours), :3] = colours
    clear = image.info.get("transparency")
    if isinstance(clear, bytes):
        palette[: len(clear), 3] = np.frombuffer(clear[:256], np.uint8)
    elif clear is not None:
        palette[clear, 3] = 0
    return palette


def _strips(height: int, width: int) -> list[slice]:
    step = max(1, _STRIP_PIXELS // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def _looked_up(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    # numpy makes 64-bit copies of indices, which a whole picture must not pay for
    found = np.empty(indices.shape + table.shape[1:], table.dtype)
    for rows in _strips(*indices.shape[:2]):
        found[rows] = table[indices[rows]]
    return found


def _upright(image: Image.Image, orientation: int, mode: str | None = None) -> np.ndarray:
    """The picture as an array, converted to ``mode`` and turned upright while it is copied."""
    width, height = image.size
    upright = stored = None
    for rows in _strips(height, width):
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


def _encoder_settings(image: Any, file: IO[bytes], format: str) -> dict[str, Any]:
    """Save arguments that repeat the way the file is encoded."""
    if format == "JPEG":
        return _jpeg_settings(image)
    if format == "WEBP":
        return {"lossless": webp_is_lossless(file)}
    if format == "TIFF":
        return {"compression": image.info.get("compression", "raw")}
    return {}


def _jpeg_settings(image: Any) -> dict[str, Any]:
    components = [(component[0], component[3]) for component in image.layer]
    tables = [table for _, table in components]
    if len(tables) == 4 and image.info.get("adobe_transform") == 2:
        tables = tables[:1]  # stored as YCCK, written as CMYK: no ink is a chroma channel
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()  # the last table given serves all further components
    # libjpeg's own rule for three components that are not YCbCr
    adobe = image.info.get("adobe_transform")
    names = [name for name, _ in components]
    stored_rgb = len(names) == 3 and "jfif" not in image.info
    stored_rgb &= adobe == 0 or (adobe is None and names == [*b"RGB"])
    return {
        "qtables": [image.quantization[table] for table in tables],
        # -1 is greyscale, CMYK, or a layout Pillow cannot write, for which none is the safe choice
        "subsampling": 0 if stored_rgb else max(JpegImagePlugin.get_sampling(image), 0),
        "progressive": bool(image.info.get("progressive")),
        "keep_rgb": stored_rgb,
    }


# ------------------------------------------------------------------------------------------- save


def save_picture(
    picture: Picture,
    pixels: np.ndarray,
    destination: str | os.PathLike[str],
    *,
    format: str | None = None,
    alpha: np.ndarray | None = None,
    quality: int | None = None,
) -> None:
    """Write an edited picture, with all that its file held beside the face.

    Without an edit and in the source's format the file is copied byte for byte. Otherwise:

    - JPEG keeps quantisation tables, subsampling (other than 4:2:0 and 4:2:2 becomes 4:4:4) and
      progressive order; an MPO becomes a plain JPEG without its further pictures and their index.
    - CMYK stays CMYK in JPEG and TIFF. Only pixels that differ from ``picture.pixels`` are
      computed anew, with their black kept; the others keep their inks (in a JPEG, as exactly as
      the same tables allow).
    - A palette or bilevel PNG stays one as long as no new colour is needed.
    - TIFF keeps no compression, LZW and PackBits; every other compression becomes deflate.
    - EXIF says upright and shows the new face in its thumbnail, if it had one. XMP, ICC profile,
      resolution, IPTC and PNG text are kept as far as the format can hold them.

    Args:
        picture: what :func:`load_picture` returned.
        pixels: the edited samples, in the shape and dtype of ``picture.pixels``.
        destination: the file to write; an older one is replaced when the new one is complete.
        format: a name such as ``"png"``. By default the destination's ending decides, except
            that an ending equal to the source's asks for no conversion. Formats with 8 bits a
            sample round 16-bit samples.
        alpha: edited opacity in place of ``picture.alpha``.
        quality: 1 to 100 for JPEG and WebP, instead of the source's tables, 95, or lossless WebP.

    Raises:
        SarganError: the destination is the source, cannot be written, or its format cannot hold
            the picture; nothing is left behind. The message is one line and names the file.
        ValueError: the arrays do not fit the picture.
    """
    destination = Path(destination)
    alpha = picture.alpha if alpha is None else alpha
    for name, plane, shape in (
        ("pixels", pixels, picture.pixels.shape),
        ("alpha", alpha, picture.pixels.shape[:2]),
    ):
        if plane is not None and (plane.shape != shape or plane.dtype != picture.pixels.dtype):
            raise ValueError(
                f"{name} must be {picture.pixels.dtype} of shape {shape}, "
                f"not {plane.dtype} of shape {plane.shape}"
            )
    target = _target_format(picture, destination, format)
    if _is_same_file(destination, picture.path):
        raise _refusal(destination, "is the original, which is never overwritten")
    _check_target(destination, target, pixels, alpha)
    untouched = _equal(pixels, picture.pixels) and _equal(alpha, picture.alpha)
    try:
        with _replacing(destination) as temporary:
            if untouched and target == picture.format:
                shutil.copyfile(picture.path, temporary)
            else:
                with temporary.open("xb") as file:
                    _encode(picture, pixels, alpha, target, quality, file)
    except MemoryError as error:
        raise _refusal(destination, "needs more memory than there is") from error
    except Exception as error:  # encoders raise many types, and each means the same to the user
        gone = isinstance(error, FileNotFoundError) and error.filename == str(picture.path)
        culprit, verb = (picture.path, "read again") if gone else (destination, "written")
        raise _refusal(culprit, f"cannot be {verb}: {_reason(error)}") from error


def _target_format(picture: Picture, destination: Path, format: str | None) -> str:
    if format is not None:
        known = EXTENSIONS.get("." + format.lower())
        if known is None:
            names = ", ".join(sorted({name.lower() for name in EXTENSIONS.values()}))
            raise SarganError(f"{printable_name(format)}: unknown picture format; known: {names}")
        return known
    ending = destination.suffix.lower()
    if ending == picture.path.suffix.lower():
        return picture.format
    return EXTENSIONS.get(ending, picture.format)


def _check_target(
    destination: Path, target: str, pixels: np.ndarray, alpha: np.ndarray | None
) -> None:
    longest = _LONGEST_SIDE.get(target, max(pixels.shape))
    if max(pixels.shape) > longest:
        raise _refusal(destination, f"{target} holds at most {longest} pixels a side")
    if target == "JPEG" and alpha is not None and alpha.min() < np.iinfo(alpha.dtype).max:
        raise _refusal(destination, "JPEG cannot hold transparency; choose png or webp")


def _is_same_file(destination: Path, source: Path) -> bool:
    try:
        return destination.samefile(source)
    except (OSError, ValueError):
        return False


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None or a is b:
        return a is b
    return all(np.array_equal(a[rows], b[rows]) for rows in _strips(*a.shape[:2]))


@contextlib.contextmanager
def _replacing(destination: Path) -> Iterator[Path]:
    """A temporary name beside ``destination`` that becomes it on success, and vanishes on failure.

    The name is short, so that a destination of the longest allowed name works, and does not end
    like a picture, so that nobody picks up half a file.
    """
    temporary = destination.parent / f".sargan-{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
        temporary.replace(destination)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _encode(
    picture: Picture,
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    target: str,
    quality: int | None,
    file: IO[bytes],
) -> None:
    source = picture.source
    settings = source.encoder if target == picture.format else {}
    metadata = source.metadata.for_new_pixels(turned=source.turned, thumbnail=_thumbnail(pixels))
    if target == "JPEG" and len(metadata.exif) > _JPEG_EXIF_ROOM:
        metadata = source.metadata.for_new_pixels(turned=source.turned, thumbnail=None)
    if pixels.dtype == np.uint16 and target not in ("PNG", "TIFF"):
        pixels = _rounded_to_8_bits(pixels)
        alpha = None if alpha is None else _rounded_to_8_bits(alpha)
    if source.cmyk is not None:
        inks = _inks(picture, pixels)
        if target in ("JPEG", "TIFF"):
            pixels = inks
        else:
            pixels, metadata = _as_srgb(inks, pixels, metadata)
    if target == "JPEG":
        _write_jpeg(file, pixels, metadata, settings, quality)
    elif target == "PNG":
        small = _small_form(picture, pixels, alpha)
        _write_png(file, pixels, alpha, metadata, small)
    elif target == "WEBP":
        lossless = settings.get("lossless", picture.format != "JPEG")
        _write_webp(file, pixels, alpha, metadata, lossless, quality)
    elif target == "TIFF":
        _write_tiff(file, pixels, alpha, metadata, settings.get("compression", "deflate"))
    else:
        _write_bmp(file, pixels, alpha, metadata)


def _thumbnail(pixels: np.ndarray) -> bytes:
    """A JPEG of at most 160 x 120 pixels, the size EXIF prescribes."""
    step = max(1, max(pixels.shape[:2]) // 640)
    small = pixels[::step, ::step]
    if small.dtype == np.uint16:
        small = _rounded_to_8_bits(small)
    image = Image.fromarray(np.ascontiguousarray(small))
    image.thumbnail((160, 120))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _rounded_to_8_bits(samples: np.ndarray) -> np.ndarray:
    # a table, because 32-bit copies of a large picture would be needed to calculate
    table = (np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535
    return _looked_up(table.astype(np.uint8), samples)


def _inks(picture: Picture, pixels: np.ndarray) -> np.ndarray:
    """The picture's CMYK plane with the edited pixels recomputed.

    This is Pillow's CMYK to RGB formula turned round for a given black. Keeping the black makes a
    small change of colour a small change of ink, so no seam shows between old and new pixels.
    """
    inks = picture.source.cmyk.copy()
    for rows in _strips(*inks.shape[:2]):
        changed = (pixels[rows] != picture.pixels[rows]).any(axis=-1)
        colours = pixels[rows][changed].astype(np.float32)
        black = np.minimum(inks[rows][changed][:, 3], 255 - colours.max(axis=-1, initial=0))
        paper = 255 - black[:, None]
        cmy = 255 - 255 * colours / np.maximum(paper, 1)
        fresh = np.concatenate([cmy, black[:, None]], axis=-1)
        inks[rows][changed] = np.rint(fresh).clip(0, 255).astype(np.uint8)
    return inks


def _as_srgb(
    inks: np.ndarray, pixels: np.ndarray, metadata: Metadata
) -> tuple[np.ndarray, Metadata]:
    """Colours for a format without CMYK: through the ICC profile if there is a usable one."""
    from PIL import ImageCms

    icc, metadata = metadata.icc, replace(metadata, icc=b"")
    if not icc:
        return pixels, metadata
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        screen = ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(_pillow_image(inks), profile, screen, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        return pixels, metadata
    return np.asarray(image), metadata


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


def _small_form(
    picture: Picture, pixels: np.ndarray, alpha: np.ndarray | None
) -> Image.Image | None:
    """The picture as a palette or bilevel image, if the source was one and no colour is new."""
    source = picture.source
    if source.bilevel and alpha is None and ((pixels == 0) | (pixels == 255)).all():
        return Image.fromarray(pixels).convert("1", dither=Image.Dither.NONE)
    if source.indices is None or not _equal(alpha, picture.alpha):
        return None
    changed = (pixels != picture.pixels).any(axis=-1)
    opacity = np.uint8(255) if alpha is None else alpha[changed]
    colours = np.empty((np.count_nonzero(changed), 4), np.uint8)
    colours[:, :3], colours[:, 3] = pixels[changed], opacity
    used = source.palette[: int(source.indices.max()) + 1]
    entries, index = np.unique(np.ascontiguousarray(used).view(np.uint32), return_index=True)
    wanted = colours.view(np.uint32).ravel()
    nearest = np.searchsorted(entries, wanted).clip(max=len(entries) - 1)
    if not np.array_equal(entries[nearest], wanted):
        return None
    indices = source.indices.copy()
    indices[changed] = index[nearest]
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(used[:, :3].tobytes())
    if alpha is not None:
        image.info["transparency"] = used[:, 3].tobytes()
    return image


def _write_png(
    file: IO[bytes],
    samples: np.ndarray,
    alpha: np.ndarray | None,
    metadata: Metadata,
    small: Image.Image | None,
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
    if small is None and samples.dtype == np.uint16 and (samples.ndim == 3 or alpha is not None):
        _write_deep_png(file, samples, alpha, options)
    else:
        image = small or _pillow_image(samples, alpha)
        image.save(_Sink(file), "PNG", **options)


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
    for rows in _strips(*samples.shape[:2]):
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


def _write_tiff(
    file: IO[bytes],
    samples: np.ndarray,
    alpha: np.ndarray | None,
    metadata: Metadata,
    compression: str,
) -> None:
    """A TIFF of one page, written here because Pillow has no 16-bit colour and loses tag types."""
    order, fields = tiff_fields(metadata)
    if samples.ndim == 2 and alpha is not None and samples.dtype == np.uint16:
        samples = _coloured(samples)  # few readers, Pillow not among them, know it as greyscale
    height, width = samples.shape[:2]
    bands = (samples.shape[2] if samples.ndim == 3 else 1) + (alpha is not None)
    sample_type = samples.dtype.newbyteorder(order)
    codes = {"raw": 1, "tiff_lzw": 5, "packbits": 32773}
    code = codes.get(compression, 8)
    rows_per_strip = max(1, 2**20 // (width * bands * sample_type.itemsize))
    file.write((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    offsets, sizes = [], []
    for top in range(0, height, rows_per_strip):
        rows = slice(top, top + rows_per_strip)
        block = samples[rows] if alpha is None else np.dstack((samples[rows], alpha[rows]))
        block = block.reshape(len(block), width, bands)
        if code in (5, 8):  # neighbouring differences compress far better
            block = np.diff(block, axis=1, prepend=block.dtype.type(0))
        strip = _compressed(block.astype(sample_type, copy=False), code)
        offsets.append(file.tell())
        sizes.append(file.write(strip))

    def numbers(code: str, *values: int) -> Field:
        return Field(3 if code == "H" else 4, struct.pack(f"{order}{len(values)}{code}", *values))

    fields |= {  # baseline tags by their numbers, width to planar configuration
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
    if code in (5, 8):
        fields[317] = numbers("H", 2)
    if alpha is not None:
        fields[338] = numbers("H", 2)
    file.write(bytes(file.tell() % 2))
    start = file.tell()
    file.write(write_directory(fields, order, start))
    file.seek(4)
    file.write(struct.pack(order + "I", start))


def _coloured(grey: np.ndarray) -> np.ndarray:
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))


def _compressed(block: np.ndarray, code: int) -> bytes:
    raw = block.tobytes()
    if code == 1:
        return raw
    if code == 8:
        return zlib.compress(raw)
    # to these two all samples are bytes, so a greyscale TIFF in memory yields the strip
    buffer = io.BytesIO()
    rows = len(block)
    name = {5: "tiff_lzw", 32773: "packbits"}[code]
    image = Image.frombytes("L", (len(raw) // rows, rows), raw)
    image.save(buffer, "TIFF", compression=name, tiffinfo={278: rows})
    buffer.seek(0)
    tags = TiffImagePlugin.TiffImageFile(buffer).tag_v2
    start, size = tags[273][0], tags[279][0]
    return buffer.getvalue()[start : start + size]


def _write_bmp(
    file: IO[bytes], samples: np.ndarray, alpha: np.ndarray | None, metadata: Metadata
) -> None:
    dpi = metadata.dpi or (96, 96)
    if alpha is None:
        _pillow_image(samples).save(_Sink(file), "BMP", dpi=dpi)
        return
    # Pillow writes a header that does not tell readers of the alpha channel; version 4 does
    height, width = samples.shape[:2]
    size = 4 * width * height
    per_metre = [round(value / 0.0254) for value in dpi]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, size, *per_metre, 0, 0)
    header += struct.pack("<4I4s48x", *masks, b"BGRs")
    file.write(struct.pack("<2sIII", b"BM", 122 + size, 0, 122) + header)
    rgb = samples if samples.ndim == 3 else _coloured(samples)
    for rows in reversed(_strips(height, width)):
        file.write(np.dstack((rgb[rows, :, ::-1], alpha[rows]))[::-1].tobytes())
