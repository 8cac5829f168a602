"""Faces through a video: a detector every few frames, and movement in between.

Frames are taken in stretches that end where the detector looks. Within a stretch a face is
followed by the movement of its texture; what that misses by at the end is spread over the stretch.
So a face is where the detector sees it, moves as its texture moves, and nothing lags behind.

Libraries for tracking (norfair, ByteTrack's ports) predict boxes without looking ahead, and know
neither landmarks nor what a face looks like; the assignment itself is SciPy's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator

import numpy as np

from sargan_plugin.editor import Detector
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face, Selection, parse_selection, select_faces
from sargan_plugin.video.display import Display
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.motion import VIEW_SIDE, CutFinder, FaceFollower, grey_view
from sargan_plugin.video.planes import as_rgb
from sargan_plugin.video.tracks import Track, associate, look_of

DETECT_EVERY = 6  # frames
CLOSE_TOGETHER = 2  # frames between detections while faces are about to cross
THOROUGH_EVERY = 100  # frames; in between the detector sees a small view only
SEEN_SIDE = 640  # px of the longer side of what the detector sees
SMALLEST_SEEN = 40  # px that a face should have in it
DITHER = 0.1  # of a view's side
GOLDEN = 0.618  # steps by the golden ratio fill a range evenly and never repeat soon
MISSES = 2  # detections that may miss a face before it counts as lost
FORGOTTEN_AFTER = 250  # frames
# Faces nearer to each other than so many of their sizes may cover one another.
CROWDED = 1.0
HIDDEN_FOR, FAR_OUT = 50, 3.0  # frames, and sizes, within which who was covered is expected back


class Tracker:
    """Finds the faces of each frame and keeps apart who is who.

    Args:
        detector: sees pictures ``(H, W, 3)`` as they are shown.
        display: how the frames are shown.
        selection: which faces are chosen, judged when a face appears.
        numbers: choose these tracks only, or None for all that the selection chooses.
        every: frames from one detection to the next.
        dither: look at views of different sizes. What a detector misses a landmark by depends on
            where the face lies on its grid; that changes slowly with a slow movement, and is
            smoothed away only where it is made to change from look to look.

    Attributes:
        tracks: all tracks that have been begun.
    """

    def __init__(
        self,
        detector: Detector,
        display: Display,
        *,
        selection: Selection = "all",
        numbers: Collection[int] | None = None,
        every: int = DETECT_EVERY,
        dither: bool = True,
    ) -> None:
        if every < 1:
            raise SarganError("The detector must look at least at every frame (1).")
        self.detector, self.display, self.every = detector, display, every
        self.dither, self._dithered = dither, 0.0
        self.selection, self.numbers = parse_selection(selection), numbers
        self.tracks: list[Track] = []
        self._cuts = CutFinder()
        self._anchor: np.ndarray | None = None  # view of the frame that was detected in last
        self._thorough_at = -THOROUGH_EVERY
        self._shot_at = 0
        longer = max(display.width, display.height)
        self._scale = min(1.0, VIEW_SIDE / longer)
        self._shown_size = np.array([display.width, display.height])

    def follow(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same frames, with ``landmarks``, ``motions`` and ``begins_shot`` filled in."""
        held: deque[Frame] = deque()
        for frame in self._tracked(frames):
            held.append(frame)
            doubtful = [track.unconfirmed[0].index for track in self.tracks if track.unconfirmed]
            settled = min(doubtful, default=frame.index + 1)
            while held and held[0].index < settled:
                yield held.popleft()
        for track in self._present:
            track.lose()
        yield from held

    def _tracked(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same, with faces that may still be taken back."""
        stretch: list[tuple[Frame, np.ndarray]] = []
        for frame in frames:
            view = grey_view(frame, self.display)
            if self._cuts.is_cut(view):
                frame.begins_shot = True
                yield from self._finish(stretch)
                stretch = []
                self._shot_at = frame.index
                for track in self._present:
                    track.lose()
                self._anchor = None
                yield from self._finish([(frame, view)])
                continue
            stretch.append((frame, view))
            if len(stretch) >= self._stretch_length():
                yield from self._finish(stretch)
                stretch = []
        yield from self._finish(stretch)

    @property
    def people(self) -> list[Track]:
        """The tracks of faces that are in the video, not only a detector's mistakes."""
        return [track for track in self.tracks if not track.phantom]

    @property
    def _present(self) -> list[Track]:
        return [track for track in self.tracks if not track.lost]

    def _stretch_length(self) -> int:
        present = self._present
        for number, track in enumerate(present):
            for other in present[:number]:
                apart = np.linalg.norm(track.landmarks.mean(axis=0) - other.landmarks.mean(axis=0))
                if apart < 1.3 * max(track.size, other.size):
                    return min(self.every, CLOSE_TOGETHER)
        return self.every

    def _finish(self, stretch: list[tuple[Frame, np.ndarray]]) -> Iterator[Frame]:
        """Detect in the last frame of a stretch, and fill in the frames up to it."""
        if not stretch:
            return
        last = stretch[-1][0]
        present = self._present
        paths = {track.number: self._path(track, stretch) for track in present}
        picture, faces = self._detect(last)
        looks = [look_of(picture, self._to_view(face.landmarks5, picture)) for face in faces]
        known = [track for track in self.tracks if last.index - track.seen <= FORGOTTEN_AFTER]
        expected = [self._expected(track, paths, last.index) for track in known]
        matches = associate(known, expected, faces, looks)
        for row, track in enumerate(known):
            if row in matches:
                face = faces[matches[row]]
                self._fill(stretch, track, paths.get(track.number), face.landmarks5)
                # A look at two faces at once would make one of them like the other.
                look = track.look if _is_crowded(face, faces) else looks[matches[row]]
                track.update(face, look, last.index)
            elif not track.lost:
                self._without_detection(stretch, track, paths[track.number], faces)
        self._begin_tracks(stretch, faces, looks, set(matches.values()))
        self._anchor = stretch[-1][1]
        for frame, _ in stretch:
            yield frame

    def _path(
        self, track: Track, stretch: list[tuple[Frame, np.ndarray]]
    ) -> list[np.ndarray | None]:
        """Where texture says the face is, frame by frame; None from where it cannot say.

        Fills in the frames' ``motions``.
        """
        scale = self._scale
        follower = FaceFollower(self._anchor, (track.landmarks + 0.5) * scale - 0.5)
        path: list[np.ndarray | None] = []
        for frame, view in stretch:
            points = None if path and path[-1] is None else follower.follow(view)
            path.append(None if points is None else (points + 0.5) / scale - 0.5)
            if points is not None:
                frame.motions[track.number] = _in_full_size(follower.motion, scale)
        return path

    def _expected(
        self, track: Track, paths: dict[int, list[np.ndarray | None]], index: int
    ) -> np.ndarray:
        path = paths.get(track.number)
        if path and path[-1] is not None:
            return path[-1]
        if track.velocity is None:
            return track.landmarks
        return track.landmarks + track.velocity * min(index - track.seen, 2 * self.every)

    def _fill(
        self,
        stretch: list[tuple[Frame, np.ndarray]],
        track: Track,
        path: list[np.ndarray | None] | None,
        found: np.ndarray,
    ) -> None:
        """Positions for a whole stretch that ends where the detector found the face."""
        if track.lost or path is None:
            stretch[-1][0].landmarks[track.number] = found
            return
        if path[-1] is None:
            path = [track.landmarks] * len(stretch)
        missed_by = found - path[-1]
        for step, ((frame, _), points) in enumerate(zip(stretch, path, strict=True), 1):
            frame.landmarks[track.number] = points + missed_by * (step / len(stretch))

    def _without_detection(
        self,
        stretch: list[tuple[Frame, np.ndarray]],
        track: Track,
        path: list[np.ndarray | None],
        faces: list[Face],
    ) -> None:
        """The detector has not found the face: trust its texture for a while, unless something
        else is in front of it. If it is not found again, it was not there in that while."""
        track.missed += 1
        hidden = path[-1] is not None and any(
            np.linalg.norm(face.landmarks5.mean(axis=0) - path[-1].mean(axis=0)) < 0.7 * face.size
            for face in faces
        )
        if hidden or track.missed > MISSES:
            track.lose()
            return
        for (frame, _), points in zip(stretch, path, strict=True):
            if points is None:
                track.lose()
                return
            frame.landmarks[track.number] = points
            track.unconfirmed.append(frame)
        track.landmarks = path[-1]

    def _begin_tracks(
        self,
        stretch: list[tuple[Frame, np.ndarray]],
        faces: list[Face],
        looks: list[np.ndarray],
        taken: set[int],
    ) -> None:
        frame = stretch[-1][0]
        chosen = self._chosen(faces)
        for column, (face, look) in enumerate(zip(faces, looks, strict=True)):
            if column in taken or self._comes_out(face, faces, frame.index):
                continue
            number = len(self.tracks)
            wanted = face in chosen and (self.numbers is None or number in self.numbers)
            track = Track(number, face.landmarks5, look, frame.index, wanted)
            track.unconfirmed.append(frame)
            self.tracks.append(track)
            frame.landmarks[number] = face.landmarks5

    def _comes_out(self, face: Face, faces: list[Face], index: int) -> bool:
        """Whether a face is probably one that was covered by another; it will be known again when
        more of it is seen."""
        return _is_crowded(face, faces) and any(
            track.lost
            and track.seen >= max(self._shot_at, index - HIDDEN_FOR)
            and math.dist(face.center, track.landmarks.mean(axis=0)) < FAR_OUT * face.size
            for track in self.tracks
        )

    def _chosen(self, faces: list[Face]) -> list[Face]:
        """The faces that the selection means, among those in sight."""
        selection = self.selection
        means_one = selection != "all" and not isinstance(selection, list)
        if means_one and any(track.chosen and not track.phantom for track in self._present):
            return []  # that one is still there
        if isinstance(selection, int):
            selection = [selection]
        if isinstance(selection, list):
            there = [each for each in selection if -len(faces) <= each < len(faces)]
            return select_faces(faces, there) if there else []
        return select_faces(faces, selection)

    def _detect(self, frame: Frame) -> tuple[np.ndarray, list[Face]]:
        """An RGB view of a frame, and its faces in pixels of the picture that is shown."""
        longer = max(self.display.width, self.display.height)
        thorough = frame.begins_shot or frame.index - self._thorough_at >= THOROUGH_EVERY
        sizes = [track.size for track in self._present]
        side = longer
        if not thorough:
            smallest = min(sizes, default=float("inf"))
            side = min(longer, max(SEEN_SIDE, longer * SMALLEST_SEEN / smallest))
            if self.dither:
                self._dithered = (self._dithered + GOLDEN) % 1
                side *= 1 - DITHER * self._dithered
        else:
            self._thorough_at = frame.index
        width, height = self.display.coded_size(side)
        view = as_rgb(frame.video, width=width, height=height).to_ndarray()
        picture = np.ascontiguousarray(self.display.view(view))
        scale = self._shown_size / picture.shape[1::-1]  # of each axis: views have whole pixels
        return picture, [_scaled(face, scale) for face in self.detector.detect(picture)]

    def _to_view(self, landmarks: np.ndarray, picture: np.ndarray) -> np.ndarray:
        return (landmarks + 0.5) * (picture.shape[1::-1] / self._shown_size) - 0.5


def _is_crowded(face: Face, faces: list[Face]) -> bool:
    """Whether another face is so near that one may cover the other."""
    return any(
        math.dist(face.center, other.center) < CROWDED * max(face.size, other.size)
        for other in faces
        if other is not face
    )


def _scaled(face: Face, scale: np.ndarray) -> Face:
    corners = (np.reshape(face.bbox, (2, 2)) + 0.5) * scale - 0.5
    return Face(tuple(corners.ravel().tolist()), (face.landmarks5 + 0.5) * scale - 0.5, face.score)


def _in_full_size(motion: np.ndarray, scale: float) -> np.ndarray:
    """A motion in pixels of a view as one in pixels of the picture that is shown."""
    linear, corner = motion[:, :2], np.full(2, (scale - 1) / 2)
    return np.column_stack([linear, (linear @ corner + motion[:, 2] - corner) / scale])
