from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import (
    ALIASES,
    EXPRESSIONS,
    UnknownExpressionError,
    canonical_name,
    check_intensity,
    condition_of,
    parse_expression,
)


def test_order_is_the_contract():
    assert EXPRESSIONS == (
        "neutral", "happy", "surprised", "angry", "sad", "disgusted", "fearful",
    )  # fmt: skip


@pytest.mark.parametrize("alias", ALIASES)
def test_alias_in_any_case_means_its_expression(alias):
    assert canonical_name(f" {alias.upper()} ") == ALIASES[alias]


def test_unknown_name_suggests_the_closest():
    with pytest.raises(UnknownExpressionError, match=r"known are neutral.*mean 'surprised'"):
        parse_expression("suprised")


def test_mix_is_normalised_and_repeats_add_up():
    assert parse_expression("surprised:3,smile:0.5,happy:0.5") == {"surprised": 0.75, "happy": 0.25}


@given(st.dictionaries(st.sampled_from(EXPRESSIONS), st.floats(1e-3, 1e3), min_size=1))
def test_condition_is_convex(mix):
    condition = condition_of(mix)
    assert condition.shape == (7,)
    assert condition.min() >= 0
    torch.testing.assert_close(condition.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("text", ["", "happy:x", "happy:-1", "happy:nan", "happy:0", "happy:inf"])
def test_bad_mix_is_one_clear_line(text):
    with pytest.raises(SarganError) as caught:
        parse_expression(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 9, 1.51])
def test_impossible_intensity_is_refused(value):
    with pytest.raises(SarganError, match=r"between 0 and 1\.5"):
        check_intensity(value)
