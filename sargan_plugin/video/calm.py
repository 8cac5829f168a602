"""Edits of neighbouring frames calm each other, where the face looks the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F

from sargan_plugin.generators import Edit
from sargan_plugin.video.between import difference, look_of_crop
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import PlaneCrop

NEIGHBOURS = 4  # frames on each side that an edit may be calmed by
# Difference of two crops, in [0, 1]: below the first it is sensor noise, above the second something
# has moved.
STILL, MOVED = 0.012, 0.05


@dataclass(frozen=True, eq=False)
class FaceEdit:
    """What is to be done to one face of one frame."""

    crop: PlaneCrop
    edit: Edit
    texture: torch.Tensor | None = None

    @cached_property
    def look(self) -> torch.Tensor:
        """The crop in grey and small."""
        return look_of_crop(self.crop.rgb)

    @cached_property
    def fields(self) -> torch.Tensor:
        """The edit as one tensor: change, mask and flow."""
        edit = self.edit
        parts = [edit.delta, edit.replace]
        return torch.cat(parts if edit.flow is None else [*parts, edit.flow], dim=1)


@dataclass(eq=False)
class Edited:
    """A frame and the edits of its faces, by track number."""

    frame: Frame
    edits: dict[int, FaceEdit] = field(default_factory=dict)


def calm(items: Iterator[Edited]) -> Iterator[Edited]:
    """The same, with each edit averaged with those of its neighbours in time.

    Flow, mask and colour are averaged in the face's own frame, pixel by pixel, and only there and
    then where the face itself looks the same: around a mouth that moves, an edit is its own.
    """
    window: deque[Edited] = deque()
    position = 0  # of the next item to yield, in the window

    def step() -> Edited:
        nonlocal position
        result = _calmed(window, position)
        position += 1
        if position > NEIGHBOURS:
            window.popleft()
            position -= 1
        return result

    for item in items:
        window.append(item)
        if len(window) > position + NEIGHBOURS:
            yield step()
    while position < len(window):
        yield step()


def _calmed(window: deque[Edited], position: int) -> Edited:
    """The item at a position with new edits; the window's own edits stay as they were."""
    item = window[position]
    edits = {}
    for track, own in item.edits.items():
        neighbours = []
        for places in (range(position - 1, -1, -1), range(position + 1, len(window))):
            before = position
            for place in places:
                # A cut lies before the frame that begins a scene.
                if window[max(place, before)].frame.begins_shot or track not in window[place].edits:
                    break
                neighbours.append(window[place].edits[track])
                before = place
        edits[track] = _averaged(own, neighbours)
    return Edited(item.frame, edits)


def _averaged(own: FaceEdit, neighbours: list[FaceEdit]) -> FaceEdit:
    if not neighbours:
        return own
    fields, total = own.fields, torch.ones(())
    for each in neighbours:
        weight = _alike(own.look, each.look, fields.shape[-1])
        fields = fields + weight * each.fields
        total = total + weight
    delta, cover, flow = (fields / total).tensor_split((3, 4), dim=1)
    edit = Edit(delta, cover, flow if own.edit.flow is not None else None)
    return FaceEdit(own.crop, edit, own.texture)


def _alike(look: torch.Tensor, other: torch.Tensor, size: int) -> torch.Tensor:
    """``(1, 1, S, S)``: 1 where two looks differ by noise only, 0 where something has moved."""
    weight = ((MOVED - difference(look, other)) / (MOVED - STILL)).clamp(0, 1)
    return F.interpolate(weight, (size, size), mode="bilinear", align_corners=False)
