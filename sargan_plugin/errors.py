"""Messages meant for the person at the keyboard: one exception type, one warning type."""

from __future__ import annotations


class SarganError(Exception):
    """A problem its reader can understand and mend; ``str(error)`` is one clear line."""


class FaceWarning(UserWarning):
    """A face that is missing, was left alone, or may come out poorly."""
