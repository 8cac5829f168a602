"""What is measured of a model, and which of several models is to be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sargan_training.evaluation.intervals import Estimate
from sargan_training.evaluation.realism import TwoSampleTest

# What edits have to reach before their realism counts, means of the judges: read as the target in
# the mean of the frequent expressions and in the least of them, and taken for the same person.
ENOUGH_READ, LEAST_READ, SAME_PERSON = 0.8, 0.65, 0.98
FREQUENT = 5  # the first five expressions have enough photos to be judged by


@dataclass
class Figures:
    """What was measured of one model; every list has an entry for each expression, or
    none where it was not measured.

    Attributes:
        ecs: share of edits read as the target, by a judge's name and what was done to the crops.
        mean_ecs: the same, mean of the five frequent expressions.
        confusion: of each judge, as what edits towards each expression were read.
        mixes: shares of edits halfway between two expressions that were read as the one and as the
            other, by a judge's name and both of theirs.
        kid: distance to real photos of the expression, of all held-out people, few of each.
        kid_photos: how many there are.
        colour: CIEDE2000 of the skin before and after, in the mean.
        blotches: the same, of the twentieth of the skin that changed most.
        sharpness: of the mouth, geometric mean of after over before.
        clipped: share of clipped pixels among the changed ones.
        similarity: of the face descriptors before and after.
        verified: share of edits taken for the same person.
        skin_tones: photos, mean ECS and mean FVS of each group.
        realism: how well edits are told from photos.
        by_expression: how well they would be told if they had no flaw, by each judge's readings:
            people on photos are seldom angry.
    """

    model: str
    ecs: dict[str, list[Estimate]] = field(default_factory=dict)
    mean_ecs: dict[str, Estimate] = field(default_factory=dict)
    confusion: dict[str, list[list[float]]] = field(default_factory=dict)
    mixes: dict[str, dict[str, list[Estimate]]] = field(default_factory=dict)
    kid: list[Estimate] = field(default_factory=list)
    kid_photos: list[int] = field(default_factory=list)
    colour: list[Estimate] = field(default_factory=list)
    blotches: list[Estimate] = field(default_factory=list)
    sharpness: list[Estimate] = field(default_factory=list)
    clipped: list[Estimate] = field(default_factory=list)
    similarity: list[Estimate] = field(default_factory=list)
    verified: list[Estimate] = field(default_factory=list)
    skin_tones: dict[str, dict[str, Any]] = field(default_factory=dict)
    realism: TwoSampleTest | None = None
    by_expression: dict[str, Estimate] = field(default_factory=dict)

    def rank(self) -> tuple[bool, float]:
        """To choose a checkpoint by, the least: edits have to be read as the target often enough,
        towards every frequent expression, and to show the same person; of those models that manage,
        the one is best whose edits are least told from photos."""
        read = float(np.mean([self.mean_ecs[judge].value for judge in self.confusion]))
        of_each = [[one.value for one in self.ecs[judge][:FREQUENT]] for judge in self.confusion]
        same = mean_of_frequent(self.verified) if self.verified else 1.0
        least = np.nanmin(np.mean(of_each, axis=0))
        enough = read >= ENOUGH_READ and least >= LEAST_READ and same >= SAME_PERSON
        if self.realism is None or not enough:
            return (not enough, -read)
        return (False, self.realism.auc.value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def mean_of_frequent(estimates: Sequence[Estimate]) -> float:
    """Mean over the five frequent expressions, of a figure for each expression."""
    return float(np.mean([each.value for each in estimates[:FREQUENT]]))


def unequal_steps(measured: Sequence[Figures]) -> tuple[int, int] | None:
    """The fewest and most steps of the networks that told models' edits from photos, where they
    differ so much that models cannot be ranked by what they told: each learns for so many minutes,
    and a busy machine does fewer steps in them."""
    steps = [figures.realism.steps for figures in measured if figures.realism is not None]
    if not steps or max(steps) <= 1.2 * min(steps):
        return None
    return min(steps), max(steps)
