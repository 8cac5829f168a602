"""Which frames go through the generator, and what the others get."""

from __future__ import annotations

import av
import pytest
import torch

from sargan_plugin.generators import Edit
from sargan_plugin.video.between import SPAN, Wish, complete
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import PlaneCrop

SIZE, COUNT = 32, 4 * SPAN + 1
VIDEO = av.VideoFrame(16, 16, "gray")
HAPPY = torch.eye(7)[1]


def wishes(crops: torch.Tensor, intensities=None, cuts=(0,)) -> list[Wish]:
    """One face, ``(COUNT, 3, SIZE, SIZE)``, frame by frame."""
    made = []
    for index, crop in enumerate(crops):
        frame = Frame(VIDEO, index, index / 25, begins_shot=index in cuts)
        intensity = 1.0 if intensities is None else intensities[index]
        plane_crop = PlaneCrop(crop, (), torch.eye(2, 3))
        made.append(Wish(frame, 0, torch.eye(2, 3), HAPPY, intensity, plane_crop))
    return made


def passes(wanted: list[Wish], with_flow: bool = True) -> list[int]:
    """Frames that went through the generator, whose edit of frame n is n in the lower half."""
    ran = []

    def run(part: list[Wish]) -> None:
        for wish in part:
            ran.append(wish.frame.index)
            delta = torch.zeros(1, 3, SIZE, SIZE)
            delta[:, :, SIZE // 2 :] = 1.0 + wish.frame.index
            flow = delta[:, :2].clone() if with_flow else None
            wish.edit = Edit(delta, delta[:, :1].clone(), flow)

    complete(wanted, run)
    return sorted(ran)


def still() -> torch.Tensor:
    noise = torch.randn(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return 0.5 + 0.008 * noise  # two grey levels


@pytest.mark.parametrize("with_flow", [True, False])
def test_between_two_passes_over_a_still_face_the_edit_is_interpolated(with_flow):
    wanted = wishes(still())
    assert passes(wanted, with_flow) == list(range(0, COUNT, SPAN))
    for index, wish in enumerate(wanted):
        assert (wish.edit.flow is not None) == with_flow
        lower = wish.edit.delta[:, :, SIZE // 2 :]
        torch.testing.assert_close(lower, torch.full_like(lower, 1.0 + index))


def test_a_mouth_that_moves_gets_a_pass_in_each_frame():
    crops = still()
    crops[1::2, :, 20:26, 10:22] += 0.2
    assert passes(wishes(crops)) == list(range(COUNT))


def test_what_moves_where_the_edit_does_not_act_does_not_matter():
    crops = still()
    crops[1::2, :, 2:8, 10:22] += 0.2  # the edit acts in the lower half
    assert passes(wishes(crops)) == list(range(0, COUNT, SPAN))


def test_one_frame_that_differs_keeps_its_edit_to_itself():
    crops = still()
    crops[SPAN + 2, :, 20:26, 10:22] += 0.2
    ran = passes(wishes(crops))
    halves = {SPAN + SPAN // 2}  # spans are halved until the frame is found
    assert set(ran) == {*range(0, COUNT, SPAN), *halves, SPAN + 1, SPAN + 2, SPAN + 3}


def test_nothing_is_interpolated_across_a_cut():
    ran = passes(wishes(still(), cuts=(0, 6)))
    assert {5, 6} <= set(ran) and len(ran) < COUNT // 2


def test_while_the_intensity_changes_each_frame_gets_a_pass():
    assert passes(wishes(still(), intensities=torch.linspace(0.1, 1, COUNT).tolist())) == list(
        range(COUNT)
    )


def test_what_is_known_from_the_batch_before_is_no_new_pass():
    first, second = wishes(still())[: SPAN + 1], wishes(still())[SPAN + 1 :]
    passes(first)
    assert passes([first[-1], *second]) == list(range(2 * SPAN, COUNT, SPAN))
