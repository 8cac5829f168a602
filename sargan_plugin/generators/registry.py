"""Generators by name: ours, and those that other packages add."""

from __future__ import annotations

from collections.abc import Callable

from sargan_plugin.errors import SarganError
from sargan_plugin.generators.edit import Generator

BUILDERS: dict[str, Callable[..., Generator]] = {}


def register_generator(build: Callable[..., Generator]) -> Callable[..., Generator]:
    """Make ``build`` known to :func:`sargan_plugin.create_generator` under its own name.

    Raises:
        SarganError: when another module has a generator of that name.
    """
    known = BUILDERS.setdefault(build.__name__, build)
    if known.__module__ != build.__module__:
        raise SarganError(f"{build.__name__} is a generator of {known.__module__} already.")
    return build
