"""Contact sheets of edited crops, the first look at a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.utils import save_image

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.edit import Generator, apply_edit


@torch.no_grad()
def edited_crops(
    generator: Generator, images: torch.Tensor, target: int, intensity: float = 1.0
) -> torch.Tensor:
    """Crops ``(B, 3, S, S)`` in [-1, 1] edited towards one expression."""
    condition = torch.eye(len(EXPRESSIONS))[[target]].expand(len(images), -1)
    result = []
    for part, wanted in zip(images.split(32), condition.split(32), strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            edit = generator.edit(part, wanted)
        edit = edit.to(part).feathered().at_intensity(torch.full([len(part)], intensity))
        result.append(apply_edit(part, edit).clamp(-1, 1))
    return torch.cat(result)


def sheet_of_edits(generator: Generator, images: torch.Tensor, destination: Path) -> None:
    """Write a PNG: the first row as it is, then a row for each expression."""
    generator.eval()
    rows = [images] + [edited_crops(generator, images, k) for k in range(len(EXPRESSIONS))]
    save_image(torch.cat(rows) * 0.5 + 0.5, destination, nrow=len(images))
