"""A small one-stage face detector in SCRFD's form.

Backbone from timm at strides 8, 16 and 32, a path-aggregation neck (Liu et al., "Path Aggregation
Network", 2018) and one head shared by the three levels (Guo et al., "Sample and Computation
Redistribution for Efficient Face Detection", 2021). Separable convolutions keep it light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from sargan_training.backbones import timm
from sargan_training.detector.anchors import ANCHORS_PER_CELL, SIDES, STRIDES

BACKBONE = "mobilenetv4_conv_small_050"
NECK_CHANNELS = 64
HEAD_DEPTH = 2
PRIOR = 0.01  # score of every anchor before training: focal losses need rare faces at the start


@dataclass
class Predictions:
    """What the network says about ``A`` anchors of ``B`` pictures, all levels after one another.

    Attributes:
        logits: ``(B, A)`` face or not, before the sigmoid.
        distances: ``(B, A, 4)`` from the anchor's centre to left, top, right, bottom, in strides.
        offsets: ``(B, A, 10)`` from the centre to the landmarks, x before y, in strides.
    """

    logits: torch.Tensor
    distances: torch.Tensor
    offsets: torch.Tensor


def separable(channels: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3x3 and pointwise convolution, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class Neck(nn.Module):
    """Top-down and bottom-up paths between the three levels."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(each, channels, 1, bias=False), nn.BatchNorm2d(channels))
            for each in in_channels
        )
        self.top_down = nn.ModuleList(separable(channels) for _ in in_channels[1:])
        self.down = nn.ModuleList(separable(channels, stride=2) for _ in in_channels[1:])
        self.bottom_up = nn.ModuleList(separable(channels) for _ in in_channels[1:])

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        fine, middle, coarse = (
            lateral(each) for lateral, each in zip(self.lateral, features, strict=True)
        )
        middle = self.top_down[1](middle + F.interpolate(coarse, scale_factor=2.0))
        fine = self.top_down[0](fine + F.interpolate(middle, scale_factor=2.0))
        middle = self.bottom_up[0](middle + self.down[0](fine))
        coarse = self.bottom_up[1](coarse + self.down[1](middle))
        return [fine, middle, coarse]


class Head(nn.Module):
    """Scores, distances and landmarks of one level; the same weights serve all levels."""

    widths = (1, 4, 10)  # per anchor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*[separable(channels) for _ in range(HEAD_DEPTH)])
        self.out = nn.Conv2d(channels, ANCHORS_PER_CELL * sum(self.widths), 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        nn.init.constant_(self.out.bias[:ANCHORS_PER_CELL], math.log(PRIOR / (1 - PRIOR)))
        # The first boxes are about the anchors' own, whatever the level: see the scales below.
        for anchor in range(ANCHORS_PER_CELL):
            first = ANCHORS_PER_CELL + 4 * anchor
            nn.init.constant_(self.out.bias[first : first + 4], float(2**anchor))

    def forward(self, feature: torch.Tensor) -> list[torch.Tensor]:
        """Three ``(B, anchors, width)``: cell by cell, then anchor by anchor."""
        out = self.out(self.trunk(feature)).permute(0, 2, 3, 1)
        parts = out.split([ANCHORS_PER_CELL * width for width in self.widths], dim=-1)
        return [
            part.reshape(part.shape[0], -1, width)
            for part, width in zip(parts, self.widths, strict=True)
        ]


class FaceDetectionNetwork(nn.Module):
    """Backbone, neck and head.

    Shape: ``(B, 3, H, W)`` RGB, ``(value - 127.5) / 128``, H and W multiples of 32, to
    :class:`Predictions`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            BACKBONE, pretrained=False, features_only=True, out_indices=(2, 3, 4)
        )
        self.neck = Neck(self.backbone.feature_info.channels(), NECK_CHANNELS)
        self.head = Head(NECK_CHANNELS)
        # One factor a level (as in FCOS): the shared head answers in halves of the small anchor.
        halves = [sides[0] / 2 / stride for sides, stride in zip(SIDES, STRIDES, strict=True)]
        self.scales = nn.Parameter(torch.tensor(halves))

    def levels(self, images: torch.Tensor) -> list[list[torch.Tensor]]:
        """``(logits, distances, offsets)`` of each level."""
        features = self.neck(self.backbone(images))
        result = []
        for feature, scale in zip(features, self.scales, strict=True):
            logits, distances, offsets = self.head(feature)
            result.append([logits, distances * scale, offsets * scale])
        return result

    def forward(self, images: torch.Tensor) -> Predictions:
        parts = zip(*self.levels(images), strict=True)
        logits, distances, offsets = (torch.cat(each, dim=1).float() for each in parts)
        return Predictions(logits.squeeze(-1), distances, offsets)
