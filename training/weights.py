"""Generators from the checkpoints of a run or from the package's own file format."""

from __future__ import annotations

from pathlib import Path

import torch

from sargan_plugin.generators import Generator
from sargan_plugin.generators.sargan_flow import SARGANFlow
from sargan_plugin.zoo import create_generator


def load_generator(path: Path) -> Generator:
    """A generator from a run's ``average_*.pt`` or a bundled ``.safetensors`` file."""
    if path.suffix == ".safetensors":
        return create_generator(path)
    generator = SARGANFlow()
    generator.load_state_dict(torch.load(path, weights_only=True))
    return generator.eval()
