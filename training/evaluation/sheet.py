"""The best, the median and the worst edits as judges see them, to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import make_folder
from sargan_training.data import central
from sargan_training.evaluation.judges import readings
from sargan_training.evaluation.subjects import Subjects
from sargan_training.files import replace_with

LEFT, TOP = 90, 24
"""Pixels for the names of rows and of columns."""


def write_extremes(
    path: Path,
    subjects: Subjects,
    edits: Sequence[torch.Tensor],
    judges: Mapping[str, nn.Module],
    each: int = 3,
) -> None:
    """Write a PNG with two named rows an expression: photos, and their edits from best to worst.

    Args:
        path: of the PNG.
        subjects: who was edited.
        edits: crops ``(N, 3, 160, 160)`` for each expression.
        judges: whose mean probability of the target orders the edits.
        each: how many of the best, of the median and of the worst.
    """
    rows = []
    for target in range(len(EXPRESSIONS)):
        asked = (subjects.labels != target).nonzero()[:, 0]
        crops = edits[target][asked]
        belief = torch.stack([readings(judge, crops)[:, target] for judge in judges.values()])
        order = belief.mean(dim=0).argsort(descending=True)
        middle = max(0, len(order) // 2 - each // 2)
        chosen = torch.cat([order[:each], order[middle : middle + each], order[-each:]])
        for shown in (subjects.crops[asked][chosen], crops[chosen]):
            # Black where too few were asked, or the rows below would slip.
            missing = 3 * each - len(chosen)
            rows.append(F.pad(central(shown), (0, 0, 0, 0, 0, 0, 0, missing)))
    make_folder(path.parent)
    sheet = _named(make_grid(torch.cat(rows), nrow=3 * each))
    replace_with(path, lambda partial: sheet.save(partial, format="png"))


def _named(grid: torch.Tensor) -> Image.Image:
    """A grid with a name beside every second row and above every third of the columns."""
    crops = to_pil_image(grid)
    sheet = Image.new("RGB", (LEFT + crops.width, TOP + crops.height), "white")
    sheet.paste(crops, (LEFT, TOP))
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(("best", "median", "worst")):
        draw.text((LEFT + column * crops.width // 3 + 4, 4), name, fill="black", font_size=14)
    for row, name in enumerate(EXPRESSIONS):
        below = (2 * row + 1) * crops.height // (2 * len(EXPRESSIONS))  # between photos and edits
        draw.text((4, TOP + below - 8), name, fill="black", font_size=14)
    return sheet
