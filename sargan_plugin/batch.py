"""Many pictures through one editor: decoding, detection, editing and encoding overlap.

A picture is read and its faces are found in a worker thread. The caller's thread takes several
pictures together through the generator, for every expression asked for, with the faces found once.
Worker threads write the results. How many pictures are in memory at a time is bounded by their
number and by their pixels, so the peak does not grow with the job, and a picture of more than
:data:`MAX_PIXELS` travels alone.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sargan_plugin.editor import EditedFace, EditResult, ExpressionEditor
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.images import EXTENSIONS, Picture, load_picture, printable_name, save_picture
from sargan_plugin.tasks import Plan, PlanError, Task, plan_folder, plan_picture

__all__ = ["Outcome", "Plan", "PlanError", "Task", "plan_folder", "plan_picture", "run"]

logger = logging.getLogger(__name__)

# Of pictures that are read and not written yet; and as much again of results waiting to be written.
# A pixel costs some ten bytes on the way, so this is about a gigabyte.
MAX_PIXELS = 48_000_000


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        task: the task.
        faces: its selected faces and what became of each, left to right.
        seconds: time spent on it, without waiting.
        error: one line that names the file and the reason, or an empty string.
        warnings: what may be wrong with the result: no face, small faces, profiles.
    """

    task: Task
    faces: tuple[EditedFace, ...] = ()
    seconds: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()


def run(
    tasks: Iterable[Task],
    editor: ExpressionEditor,
    *,
    batch_size: int = 8,
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Do the tasks and yield an outcome for each as it is done, in no fixed order.

    A task that fails is an outcome with an error; the others go on. Closing the iterator, or an
    exception such as Ctrl-C in the loop over it, drops what has not been begun; a file that is
    being written is finished, and none is left half written.

    Args:
        tasks: those of one picture follow one another.
        editor: its detector is used from several threads, so with ``workers`` above 1 one of
            ``threads=1`` is fastest.
        batch_size: how many edits go through the generator together.
        workers: threads that read, detect and write; None is one for each usable CPU.

    Raises:
        SarganError: when the detector cannot work at all, before anything is done; for numbers
            out of range.

    Example:
        >>> plan = plan_folder(Path("in"), Path("out"), ["happy"])  # doctest: +SKIP
        >>> for outcome in run(plan.tasks, ExpressionEditor()):  # doctest: +SKIP
        ...     print(outcome.task.source, outcome.error or "done")
    """
    workers = usable_cpus() if workers is None else workers
    if batch_size < 1 or workers < 1:
        raise SarganError("The batch size and the number of workers must be at least 1.")
    # A detector that cannot work is one error, and not one for each picture.
    editor.detector.detect(np.zeros((32, 32, 3), np.uint8))
    pipeline = _Pipeline(tasks, editor, batch_size, workers)
    try:
        yield from pipeline.outcomes()
    finally:
        pipeline.close()


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class _Source:
    """A picture on its way: it is in memory until its last task is written."""

    path: Path
    tasks: list[Task]
    pixels: int


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A picture that has been read, and its selected faces."""

    source: _Source
    picture: Picture
    faces: list[Face]
    seconds: float


class _Pipeline:
    """All state belongs to the caller's thread; the worker threads run pure functions."""

    def __init__(
        self, tasks: Iterable[Task], editor: ExpressionEditor, batch_size: int, workers: int
    ) -> None:
        self.sources = _sources(tasks)
        self.upcoming = next(self.sources, None)
        self.editor, self.batch_size = editor, batch_size
        self.max_pictures = 3 * batch_size  # being read, being edited, being written
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="sargan")
        self.unwritten: dict[_Source, int] = {}  # pictures in memory, tasks that each has left
        self.reading: dict[Future, _Source] = {}
        self.ready: deque[tuple[_Loaded, Task]] = deque()
        self.writing: dict[Future, tuple[_Source, Task]] = {}

    def outcomes(self) -> Iterator[Outcome]:
        self._read_ahead()
        while self.unwritten:
            batch = self._next_batch()
            if batch:
                yield from self._edit(batch)
            else:
                pending = [*self.reading, *self.writing]
                wait(pending, return_when=FIRST_COMPLETED)
            yield from self._collect()
            self._read_ahead()

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _read_ahead(self) -> None:
        """Begin to read pictures as long as there is room for them."""
        while self.upcoming is not None and self._has_room_for(self.upcoming):
            self.unwritten[self.upcoming] = len(self.upcoming.tasks)
            future = self.pool.submit(_read, self.upcoming, self.editor)
            self.reading[future] = self.upcoming
            self.upcoming = next(self.sources, None)

    def _has_room_for(self, source: _Source) -> bool:
        pixels = source.pixels + sum(each.pixels for each in self.unwritten)
        return not self.unwritten or (
            len(self.unwritten) < self.max_pictures and pixels <= MAX_PIXELS
        )

    def _next_batch(self) -> list[tuple[_Loaded, Task]]:
        """What to edit now; nothing while more can be had by waiting."""
        if len(self.ready) < self.batch_size and self.reading:
            return []
        pixels = sum(source.pixels for source, _ in self.writing.values())
        batch: list[tuple[_Loaded, Task]] = []
        while self.ready and len(batch) < self.batch_size:
            pixels += self.ready[0][0].source.pixels
            if pixels > MAX_PIXELS and (batch or self.writing):
                break
            batch.append(self.ready.popleft())
        return batch

    def _edit(self, batch: list[tuple[_Loaded, Task]]) -> Iterator[Outcome]:
        begun = time.perf_counter()
        results = _edit_together(self.editor, batch)
        seconds = (time.perf_counter() - begun) / len(batch)
        for (loaded, task), result in zip(batch, results, strict=True):
            if isinstance(result, EditResult):
                spent = loaded.seconds / len(loaded.source.tasks) + seconds
                notes = _notes(loaded, result, self.editor)
                future = self.pool.submit(_write, loaded.picture, task, result, notes, spent)
                self.writing[future] = (loaded.source, task)
            else:
                yield self._finished(loaded.source, Outcome(task, error=result))

    def _collect(self) -> Iterator[Outcome]:
        """Take in what the worker threads have done."""
        for future in [future for future in self.reading if future.done()]:
            source = self.reading.pop(future)
            loaded = future.result()
            if isinstance(loaded, _Loaded):
                self.ready.extend((loaded, task) for task in source.tasks)
            else:
                for task in source.tasks:
                    yield self._finished(source, Outcome(task, error=loaded))
        for future in [future for future in self.writing if future.done()]:
            source, _ = self.writing.pop(future)
            yield self._finished(source, future.result())

    def _finished(self, source: _Source, outcome: Outcome) -> Outcome:
        self.unwritten[source] -= 1
        if not self.unwritten[source]:
            del self.unwritten[source]
        return outcome


def _sources(tasks: Iterable[Task]) -> Iterator[_Source]:
    for path, group in itertools.groupby(tasks, key=lambda task: task.source):
        yield _Source(path, list(group), _claimed_pixels(path))


def _claimed_pixels(path: Path) -> int:
    """Pixels that a file's header claims; 0 when it is no picture, which reading it will say."""
    if path.is_file():
        for format in set(EXTENSIONS.values()):
            # not Image.open, which has a pixel limit of its own
            with suppress(Exception), Image.OPEN[format][0](path) as image:
                return image.width * image.height
    return 0


def _read(source: _Source, editor: ExpressionEditor) -> _Loaded | str:
    """Read a picture and find its faces, or say why not."""
    begun = time.perf_counter()
    try:
        picture = load_picture(source.path)
        faces = editor.find_faces(picture.pixels)
    except Exception as error:
        return _line(source.path, error)
    return _Loaded(source, picture, faces, time.perf_counter() - begun)


def _edit_together(
    editor: ExpressionEditor, batch: list[tuple[_Loaded, Task]]
) -> list[EditResult | str]:
    """Edit a batch; when that fails, one by one, so that one bad picture does not spoil others."""
    try:
        requests = [editor.request(task.expression, faces=loaded.faces) for loaded, task in batch]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the results say the same, and of which picture
            return list(editor.edit([loaded.picture.pixels for loaded, _ in batch], requests))
    except Exception as error:
        if len(batch) == 1:
            return [_line(batch[0][1].source, error)]
        return [result for each in batch for result in _edit_together(editor, [each])]


def _write(
    picture: Picture, task: Task, result: EditResult, notes: tuple[str, ...], seconds: float
) -> Outcome:
    begun = time.perf_counter()
    error = ""
    try:
        task.destination.parent.mkdir(parents=True, exist_ok=True)
        save_picture(picture, result.image, task.destination, format=task.format)
    except OSError as problem:
        folder = printable_name(task.destination.parent)
        error = f"{folder}: cannot be created: {problem.strerror}"
    except Exception as problem:
        error = _line(task.destination, problem)
    seconds += time.perf_counter() - begun
    return Outcome(task, tuple(result.faces), seconds, error, () if error else notes)


def _notes(loaded: _Loaded, result: EditResult, editor: ExpressionEditor) -> tuple[str, ...]:
    notes = []
    if not loaded.faces and editor.on_no_face == "warn":
        notes.append("no face was found; the picture is left as it is")
    for face in result.faces:
        x, y = face.face.center
        if face.left_because:
            notes.append(f"the face at ({x:.0f}, {y:.0f}) is left as it is: {face.left_because}")
        elif face.remark:
            notes.append(f"the face at ({x:.0f}, {y:.0f}) may look poor: {face.remark}")
    return tuple(notes)


def _line(path: Path, error: Exception) -> str:
    """One line that names the file and the reason."""
    logger.debug("%s", printable_name(path), exc_info=error)
    text = next(iter(str(error).splitlines()), "") or "no reason given"
    if not isinstance(error, SarganError):
        text = f"unexpected {type(error).__name__}: {text}"
    name = printable_name(path)
    return text if text.startswith(name) else f"{name}: {text}"
