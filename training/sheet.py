"""Contact sheets of edited crops, the first look at a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torchvision.utils import make_grid

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.edit import Generator, apply_edit


@torch.no_grad()
def edited_crops(
    generator: Generator,
    images: torch.Tensor,
    condition: torch.Tensor,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """Crops ``(B, 3, S, S)`` in [-1, 1] edited towards conditions ``(B, 7)``."""
    result = []
    for part, wanted in zip(images.split(32), condition.split(32), strict=True):
        with autocast():
            edit = generator.edit(part, wanted)
        result.append(apply_edit(part, edit.to(part).feathered()).clamp(-1, 1))
    return torch.cat(result)


def sheet_of_edits(
    generator: Generator,
    images: torch.Tensor,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """A picture ``(3, H, W)`` in [0, 1]: a row as it is, then a row for each expression."""
    rows = [images]
    for one in torch.eye(len(EXPRESSIONS), device=images.device):
        rows.append(edited_crops(generator, images, one.expand(len(images), -1), autocast))
    return make_grid(torch.cat(rows) * 0.5 + 0.5, nrow=len(images))
