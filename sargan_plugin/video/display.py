"""From the pixels of a coded frame to the picture that is shown, and back.

A phone stores its frames as the sensor gives them and says how to turn them; anamorphic video has
pixels that are not square. Faces are found and followed in the picture that is shown, and edits
are made in the coded frame; an affine map connects the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@dataclass(frozen=True, eq=False)
class Display:
    """How the frames of a video are shown.

    Attributes:
        width: of the picture that is shown, in square pixels.
        height: likewise.
        from_coded: ``(2, 3)`` float32 from coded pixels to shown pixels.
        rotation: FFmpeg's display matrix, nine integers; None when there is none.
    """

    width: float
    height: float
    from_coded: torch.Tensor
    rotation: tuple[int, ...] | None = None

    @property
    def swaps_sides(self) -> bool:
        """Whether what is stored as a row is shown as a column."""
        return bool(abs(self.from_coded[0, 0]) < abs(self.from_coded[0, 1]))

    def view(self, coded: np.ndarray) -> np.ndarray:
        """A coded picture ``(h, w)`` or ``(h, w, 3)`` of any size, turned as it is shown."""
        shown = coded.swapaxes(0, 1) if self.swaps_sides else coded
        x_axis, y_axis = self.from_coded[:, :2].sum(dim=1).tolist()
        return shown[:: 1 if y_axis > 0 else -1, :: 1 if x_axis > 0 else -1]

    def coded_size(self, shown_side: float) -> tuple[int, int]:
        """Width and height for a coded picture whose longer side is shown with so many pixels."""
        scale = min(1.0, shown_side / max(self.width, self.height))
        width, height = round(self.width * scale), round(self.height * scale)
        if self.swaps_sides:
            width, height = height, width
        return max(1, width), max(1, height)


def display_of(
    width: int, height: int, aspect: Fraction | None, rotation: tuple[int, ...] | None
) -> Display:
    """How frames of a size are shown.

    Args:
        width: of the coded frame.
        height: of the coded frame.
        aspect: width of a pixel over its height, or None.
        rotation: FFmpeg's display matrix. One that is no multiple of a right angle is kept for
            the result and not heeded here.

    Example:
        >>> shown = display_of(720, 576, Fraction(16, 11), None)
        >>> round(shown.width), round(shown.height)
        (1047, 576)
    """
    stretch = float(aspect) if aspect else 1.0
    stretch = stretch if stretch > 0 else 1.0
    scale = np.diag([max(1.0, stretch), max(1.0, 1 / stretch)])
    linear = _right_angle(rotation) @ scale
    corners = linear @ np.array([[-0.5, width - 0.5], [-0.5, height - 0.5]])
    lowest = corners.min(axis=1)
    shown_width, shown_height = np.abs(corners[:, 1] - corners[:, 0])
    matrix = np.concatenate([linear, (-0.5 - lowest)[:, None]], axis=1)
    return Display(
        float(shown_width), float(shown_height), torch.tensor(matrix, dtype=torch.float32), rotation
    )


def _right_angle(rotation: tuple[int, ...] | None) -> np.ndarray:
    a, b, _, c, d = (rotation or UPRIGHT)[:5]
    linear = np.round(np.array([[a, c], [b, d]]) / 65536)
    return linear if abs(np.linalg.det(linear)) == 1 else np.eye(2)


def composed(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """The affine map ``(2, 3)`` that does ``inner`` and then ``outer``."""
    linear = outer[:, :2] @ inner[:, :2]
    return torch.cat([linear, outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], dim=1)
