"""Errors of the command line itself, which end with exit code 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sargan_plugin.errors import SarganError


class UsageError(SarganError):
    """A command line that cannot be right; nothing has been done."""


@contextlib.contextmanager
def usage(refusal: type[SarganError] = SarganError) -> Iterator[None]:
    """What the library refuses in here is what the user typed."""
    try:
        yield
    except refusal as error:
        raise UsageError(str(error)) from error
