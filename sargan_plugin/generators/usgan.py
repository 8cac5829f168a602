"""US-GAN: SARGAN without the attention.

Reference: A. Akram and N. Khan, "US-GAN: On the importance of Ultimate Skip Connection for Facial
Expression Synthesis", arXiv 2112.13002.
"""

from __future__ import annotations

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.blocks import ResidualBlock
from sargan_plugin.generators.registry import register_generator
from sargan_plugin.generators.sargan import EncoderDecoder, ResidualGenerator


@register_generator
def usgan_128(
    *,
    channels: int = 64,
    conditions: int = len(EXPRESSIONS),
    crop_size: int = 128,
) -> ResidualGenerator:
    """US-GAN: one plain residual block and the ultimate skip, 2.5 M parameters."""
    network = EncoderDecoder([ResidualBlock(4 * channels)], channels, conditions)
    return ResidualGenerator(network, crop_size)
