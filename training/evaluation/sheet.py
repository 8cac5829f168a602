"""The best, the median and the worst edits as judges see them, to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.utils import save_image

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import make_folder
from sargan_training.data import central
from sargan_training.evaluation.judges import readings
from sargan_training.evaluation.subjects import Subjects
from sargan_training.files import replace_with


def write_extremes(
    path: Path,
    subjects: Subjects,
    edits: Sequence[torch.Tensor],
    judges: Mapping[str, nn.Module],
    each: int = 3,
) -> None:
    """Write a PNG with two rows an expression: photos, and their edits from best to worst.

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
    crops = torch.cat(rows).float() / 255
    replace_with(path, lambda partial: save_image(crops, partial, nrow=3 * each, format="png"))
