"""What a verb tells: lines for a person, and a report for a machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Report:
    """How a verb ended: the object that ``--json`` prints, and the exit code."""

    data: dict[str, Any] | None
    exit_code: int = 0


@dataclass(frozen=True)
class Output:
    """Lines for a person: results on stdout, remarks and errors on stderr.

    Attributes:
        quiet: errors only.
    """

    quiet: bool = False

    def say(self, line: str) -> None:
        """Tell a result."""
        if not self.quiet:
            print(line)

    def show(self, table: Table) -> None:
        """Tell a result as a table."""
        if not self.quiet:
            from rich.console import Console

            # In a file or a pipe nothing is cut.
            Console(width=None if sys.stdout.isatty() else 10_000).print(table)

    def warn(self, line: str) -> None:
        """Tell what may be wrong."""
        if not self.quiet:
            print(f"warning: {line}", file=sys.stderr)

    def fail(self, line: str) -> None:
        """Tell what went wrong."""
        print(f"error: {line}", file=sys.stderr)


def json_path(path: str | os.PathLike[str]) -> str:
    """A path for JSON; bytes that are not UTF-8 are written as ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
