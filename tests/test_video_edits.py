"""Edits of neighbouring frames calm each other where the face looks the same, and only there."""

from __future__ import annotations

import av
import torch

from sargan_plugin.generators import Edit
from sargan_plugin.video.calm import NEIGHBOURS, Edited, FaceEdit, calm
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import PlaneCrop

SIZE = 32
VIDEO = av.VideoFrame(16, 16, "gray")


def edits(count: int, crops: torch.Tensor, cuts=(0,), with_flow: bool = True) -> list[Edited]:
    """Frames with one face each; the edit of frame n is n everywhere."""
    made = []
    for index in range(count):
        value = torch.full((1, 1, SIZE, SIZE), float(index))
        flow = value.expand(1, 2, -1, -1) if with_flow else None
        edit = Edit(value.repeat(1, 3, 1, 1), value, flow)
        frame = Frame(VIDEO, index, index / 25, begins_shot=index in cuts)
        crop = PlaneCrop(crops[index], (), torch.eye(2, 3))
        made.append(Edited(frame, {0: FaceEdit(crop, edit)}))
    return made


def calmed(items: list[Edited]) -> list[Edit]:
    results = list(calm(iter(items)))
    assert [each.frame.index for each in results] == list(range(len(items)))
    return [each.edits[0].edit for each in results]


def test_a_still_face_gets_the_mean_of_its_neighbours():
    noise = 0.005 * torch.randn(9, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for edit, wanted in zip(
        calmed(edits(9, 0.5 + noise)), [2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6], strict=True
    ):
        for field in (edit.delta, edit.replace, edit.flow):
            torch.testing.assert_close(field, torch.full_like(field, wanted))


def test_where_the_face_moves_the_edit_is_its_own():
    items = edits(16, torch.full((16, 3, SIZE, SIZE), 0.5))
    for index, item in enumerate(items):
        face = item.edits[0]
        odd = index % 2
        face.crop.rgb[:, 16:] += 0.4 * odd  # the lower half, a mouth that opens and closes
        face.edit.delta.copy_(torch.full((1, 3, SIZE, SIZE), float(odd)))
    for index, edit in enumerate(calmed(items)[4:12], 4):
        assert (edit.delta[0, 0, 26:] == index % 2).all()
        assert (edit.delta[0, 0, :6] - 0.5).abs().max() < 0.1
    crops = torch.linspace(0, 1, 7)[:, None, None, None].expand(7, 3, SIZE, SIZE)
    for index, edit in enumerate(calmed(edits(7, crops))):
        assert torch.equal(edit.delta, torch.full_like(edit.delta, float(index)))


def test_nothing_is_averaged_across_a_cut():
    crops = torch.full((8, 3, SIZE, SIZE), 0.5)
    results = calmed(edits(8, crops, cuts=(0, 4)))
    assert max(float(edit.delta.max()) for edit in results[:4]) < 4
    assert min(float(edit.delta.min()) for edit in results[4:]) >= 4


def test_generators_without_flow():
    crops = torch.full((4, 3, SIZE, SIZE), 0.5)
    assert all(edit.flow is None for edit in calmed(edits(4, crops, with_flow=False)))


def test_only_so_many_frames_are_held_back():
    taken = 0

    def counted():
        nonlocal taken
        for item in edits(20, torch.full((20, 3, SIZE, SIZE), 0.5)):
            taken += 1
            yield item

    for item in calm(counted()):
        assert taken <= item.frame.index + NEIGHBOURS + 1
