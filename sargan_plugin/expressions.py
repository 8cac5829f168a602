"""The seven expressions, their other names, and how a request becomes a condition.

A *condition* is a ``(B, 7)`` float tensor in the order of :data:`EXPRESSIONS`; a mix is a convex
combination, so its rows sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sargan_plugin.errors import SarganError, closest_match_hint

if TYPE_CHECKING:
    import torch

EXPRESSIONS = ("neutral", "happy", "surprised", "angry", "sad", "disgusted", "fearful")

ALIASES = {
    "happiness": "happy",
    "smile": "happy",
    "surprise": "surprised",
    "anger": "angry",
    "sadness": "sad",
    "disgust": "disgusted",
    "fear": "fearful",
}

MAX_INTENSITY = 1.5

# A name ("happy"), a mix as text ("surprised:0.7,happy:0.3"), or a mix as a mapping.
Expression = str | Mapping[str, float]


class UnknownExpressionError(SarganError, ValueError):
    """An expression that is not in the vocabulary."""


def canonical_name(name: str) -> str:
    """Return the vocabulary's word for ``name``, which may be an alias in any case.

    Raises:
        UnknownExpressionError: with the known names and the closest match.
    """
    word = name.strip().lower()
    word = ALIASES.get(word, word)
    if word in EXPRESSIONS:
        return word
    hint = closest_match_hint(word, [*EXPRESSIONS, *ALIASES])
    raise UnknownExpressionError(
        f"Unknown expression {name.strip()!r}; known are {', '.join(EXPRESSIONS)}.{hint}"
    )


def parse_expression(expression: Expression) -> dict[str, float]:
    """Return a mix of canonical names whose weights sum to one.

    Args:
        expression: ``"surprised"``, ``"surprised:0.7,happy:0.3"`` or ``{"surprised": 0.7, ...}``.
            A name without a weight counts 1; weights are normalised to sum to one.

    Raises:
        SarganError: for an unknown name, or weights that are not finite and positive in sum.
    """
    if isinstance(expression, str):
        parts = [part.partition(":") for part in expression.split(",")]
        entries = [(name, weight if colon else "1") for name, colon, weight in parts]
    else:
        entries = list(expression.items())
    mix: dict[str, float] = {}
    for name, weight in entries:
        word = canonical_name(name)
        try:
            value = float(weight)
        except ValueError:
            raise SarganError(f"The weight of {word} is not a number: {weight!r}.") from None
        if not math.isfinite(value) or value < 0:
            raise SarganError(f"The weight of {word} must be zero or more, not {weight}.")
        mix[word] = mix.get(word, 0.0) + value
    total = sum(mix.values())
    if not total > 0:
        raise SarganError("An expression needs at least one weight above zero.")
    return {word: value / total for word, value in mix.items() if value > 0}


def condition_of(expression: Expression) -> torch.Tensor:
    """Return the condition of one expression as a ``(7,)`` float32 tensor that sums to one."""
    import torch  # here, so that the command line can refuse a mistyped name at once

    condition = torch.zeros(len(EXPRESSIONS))
    for word, weight in parse_expression(expression).items():
        condition[EXPRESSIONS.index(word)] = weight
    return condition


def check_intensity(intensity: float) -> float:
    """Return ``intensity`` as a float if it lies in [0, 1.5].

    Raises:
        SarganError: otherwise, NaN included.
    """
    value = float(intensity)
    if not 0.0 <= value <= MAX_INTENSITY:
        raise SarganError(f"Intensity must lie between 0 and {MAX_INTENSITY}, not {intensity}.")
    return value
