"""Messages meant for the person at the keyboard: an exception, and warnings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SarganError(Exception):
    """A problem its reader can understand and mend; ``str(error)`` is one clear line."""


class SarganWarning(UserWarning):
    """Nothing has failed, but the user should know; the message is one line for them."""


class FaceWarning(SarganWarning):
    """A face that is missing, was left alone, or may come out poorly."""


def closest_match_hint(name: str, known: Iterable[str]) -> str:
    """A sentence that names the known word most like ``name``, or an empty string."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f" Did you mean {close[0]!r}?" if close else ""
