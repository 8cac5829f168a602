"""Calm edits: landmarks and edits smoothed along each track, with a look into the future."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sargan_plugin.video.frame import Frame, SteadyFace
from sargan_plugin.video.one_euro import OneEuroFilter, Smoothing, Step, centred
from sargan_plugin.video.tracks import Track, face_size

LOOK_AHEAD = 24  # frames


@dataclass(eq=False)
class _Run:
    """An unbroken stretch of one track, up to the frame at hand."""

    filter: OneEuroFilter
    size: float
    age: int  # frames before this one
    sudden: bool  # whether it began with its scene


def steady_faces(
    frames: Iterator[Frame],
    chosen: Collection[Track],
    smoothing: Smoothing | None,
    fade: int,
) -> Iterator[Frame]:
    """The same frames with ``faces`` filled in, :data:`LOOK_AHEAD` frames behind.

    Nothing is smoothed across a cut. A face that comes into view or leaves it within a scene
    is edited more and more, or less and less, over ``fade`` frames.

    Args:
        frames: tracked.
        chosen: the tracker's list of tracks, which grows as frames are taken.
        smoothing: of the landmarks; None leaves them as they were found.
        fade: frames, 0 to switch edits on and off at once.
    """
    runs: dict[int, _Run] = {}
    for frame, earlier, later in _with_neighbours(frames, max(LOOK_AHEAD, fade)):
        wanted = {track.number for track in chosen if track.chosen}
        if frame.begins_shot:
            runs = {}
        runs = {number: run for number, run in runs.items() if number in frame.landmarks}
        for number in frame.landmarks.keys() & wanted:
            points = frame.landmarks[number]
            run = runs.get(number)
            if run is None:
                size = face_size(points)
                filter = OneEuroFilter(smoothing or Smoothing(), size)
                run = runs[number] = _Run(filter, size, -1, frame.begins_shot)
            run.age += 1
            future, ends = _future(number, frame, later)
            elapsed = 0.0 if run.age == 0 else frame.seconds - earlier
            run.filter(points, elapsed, frame.motions.get(number))
            if smoothing is not None:
                points = centred(run.filter, points, future, smoothing=smoothing, size=run.size)
            share = 1.0 if run.sudden else (run.age + 1) / (fade + 1)
            if ends:
                share = min(share, (len(future) + 1) / (fade + 1))
            frame.faces[number] = SteadyFace(points, min(share, 1.0))
        yield frame


def _future(number: int, frame: Frame, later: Collection[Frame]) -> tuple[list[Step], bool]:
    """Where a track will be, and whether it will leave the scene within sight."""
    future: list[Step] = []
    before = frame.seconds
    for each in later:
        if each.begins_shot:
            return future, False
        if number not in each.landmarks:
            return future, True
        points, motion = each.landmarks[number], each.motions.get(number)
        future.append(Step(points, each.seconds - before, motion))
        before = each.seconds
    return future, False


def _with_neighbours(
    frames: Iterator[Frame], ahead: int
) -> Iterator[tuple[Frame, float, deque[Frame]]]:
    """Each frame, the time of the one before it, and up to ``ahead`` frames after it."""
    window: deque[Frame] = deque()
    earlier = 0.0

    def step() -> tuple[Frame, float, deque[Frame]]:
        nonlocal earlier
        first = window.popleft()
        found = first, earlier, window
        earlier = first.seconds
        return found

    for frame in frames:
        window.append(frame)
        if len(window) > ahead:
            yield step()
    while window:
        yield step()
