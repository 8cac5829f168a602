"""SARGAN in the shape its authors released: the network predicts only the change.

A symmetric encoder-decoder with a spatial-attention residual block at the bottom; the input image
is added to the output at the end.

Reference: A. Akram and N. Khan, "SARGAN: Spatial Attention-based Residuals for Facial Expression
Manipulation", IEEE TCSVT 2023, arXiv 2303.17212.
"""

from __future__ import annotations

import torch
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.blocks import (
    SpatialAttentionResidualBlock,
    conv_norm_relu,
    tiled,
    upconv_norm_relu,
)
from sargan_plugin.generators.edit import Edit, Generator, replace_from_delta
from sargan_plugin.generators.registry import register_generator


class EncoderDecoder(nn.Sequential):
    """7x7 stem, two strided convolutions, residual blocks, two transposed convolutions, 7x7 head.

    Args:
        bottleneck: blocks at a quarter of the size, ``4 * channels`` wide.
        channels: width at full size.
        conditions: length of the condition, tiled over the image and concatenated to it.

    Shape:
        ``(B, 3 + conditions, S, S)`` to ``(B, 3, S, S)`` in (-1, 1).
    """

    def __init__(self, bottleneck: list[nn.Module], channels: int, conditions: int) -> None:
        super().__init__(
            conv_norm_relu(3 + conditions, channels, 7, 1, 3),
            conv_norm_relu(channels, 2 * channels, 4, 2, 1),
            conv_norm_relu(2 * channels, 4 * channels, 4, 2, 1),
            *bottleneck,
            upconv_norm_relu(4 * channels, 2 * channels),
            upconv_norm_relu(2 * channels, channels),
            nn.Conv2d(channels, 3, 7, 1, 3, bias=False),
            nn.Tanh(),
        )


class ResidualGenerator(Generator):
    """Adds what its network predicts to the input: the ultimate skip connection."""

    def __init__(self, network: nn.Module, crop_size: int = 128) -> None:
        super().__init__()
        self.network, self.crop_size = network, crop_size

    def edit(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        delta = self.network(tiled(condition, image)).to(image)
        return Edit(delta, replace_from_delta(delta))


@register_generator
def sargan_128(
    *,
    channels: int = 64,
    conditions: int = len(EXPRESSIONS),
    crop_size: int = 128,
) -> ResidualGenerator:
    """SARGAN: one spatial-attention residual block, 3.0 M parameters."""
    bottleneck = [SpatialAttentionResidualBlock(4 * channels)]
    return ResidualGenerator(EncoderDecoder(bottleneck, channels, conditions), crop_size)
