"""Refusals of picture files: one printable line that names the file and says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from sargan_plugin.errors import SarganError


def printable_name(path: str | os.PathLike[str]) -> str:
    """The path on one line that any UTF-8 stream takes; unprintable characters are escaped.

    Example:
        >>> printable_name("holiday\\n1.jpg")
        'holiday\\\\n1.jpg'
    """
    return "".join(map(_printable, os.fspath(path)))


def _printable(character: str) -> str:
    if character.isprintable() or character == "\u200d":  # the joiner inside family emoji
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of the name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def refusal(path: Path, problem: str) -> SarganError:
    """The error to raise."""
    return SarganError(f"{printable_name(path)}: {problem}")


def reason(error: Exception) -> str:
    """What an exception says, on one line and without the file name."""
    text = getattr(error, "strerror", None) or str(error)  # of OSError and of FFmpeg's errors
    return printable_name(" ".join(text.split())) or type(error).__name__
