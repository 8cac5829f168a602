"""Generators from the checkpoints of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from sargan_plugin.errors import SarganError
from sargan_plugin.generators.sargan_flow import SARGANFlow


def load_checkpoint(path: Path) -> SARGANFlow:
    """The generator in a run's ``average_*.pt``.

    Raises:
        SarganError: when there is none.
    """
    generator = SARGANFlow()
    try:
        generator.load_state_dict(torch.load(path, weights_only=True))
    except Exception as error:  # torch reports damaged files in many ways
        reason = str(error).splitlines()[0]
        raise SarganError(f"{path}: is no checkpoint of the generator: {reason}") from error
    return generator.eval()
