"""Many pictures through one editor: decoding, detection, editing and encoding overlap.

Worker threads read pictures and find their faces (once for all expressions), take several pictures
together through the generator, and write the results. Each thread works alone on what it has in
hand: threads that share one step wait for each other, and on busy cores cost several times more
than they help.

What goes through the generator together is settled by the order of the tasks and by the sizes of
the pictures, never by which thread was faster: the same job gives the same bytes. How much is in
memory at a time is bounded by pixels, so the peak does not grow with the job.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sargan_plugin.detector_files import usable_cpus
from sargan_plugin.editor import EditedFace, EditResult, ExpressionEditor
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.images import Picture, load_picture, picture_size, printable_name, save_picture
from sargan_plugin.tasks import Task

logger = logging.getLogger(__name__)

# Of the pictures that are edited together. One that has more goes alone.
BATCH_PIXELS = 16_000_000
# Of all pictures and all results in memory; some five bytes a pixel while they are coded.
MAX_PIXELS = 96_000_000
BATCHES_AHEAD = 2
# Each takes the memory of a generator at work, some 40 MB a face.
EDITS_AT_ONCE = 4


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
    """Do the tasks and yield an outcome for each as it is done.

    A task that fails is an outcome with an error; the others go on. Closing the iterator (use
    ``contextlib.closing``), or Ctrl-C, drops what has not been begun; a file that is being written
    is finished, and none is left half written.

    Args:
        tasks: those of one picture follow one another.
        editor: with more than one worker, one whose detector has ``threads=1`` is fastest.
        batch_size: how many edits go through the generator together.
        workers: threads that do all the work; None is one for each usable CPU. With more than
            one, PyTorch is set to one thread for each of them as long as the job runs.

    Raises:
        SarganError: when the detector cannot work at all, before anything is done; for numbers
            out of range.

    Example::

        tasks = plan_folder(Path("in"), Path("out"), ["happy"]).tasks
        for outcome in run(tasks, ExpressionEditor()):
            print(outcome.task.source, outcome.error or "done")
    """
    workers = usable_cpus() if workers is None else workers
    if batch_size < 1 or workers < 1:
        raise SarganError("The batch size and the number of workers must be at least 1.")
    # A detector that cannot work is one error, and not one for each picture.
    editor.detector.detect(np.zeros((32, 32, 3), np.uint8))
    with one_thread_each(workers), ThreadPoolExecutor(workers, "sargan") as pool:
        try:
            yield from _Pipeline(_batches(tasks, batch_size), editor, pool).outcomes()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def one_thread_each(workers: int) -> Iterator[None]:
    """PyTorch works with one thread for each of several workers, and as before afterwards."""
    threads = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Loaded:
    """A picture that has been read, and its selected faces."""

    picture: Picture
    faces: list[Face]
    seconds: float


@dataclass(eq=False)
class _Source:
    """A picture on its way; it stays in memory until the last of its tasks is done."""

    path: Path
    pixels: int
    tasks_left: int
    loaded: Future[_Loaded | str] | None = None


@dataclass(frozen=True, eq=False)
class _Job:
    """One task, and the picture it shares with the other tasks of that picture."""

    source: _Source
    task: Task


@dataclass(frozen=True, eq=False)
class _Edited:
    """A task that is ready to be written, or has failed: then there are no pixels."""

    outcome: Outcome
    pixels: np.ndarray | None = None


class _Pipeline:
    """The state of a job; it belongs to the caller's thread, which does none of the work."""

    def __init__(
        self, batches: Iterator[list[_Job]], editor: ExpressionEditor, pool: ThreadPoolExecutor
    ) -> None:
        self.batches, self.editor, self.pool = batches, editor, pool
        self.upcoming = next(batches, None)
        self.reading: deque[list[_Job]] = deque()
        self.editing: dict[Future[list[_Edited]], list[_Job]] = {}
        self.writing: dict[Future[Outcome], _Job] = {}
        self.pixels = 0  # of the pictures in memory and of the results of all batches begun

    def outcomes(self) -> Iterator[Outcome]:
        self._read_ahead()
        while self.reading or self.editing or self.writing:
            missing = self._edit_what_is_read()
            wait([*missing, *self.editing, *self.writing], return_when=FIRST_COMPLETED)
            yield from self._take_edited()
            yield from self._take_written()
            self._read_ahead()

    def _read_ahead(self) -> None:
        """Begin batches as long as there is room for them."""
        while self.upcoming is not None and len(self.reading) < BATCHES_AHEAD:
            new = {job.source for job in self.upcoming if job.source.loaded is None}
            pixels = sum(source.pixels for source in new)
            pixels += sum(job.source.pixels for job in self.upcoming)
            if self.pixels + pixels > MAX_PIXELS and (self.reading or self.editing or self.writing):
                return
            for job in self.upcoming:
                if job.source.loaded is None:
                    job.source.loaded = self.pool.submit(_read, job.source.path, self.editor)
            self.pixels += pixels
            self.reading.append(self.upcoming)
            self.upcoming = next(self.batches, None)

    def _edit_what_is_read(self) -> list[Future]:
        """Hand batches over to be edited; what the next one still waits for."""
        while self.reading and len(self.editing) < EDITS_AT_ONCE:
            batch = self.reading[0]
            missing = [job.source.loaded for job in batch if not job.source.loaded.done()]
            if missing:
                return missing
            self.editing[self.pool.submit(_edit, batch, self.editor)] = self.reading.popleft()
        return []

    def _take_edited(self) -> Iterator[Outcome]:
        """Hand results over to be written; outcomes of those that failed."""
        for future in [future for future in self.editing if future.done()]:
            for job, edited in zip(self.editing.pop(future), future.result(), strict=True):
                if edited.pixels is None:
                    yield self._done(job, edited.outcome)
                else:
                    self.writing[self.pool.submit(_write, job.source, edited)] = job

    def _take_written(self) -> Iterator[Outcome]:
        for future in [future for future in self.writing if future.done()]:
            yield self._done(self.writing.pop(future), future.result())

    def _done(self, job: _Job, outcome: Outcome) -> Outcome:
        job.source.tasks_left -= 1
        self.pixels -= job.source.pixels
        if job.source.tasks_left == 0:
            self.pixels -= job.source.pixels
        return outcome


def _batches(tasks: Iterable[Task], batch_size: int) -> Iterator[list[_Job]]:
    """What is edited together: in the order of the tasks, bounded by number and by pixels."""
    batch: list[_Job] = []
    for path, group in itertools.groupby(tasks, key=lambda task: task.source):
        own_tasks = list(group)
        source = _Source(path, math.prod(picture_size(path)), len(own_tasks))
        for task in own_tasks:
            pixels = source.pixels + sum(job.source.pixels for job in batch)
            if batch and (len(batch) == batch_size or pixels > BATCH_PIXELS):
                yield batch
                batch = []
            batch.append(_Job(source, task))
    if batch:
        yield batch


def _read(path: Path, editor: ExpressionEditor) -> _Loaded | str:
    """Read a picture and find its faces, or say why not."""
    begun = time.perf_counter()
    try:
        picture = load_picture(path)
        faces = editor.find_faces(picture.pixels)
    except Exception as error:
        return _line(path, error)
    return _Loaded(picture, faces, time.perf_counter() - begun)


def _edit(batch: list[_Job], editor: ExpressionEditor) -> list[_Edited]:
    """Edit a batch, leaving out pictures that could not be read."""
    begun = time.perf_counter()
    loaded = {job: job.source.loaded.result() for job in batch}
    readable = [job for job in batch if isinstance(loaded[job], _Loaded)]
    results = dict(zip(readable, _edit_together(readable, editor), strict=True))
    seconds = (time.perf_counter() - begun) / len(batch)
    edited = []
    for job in batch:
        result = results.get(job, loaded[job])
        if isinstance(result, EditResult):
            notes = _notes(loaded[job].faces, result, editor)
            spent = loaded[job].seconds + seconds
            outcome = Outcome(job.task, tuple(result.faces), spent, "", notes)
            edited.append(_Edited(outcome, result.image))
        else:
            edited.append(_Edited(Outcome(job.task, error=result)))
    return edited


def _edit_together(jobs: list[_Job], editor: ExpressionEditor) -> list[EditResult | str]:
    """Edit pictures; when that fails one by one, so that one bad picture does not spoil others."""
    pictures = [job.source.loaded.result() for job in jobs]
    try:
        requests = [
            editor.request(job.task.expression, faces=loaded.faces)
            for job, loaded in zip(jobs, pictures, strict=True)
        ]
        return list(editor.edit([loaded.picture.pixels for loaded in pictures], requests))
    except Exception as error:
        if len(jobs) == 1:
            return [_line(jobs[0].task.source, error)]
        return [result for job in jobs for result in _edit_together([job], editor)]


def _write(source: _Source, edited: _Edited) -> Outcome:
    """Write a result; the outcome with the time it took, or with the reason why it failed."""
    begun = time.perf_counter()
    task, error = edited.outcome.task, ""
    try:
        task.destination.parent.mkdir(parents=True, exist_ok=True)
        picture = source.loaded.result().picture
        save_picture(picture, edited.pixels, task.destination, format=task.format)
    except OSError as problem:
        folder = printable_name(task.destination.parent)
        error = f"{folder}: cannot be created: {problem.strerror}"
    except Exception as problem:
        error = _line(task.destination, problem)
    seconds = edited.outcome.seconds + time.perf_counter() - begun
    return replace(edited.outcome, seconds=seconds, error=error)


def _notes(faces: list[Face], result: EditResult, editor: ExpressionEditor) -> tuple[str, ...]:
    notes = []
    if not faces and editor.on_no_face == "warn":
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
