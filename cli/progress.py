"""How far a long job is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Progress of a job on stderr, used as a context manager.

    Args:
        total: number of pictures.
        quiet: show nothing.
        doing: what is done to them.
    """

    def __init__(self, total: int, *, quiet: bool = False, doing: str = "editing") -> None:
        self.total, self.done, self.quiet, self.doing = total, 0, quiet, doing
        self.begun = self.last_line = time.monotonic()
        self.bar = None

    def __enter__(self) -> Progress:
        if self.quiet or self.total < 2 or not sys.stderr.isatty():
            return self
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.bar = RichProgress(
            TextColumn(self.doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=False,
            transient=True,
        )
        self.bar.start()
        self.bar.add_task(self.doing, total=self.total, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, count: int = 1) -> None:
        """So many pictures more are done, or have failed."""
        self.done += count
        now = time.monotonic()
        rate = self.done / max(now - self.begun, 1e-6)
        shown_rate = f"{rate:.1f} pictures/s"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=self.done, rate=shown_rate)
        elif not self.quiet and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = (self.total - self.done) / rate
            line = f"{self.done} of {self.total}, {shown_rate}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)
