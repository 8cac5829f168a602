"""Checkpoints of a run: loading them, and bundling one as the package's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from sargan_plugin.generators.sargan_flow import SARGANFlow


def load_generator(path: Path) -> SARGANFlow:
    """A generator from a run's ``average_*.pt`` or a bundled ``.safetensors`` file."""
    generator = SARGANFlow()
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, weights_only=True)
    generator.load_state_dict({name: value.float() for name, value in state.items()})
    return generator.eval()
