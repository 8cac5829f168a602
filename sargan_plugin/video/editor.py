"""``VideoEditor``: a video in, the same video with another expression out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sargan_plugin.batch import one_thread_each
from sargan_plugin.detector_files import usable_cpus
from sargan_plugin.editor import ExpressionEditor
from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import refusal
from sargan_plugin.video.beside import Beside
from sargan_plugin.video.calm import calm
from sargan_plugin.video.codecs import Encoding
from sargan_plugin.video.display import Display
from sargan_plugin.video.edits import generate, paste
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.one_euro import Smoothing
from sargan_plugin.video.places import Source, open_source, output
from sargan_plugin.video.run import Run, VideoReport
from sargan_plugin.video.steady import steady_faces
from sargan_plugin.video.threads import Stopwatch
from sargan_plugin.video.timeline import Keyframe, Timeline
from sargan_plugin.video.tracker import DETECT_EVERY, Tracker

FADE = 6
SLOWEST, FASTEST = 0.01, 1000  # frames a second


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
        if not SLOWEST <= self.rate <= FASTEST:
            raise SarganError(
                f"The frame rate must lie between {SLOWEST} and {FASTEST}, not {self.rate}."
            )
        if self.workers is not None and self.workers < 1:
            raise SarganError("There must be at least 1 worker.")

    def frames(self, source: str | Path) -> Iterator[Frame]:
        """The edited frames, one after the other, for a pipeline of your own.

        ``frame.video`` is a PyAV frame with the source's pixel format, time and colour
        description; :func:`sargan_plugin.video.planes.as_rgb` of it, ``.to_ndarray()``, gives its
        pixels.
        """
        with open_source(Path(source), self.rate) as opened:
            yield from self.edited(opened, opened.frames(), self.tracker(opened), Stopwatch())

    def preview(self, source: str | Path, count: int) -> Iterator[tuple[Frame, Display]]:
        """Some edited frames, spread evenly over the video, and how they are shown.

        Raises:
            SarganError: naming the file; also when it does not say how long it is.
        """
        if count < 1:
            raise SarganError("A preview shows at least 1 frame.")
        with open_source(Path(source), self.rate) as opened:
            total = opened.frame_count
        if not total:
            raise refusal(Path(source), "does not say how long it is, so there is no preview")
        found, seen = self._previewed(source, count, total)
        if seen is not None:  # there is less of it than it says
            found, _ = self._previewed(source, count, seen)
        yield from found

    def _previewed(
        self, source: str | Path, count: int, total: int
    ) -> tuple[list[tuple[Frame, Display]], int | None]:
        """Frames spread over a video of ``total`` frames; its real number if there are fewer."""
        found: list[tuple[Frame, Display]] = []
        seen = 0
        with open_source(Path(source), self.rate) as opened:
            only = {min(total - 1, int((place + 0.5) * total / count)) for place in range(count)}
            beside = Beside(opened.format) if self.beside else None
            frames = opened.frames()
            if beside:
                frames = (beside.begun(frame) if frame.index in only else frame for frame in frames)
            tracker = self.tracker(opened)
            for frame in self.edited(opened, frames, tracker, Stopwatch(), only):
                seen = frame.index + 1
                if frame.index in only:
                    found.append(
                        (beside.complete(frame), beside.format.display)
                        if beside
                        else (frame, opened.format.display)
                    )
                if seen > max(only):
                    return found, None
        return found, seen

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
            return Run(self, opened, target, progress).carried_out()

    def tracker(self, source: Source) -> Tracker:
        """What follows the faces of a source with these settings."""
        return Tracker(
            self.editor.detector,
            source.format.display,
            selection=self.editor.faces,
            numbers=self.tracks,
            every=self.detect_every,
            dither=self.smoothing is not None,
        )

    def edited(
        self,
        source: Source,
        frames: Iterator[Frame],
        tracker: Tracker,
        watch: Stopwatch,
        only: Collection[int] | None = None,
    ) -> Iterator[Frame]:
        """The frames of an opened source, edited; of ``only`` these indices, if given."""
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
