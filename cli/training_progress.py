"""How far a training is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque

from sargan_training.speed import told_speed

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_NOW = 30.0  # what the current speed is the mean of


class TrainingProgress:
    """Progress of a training on stderr, used as a context manager.

    Args:
        steps: of the whole training, those of earlier runs included.
        batch: photos a step.
        quiet: show nothing.
    """

    def __init__(self, steps: int, batch: int, *, quiet: bool = False) -> None:
        self.steps, self.batch, self.quiet = steps, batch, quiet
        self.recent: deque[tuple[float, int]] = deque()
        self.last_line = 0.0
        self.bar = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, line: str) -> None:
        """Tell something besides the progress."""
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def report(self, step: int, values: dict[str, float]) -> None:
        """So many steps are done; the last one's figures by name."""
        if self.quiet:
            return
        now = time.monotonic()
        self.recent.append((now, step))
        while now - self.recent[0][0] > SECONDS_OF_NOW and len(self.recent) > 2:
            self.recent.popleft()
        if sys.stderr.isatty():
            self._show_bar(step, values)
        elif now - self.last_line >= SECONDS_BETWEEN_LINES or step == self.steps:
            self.last_line = now
            figures = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
            print(f"{step}/{self.steps}  {self._speed()}  {figures}", file=sys.stderr, flush=True)

    def _speed(self) -> str:
        """Images a second and the time left, once that can be told."""
        (then, first), (now, step) = self.recent[0], self.recent[-1]
        if step == first:
            return "..."
        return told_speed(step - first, now - then, self.steps - step, self.batch)

    def _show_bar(self, step: int, values: dict[str, float]) -> None:
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            # Made at the first step: only the process that tells gets here.
            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
                redirect_stdout=False,
                transient=True,
            )
            self.bar.start()
            self.bar.add_task("training", total=self.steps, speed="", figures="")
        names = [name for name in ("generator", "critic", "discriminator") if name in values]
        figures = "  ".join(f"{name} {values[name]:.2f}" for name in names)
        task = self.bar.task_ids[0]
        self.bar.update(task, completed=step, speed=self._speed(), figures=figures)
