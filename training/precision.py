"""The precision that is fastest where a network lives."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from sargan_plugin.compute import autocast_dtype


def fast_autocast(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 where that is faster than float32, otherwise none."""
    dtype = autocast_dtype("auto", device)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)
