"""Generators by name: ours, and those that other packages add."""

from __future__ import annotations

from collections.abc import Callable

from sargan_plugin.generators.edit import Generator

BUILDERS: dict[str, Callable[..., Generator]] = {}


def register_generator(build: Callable[..., Generator]) -> Callable[..., Generator]:
    """Make ``build`` known to :func:`sargan_plugin.create_generator` under its own name."""
    BUILDERS[build.__name__] = build
    return build
