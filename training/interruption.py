"""Ctrl-C that waits for the end of a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within this context, SIGINT and SIGTERM are noted; the second one ends the program as ever.

    Attributes:
        wanted: whether one has come.
    """

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Interruption:
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self.before.items():
            signal.signal(each, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(number, signal.default_int_handler)
