"""One video through three threads at once, and what became of it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av

from sargan_plugin.image_errors import refusal
from sargan_plugin.video.beside import Beside
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.pictures import PictureSequence
from sargan_plugin.video.places import Source, Target, open_sink
from sargan_plugin.video.threads import Channel, Gone, Stopwatch, Worker

if TYPE_CHECKING:
    from sargan_plugin.video.editor import VideoEditor

# Frames that wait between two stages; some 60 more are being looked at, and some 20 more while it
# is in doubt whether a face is still there.
QUEUED = 6
STAGES = ("wait", "track", "steady", "generate", "calm", "paste")


@dataclass(frozen=True)
class VideoReport:
    """What became of a video.

    Attributes:
        destination: the file, or the folder of pictures, that was written.
        frames: number of frames written.
        edited: frames in which a face was changed.
        tracks: numbers of the tracks found, and those of them that were chosen.
        seconds: duration of the work.
        stages: seconds each stage was busy; they overlap.
        damaged: packets or frames of the source that could not be decoded.
        encoder: what encoded it.
        notes: what may surprise, a line each.
    """

    destination: Path
    frames: int
    edited: int
    tracks: tuple[tuple[int, ...], tuple[int, ...]]
    seconds: float
    stages: Mapping[str, float]
    damaged: int = 0
    encoder: str = ""
    notes: tuple[str, ...] = ()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; what was done until then is a file that can be played.

    Attributes:
        report: of the partial file, or None when not even one frame was written.
    """

    def __init__(self, report: VideoReport | None) -> None:
        super().__init__()
        self.report = report


class Run:
    """One video on its way through three threads: reading, editing, writing.

    Args:
        video: the settings.
        source: opened.
        target: where to.
        progress: as for :meth:`VideoEditor.run`.
    """

    def __init__(
        self,
        video: VideoEditor,
        source: Source,
        target: Target,
        progress: Callable[[Frame, int | None], None] | None,
    ) -> None:
        self.video, self.source, self.target, self.progress = video, source, target, progress
        self.read: Channel[Frame] = Channel(QUEUED)
        self.done: Channel[Frame | av.Packet] = Channel(QUEUED)
        self.watch = Stopwatch()
        self.tracker = video.tracker(source)
        self.frames = self.edited = 0
        self.begun = time.perf_counter()

    def carried_out(self) -> VideoReport:
        """Do it all; raises what :meth:`VideoEditor.run` says."""
        beside = Beside(self.source.format) if self.video.beside else None
        self.sink = open_sink(
            self.target,
            beside.format if beside else self.source.format,
            self.source,
            self.video.encoding,
            self.video.unstorable,
        )
        self.source.on_packet = self.done.put
        self.writer = Worker("write", self._write)
        self.reader = Worker("read", lambda: self._read(beside))
        try:
            with contextlib.suppress(Gone):  # the writer has failed, and its error says why
                for frame in self.video.edited(
                    self.source, iter(self.read), self.tracker, self.watch
                ):
                    if beside:
                        beside.complete(frame)
                    self.done.put(frame)
                    self.frames += 1
                    self.edited += frame.edited > 0
                    if self.progress:
                        self.progress(frame, self.source.frame_count)
            self._join()
        except KeyboardInterrupt:
            raise Interrupted(self._partial()) from None
        except BaseException:
            self.read.abandon()
            self.done.abandon()
            self._abandon()
            raise
        if not self.tracker.people and self.video.editor.on_no_face == "error":
            raise refusal(self.source.path, "no face was found")
        return self._report(self.target.finish())

    def _read(self, beside: Beside | None) -> None:
        try:
            for frame in self.watch.timed("read", self.source.frames()):
                self.read.put(beside.begun(frame) if beside else frame)
        finally:
            self.read.complete()

    def _write(self) -> None:
        try:
            for item in self.done:
                begun = time.perf_counter()
                if isinstance(item, Frame):
                    self.sink.write(item)
                else:
                    self.sink.copy(item)
                self.watch.add("write", time.perf_counter() - begun)
            self.sink.close()
        finally:
            self.done.abandon()

    def _join(self) -> None:
        """Wait until everything is written; raises what went wrong in the other threads."""
        self.read.abandon()  # all has been taken, or the writer has failed
        self.reader.join()
        self.done.complete()
        self.writer.join()
        for worker in (self.reader, self.writer):
            if worker.error is not None:
                raise worker.error

    def _partial(self) -> VideoReport | None:
        """Close what is written so far under a name that says what it is."""
        self.read.abandon()
        self.done.complete()
        self.writer.join()
        self.reader.join()
        if self.writer.error is not None or self.frames == 0:
            self._abandon()
            return None
        return self._report(self.target.finish(partial=True))

    def _abandon(self) -> None:
        self.writer.join()
        self.reader.join()
        self.sink.abandon()

    def _report(self, destination: Path) -> VideoReport:
        tracks = self.tracker.people
        spent = dict(self.watch.seconds)
        inner = [name for name in STAGES if name in spent]
        # Each stage pulls from the one before it, so its time holds that one's.
        own = {name: spent[name] - spent[before] for before, name in itertools.pairwise(inner)}
        stages = {"read": spent.get("read", 0.0), **own, "write": spent.get("write", 0.0)}
        return VideoReport(
            destination,
            self.frames,
            self.edited,
            (
                tuple(track.number for track in tracks),
                tuple(track.number for track in tracks if track.chosen),
            ),
            time.perf_counter() - self.begun,
            {name: round(seconds, 3) for name, seconds in stages.items()},
            self.source.damaged,
            self.sink.encoder.name,
            tuple(self._notes()),
        )

    def _lost_of_pictures(self) -> Iterator[str]:
        if self.source.is_transparent and (self.video.beside or not self.target.pictures):
            yield "the pictures' opacity is left out"
        if self.source.format.bits > 8 and self.video.beside and self.target.pictures:
            yield "pictures side by side have 8 bits of a colour"

    def _notes(self) -> Iterator[str]:
        yield from self.sink.notes
        if isinstance(self.source, PictureSequence):
            yield from self._lost_of_pictures()
        if self.source.damaged:
            yield f"{self.source.damaged} packets or frames of the source are damaged"
        if hdr := self.source.format.hdr:
            yield f"HDR ({hdr}) is kept; the generator has learnt from ordinary pictures"
        declared = self.source.declared
        if declared and self.frames < declared:
            yield f"only {self.frames} of the {declared} frames that its index names could be read"
        if self.source.format.interlaced:
            yield "the source is interlaced; edits are made in whole frames"
        if not self.tracker.people and self.video.editor.on_no_face == "warn":
            yield "no face was found; the pictures are as they were"
        elif self.tracker.people and not any(track.chosen for track in self.tracker.people):
            yield "none of the faces was chosen; the pictures are as they were"
