"""The one exception type that carries a message meant for the person at the keyboard."""

from __future__ import annotations


class SarganError(Exception):
    """A problem its reader can understand and mend; ``str(error)`` is one clear line."""
