"""The middle of the way: from frames with steady faces to frames with another expression."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import av
import torch
import torch.nn.functional as F

from sargan_plugin.align import face_matrices, scale_of
from sargan_plugin.editor import STRONG_PROFILE, ExpressionEditor
from sargan_plugin.faces import Face
from sargan_plugin.generators import Edit
from sargan_plugin.video.display import Display, composed
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import PlaneCrop, add_edit, crop_planes, luma_texture
from sargan_plugin.video.timeline import Timeline

BATCH = 8  # faces that go through the generator together
NEIGHBOURS = 4  # frames on each side that an edit may be calmed by
# Difference of two crops, in [0, 1], averaged over a small surrounding: below it is sensor noise,
# above it something has moved.
STILL, MOVED = 0.012, 0.05
POOLED = 4  # px of the crop on each side of what is compared
# Edits that grow over so much of a limit are switched on softly, see _share_left.
SOFT = 0.2
TEXTURE_HOLDS = 1.25  # change of scale up to which a face keeps its painted texture
IN_FLIGHT = 2  # frames being pasted for each worker


@dataclass(frozen=True, eq=False)
class FaceEdit:
    """What is to be done to one face of one frame."""

    crop: PlaneCrop
    edit: Edit
    texture: torch.Tensor | None = None


@dataclass(eq=False)
class Edited:
    """A frame and the edits of its faces, by track number."""

    frame: Frame
    edits: dict[int, FaceEdit] = field(default_factory=dict)


def generate(
    frames: Iterator[Frame],
    editor: ExpressionEditor,
    display: Display,
    timeline: Timeline,
    pool: Executor,
    only: Collection[int] | None = None,
) -> Iterator[Edited]:
    """Cut out the faces of several frames at a time and ask the generator for their edits.

    Args:
        frames: with steady faces.
        editor: whose generator and settings are used.
        display: how the frames are shown.
        timeline: what to show when.
        pool: does the cutting.
        only: indices of the frames to edit; None for all.
    """
    pick = _Picker(editor, display, timeline)
    batch: list[tuple[Edited, list[_Wish]]] = []
    faces = 0
    for frame in frames:
        wishes = pick.wishes(frame) if only is None or frame.index in only else []
        batch.append((Edited(frame), wishes))
        faces += len(wishes)
        if faces >= BATCH or len(batch) >= BATCH:
            yield from pick.edited(batch, pool)
            batch, faces = [], 0
    yield from pick.edited(batch, pool)


@dataclass(frozen=True, eq=False)
class _Wish:
    track: int
    matrix: torch.Tensor
    condition: torch.Tensor
    intensity: float


class _Picker:
    def __init__(self, editor: ExpressionEditor, display: Display, timeline: Timeline) -> None:
        self.editor, self.display, self.timeline = editor, display, timeline
        self.size = editor.generator.crop_size
        self.textures: dict[int, tuple[torch.Tensor | None, float]] = {}

    def wishes(self, frame: Frame) -> list[_Wish]:
        condition, intensity = self.timeline.at(frame.seconds)
        wishes = []
        for track, face in sorted(frame.faces.items()):
            amount = intensity * face.share * _share_left(face.landmarks, self.editor)
            if amount > 0:
                points = torch.tensor(face.landmarks, dtype=torch.float32)
                matrix = face_matrices(points[None], self.size)[0]
                matrix = composed(matrix, self.display.from_coded)
                wishes.append(_Wish(track, matrix, condition, amount))
        return wishes

    def edited(self, batch: list[tuple[Edited, list[_Wish]]], pool: Executor) -> Iterator[Edited]:
        jobs = [(edited, wish) for edited, wishes in batch for wish in wishes]
        crops = list(
            pool.map(lambda job: crop_planes(job[0].frame.video, job[1].matrix, self.size), jobs)
        )
        found = [(job, crop) for job, crop in zip(jobs, crops, strict=True) if crop is not None]
        edits = self.editor.edits_of(
            [crop.rgb for _, crop in found],
            [wish.condition for (_, wish), _ in found],
            [torch.tensor(wish.intensity) for (_, wish), _ in found],
        )
        for ((edited, wish), crop), edit in zip(found, edits, strict=True):
            texture = self._texture(edited.frame.video, wish.track, crop)
            edited.edits[wish.track] = FaceEdit(crop, edit.to(crop.rgb), texture)
        for edited, _ in batch:
            yield edited

    def _texture(self, video: av.VideoFrame, track: int, crop: PlaneCrop) -> torch.Tensor | None:
        """The same texture for as long as possible: a new one in each frame would crawl."""
        if not self.editor.grain:
            return None
        scale = float(scale_of(crop.matrix[None]))
        known = self.textures.get(track)
        if known is None or not 1 / TEXTURE_HOLDS < scale / known[1] < TEXTURE_HOLDS:
            known = luma_texture(video, crop, self.editor.seed + track), scale
            self.textures[track] = known
        return known[0]


def _share_left(landmarks, editor: ExpressionEditor) -> float:
    """Less than 1 for faces near the limits from which on they shall be left alone; 0 beyond.

    A limit that is crossed back and forth must not make an edit flicker.
    """
    face = Face.from_landmarks(landmarks)
    share = 1.0
    if editor.small_faces == "leave" and editor.min_face_size > 0:
        share = min(share, (face.size / editor.min_face_size - 1) / SOFT)
    if editor.profiles == "leave":
        share = min(share, (1 - face.profile_strength / STRONG_PROFILE) / SOFT)
    return max(0.0, share)


def calm(items: Iterator[Edited]) -> Iterator[Edited]:
    """The same, with each edit averaged with those of its neighbours in time.

    Flow, mask and colour are averaged in the face's own frame, pixel by pixel, and only there and
    then where the face itself looks the same: around a mouth that moves, an edit is its own.
    """
    window: deque[Edited] = deque()
    position = 0  # of the next item to yield, in the window

    def step() -> Edited:
        nonlocal position
        result = _calmed(window, position)
        position += 1
        if position > NEIGHBOURS:
            window.popleft()
            position -= 1
        return result

    for item in items:
        window.append(item)
        if len(window) > position + NEIGHBOURS:
            yield step()
    while position < len(window):
        yield step()


def _calmed(window: deque[Edited], position: int) -> Edited:
    """The item at a position with new edits; the window's own edits stay as they were."""
    item = window[position]
    edits = {}
    for track, own in item.edits.items():
        neighbours = []
        for places in (range(position - 1, -1, -1), range(position + 1, len(window))):
            before = position
            for place in places:
                # A cut lies before the frame that begins a scene.
                if window[max(place, before)].frame.begins_shot or track not in window[place].edits:
                    break
                neighbours.append(window[place].edits[track])
                before = place
        edits[track] = _averaged(own, neighbours)
    return Edited(item.frame, edits)


def _averaged(own: FaceEdit, neighbours: list[FaceEdit]) -> FaceEdit:
    if not neighbours:
        return own
    look, fields = _look(own.crop.rgb), _fields(own.edit)
    total = torch.ones(())
    for each in neighbours:
        weight = _alike(look, _look(each.crop.rgb), fields.shape[-1])
        fields = fields + weight * _fields(each.edit)
        total = total + weight
    delta, cover, flow = (fields / total).tensor_split((3, 4), dim=1)
    edit = Edit(delta, cover, flow if own.edit.flow is not None else None)
    return FaceEdit(own.crop, edit, own.texture)


def _fields(edit: Edit) -> torch.Tensor:
    parts = [edit.delta, edit.replace]
    return torch.cat(parts if edit.flow is None else [*parts, edit.flow], dim=1)


def _look(crop: torch.Tensor) -> torch.Tensor:
    """A crop ``(3, S, S)`` in grey, small enough to hold next to no sensor noise."""
    return F.avg_pool2d(crop.mean(dim=0)[None, None], POOLED)


def _alike(look: torch.Tensor, other: torch.Tensor, size: int) -> torch.Tensor:
    """``(1, 1, S, S)``: 1 where two looks differ by noise only, 0 where something has moved."""
    near = F.avg_pool2d((look - other).abs(), 3, 1, 1)
    weight = ((MOVED - near) / (MOVED - STILL)).clamp(0, 1)
    return F.interpolate(weight, (size, size), mode="bilinear", align_corners=False)


def paste(items: Iterator[Edited], pool: Executor, workers: int) -> Iterator[Frame]:
    """Add the edits to the planes; frames without one pass as they are."""
    waiting: deque[tuple[Frame, Future | None]] = deque()
    for item in items:
        future = pool.submit(_paste, item) if item.edits else None
        waiting.append((item.frame, future))
        while len(waiting) > IN_FLIGHT * workers or (waiting and _is_done(waiting[0][1])):
            yield _taken(waiting.popleft())
    while waiting:
        yield _taken(waiting.popleft())


def _is_done(future: Future | None) -> bool:
    return future is None or future.done()


def _taken(waiting: tuple[Frame, Future | None]) -> Frame:
    frame, future = waiting
    if future is not None:
        frame.edited = future.result()
    return frame


def _paste(item: Edited) -> int:
    """Edit a frame's planes in place; the number of faces that were changed."""
    item.frame.video.make_writable()  # the decoder may still need its own copy
    with torch.inference_mode():
        reached = [
            add_edit(item.frame.video, each.crop, each.edit, each.texture)
            for each in item.edits.values()
        ]
    return sum(count > 0 for count in reached)
