"""StarGAN's discriminator, which SARGAN and US-GAN are trained against too.

Reference: Y. Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain
Image-to-Image Translation", CVPR 2018, arXiv 1711.09020.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS


class PatchGAN(nn.Module):
    """Strided 4x4 convolutions with two heads: is it a photo, and which expression is it.

    Args:
        image_size: a multiple of ``2 ** layers``.
        channels: of the first convolution; every further one has twice as many.
        layers: convolutions of stride 2.

    Shape:
        images ``(B, 3, S, S)`` in [-1, 1] to realness ``(B, 1, S / 2**layers, same)``, unbounded,
        and logits ``(B, 7)``.

    Raises:
        SarganError: when the images are not of such a size.
    """

    def __init__(self, image_size: int = 128, channels: int = 64, layers: int = 6) -> None:
        super().__init__()
        if image_size % 2**layers:
            raise SarganError(
                f"A PatchGAN of {layers} layers needs crops of a multiple of {2**layers} pixels, "
                f"not of {image_size}."
            )
        widths = [3, *(channels * 2**layer for layer in range(layers))]
        self.trunk = nn.Sequential()
        for narrow, wide in pairwise(widths):
            self.trunk.extend([nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.01)])
        self.to_realness = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        side = image_size // 2**layers
        self.to_class = nn.Conv2d(widths[-1], len(EXPRESSIONS), side, bias=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.trunk(images)
        return self.to_realness(features), self.to_class(features).flatten(1)
