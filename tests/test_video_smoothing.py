"""The One-Euro filter, its centred form, and faces that are held steady over time."""

from __future__ import annotations

import inspect

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sargan_cli.edit_video import edit_video
from sargan_plugin.errors import SarganError
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.one_euro import OneEuroFilter, Smoothing, Step, centred
from sargan_plugin.video.steady import LOOK_AHEAD, steady_faces
from sargan_plugin.video.tracks import Track

STEP = 0.04
POINTS = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], float)


def filtered(values: np.ndarray, smoothing: Smoothing, size: float = 100.0) -> np.ndarray:
    filter = OneEuroFilter(smoothing, size)
    return np.array([filter(value, STEP) for value in values])


@given(st.floats(-1e4, 1e4), st.floats(0.01, 20), st.floats(0, 100))
def test_constants_pass_exactly(value, min_cutoff, beta):
    values = np.full((10, 5, 2), value)
    assert np.array_equal(filtered(values, Smoothing(min_cutoff, beta)), values)


def test_noise_on_a_face_at_rest_is_reduced():
    noise = np.random.default_rng(0).normal(0, 0.5, (400, 5, 2))
    calm = filtered(noise, Smoothing())
    assert calm[50:].std() < noise.std() / 3


def test_quick_movement_is_followed_closely():
    times = np.arange(60)[:, None, None] * STEP
    moving = np.broadcast_to(100 * times, (60, 5, 2))  # one face size a second
    behind = (moving - filtered(moving, Smoothing()))[-1].mean() / (100 * STEP)
    assert behind < 1.0  # frames


def test_the_centred_filter_does_not_lag():
    """A slow sweep, where the plain filter is frames behind."""
    sweep = np.broadcast_to(np.arange(100)[:, None, None] * 0.2, (100, 5, 2))
    smoothing, size = Smoothing(0.5, 0.0), 100.0
    forward = OneEuroFilter(smoothing, size)
    for points in sweep[:51]:
        forward(points, STEP)
    future = [Step(points, STEP) for points in sweep[51:63]]
    steady = centred(forward, sweep[50], future, smoothing=smoothing, size=size)
    assert (sweep[50] - forward.value).mean() / 0.2 > 3
    assert abs((sweep[50] - steady).mean() / 0.2) < 1


@pytest.mark.parametrize("speed", [2.0, 10.0, 30.0])
def test_a_steady_movement_that_texture_does_not_tell_does_not_lag(speed):
    """``speed`` is in px a second, of a face of 100 px."""
    sweep = np.broadcast_to(np.arange(120)[:, None, None] * speed * STEP, (120, 5, 2))
    forward = OneEuroFilter(Smoothing(), 100.0)
    for points in sweep[:81]:
        forward(points, STEP)
    future = [Step(points, STEP) for points in sweep[81:105]]
    steady = centred(forward, sweep[80], future, smoothing=Smoothing(), size=100.0)
    assert abs((sweep[80] - steady).mean()) / (speed * STEP) < 1  # frames


def test_the_command_smooths_as_the_library_does():
    settings = inspect.signature(edit_video).parameters
    assert settings["min_cutoff"].default == Smoothing().min_cutoff
    assert settings["beta"].default == Smoothing().beta


def test_known_motion_does_not_lag_and_noise_on_it_goes():
    """A face that turns and shrinks: the filter is told how, in both directions of time."""
    turn = np.array([[0.99, -0.02, 3.0], [0.02, 0.99, -1.0]])
    truth = [POINTS]
    for _ in range(59):
        truth.append(truth[-1] @ turn[:, :2].T + turn[:, 2])
    noise = np.random.default_rng(0).normal(0, 0.5, (60, 5, 2))
    seen = np.array(truth) + noise
    smoothing = Smoothing()
    forward = OneEuroFilter(smoothing, 100.0)
    off = []
    for index, points in enumerate(seen):
        forward(points, STEP, turn)
        future = [Step(each, STEP, turn) for each in seen[index + 1 : index + 13]]
        steady = centred(forward, points, future, smoothing=smoothing, size=100.0)
        off.append(steady - truth[index])
    assert np.std(off[15:45]) < noise.std() / 2


@pytest.mark.parametrize("settings", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0), (1.0, 1.0, 0.0)])
def test_impossible_settings(settings):
    with pytest.raises(SarganError):
        Smoothing(*settings)


def tracked(count: int, tracks: dict[int, tuple[int, int]], cuts=(0,)) -> list[Frame]:
    """Frames with tracks that are in sight from one frame to another, both included."""
    video = av.VideoFrame(16, 16, "gray")
    frames = []
    for index in range(count):
        frame = Frame(video, index, index * STEP, begins_shot=index in cuts)
        for number, (first, last) in tracks.items():
            if first <= index <= last:
                frame.landmarks[number] = POINTS + index
        frames.append(frame)
    return frames


def steadied(frames: list[Frame], numbers=(0,), fade: int = 4, smoothing=None) -> list[Frame]:
    chosen = [Track(number, POINTS, np.zeros(1), 0) for number in numbers]
    return list(steady_faces(iter(frames), chosen, smoothing, fade))


def shares(frames: list[Frame], number: int = 0) -> list[float]:
    return [
        round(frame.faces[number].share, 2) if number in frame.faces else 0.0 for frame in frames
    ]


def test_every_frame_comes_out_once_and_in_order():
    frames = tracked(40, {0: (0, 39)})
    assert [frame.index for frame in steadied(frames)] == list(range(40))


def test_a_face_within_a_scene_fades_in_and_out():
    found = shares(steadied(tracked(40, {0: (10, 29)})))
    assert found[8:16] == [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1]
    assert found[24:32] == [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]


def test_a_face_that_comes_and_goes_with_its_scene_does_not_fade():
    found = shares(steadied(tracked(40, {0: (10, 29)}, cuts=(0, 10, 30))))
    assert found[10:30] == [1.0] * 20


def test_fade_zero_switches():
    assert set(shares(steadied(tracked(30, {0: (5, 9)}), fade=0))) == {0.0, 1.0}


def test_only_chosen_tracks_are_edited():
    frames = steadied(tracked(20, {0: (0, 19), 1: (0, 19)}), numbers=(1,))
    assert all(set(frame.faces) == {1} for frame in frames)


def test_nothing_is_smoothed_across_a_cut():
    frames = tracked(30, {0: (0, 29)}, cuts=(0, 15))
    for frame in frames[15:]:
        frame.landmarks[0] = POINTS + 500.0
    for frame in frames[:15]:
        frame.landmarks[0] = POINTS
    steady = steadied(frames, smoothing=Smoothing())
    for frame in steady:
        wanted = POINTS + (500.0 if frame.index >= 15 else 0.0)
        np.testing.assert_allclose(frame.faces[0].landmarks, wanted, atol=1e-9)


def test_the_look_ahead_is_bounded():
    """Memory stays flat: a frame comes out before more than so many are taken."""
    taken = 0

    def counted():
        nonlocal taken
        for frame in tracked(100, {0: (0, 99)}):
            taken += 1
            yield frame

    for frame in steady_faces(counted(), [], None, 4):
        assert taken - frame.index <= LOOK_AHEAD + 1
