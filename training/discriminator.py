"""The discriminator: one trunk, a realism head that looks at patches, a class head."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS


class Discriminator(nn.Module):
    """Strided convolutions after StarGAN's, with realism read at two scales.

    Args:
        channels: width of the first layer.
        image_size: side of the images, a multiple of 32.

    Shape:
        images ``(B, 3, S, S)`` in about [-1, 1]. :meth:`realism` returns two ``(B, P)``, one value
        a patch: fine patches see texture, coarse ones the face. :meth:`expression` ``(B, 7)``.
    """

    def __init__(self, channels: int = 48, image_size: int = 128) -> None:
        super().__init__()
        widths = [3, channels, channels * 2, channels * 4, channels * 8, channels * 8]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths)
        )
        self.fine_realism = nn.Conv2d(widths[3], 1, 3, padding=1)
        self.coarse_realism = nn.Conv2d(widths[5], 1, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.to_class = nn.Linear(widths[5] * (image_size // 32) ** 2, len(EXPRESSIONS))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for layer in self.layers:
            images = F.leaky_relu(layer(images), 0.1)
            found.append(images)
        return found

    def realism(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = self.features(images)
        return [self.fine_realism(found[2]).flatten(1), self.coarse_realism(found[4]).flatten(1)]

    def expression(self, images: torch.Tensor) -> torch.Tensor:
        return self.to_class(self.dropout(self.features(images)[-1].flatten(1)))
