"""Pictures as callers have them, and as the editor works on them.

Inside, a picture is a ``(3, H, W)`` tensor: uint8, uint16 or float in [0, 1]. Integer pictures stay
integer and share memory with the caller's; nothing the size of the photo is converted to float.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from sargan_plugin.align import from_unit, pixels_where, to_unit
from sargan_plugin.errors import FaceWarning, SarganError
from sargan_plugin.exif import exif_orientation
from sargan_plugin.strips import rounded_to_8_bits

# Pictures from files are read-only, and nothing here writes to them; a copy would cost much memory.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

# What the editor takes and gives back: the type, size, dtype and device of the input.
Picture = Image.Image | np.ndarray | torch.Tensor

LUMINANCE_ROWS = 256
PIL_MODES = ("RGB", "RGBA", "L", "LA")
INTEGERS = {np.dtype(np.uint8), np.dtype(np.uint16)}
TENSOR_INTEGERS = (torch.uint8, torch.uint16)


@dataclass(frozen=True)
class Unpacked:
    """The pictures of one argument, and how to make such an argument from edited ones."""

    photos: list[torch.Tensor]
    pack: Callable[[list[torch.Tensor]], Picture]


def unpack(image: Picture) -> Unpacked:
    """Take a caller's picture, or a batch of them as one tensor, apart.

    Args:
        image: ``PIL.Image`` (RGB, RGBA, L, LA), numpy ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``
            of uint8 or uint16, or a tensor ``([B,] 1 or 3, H, W)``, float in [0, 1] or uint8.

    Raises:
        SarganError: for anything else, saying what is accepted.
    """
    if isinstance(image, Image.Image):
        return _unpack_pil(image)
    if isinstance(image, np.ndarray):
        return _unpack_numpy(image)
    if isinstance(image, torch.Tensor):
        return _unpack_tensor(image)
    raise SarganError(f"Expected a PIL image, a numpy array or a tensor, not {type(image)}.")


def _unpack_pil(image: Image.Image) -> Unpacked:
    if image.mode not in PIL_MODES:
        raise SarganError(
            f"PIL images of mode {image.mode} are not supported; convert to "
            f"{', '.join(PIL_MODES)} first."
        )
    if exif_orientation(image) != 1:
        message = "The image is not upright; use PIL.ImageOps.exif_transpose, or no face is found."
        warnings.warn(FaceWarning(message), stacklevel=4)
    bands = image.split()
    colour = Image.merge("RGB", bands[:3]) if len(bands) >= 3 else bands[0]
    inner = _unpack_numpy(np.array(colour))

    def pack(photos: list[torch.Tensor]) -> Image.Image:
        edited = Image.fromarray(inner.pack(photos))
        if image.mode in ("RGBA", "LA"):
            edited = Image.merge(image.mode, (*edited.split(), bands[-1]))
        edited.info = dict(image.info)
        return edited

    return Unpacked(inner.photos, pack)


def _unpack_numpy(image: np.ndarray) -> Unpacked:
    planes = image[..., None] if image.ndim == 2 else image
    if planes.ndim != 3 or planes.shape[2] not in (1, 3) or image.dtype not in INTEGERS:
        raise SarganError(
            "Numpy pictures are (H, W), (H, W, 1) or (H, W, 3) of uint8 or uint16, not "
            f"{image.shape} of {image.dtype}."
        )
    if any(stride < 0 for stride in planes.strides):  # a flipped view is not for torch
        planes = planes.copy()
    inner = _unpack_tensor(torch.from_numpy(planes).permute(2, 0, 1))

    def pack(photos: list[torch.Tensor]) -> np.ndarray:
        edited = inner.pack(photos).permute(1, 2, 0).contiguous().numpy()
        return edited.reshape(image.shape)

    return Unpacked(inner.photos, pack)


def _unpack_tensor(image: torch.Tensor) -> Unpacked:
    supported = image.dtype.is_floating_point or image.dtype in TENSOR_INTEGERS
    if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3) or not supported:
        raise SarganError(
            "Tensors are (3, H, W) or (B, 3, H, W) (or 1 for grey), float in [0, 1] or uint8, "
            f"not {tuple(image.shape)} of {image.dtype}."
        )
    grey = image.shape[-3] == 1
    batch = image if image.ndim == 4 else image[None]
    photos = [photo.expand(3, -1, -1) for photo in batch]

    def pack(edited: list[torch.Tensor]) -> torch.Tensor:
        if grey:
            edited = [
                after[:1] if after is before else luminance(after)
                for before, after in zip(photos, edited, strict=True)
            ]
        return torch.stack(edited) if image.ndim == 4 else edited[0]

    return Unpacked(photos, pack)


def luminance(photo: torch.Tensor) -> torch.Tensor:
    """Rec. 601 luminance of ``(3, H, W)`` as ``(1, H, W)``; exact where the channels are equal.

    Integer pictures are worked on in strips: a photo must not cost a float copy of itself.
    """
    if photo.dtype.is_floating_point:
        return _luminance(photo)
    return torch.cat([_luminance(strip) for strip in photo.split(LUMINANCE_ROWS, dim=1)], dim=1)


def _luminance(photo: torch.Tensor) -> torch.Tensor:
    coloured = (photo[0] != photo[1]) | (photo[0] != photo[2])
    float_type = photo.dtype if photo.dtype.is_floating_point else torch.float32
    red, green, blue = to_unit(photo, float_type)
    grey = red + 0.587 * (green - red) + 0.114 * (blue - red)
    return pixels_where(coloured, from_unit(grey, photo.dtype), photo[0])[None]


def detector_view(photo: torch.Tensor) -> np.ndarray:
    """What a face detector looks at: ``(H, W, 3)`` uint8, shared memory where possible."""
    photo = photo.detach().cpu()
    if photo.dtype.is_floating_point:
        photo = from_unit(photo.clamp(0, 1).nan_to_num(), torch.uint8)
    return rounded_to_8_bits(photo.permute(1, 2, 0).numpy())
