"""Reading, editing and writing at the same time, through queues that hold little."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
PATIENCE = 0.1  # seconds between looks at whether the other side has gone


class Gone(Exception):
    """The thread at the other end takes or gives nothing more."""


class Channel(Generic[Item]):
    """A bounded queue that can be closed from either side.

    Args:
        capacity: items it holds before :meth:`put` waits.
    """

    def __init__(self, capacity: int) -> None:
        self._queue: queue.Queue[Item] = queue.Queue(capacity)
        self._complete = threading.Event()  # nothing will be put any more
        self._abandoned = threading.Event()  # nothing will be taken any more

    def put(self, item: Item) -> None:
        """Hand over an item; waits for room.

        Raises:
            Gone: when nobody takes items any more.
        """
        while not self._abandoned.is_set():
            try:
                self._queue.put(item, timeout=PATIENCE)
                return
            except queue.Full:
                continue
        raise Gone

    def __iter__(self) -> Iterator[Item]:
        while not self._abandoned.is_set():
            try:
                yield self._queue.get(timeout=PATIENCE)
            except queue.Empty:
                if self._complete.is_set() and self._queue.empty():
                    return

    def complete(self) -> None:
        """Tell the taker that what is in the queue is the rest."""
        self._complete.set()

    def abandon(self) -> None:
        """Tell both sides to stop; what is in the queue is lost."""
        self._abandoned.set()


class Worker(threading.Thread):
    """A thread that keeps its exception for whoever waits for it.

    Args:
        name: for debuggers.
        work: what to do.

    Attributes:
        error: what ended the work early, :class:`Gone` excepted.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.work, self.error = work, None
        self.start()

    def run(self) -> None:
        try:
            self.work()
        except Gone:
            pass
        except BaseException as error:
            self.error = error


class Stopwatch:
    """Seconds spent in the stages of a job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """The same items; the time it takes to get them counts for ``name``."""
        items = iter(items)
        while True:
            begun = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.add(name, time.perf_counter() - begun)
            yield item

    def add(self, name: str, seconds: float) -> None:
        """Count seconds for a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
