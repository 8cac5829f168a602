"""The two networks the flow generator plays against: a realism critic and an expression reader.

StarGAN has one network with two heads. Here both start from the same pre-trained trunk and then
part: the reader's gradients are several times larger than the critic's, and in a shared trunk the
optimiser's normalisation leaves the critic next to nothing to learn with (measured: the hinge loss
stayed at 2.0, its value for a blind critic, while coloured blotches spread).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS
from sargan_training.draws import Draws

KEPT_FEATURES = 0.5  # by the reader's dropout


class Trunk(nn.Module):
    """Five strided convolutions; returns the features of every size, large to small."""

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        self.widths = [3, channels, channels * 2, channels * 4, channels * 8, channels * 8]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(self.widths))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for layer in self.layers:
            images = F.leaky_relu(layer(images), 0.1)
            found.append(images)
        return found


class RealismCritic(nn.Module):
    """Says patch by patch whether a face is a photo.

    Shape:
        images ``(B, 3, S, S)`` in about [-1, 1] to two ``(B, P)``: fine patches see texture,
        coarse ones parts of the face.
    """

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        self.trunk = Trunk(channels)
        self.fine = nn.Conv2d(self.trunk.widths[3], 1, 3, padding=1)
        self.coarse = nn.Conv2d(self.trunk.widths[5], 1, 3, padding=1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        features = self.trunk(images)
        return [self.fine(features[2]).flatten(1), self.coarse(features[4]).flatten(1)]


class ExpressionReader(nn.Module):
    """Reads the expression of a face: ``(B, 3, S, S)`` to ``(B, 7)`` logits.

    Args:
        channels: of the first convolution.
        image_size: S, a multiple of 32.
    """

    def __init__(self, channels: int = 48, image_size: int = 128) -> None:
        super().__init__()
        self.trunk = Trunk(channels)
        self.to_class = nn.Linear(self.trunk.widths[5] * (image_size // 32) ** 2, len(EXPRESSIONS))

    def forward(self, images: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Logits; in training mode with dropout, whose numbers ``draws`` gives."""
        features = self.trunk(images)[-1].flatten(1)
        if self.training:
            draws = draws or Draws(len(images), images.device)
            features = features * draws.chance(KEPT_FEATURES, features.shape[1]) / KEPT_FEATURES
        return self.to_class(features)
