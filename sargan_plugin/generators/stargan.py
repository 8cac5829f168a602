"""StarGAN: paints the whole face anew; the baseline that SARGAN improves on.

Reference: Y. Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain
Image-to-Image Translation", CVPR 2018, arXiv 1711.09020.
"""

from __future__ import annotations

import torch

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.blocks import ResidualBlock, tiled
from sargan_plugin.generators.edit import Edit, Generator, replace_from_delta
from sargan_plugin.generators.registry import register_generator
from sargan_plugin.generators.sargan import EncoderDecoder


class StarGAN(Generator):
    """Six plain residual blocks and no skip: the output is the new face, not a change."""

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 6,
        conditions: int = len(EXPRESSIONS),
        crop_size: int = 128,
    ) -> None:
        super().__init__()
        bottleneck = [ResidualBlock(4 * channels) for _ in range(blocks)]
        self.network = EncoderDecoder(bottleneck, channels, conditions)
        self.crop_size = crop_size

    def edit(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        delta = self.network(tiled(condition, image)).to(image) - image
        return Edit(delta, replace_from_delta(delta))


@register_generator
def stargan_128(**options) -> StarGAN:
    """StarGAN: six plain residual blocks, 8.4 M parameters."""
    return StarGAN(**options)
