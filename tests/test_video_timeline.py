"""What a video shows when: ranges, ramps, keyframes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import condition_of
from sargan_plugin.video.timeline import (
    Keyframe,
    Timeline,
    pair_ranges,
    parse_seconds,
    read_keyframes,
)

HAPPY = Keyframe(0, "happy")


def test_one_keyframe_holds_all_the_time():
    timeline = Timeline((Keyframe(3, "sad", 0.5),))
    for seconds in (0.0, 3.0, 99.0):
        condition, intensity = timeline.at(seconds)
        assert intensity == 0.5 and torch.equal(condition, condition_of("sad"))


def test_keyframes_are_linear_in_between():
    timeline = Timeline((Keyframe(1, "happy", 1.0), Keyframe(3, "sad", 1.0)))
    condition, intensity = timeline.at(1.5)
    assert intensity == pytest.approx(1.0)
    mixed = 0.75 * condition_of("happy") + 0.25 * condition_of("sad")
    torch.testing.assert_close(condition, mixed)


def test_an_expression_that_fades_to_nothing_stays_itself():
    timeline = Timeline((Keyframe(0, "happy", 1.0), Keyframe(1, "sad", 0.0)))
    condition, intensity = timeline.at(0.75)
    assert intensity == pytest.approx(0.25)
    torch.testing.assert_close(condition, condition_of("happy"))


@given(st.floats(0, 20), st.floats(0, 2))
def test_nothing_is_edited_outside_the_ranges(seconds, ramp):
    timeline = Timeline((HAPPY,), ((2.0, 5.0), (8.0, 9.0)), ramp)
    intensity = timeline.at(seconds)[1]
    assert 0 <= intensity <= 1
    if not (2 <= seconds <= 5 or 8 <= seconds <= 9):
        assert intensity == 0


def test_ramps_lie_inside_and_not_at_the_ends_of_the_video():
    timeline = Timeline((HAPPY,), ((0.0, 2.0), (5.0, math.inf)), 1.0)
    shares = [timeline.at(seconds)[1] for seconds in (0.0, 1.0, 1.5, 2.0, 5.0, 5.25, 6.0, 1e6)]
    assert shares == pytest.approx([1, 1, 0.5, 0, 0, 0.25, 1, 1])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12.5", 12.5), ("1:02", 62), ("1:00:02.5", 3602.5), ("0", 0), (".5", 0.5)],
)
def test_times(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1:2:3:4", "-1", "soon", "1:75", "nan"])
def test_what_is_no_time(text):
    with pytest.raises(SarganError, match="no time"):
        parse_seconds(text)


def test_ranges_pair():
    assert pair_ranges([], []) == ()
    assert pair_ranges(["1"], []) == ((1.0, math.inf),)
    assert pair_ranges([], ["0:02"]) == ((0.0, 2.0),)
    assert pair_ranges(["1", "5"], ["2", "6"]) == ((1.0, 2.0), (5.0, 6.0))
    assert pair_ranges(["1", "5"], ["2"]) == ((1.0, 2.0), (5.0, math.inf))
    with pytest.raises(SarganError, match="do not pair"):
        pair_ranges(["1"], ["2", "3"])


def test_keyframes_from_a_file(tmp_path: Path):
    path = tmp_path / "keys.csv"
    path.write_text(
        'time,expression,intensity\n# begins\n0, happy, 0.5\n\n1:00.5,"surprised:0.7,happy:0.3"\n'
    )
    assert read_keyframes(path) == (
        Keyframe(0, "happy", 0.5),
        Keyframe(60.5, "surprised:0.7,happy:0.3", 1.0),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no keyframe"),
        ("0,grumpy,1\n", "line 1: Unknown expression"),
        ("0,happy,1\n1,sad,9\n", "line 2: Intensity"),
        ("0,happy,lots\n", "line 1: "),
        ("0\n", "line 1: expected time, expression, intensity"),
        ("1,happy\n0,sad\n", "order of time"),
    ],
)
def test_bad_keyframe_files(tmp_path: Path, text: str, words: str):
    path = tmp_path / "keys.csv"
    path.write_text(text)
    with pytest.raises(SarganError, match=words) as caught:
        read_keyframes(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "settings",
    [
        {"keyframes": ()},
        {"keyframes": (HAPPY, HAPPY)},
        {"keyframes": (HAPPY,), "ranges": ((2.0, 1.0),)},
        {"keyframes": (HAPPY,), "ramp": -1.0},
        {"keyframes": (HAPPY,), "ramp": math.nan},
    ],
)
def test_impossible_timelines(settings):
    with pytest.raises(SarganError):
        Timeline(**settings)
