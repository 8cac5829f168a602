"""How far a long job is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_NOW = 3.0  # what the current rate is the mean of


class Progress:
    """Progress of a job on stderr, used as a context manager.

    Args:
        total: number of pictures or frames; None as long as it is not known.
        quiet: show nothing.
        things: what is counted.
        doing: what is done to them.
    """

    def __init__(
        self,
        total: int | None,
        *,
        quiet: bool = False,
        things: str = "pictures",
        doing: str = "editing",
    ) -> None:
        self.total, self.done, self.quiet = total, 0, quiet
        self.things, self.doing = things, doing
        self.begun = self.last_line = time.monotonic()
        self.recent: deque[tuple[float, int]] = deque([(self.begun, 0)])
        self.bar = None

    def __enter__(self) -> Progress:
        if self.quiet or self.total in (0, 1) or not sys.stderr.isatty():
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
        shown_rate = f"{rate:.1f} {self.things}/s, now {self._rate_now(now):.1f}"
        if self.bar:
            self.bar.update(
                self.bar.task_ids[0], completed=self.done, total=self.total, rate=shown_rate
            )
        elif not self.quiet and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            line = f"{self.done}, {shown_rate}"
            if self.total:
                left = max(0, self.total - self.done) / rate
                line = f"{self.done} of {self.total}, {shown_rate}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)

    def _rate_now(self, now: float) -> float:
        self.recent.append((now, self.done))
        while now - self.recent[0][0] > SECONDS_OF_NOW and len(self.recent) > 2:
            self.recent.popleft()
        since, done = self.recent[0]
        return (self.done - done) / max(now - since, 1e-6)
