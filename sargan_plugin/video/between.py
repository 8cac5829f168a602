"""Edits of faces that hold still: a pass of the generator for some frames, a mean in between.

A pass costs more than all the rest that is done for a frame. While a face looks the same wherever
its edit acts, the edits of the frames between two passes are interpolated between those two, in
the face's own frame. Where something moves, such as a mouth, the frames get passes of their own;
so nothing lags behind and no edit is averaged across a movement.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

from sargan_plugin.generators import Edit
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import PlaneCrop

SPAN = 8  # frames from one pass to the next at most
POOLED = 4  # px of the crop on each side of what is compared
# Difference of two crops, in [0, 1], averaged over a small surrounding. Measured on people who
# talk: up to here an interpolated edit is off by less than two passes in a row differ.
HELD = 0.03
# An edit acts where it covers, where it changes colours (of 2), or where it moves pixels by one.
COVERS, CHANGES, MOVES = 0.05, 0.025, 1.0


@dataclass(eq=False)
class Wish:
    """One face of one frame that is to be edited.

    Attributes:
        frame: that it is in.
        track: its number.
        matrix: ``(2, 3)`` from the frame's pixels to the crop.
        condition: ``(7,)`` to show.
        intensity: above 0.
        crop: cut out of the frame.
        edit: of the crop, when it is known.
    """

    frame: Frame
    track: int
    matrix: torch.Tensor
    condition: torch.Tensor
    intensity: float
    crop: PlaneCrop | None = None
    edit: Edit | None = None

    @cached_property
    def look(self) -> torch.Tensor:
        """The crop in grey, small enough to hold next to no sensor noise."""
        return look_of_crop(self.crop.rgb)

    @cached_property
    def acts(self) -> torch.Tensor:
        """Where the edit acts, as booleans of the look's size."""
        edit = self.edit
        acts = (edit.replace > COVERS) | (edit.delta.abs().amax(1, keepdim=True) > CHANGES)
        if edit.flow is not None:
            acts |= edit.flow.square().sum(1, keepdim=True) > MOVES**2
        return F.max_pool2d(acts.float(), POOLED) > 0

    def continues(self, other: Wish) -> bool:
        """Whether it shows the same as another one, in the frame after that one's."""
        return (
            self.track == other.track
            and self.frame.index == other.frame.index + 1
            and not self.frame.begins_shot
            and self.intensity == other.intensity
            and torch.equal(self.condition, other.condition)
        )


def look_of_crop(crop: torch.Tensor) -> torch.Tensor:
    """A crop ``(3, S, S)`` in grey, ``(1, 1, S / POOLED, S / POOLED)``."""
    return F.avg_pool2d(crop.mean(dim=0)[None, None], POOLED)


def difference(look: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of two looks, averaged over a small surrounding."""
    return F.avg_pool2d((look - other).abs(), 3, 1, 1)


def stretches(wishes: Sequence[Wish]) -> list[list[Wish]]:
    """Wishes in the order of their frames, cut where one does not continue the other."""
    found: list[list[Wish]] = []
    for wish in sorted(wishes, key=lambda wish: (wish.track, wish.frame.index)):
        if found and wish.continues(found[-1][-1]):
            found[-1].append(wish)
        else:
            found.append([wish])
    return found


def complete(wishes: Sequence[Wish], run: Callable[[list[Wish]], None]) -> None:
    """Give all wishes their edits.

    Args:
        wishes: with crops; some may have an edit already.
        run: gives some wishes edits of the generator.
    """
    runs = stretches(wishes)
    wanted = [wish for each in runs for wish in (*each[:-1:SPAN], each[-1]) if wish.edit is None]
    while wanted:
        run(wanted)
        wanted = [wish for each in runs for wish in _interpolated(each)]


def _interpolated(stretch: list[Wish]) -> list[Wish]:
    """Fill in what can be interpolated; the wishes that need a pass next."""
    known = [place for place, wish in enumerate(stretch) if wish.edit is not None]
    wanted = []
    for first, last in itertools.pairwise(known):
        inner = stretch[first + 1 : last]
        ends = stretch[first], stretch[last]
        if not all(_holds(wish, *ends) for wish in inner):
            wanted.append(stretch[(first + last) // 2])
            continue
        for place, wish in enumerate(inner, 1):
            wish.edit = _mixed(ends[0].edit, ends[1].edit, place / (last - first))
    return wanted


def _holds(wish: Wish, first: Wish, last: Wish) -> bool:
    """Whether a face looks as it does at both ends, wherever one of their edits acts."""
    off = torch.maximum(difference(wish.look, first.look), difference(wish.look, last.look))
    return not bool((off[first.acts | last.acts] > HELD).any())


def _mixed(first: Edit, second: Edit, share: float) -> Edit:
    fields = [(first.delta, second.delta), (first.replace, second.replace)]
    if first.flow is not None:
        fields.append((first.flow, second.flow))
    return Edit(*(torch.lerp(one, other, share) for one, other in fields))
