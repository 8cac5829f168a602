"""``VideoEditor``: a video in, the same video with another expression out."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import av

from sargan_plugin.batch import one_thread_each
from sargan_plugin.detector_files import usable_cpus
from sargan_plugin.editor import ExpressionEditor
from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import refusal
from sargan_plugin.video.beside import Beside
from sargan_plugin.video.codecs import Encoding
from sargan_plugin.video.display import Display
from sargan_plugin.video.edits import calm, generate, paste
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.one_euro import Smoothing
from sargan_plugin.video.places import Source, open_sink, open_source, output
from sargan_plugin.video.steady import steady_faces
from sargan_plugin.video.threads import Channel, Gone, Stopwatch, Worker
from sargan_plugin.video.timeline import Keyframe, Timeline
from sargan_plugin.video.tracker import DETECT_EVERY, Tracker

# Frames that wait between two stages; some 40 more are being looked at.
QUEUED = 6
FADE = 6
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


@dataclass
class VideoEditor:
    """Change the expression of the faces in a video and leave everything else alone.

    Args:
        editor: expression, intensity, which faces, model, detector and all other settings are its;
            a default one otherwise.
        keyframes: expression and intensity over time in place of the editor's, see
            :class:`Timeline`.
        ranges: seconds from and to which to edit; empty for the whole video.
        ramp: seconds over which an edit grows and shrinks at the ends of a range.
        tracks: numbers of the tracks to edit, as ``sargan-cli tracks`` counts them; None for all
            that the editor's ``faces`` chooses.
        smoothing: of the landmarks, or None.
        calm: whether edits of still faces are averaged over a few frames.
        fade: frames over which a face that comes or leaves is edited more and more, or less.
        detect_every: frames between detections; movement is followed in between.
        encoding: codec and quality.
        unstorable: ``"refuse"``, ``"reencode"`` or ``"drop"`` audio and subtitles that the
            container of the result cannot hold.
        rate: frames a second of pictures that are read as a video.
        beside: write the source and the result side by side.
        workers: threads that cut and paste; None is one for each usable CPU.

    Raises:
        SarganError: for settings out of range.

    Example::

        editor = VideoEditor(ExpressionEditor("happy"), ranges=((2.0, 5.5),))
        report = editor.run("talk.mp4", "smile.mp4")
    """

    editor: ExpressionEditor = field(default_factory=ExpressionEditor)
    keyframes: Sequence[Keyframe] = ()
    ranges: Sequence[tuple[float, float]] = ()
    ramp: float = 0.25
    tracks: Collection[int] | None = None
    smoothing: Smoothing | None = field(default_factory=Smoothing)
    calm: bool = True
    fade: int = FADE
    detect_every: int = DETECT_EVERY
    encoding: Encoding = field(default_factory=Encoding)
    unstorable: str = "refuse"
    rate: float = 25.0
    beside: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        keyframes = tuple(self.keyframes)
        if not keyframes:
            expression, intensity = self.editor.expression, self.editor.intensity
            if not isinstance(expression, str | Mapping) or not isinstance(intensity, int | float):
                raise SarganError("A video takes one expression and one intensity, or keyframes.")
            keyframes = (Keyframe(0.0, expression, float(intensity)),)
        self.timeline = Timeline(keyframes, tuple(self.ranges), self.ramp)
        if self.fade < 0:
            raise SarganError("The fade must be 0 frames or more.")
        if not 0 < self.rate < math.inf:
            raise SarganError(f"The frame rate must be above 0, not {self.rate}.")

    def frames(self, source: str | Path) -> Iterator[Frame]:
        """The edited frames, one after the other, for a pipeline of your own.

        ``frame.video`` is a PyAV frame with the source's pixel format, time and colour
        description; ``frame.video.to_ndarray(format="rgb24")`` gives its pixels.
        """
        with open_source(Path(source), self.rate) as opened:
            yield from self._edited(opened, opened.frames(), self._tracker(opened), Stopwatch())

    def preview(self, source: str | Path, count: int) -> Iterator[tuple[Frame, Display]]:
        """Some edited frames, spread evenly over the video, and how they are shown."""
        with open_source(Path(source), self.rate) as opened:
            total = opened.frame_count
            if not total:
                raise refusal(Path(source), "does not say how long it is, so there is no preview")
            only = {min(total - 1, int((place + 0.5) * total / count)) for place in range(count)}
            beside = Beside(opened.format) if self.beside else None
            frames = opened.frames()
            if beside:
                frames = (beside.begun(frame) if frame.index in only else frame for frame in frames)
            tracker = self._tracker(opened)
            for frame in self._edited(opened, frames, tracker, Stopwatch(), only):
                if frame.index in only:
                    yield (
                        (beside.complete(frame), beside.format.display)
                        if beside
                        else (frame, opened.format.display)
                    )
                if frame.index >= max(only):
                    return

    def run(
        self,
        source: str | Path,
        destination: str | Path,
        *,
        overwrite: bool = False,
        progress: Callable[[Frame, int | None], None] | None = None,
    ) -> VideoReport:
        """Write the edited video; the source is never touched.

        Args:
            source: a video file, an animated GIF or WebP, a folder of numbered pictures or a
                pattern of their names such as ``in/%05d.png`` or ``in/*.png``.
            destination: a file whose ending names the container, or a folder or pattern.
            overwrite: replace what is there.
            progress: is called with each frame that is done, and the number of all if known.

        Raises:
            SarganError: naming the file and the reason; nothing is left behind.
            Interrupted: on Ctrl-C, after what is done was closed under a name with ``partial``.
        """
        source, destination = Path(source), Path(destination)
        with (
            open_source(source, self.rate) as opened,
            output(source, destination, overwrite) as target,
        ):
            return _Run(self, opened, target, progress).carried_out()

    def _tracker(self, source: Source) -> Tracker:
        return Tracker(
            self.editor.detector,
            source.format.display,
            selection=self.editor.faces,
            numbers=self.tracks,
            every=self.detect_every,
        )

    def _edited(
        self,
        source: Source,
        frames: Iterator[Frame],
        tracker: Tracker,
        watch: Stopwatch,
        only: Collection[int] | None = None,
    ) -> Iterator[Frame]:
        workers = usable_cpus() if self.workers is None else self.workers
        display = source.format.display
        with one_thread_each(workers), ThreadPoolExecutor(workers, "paste") as pool:
            found = watch.timed("track", tracker.follow(watch.timed("wait", frames)))
            steady = steady_faces(found, tracker.tracks, self.smoothing, self.fade)
            steady = watch.timed("steady", steady)
            edits = generate(steady, self.editor, display, self.timeline, pool, only)
            edits = watch.timed("generate", edits)
            if self.calm:
                edits = watch.timed("calm", calm(edits))
            try:
                yield from watch.timed("paste", paste(edits, pool, workers))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


class _Run:
    """One video on its way through three threads."""

    def __init__(self, video: VideoEditor, source: Source, target, progress) -> None:
        self.video, self.source, self.target, self.progress = video, source, target, progress
        self.read: Channel[Frame] = Channel(QUEUED)
        self.done: Channel[Frame | av.Packet] = Channel(QUEUED)
        self.watch = Stopwatch()
        self.tracker = video._tracker(source)
        self.frames = self.edited = 0
        self.begun = time.perf_counter()

    def carried_out(self) -> VideoReport:
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
                for frame in self.video._edited(
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
        if not self.tracker.tracks and self.video.editor.on_no_face == "error":
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
        tracks = self.tracker.tracks
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

    def _notes(self) -> Iterator[str]:
        yield from self.sink.notes
        if self.source.damaged:
            yield f"{self.source.damaged} packets or frames of the source are damaged"
        if hdr := self.source.format.hdr:
            yield f"HDR ({hdr}) is kept; the generator has learnt from ordinary pictures"
        if self.source.format.interlaced:
            yield "the source is interlaced; edits are made in whole frames"
        if not self.tracker.tracks and self.video.editor.on_no_face == "warn":
            yield "no face was found; the pictures are as they were"
        elif self.tracker.tracks and not any(track.chosen for track in self.tracker.tracks):
            yield "none of the faces was chosen; the pictures are as they were"
