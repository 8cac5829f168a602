"""``sargan-cli``: the library on the command line, one file a verb."""

from __future__ import annotations

from sargan_cli.app import main

__all__ = ["main"]
