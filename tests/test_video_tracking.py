"""Who is who over time: cuts, crossings, choice, and positions between detections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import face_photo

from sargan_plugin import FaceDetector
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.video.display import display_of
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.motion import CutFinder, FaceFollower
from sargan_plugin.video.one_euro import Smoothing
from sargan_plugin.video.steady import steady_faces
from sargan_plugin.video.tracker import Tracker

WIDTH, HEIGHT = 320, 200
PORTRAITS = ("obama.jpg", "biden.jpg")
FACE = np.array([[22, 24], [42, 24], [32, 36], [24, 45], [40, 45]], float)  # in a 64 px square


def people() -> tuple[np.ndarray, np.ndarray]:
    """Two squares of 64 pixels that stand for faces: a real one, and texture of another kind."""
    real = np.ascontiguousarray(face_photo()[12:76, 56:120])
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return real, cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)


class SceneDetector:
    """Knows where the faces of a made scene are: it is told the frame by a mark in a corner."""

    def __init__(self, places: Callable[[int], list[tuple[float, float]]], every: int = 1) -> None:
        self.places = places
        self.looked: list[int] = []

    def detect(self, picture: np.ndarray) -> list[Face]:
        index = int(picture[-2, -2, 0])
        self.looked.append(index)
        return [shown_face(picture, FACE + place) for place in self.places(index)]


def shown_face(picture: np.ndarray, landmarks: np.ndarray) -> Face:
    """A face of the scene as a view of it, larger or smaller, shows it."""
    return Face.from_landmarks((landmarks + 0.5) * (picture.shape[1] / WIDTH) - 0.5)


def scene(
    count: int,
    drawn: Callable[[int], list[tuple[int, float, float]]],
    background: Callable[[int], int] = lambda index: 90,
) -> list[Frame]:
    """Frames in which persons are drawn at places, the later ones in front."""
    faces = people()
    random = np.random.default_rng(0)
    texture = random.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames = []
    for index in range(count):
        picture = texture + np.uint8(background(index))
        for person, x, y in drawn(index):
            x, y = round(x), round(y)
            picture[y : y + 64, x : x + 64] = faces[person]
        picture[-8:, -8:] = index
        video = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="gbrp")
        frames.append(Frame(video, index, index / 25))
    return frames


def tracked(
    frames: list[Frame], detector: SceneDetector, **settings
) -> tuple[list[Frame], Tracker]:
    tracker = Tracker(detector, display_of(WIDTH, HEIGHT, None, None), **settings)
    return list(tracker.follow(iter(frames))), tracker


def test_positions_between_detections_follow_the_movement():
    """The face accelerates; a straight line between detections would be off."""

    def place(index):
        return 20 + 0.25 * index**2, 60.0

    detector = SceneDetector(lambda index: [place(index)])
    frames, tracker = tracked(scene(25, lambda index: [(0, *place(index))]), detector, every=8)
    assert len(tracker.tracks) == 1
    assert len(detector.looked) <= 5
    for frame in frames:
        off = frame.landmarks[0] - (FACE + place(frame.index))
        assert np.abs(off).max() < 1.2, frame.index


def test_two_people_who_cross_stay_who_they_are():
    def places(index):
        return [(10 + 6 * index, 60.0), (246 - 6 * index, 64.0)]

    def seen(index):
        left, right = places(index)
        hidden = abs(left[0] - right[0]) < 50  # the second one is in front
        return [right] if hidden else [left, right]

    drawn = scene(40, lambda index: [(person, *at) for person, at in enumerate(places(index))])
    frames, tracker = tracked(drawn, SceneDetector(seen))
    assert len(tracker.tracks) == 2
    for frame in (frames[0], frames[12], frames[-1]):
        for number, place in enumerate(places(frame.index)):
            assert np.abs(frame.landmarks[number] - (FACE + place)).max() < 6, frame.index


def head(path: Path, detector: FaceDetector) -> tuple[np.ndarray, np.ndarray]:
    """A real person's head, 72 px from chin to hairline, and its opacity."""
    photo = np.asarray(Image.open(path).convert("RGB"))
    face = max(detector.detect(photo), key=lambda face: face.size)
    scale, side = 72 / face.height, 136
    x, y = face.center
    place = np.array(
        [[scale, 0, side / 2 - scale * x], [0, scale, side / 2 - scale * (y - 0.12 * face.height)]]
    )
    picture = cv2.warpAffine(photo, place, (side, side), borderMode=cv2.BORDER_REFLECT)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    radius = (columns / 0.36) ** 2 + (rows / 0.46) ** 2
    return picture, ((1.05 - radius) / 0.1).clip(0, 1)


@pytest.mark.parametrize(("step", "count"), [(7.0, 28), (2.5, 60)])
def test_two_real_people_who_cross_keep_their_numbers(step, count, shared, scrfd_path):
    """Fast, and so slowly that one is half covered for a while; the second one is in front."""
    detector = FaceDetector(scrfd_path, device="cpu", threads=1)
    heads = [head(shared / "data" / "portraits" / name, detector) for name in PORTRAITS]
    reach = step * (count - 1) / 2

    def places(index):
        way = step * index - reach
        return (WIDTH / 2 + way, HEIGHT / 2 - 4), (WIDTH / 2 - way, HEIGHT / 2 + 4)

    random = np.random.default_rng(0)
    coarse = random.integers(60, 160, (8, 12, 3), dtype=np.uint8)
    wall = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    frames = []
    for index in range(count):
        picture = wall + random.normal(0, 2, wall.shape)
        for (photo, opacity), (x, y) in zip(heads, places(index), strict=True):
            place = np.array([[1, 0, x - 68], [0, 1, y - 68]])
            cover = cv2.warpAffine(opacity, place, (WIDTH, HEIGHT))[..., None]
            picture += cover * (cv2.warpAffine(photo, place, (WIDTH, HEIGHT)) - picture)
        video = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
        frames.append(Frame(video.reformat(format="yuv420p"), index, index / 25))
    frames, tracker = tracked(frames, detector)
    assert len(tracker.tracks) == 2
    assert set(frames[0].landmarks) == set(frames[-1].landmarks) == {0, 1}
    for frame in frames:
        for number, landmarks in frame.landmarks.items():
            off = landmarks.mean(axis=0) - places(frame.index)[number]
            assert np.abs(off).max() < 26, (frame.index, number)


def test_a_cut_ends_what_was_and_is_looked_at_at_once():
    def place(index):
        return (20.0, 60.0) if index < 13 else (200.0, 80.0)

    def person(index):
        return 0 if index < 13 else 1

    detector = SceneDetector(lambda index: [place(index)])
    frames, tracker = tracked(
        scene(
            30,
            lambda index: [(person(index), *place(index))],
            lambda index: 40 if index < 13 else 190,
        ),
        detector,
        every=6,
    )
    assert [frame.index for frame in frames if frame.begins_shot] == [0, 13]
    assert len(tracker.tracks) == 2
    assert set(frames[12].landmarks) == {0} and set(frames[13].landmarks) == {1}
    np.testing.assert_allclose(frames[13].landmarks[1], FACE + place(13), atol=0.01)
    assert 13 in detector.looked


def test_a_face_that_is_missed_once_is_kept():
    detector = SceneDetector(lambda index: [] if 5 < index < 11 else [(50.0 + index, 60.0)])
    frames, tracker = tracked(scene(25, lambda index: [(0, 50.0 + index, 60.0)]), detector, every=5)
    assert len(tracker.tracks) == 1
    assert all(set(frame.landmarks) == {0} for frame in frames)


def test_a_face_that_has_gone_is_lost_and_known_when_it_comes_back():
    def present(index):
        return index < 12 or index >= 36

    def drawn(index):
        return [(0, 80.0, 60.0)] if present(index) else []

    detector = SceneDetector(lambda index: [(80.0, 60.0)] if present(index) else [])
    frames, tracker = tracked(scene(50, drawn), detector, every=4)
    assert len(tracker.tracks) == 1
    assert not frames[25].landmarks
    assert 0 in frames[45].landmarks


def test_a_face_that_is_not_found_again_ends_where_it_was_found_last():
    """What lay behind it can be followed as well as the face could."""
    detector = SceneDetector(lambda index: [(80.0, 60.0)] if index <= 12 else [])
    frames, _ = tracked(scene(40, lambda index: [(0, 80.0, 60.0)]), detector, every=4)
    ends = max(frame.index for frame in frames if frame.landmarks)
    assert ends == max(index for index in detector.looked if index <= 12)
    assert [frame.index for frame in frames] == list(range(40))


def test_what_a_detector_takes_for_a_face_once_is_none():
    detector = SceneDetector(lambda index: [(80.0, 60.0)] if 12 <= index <= 14 else [])
    frames, tracker = tracked(scene(40, lambda index: [(0, 80.0, 60.0)]), detector, every=4)
    assert not any(frame.landmarks for frame in frames)
    assert tracker.tracks and not tracker.people


def test_a_mistake_of_the_detector_does_not_take_the_choice_from_a_face():
    def seen(index):
        return [(180.0, 60.0)] if index < 3 else [(60.0, 60.0)]

    drawn = scene(30, lambda index: [(0, 60.0, 60.0), (1, 180.0, 60.0)])
    frames, tracker = tracked(drawn, SceneDetector(seen), every=4, selection="largest")
    (face,) = (track for track in tracker.people if track.chosen)
    assert face.number in frames[-1].landmarks


@pytest.mark.parametrize("ending", ["cut", "end", "hidden"])
def test_however_it_ends_a_face_is_edited_up_to_where_it_was_found_last(ending):
    """It is found at 12 and missed at 16; the scene ends at 19, or somebody steps in front."""

    def seen(index):
        faces = [(80.0, 60.0)] if index <= 12 else []
        return [*faces, (90.0, 60.0)] if ending == "hidden" and index >= 18 else faces

    count = 19 if ending == "end" else 40
    dark = {"background": lambda index: 90 if index < 19 else 220} if ending == "cut" else {}
    drawn = scene(count, lambda index: [(0, 80.0, 60.0)], **dark)
    frames, _ = tracked(drawn, SceneDetector(seen), every=4)
    assert max(frame.index for frame in frames if 0 in frame.landmarks) == 12


def test_what_a_detector_misses_by_on_its_grid_is_smoothed_away():
    """The error depends on where in the view the face lies, and so changes slowly with it."""

    def place(index):
        return 80 + 0.1 * index, 60.0

    class GridDetector(SceneDetector):
        def detect(self, picture):
            (face,) = super().detect(picture)
            error = 1.5 * np.sin(2 * np.pi * face.center[0] / 12)
            return [Face.from_landmarks(face.landmarks5 + error)]

    def wander(dither):
        detector = GridDetector(lambda index: [place(index)])
        frames, tracker = tracked(
            scene(120, lambda index: [(0, *place(index))]), detector, dither=dither
        )
        steady = steady_faces(iter(frames), tracker.tracks, Smoothing(), 0)
        off = [frame.faces[0].landmarks - (FACE + place(frame.index)) for frame in steady]
        return np.std(off, axis=0).mean()

    assert wander(dither=True) < 0.6 * wander(dither=False)


def test_a_face_that_is_followed_in_a_tall_picture_does_not_drift(shared, scrfd_path):
    """All motions from the first frame to the last, one after the other, end where the face is."""
    photo = np.array(Image.open(shared / "data" / "portraits" / "biden.jpg").convert("L"))
    height, width = photo.shape[0] - 40, photo.shape[1] - 40
    noise = np.random.default_rng(0).normal(0, 2, (height, width)).astype(np.float32)
    pan = np.outer(np.arange(75) / 75, (30.0, 12.0))

    def shown(index):
        place = np.array([[1, 0, pan[index, 0]], [0, 1, pan[index, 1]]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        picture = cv2.warpAffine(photo, place, (width, height), flags=flags)
        noisy = picture + np.roll(noise, (131 * index, 71 * index), axis=(0, 1))
        pixels = noisy.round().clip(0, 255).astype(np.uint8)
        return Frame(av.VideoFrame.from_ndarray(pixels, "gray"), index, index / 25)

    detector = FaceDetector(scrfd_path, device="cpu")
    tracker = Tracker(detector, display_of(width, height, None, None))
    frames = list(tracker.follow(map(shown, range(len(pan)))))
    points = frames[0].landmarks[0]
    for frame in frames[1:]:
        motion = frame.motions[0]
        points = points @ motion[:, :2].T + motion[:, 2]
    drift = points - (frames[0].landmarks[0] - pan[-1])
    assert np.linalg.norm(drift.mean(axis=0)) < 0.35  # px; 0.9 in views of half the size


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [("all", [0, 1]), ("largest", [1]), (0, [0]), ([-1], [1]), ("nearest:50,90", [0]), (7, [])],
)
def test_which_faces_are_chosen(selection, chosen):
    faces = FACE + np.array([20.0, 60.0]), FACE * 1.2 + np.array([180, 40])
    detector = SceneDetector(lambda index: [])
    detector.detect = lambda picture: [shown_face(picture, face) for face in faces]
    _, tracker = tracked(
        scene(8, lambda index: [(0, 20, 60), (1, 180, 40)]), detector, selection=selection
    )
    assert [track.number for track in tracker.tracks if track.chosen] == chosen
    _, tracker = tracked(scene(8, lambda index: [(0, 20, 60), (1, 180, 40)]), detector, numbers={1})
    assert [track.number for track in tracker.tracks if track.chosen] == [1]


def test_the_detector_must_look_now_and_then():
    with pytest.raises(SarganError, match="at least at every frame"):
        Tracker(SceneDetector(lambda index: []), display_of(64, 64, None, None), every=0)


def test_noise_pans_and_slow_fades_are_no_cuts():
    random = np.random.default_rng(0)
    base = cv2.resize(random.integers(0, 256, (40, 80), dtype=np.uint8), (640, 320))
    finder = CutFinder()
    cuts = []
    for index in range(40):
        view = np.roll(base, 4 * index, axis=1).astype(float) * (1 - index / 80)
        view += random.normal(0, 6, view.shape)
        cuts.append(finder.is_cut(view.clip(0, 255).astype(np.uint8)))
    assert cuts == [True] + [False] * 39


def test_a_face_without_texture_cannot_be_followed():
    flat = np.full((120, 120), 128, np.uint8)
    assert FaceFollower(flat, FACE + 20).follow(flat) is None
