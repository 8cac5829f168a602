"""Aligned crops: cutting them, and keeping more of them than fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from sargan_plugin.align import crop_face, face_matrices, from_unit

# Crops of 128 px are kept with this many pixels of surroundings on each side, for geometric
# augmentation; others in proportion.
MARGIN = 16


def margin_of(size: int) -> int:
    """Surroundings kept on each side of a crop, in its own pixels."""
    return round(MARGIN * size / 128)


class Crops:
    """uint8 crops ``(N, 3, S, S)`` that lie in one or several files of ``(M, S, S, 3)``.

    Args:
        files: arrays, memory-mapped or not.
        positions: which rows of all files one after another, in which order; all without it.
    """

    def __init__(self, files: Sequence[np.ndarray], positions: np.ndarray | None = None) -> None:
        self.files = files
        self._starts = np.cumsum([0, *(len(file) for file in files)])
        self._positions = np.arange(self._starts[-1]) if positions is None else positions

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def side(self) -> int:
        """Side of a crop with its surroundings, in pixels."""
        return self.files[0].shape[1]

    @property
    def size(self) -> int:
        """Side of the canonical crop inside."""
        return round(self.side * 128 / (128 + 2 * MARGIN))

    def __getitem__(self, index: torch.Tensor | Sequence[int] | slice) -> torch.Tensor:
        # NumPy takes a tensor of one number for that number, and an empty list for floats.
        where = index if isinstance(index, slice) else np.asarray(index, dtype=np.int64)
        positions = self._positions[where]
        file = np.searchsorted(self._starts, positions, side="right") - 1
        crops = [self.files[f][p - self._starts[f]] for f, p in zip(file, positions, strict=True)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)

    def subset(self, index: np.ndarray) -> Crops:
        """Some of the crops; nothing is read."""
        return Crops(self.files, self._positions[index])

    def split(self, count: int) -> Iterator[torch.Tensor]:
        """All crops, so many at a time."""
        for start in range(0, len(self), count):
            yield self[start : start + count]


def aligned_crop(
    pixels: np.ndarray, landmarks: np.ndarray, size: int = 128, margin: int = MARGIN
) -> np.ndarray:
    """The canonical crop of a uint8 RGB photo with its surroundings.

    Args:
        pixels: ``(H, W, 3)``.
        landmarks: ``(5, 2)``.
        size: of the canonical crop.
        margin: of the surroundings; the result is uint8 ``(size + 2 margin, same, 3)``.

    Raises:
        SarganError: when the landmarks coincide or lie outside the photo.
    """
    matrix = face_matrices(torch.from_numpy(landmarks)[None], size)[0]
    matrix = matrix + torch.tensor([[0, 0, margin], [0, 0, margin]])
    crop = crop_face(torch.from_numpy(pixels).permute(2, 0, 1), matrix, size + 2 * margin)
    return from_unit(crop, torch.uint8).permute(1, 2, 0).contiguous().numpy()


def to_unit(crops: torch.Tensor) -> torch.Tensor:
    """uint8 to float in [-1, 1]."""
    return crops.float() / 127.5 - 1


def central(crops: torch.Tensor) -> torch.Tensor:
    """The canonical crop without its surroundings, from ``(..., S + 2 margin, same)``."""
    margin = round(crops.shape[-1] * MARGIN / (128 + 2 * MARGIN))
    return crops[..., margin:-margin, margin:-margin]


def by_parts(
    function: Callable[[torch.Tensor], torch.Tensor],
    crops: torch.Tensor | Crops,
    device: torch.device | str,
) -> torch.Tensor:
    """What a function of float images in [-1, 1] makes of uint8 crops, some of them at a time.

    Args:
        function: images on ``device`` to a row for each.
        crops: any number.
        device: to compute on; the result is on the CPU.
    """
    return torch.cat([function(to_unit(part.to(device))).cpu() for part in crops.split(64)])
