"""Picture files in and out: upright pixels for the editor, everything else put back as it was.

The original is never written to, an unedited picture is copied byte for byte, and a result appears
under its name only when it is complete. Pillow's process-wide settings (pixel limit, warnings) are
neither read nor changed: hosts load pictures in other threads, and the limit here is higher than
Pillow's because phones take photos of 108 and 200 megapixels.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sargan_plugin.errors import SarganError
from sargan_plugin.image_decoders import read_picture, size_in_header
from sargan_plugin.image_encoders import write_picture
from sargan_plugin.image_errors import printable_name, reason, refusal
from sargan_plugin.image_formats import EXTENSIONS, is_picture_path
from sargan_plugin.picture import Picture
from sargan_plugin.strips import equal

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "EXTENSIONS",
    "Picture",
    "is_picture_path",
    "is_same_file",
    "load_picture",
    "make_folder",
    "picture_size",
    "printable_name",
    "replacing",
    "save_picture",
]

logger = logging.getLogger(__name__)

DEFAULT_MAX_PIXELS = 250_000_000
"""Room for a 200-megapixel phone photo; a float copy of more would not fit most machines anyway."""

_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_OPAQUE_FORMATS = ("JPEG", "BMP")


def load_picture(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture file.

    The EXIF orientation, mirrored ones too, is applied. Palette and CMYK pictures arrive as RGB,
    the latter with their inks kept aside; 16-bit samples stay 16 bits; a transparent colour
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
            raise refusal(path, "is a folder, not a picture")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise refusal(path, "is not a regular file")
        with path.open("rb") as file:
            return read_picture(path, file, max_pixels)
    except (OSError, ValueError) as error:
        raise refusal(path, f"cannot be opened: {reason(error)}") from error


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height from a picture's header; ``(0, 0)`` for what :func:`load_picture` refuses.

    They change places in a picture that has to be turned upright.
    """
    path = Path(path)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return size_in_header(file)
    except Exception:  # load_picture says what is wrong
        logger.debug("no size in the header of %s", printable_name(path), exc_info=True)
    return 0, 0


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
    - A palette becomes RGB and a bilevel picture greyscale.
    - TIFF keeps no compression and LZW; every other compression becomes deflate.
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
    _check_plane("pixels", pixels, picture.pixels.shape, picture.pixels.dtype)
    if alpha is not None:
        _check_plane("alpha", alpha, picture.pixels.shape[:2], picture.pixels.dtype)
    target = _target_format(picture, destination, format)
    if is_same_file(destination, picture.path):
        raise refusal(destination, "is the original, which is never overwritten")
    untouched = equal(pixels, picture.pixels) and equal(alpha, picture.alpha)
    as_it_is = untouched and target == picture.format
    if not as_it_is:
        _check_target(destination, target, pixels, alpha)
    try:
        with replacing(destination) as temporary:
            if as_it_is:
                shutil.copyfile(picture.path, temporary)
            else:
                with temporary.open("xb") as file:
                    write_picture(file, picture, pixels, alpha, target, quality)
    except MemoryError as error:
        raise refusal(destination, "needs more memory than there is") from error
    except Exception as error:  # encoders raise many types, and each means the same to the user
        gone = isinstance(error, FileNotFoundError) and error.filename == str(picture.path)
        culprit, verb = (picture.path, "read again") if gone else (destination, "written")
        raise refusal(culprit, f"cannot be {verb}: {reason(error)}") from error


def _check_plane(name: str, plane: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if plane.shape != shape or plane.dtype != dtype:
        raise ValueError(
            f"{name} must be {dtype} of shape {shape}, not {plane.dtype} of shape {plane.shape}"
        )


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
        raise refusal(destination, f"{target} holds at most {longest} pixels a side")
    if target in _OPAQUE_FORMATS and alpha is not None and alpha.min() < np.iinfo(alpha.dtype).max:
        raise refusal(destination, f"{target} cannot hold transparency; choose png or webp")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both are there and one file or folder, by whatever names (links, upper case)."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def make_folder(folder: Path) -> None:
    """Make a folder to write to, with those above it.

    Raises:
        SarganError: when it cannot be made or written to, before many files fail there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SarganError(
            f"{printable_name(folder)}: cannot be made: {error.strerror or error}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SarganError(f"{printable_name(folder)}: cannot be written to")


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[Path]:
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
