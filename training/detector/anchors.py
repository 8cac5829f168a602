"""Anchors of SCRFD's grid, and boxes and landmarks relative to them.

An anchor's centre is the top left corner of its cell, ``(column * stride, row * stride)``, as
InsightFace's decoder has it; the top left corner of the picture is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

STRIDES = (8, 16, 32)
ANCHORS_PER_CELL = 2
SIDES = ((16, 32), (64, 128), (256, 512))  # px of a cell's two anchors at each stride


@dataclass
class Anchors:
    """``A`` anchors, level by level, in the order of the network's outputs.

    Attributes:
        centres: ``(A, 2)`` px.
        sides: ``(A,)`` px; squares, used to assign faces only.
        strides: ``(A,)`` px.
        counts: anchors of each level.
    """

    centres: torch.Tensor
    sides: torch.Tensor
    strides: torch.Tensor
    counts: list[int]

    def boxes(self) -> torch.Tensor:
        """``(A, 4)`` left, top, right, bottom."""
        half = self.sides[:, None] / 2
        return torch.cat([self.centres - half, self.centres + half], dim=1)

    def to(self, device: torch.device) -> Anchors:
        return Anchors(
            self.centres.to(device), self.sides.to(device), self.strides.to(device), self.counts
        )


def make_anchors(height: int, width: int) -> Anchors:
    """Anchors of a picture whose sides are multiples of 32."""
    centres, sides, strides = [], [], []
    for stride, level_sides in zip(STRIDES, SIDES, strict=True):
        rows, columns = torch.meshgrid(
            torch.arange(height // stride), torch.arange(width // stride), indexing="ij"
        )
        cells = torch.stack([columns, rows], dim=-1).reshape(-1, 2).float() * stride
        # Cell by cell, a cell's anchors beside each other.
        centres.append(cells.repeat_interleave(ANCHORS_PER_CELL, dim=0))
        sides.append(torch.tensor(level_sides).float().repeat(len(cells)))
        strides.append(torch.full((len(cells) * ANCHORS_PER_CELL,), float(stride)))
    counts = [len(each) for each in sides]
    return Anchors(torch.cat(centres), torch.cat(sides), torch.cat(strides), counts)


def encode_boxes(anchors: Anchors, boxes: torch.Tensor) -> torch.Tensor:
    """Boxes ``(..., A, 4)`` in px to distances from the centres in strides."""
    near = anchors.centres - boxes[..., :2]
    far = boxes[..., 2:] - anchors.centres
    return torch.cat([near, far], dim=-1) / anchors.strides[:, None]


def decode_boxes(anchors: Anchors, distances: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`encode_boxes`."""
    distances = distances * anchors.strides[:, None]
    return torch.cat(
        [anchors.centres - distances[..., :2], anchors.centres + distances[..., 2:]], dim=-1
    )


def encode_landmarks(anchors: Anchors, landmarks: torch.Tensor) -> torch.Tensor:
    """Landmarks ``(..., A, 5, 2)`` in px to offsets ``(..., A, 10)`` in strides."""
    offsets = (landmarks - anchors.centres[:, None]) / anchors.strides[:, None, None]
    return offsets.flatten(-2)


def decode_landmarks(anchors: Anchors, offsets: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`encode_landmarks`."""
    offsets = offsets.unflatten(-1, (5, 2)) * anchors.strides[:, None, None]
    return offsets + anchors.centres[:, None]


def box_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes ``(..., 4)`` that broadcast against each other."""
    near = torch.maximum(first[..., :2], second[..., :2])
    far = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (far - near).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)
