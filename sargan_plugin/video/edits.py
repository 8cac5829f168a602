"""The middle of the way: from frames with steady faces to frames with another expression."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import torch

from sargan_plugin.align import face_matrices, scale_of
from sargan_plugin.editor import STRONG_PROFILE, ExpressionEditor
from sargan_plugin.faces import Face
from sargan_plugin.video.between import Wish, complete
from sargan_plugin.video.calm import Edited, FaceEdit
from sargan_plugin.video.display import Display, composed
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import add_edit, crop_planes, luma_texture
from sargan_plugin.video.timeline import Timeline
from sargan_plugin.video.tracker import FORGOTTEN_AFTER

BATCH = 16  # frames whose faces are looked at together
TOGETHER = 2  # faces in one pass of the generator; passes run side by side
# Edits that grow over so much of a limit are switched on softly, see _share_left.
SOFT = 0.2
TEXTURE_HOLDS = 1.25  # change of scale up to which a face keeps its painted texture
IN_FLIGHT = 16  # frames being pasted at once, or two for each of many workers


def generate(
    frames: Iterator[Frame],
    editor: ExpressionEditor,
    display: Display,
    timeline: Timeline,
    pool: Executor,
    only: Collection[int] | None = None,
) -> Iterator[Edited]:
    """Cut out the faces of several frames at a time and find their edits.

    Args:
        frames: with steady faces.
        editor: whose generator and settings are used.
        display: how the frames are shown.
        timeline: what to show when.
        pool: does the cutting and runs the generator.
        only: indices of the frames to edit; None for all.
    """
    picker = _Picker(editor, display, timeline, pool)
    batch: list[tuple[Frame, list[Wish]]] = []
    for frame in frames:
        wishes = picker.wishes(frame) if only is None or frame.index in only else []
        batch.append((frame, wishes))
        if len(batch) == BATCH:
            yield from picker.edited(batch)
            batch = []
    yield from picker.edited(batch)


@dataclass
class _Texture:
    """What is painted with; None where there is no skin to take it from.

    ``scale`` is that of the face it was made for, ``used`` the index of the last frame it was in.
    """

    samples: torch.Tensor | None
    scale: float
    used: int = 0


class _Picker:
    def __init__(
        self, editor: ExpressionEditor, display: Display, timeline: Timeline, pool: Executor
    ) -> None:
        self.editor, self.display, self.timeline, self.pool = editor, display, timeline, pool
        self.size = editor.generator.crop_size
        self.textures: dict[int, _Texture] = {}
        self.last: list[Wish] = []  # of the batch before, in its last frame

    def wishes(self, frame: Frame) -> list[Wish]:
        condition, intensity = self.timeline.at(frame.seconds)
        wishes = []
        for track, face in sorted(frame.faces.items()):
            amount = intensity * face.share * _share_left(face.landmarks, self.editor)
            if amount > 0:
                points = torch.tensor(face.landmarks, dtype=torch.float32)
                matrix = face_matrices(points[None], self.size)[0]
                matrix = composed(matrix, self.display.from_coded)
                wishes.append(Wish(frame, track, matrix, condition, amount))
        return wishes

    def edited(self, batch: list[tuple[Frame, list[Wish]]]) -> Iterator[Edited]:
        wishes = [wish for _, wanted in batch for wish in wanted]
        list(self.pool.map(self._cut, wishes))
        found = [wish for wish in wishes if wish.crop is not None]
        complete([*self.last, *found], self._run)
        for frame, wanted in batch:
            self.last = [wish for wish in wanted if wish.crop is not None]
            yield Edited(frame, {wish.track: self._face_edit(wish) for wish in self.last})
            for track, texture in list(self.textures.items()):
                if frame.index - texture.used > FORGOTTEN_AFTER:
                    del self.textures[track]

    def _cut(self, wish: Wish) -> None:
        wish.crop = crop_planes(wish.frame.video, wish.matrix, self.size)

    def _run(self, wishes: list[Wish]) -> None:
        parts = [wishes[start : start + TOGETHER] for start in range(0, len(wishes), TOGETHER)]
        list(self.pool.map(self._pass, parts))

    @torch.no_grad()
    def _pass(self, wishes: list[Wish]) -> None:
        """Edits of the generator."""
        edits = self.editor.edits_of(
            [wish.crop.rgb for wish in wishes],
            [wish.condition for wish in wishes],
            [torch.tensor(wish.intensity) for wish in wishes],
        )
        for wish, edit in zip(wishes, edits, strict=True):
            wish.edit = edit.to(wish.crop.rgb)

    def _face_edit(self, wish: Wish) -> FaceEdit:
        return FaceEdit(wish.crop, wish.edit, self._texture(wish))

    def _texture(self, wish: Wish) -> torch.Tensor | None:
        """The same texture for as long as possible: a new one in each frame would crawl."""
        if not self.editor.grain:
            return None
        scale = float(scale_of(wish.matrix[None]))
        known = self.textures.get(wish.track)
        if known is None or not 1 / TEXTURE_HOLDS < scale / known.scale < TEXTURE_HOLDS:
            samples = luma_texture(wish.frame.video, wish.crop, self.editor.seed + wish.track)
            known = self.textures[wish.track] = _Texture(samples, scale)
        known.used = wish.frame.index
        return known.samples


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


def paste(items: Iterator[Edited], pool: Executor, workers: int) -> Iterator[Frame]:
    """Add the edits to the planes; frames without one pass as they are."""
    waiting: deque[tuple[Frame, Future | None]] = deque()
    for item in items:
        future = pool.submit(_paste, item) if item.edits else None
        waiting.append((item.frame, future))
        while len(waiting) > max(IN_FLIGHT, 2 * workers) or (waiting and _is_done(waiting[0][1])):
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
