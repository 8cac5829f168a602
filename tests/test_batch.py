from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FixedDetector, PlainGenerator, photo_landmarks, smooth_photo
from PIL import Image

from sargan_plugin import ExpressionEditor, batch
from sargan_plugin.batch import run
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.images import load_picture
from sargan_plugin.tasks import Task, plan_folder

FACES = [Face.from_landmarks(photo_landmarks(x, 60, 24).float().numpy()) for x in (45, 120)]


class CountingDetector(FixedDetector):
    """Counts what it looks at, from whichever thread."""

    def __init__(self, faces: list[Face]) -> None:
        super().__init__(faces)
        self.lock, self.looks = threading.Lock(), 0

    def detect(self, image: np.ndarray) -> list[Face]:
        with self.lock:
            self.looks += 1
        return super().detect(image)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = (smooth_photo(120, 160) * 255).byte().permute(1, 2, 0).numpy()
    for number in range(5):
        Image.fromarray(np.roll(photo, 7 * number, axis=1)).save(folder / f"{number}.png")
    return folder


def editor_of(faces: list[Face] = FACES, **options) -> ExpressionEditor:
    detector = CountingDetector(faces)
    generator = PlainGenerator().eval()
    return ExpressionEditor(model=generator, detector=detector, dtype="float32", **options)


def plan(photos: Path, *expressions: str, out: str = "out") -> list[Task]:
    return plan_folder(photos, photos.parent / out, expressions or ["happy"]).tasks


def written(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_results_are_the_editor_s(photos):
    editor = editor_of()
    outcomes = list(run(plan(photos, "happy", "sad"), editor))
    assert len(outcomes) == 10
    for outcome in outcomes:
        assert not outcome.error
        assert [face.changed > 0 for face in outcome.faces] == [True, True]
        assert outcome.seconds > 0
        source = load_picture(outcome.task.source).pixels
        result = load_picture(outcome.task.destination).pixels
        assert np.array_equal(result, editor(source, expression=outcome.task.expression))


def test_same_bytes_for_any_number_of_workers(photos):
    for workers in (1, 3):
        list(run(plan(photos, out=f"out{workers}"), editor_of(), workers=workers, batch_size=2))
    assert written(photos.parent / "out1") == written(photos.parent / "out3")


def test_batches_go_through_the_generator_together(photos):
    editor = editor_of()
    list(run(plan(photos), editor, batch_size=3))
    assert sorted(editor.generator.calls) == [2 * len(FACES), 3 * len(FACES)]


def test_a_picture_is_detected_once_for_all_expressions(photos):
    editor = editor_of()
    list(run(plan(photos, "happy", "sad", "angry"), editor, batch_size=2))
    assert editor.detector.looks == 1 + 5  # the first look tells whether the detector works


def test_a_bad_picture_does_not_stop_the_others(photos):
    (photos / "2.png").write_bytes(b"no picture")
    outcomes = {outcome.task.source.name: outcome for outcome in run(plan(photos), editor_of())}
    assert outcomes["2.png"].error == (
        f"{photos}/2.png: is not a JPEG, PNG, WebP, TIFF or BMP picture"
    )
    assert sorted(written(photos.parent / "out")) == ["0.png", "1.png", "3.png", "4.png"]


def test_an_edit_that_fails_does_not_spoil_its_batch(photos, monkeypatch):
    editor = editor_of()
    poison = load_picture(photos / "1.png").pixels
    edit = editor.edit

    def fail_on_poison(images, requests):
        if any(np.array_equal(image, poison) for image in images):
            raise ZeroDivisionError("two\nlines")
        return edit(images, requests)

    monkeypatch.setattr(editor, "edit", fail_on_poison)
    outcomes = list(run(plan(photos), editor))
    errors = [outcome.error for outcome in outcomes if outcome.error]
    assert errors == [f"{photos}/1.png: unexpected ZeroDivisionError: two"]
    assert len(written(photos.parent / "out")) == 4


@pytest.mark.filterwarnings("ignore:No face was found")
def test_a_picture_without_faces_is_copied_and_told(photos):
    tasks = plan(photos)
    outcomes = list(run(tasks, editor_of([], on_no_face="warn")))
    assert {outcome.warnings for outcome in outcomes} == {
        ("no face was found; the picture is left as it is",)
    }
    assert written(photos.parent / "out") == written(photos)


def test_no_face_may_be_an_error(photos):
    outcomes = list(run(plan(photos), editor_of([], on_no_face="error")))
    assert outcomes[0].error == f"{outcomes[0].task.source}: No face was found."
    assert not (photos.parent / "out").exists()


@pytest.mark.filterwarnings("ignore:The face at")
def test_small_faces_are_told(photos):
    (outcome,) = run(plan(photos)[:1], editor_of(FACES[:1], min_face_size=90, small_faces="leave"))
    (warning,) = outcome.warnings
    assert warning.startswith("the face at (45,") and "left as it is: it is small" in warning


def test_a_result_that_cannot_be_written_is_an_outcome(photos):
    (photos.parent / "out").write_text("in the way")
    outcomes = list(run(plan(photos), editor_of()))
    assert {outcome.error for outcome in outcomes} == {
        f"{photos.parent}/out: cannot be created: File exists"
    }


def test_a_detector_that_cannot_work_is_one_error(photos):
    editor = editor_of()
    editor.detector.detect = None
    with pytest.raises(TypeError):
        next(run(plan(photos), editor))
    no_detector = ExpressionEditor(model=PlainGenerator(), detector="none.onnx")
    with pytest.raises(SarganError, match=r"There is no face detector 'none\.onnx'"):
        next(run(plan(photos), no_detector))


@pytest.mark.parametrize(("expressions", "most"), [(["happy"], 2), (["happy", "sad"], 2)])
def test_pictures_in_memory_are_bounded(photos, monkeypatch, expressions, most):
    """Room for two pictures and their results: while two are not written, no third is read."""
    pixels = 120 * 160
    monkeypatch.setattr(batch, "BATCH_PIXELS", pixels)
    monkeypatch.setattr(batch, "MAX_PIXELS", 4 * pixels)
    lock, counts = threading.Lock(), {"now": 0, "most": 0, "left": {}}
    load, save = batch.load_picture, batch.save_picture

    def counting_load(path):
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
            counts["left"][path] = len(expressions)
        return load(path)

    def counting_save(picture, *arguments, **options):
        save(picture, *arguments, **options)
        with lock:
            counts["left"][picture.path] -= 1
            counts["now"] -= counts["left"][picture.path] == 0

    monkeypatch.setattr(batch, "load_picture", counting_load)
    monkeypatch.setattr(batch, "save_picture", counting_save)
    outcomes = list(run(plan(photos, *expressions), editor_of(), workers=4))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    assert len(outcomes) == 5 * len(expressions)
    assert counts["now"] == 0 and counts["most"] <= most


def test_closing_drops_the_rest_and_leaves_no_half_file(photos):
    job = run(plan(photos), editor_of(), batch_size=1, workers=1)
    with contextlib.closing(job):
        next(job)
    names = written(photos.parent / "out")
    assert 1 <= len(names) < 5
    assert all(name.endswith(".png") for name in names)


def test_torch_threads_are_as_before_afterwards(photos):
    before = torch.get_num_threads()
    list(run(plan(photos), editor_of(), workers=2))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": 0}])
def test_numbers_out_of_range(photos, options):
    with pytest.raises(SarganError, match="at least 1"):
        next(run(plan(photos), editor_of(), **options))
