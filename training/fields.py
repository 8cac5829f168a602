"""Plain values from a file, checked against a dataclass: names, types and ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sargan_plugin.errors import SarganError, closest_match_hint

T = TypeVar("T")


class FieldError(SarganError):
    """A field that is unknown, missing, of the wrong type or out of range."""


def checked(kind: type[T], table: Mapping[str, Any], prefix: str = "") -> T:
    """An instance of a dataclass from a table of plain values; tables inside become dataclasses.

    A field's metadata may give ``low`` and ``high``, both allowed, for its numbers, and ``keys``,
    the names that a table may have.

    Args:
        kind: a dataclass of int, float, bool, str, tuples of numbers, dicts and dataclasses.
        table: its fields by name. All must be there that have no default.
        prefix: what stands before field names in errors.

    Raises:
        FieldError: in one line that names the field.
    """
    kinds, values = get_type_hints(kind), {}
    known = {each.name: each for each in fields(kind)}
    for name in table:
        if name not in known:
            hint = closest_match_hint(prefix + name, [prefix + each for each in known])
            raise FieldError(f"unknown field {prefix + name!r}.{hint}")
    for name, each in known.items():
        if name not in table:
            raise FieldError(f"misses the field {prefix + name!r}.")
        values[name] = _value(kinds[name], table[name], prefix + name, each.metadata)
    return kind(**values)


def _value(kind: Any, value: Any, name: str, limits: Mapping[str, Any]) -> Any:
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise FieldError(f"{name} must be a table of fields, not {value!r}.")
        return checked(kind, value, f"{name}.")
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is dict:
        return _table(arguments[1], value, name, limits)
    if origin is tuple:
        return _tuple(arguments, value, name, limits)
    if kind in (int, float):
        return _number(kind, value, name, limits)
    words = {bool: "true or false", str: "text"}
    if kind in words and not isinstance(value, kind):
        raise FieldError(f"{name} must be {words[kind]}, not {value!r}.")
    return value


def _number(kind: type, value: Any, name: str, limits: Mapping[str, Any]) -> int | float:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or (kind is int and not isinstance(value, int)):
        word = "a whole number" if kind is int else "a number"
        raise FieldError(f"{name} must be {word}, not {value!r}.")
    low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
    if not low <= value <= high:
        raise FieldError(f"{name} must lie between {low:g} and {high:g}, not be {value}.")
    return kind(value)


def _tuple(
    kinds: tuple[Any, ...], value: Any, name: str, limits: Mapping[str, Any]
) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise FieldError(f"{name} must be a list of numbers, not {value!r}.")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise FieldError(f"{name} must be a list of {len(kinds)} numbers, not of {len(value)}.")
    return tuple(
        _value(kinds[0], each, f"{name}[{number}]", limits) for number, each in enumerate(value)
    )


def _table(kind: Any, value: Any, name: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldError(f"{name} must be a table of fields, not {value!r}.")
    for key in value:
        if "keys" in limits and key not in limits["keys"]:
            hint = closest_match_hint(f"{name}.{key}", [f"{name}.{k}" for k in limits["keys"]])
            raise FieldError(f"unknown field {f'{name}.{key}'!r}.{hint}")
    return {key: _value(kind, each, f"{name}.{key}", {}) for key, each in value.items()}
