"""The measures against hand-computed values, and the whole evaluation for a moment."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from dataclasses import replace
from itertools import count

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut

from sargan_cli.app import main
from sargan_plugin import ExpressionEditor, FaceDetector, detector_files
from sargan_plugin.align import template
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.manifest import Manifest
from sargan_plugin.zoo import create_generator
from sargan_training import backbones, evaluate
from sargan_training.checkpoints import save_generator, save_weights
from sargan_training.data import aligned_crop, central, half_of, is_held_out, load_faces, read_rows
from sargan_training.evaluation import appearance, identity, realism, sheet
from sargan_training.evaluation.figures import Figures, unequal_steps
from sargan_training.evaluation.intervals import Estimate, estimate
from sargan_training.evaluation.judges import compressed, halved, trained_judge
from sargan_training.evaluation.realism import (
    TwoSampleTest,
    area_under_curve,
    kernel_distance,
    told_by_expression,
    two_sample_test,
)
from sargan_training.evaluation.subjects import crop_found, edit_subjects, held_out_subjects

pytest_plugins = ["face_api_stage", "lfw_stage"]


def test_area_under_curve_by_hand():
    positive, negative = torch.tensor([3.0, 2.0]), torch.tensor([1.0, 2.0])
    area = area_under_curve(positive, negative, ["a", "b"], ["a", "b"])
    assert area.value == 0.875
    # Of a alone 3 above 1; of b alone 2 beside 2.
    assert (area.low, area.high, area.photos) == (0.5, 1, 2)


def test_kernel_distance_by_hand():
    a, b = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.0]])
    # Kernels: within a (1 + 1)^3, within b 1, between 1.
    assert kernel_distance(a, b, list("ab"), list("cd")).value == pytest.approx(8 + 1 - 2)
    same = torch.randn(800, 4, generator=torch.manual_seed(0))
    people = [str(number) for number in range(400)]
    near = kernel_distance(same[:400], same[400:], people, people)
    assert abs(near.value) < 0.1 and near.low < near.value < near.high
    assert np.isnan(kernel_distance(a[:1], b, list("a"), list("cd")).value)


def test_photos_and_edits_of_a_person_are_drawn_together():
    # Of one of two people alone, or of both, the two sets hold the same.
    same = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    assert kernel_distance(same, same, list("aabb"), list("aabb")).high == 0
    # Of strangers, all of a and all of d may be drawn: 8 + 1 - 2.
    assert kernel_distance(same, same, list("aabb"), list("ccdd")).high == 7


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """Weights of a generator that is fast and edits badly."""
    file, options = tmp_path_factory.mktemp("narrow") / "narrow.safetensors", {"channels": 4}
    torch.manual_seed(0)
    generator = create_generator("sargan_flow_128", pretrained=False, **options)
    save_generator(file, generator.state_dict(), "sargan_flow_128", options)
    return file


@pytest.fixture
def a_second_a_step(monkeypatch):
    """Minutes of training that are as many steps on a busy machine as on an idle one."""
    seconds = count(0.0)
    monkeypatch.setattr(realism.time, "monotonic", lambda: next(seconds))


def test_two_sample_test_sees_a_plain_difference_and_none_where_there_is_none(a_second_a_step):
    torch.manual_seed(0)
    photos = (torch.randn(40, 3, 32, 32) * 38 + 100).clamp(0, 255).byte()
    people, asked = [f"p{i // 2}" for i in range(40)], torch.ones(40, 2, dtype=torch.bool)
    lighter = photos.clamp(max=150) + 100
    plain = two_sample_test(photos, [lighter, lighter], asked, people, minutes=0.5)
    assert plain.auc.value > 0.9 and plain.steps == 29
    few = two_sample_test(photos, [lighter, lighter], asked, people, steps=7)
    assert few.steps == 7
    asked[:, 1] = False  # what was not asked for is not looked at
    none = two_sample_test(photos, [photos.clone(), lighter], asked, people, minutes=0.1)
    assert none.auc.value == pytest.approx(0.5)


def test_what_is_known_of_seen_people_alone_tells_nothing(a_second_a_step):
    # Whether a picture is somebody's photo or edit can only be known by heart.
    draws = torch.Generator().manual_seed(0)
    photos, edits = (
        torch.randint(0, 255, (2, 30, 3, 32, 32), generator=draws).byte().repeat(1, 2, 1, 1, 1)
    )
    people, asked = [f"p{i % 30}" for i in range(60)], torch.ones(60, 1, dtype=torch.bool)
    told = two_sample_test(photos, [edits], asked, people, minutes=1)
    assert told.learnt > 0.95 and told.auc.low < 0.5 < told.auc.high


def test_told_by_expression_by_hand():
    # A quarter of the photos is read as angry (the second of two), and every edit.
    people = [f"p{i}" for i in range(8)]
    photos = torch.eye(2)[[0, 0, 0, 0, 0, 0, 1, 1]]
    angry, asked = torch.eye(2)[[1] * 8], torch.ones(8, 2, dtype=torch.bool)
    told = told_by_expression(photos, [angry, photos], asked, people)
    # Of those scored (p1, p3, p5, p7): eight edits, 5 read as angry, beside four photos, 1 is.
    assert told.value == (5 * 3 + (5 * 1 + 3 * 3) / 2) / (8 * 4)
    asked[:, 0] = False
    assert told_by_expression(photos, [angry, photos], asked, people).value == 0.5


def test_interval_of_one_person_is_a_point_and_of_many_holds_the_mean():
    alone = estimate(np.array([1, 0, 1, 1]), ["a"] * 4)
    assert (alone.value, alone.low, alone.high, alone.photos) == (0.75, 0.75, 0.75, 4)
    many = estimate(np.arange(100) % 2, [str(i) for i in range(100)])
    assert 0.38 < many.low < 0.45 and 0.55 < many.high < 0.62
    nothing = estimate(np.array([np.nan]), ["a"])
    assert np.isnan(nothing.value) and nothing.photos == 0 and str(nothing) == "-"


def test_mean_of_means_by_hand():
    values = np.array([[1, 0], [0, np.nan], [np.nan, 0], [1, np.nan]])
    both = estimate(values, list("abcd"))
    assert both.value == pytest.approx((2 / 3 + 0) / 2) and both.photos == 4
    assert estimate(np.array([[1, np.nan], [0, np.nan]]), list("ab")).value == 0.5


def test_people_are_drawn_and_not_photos():
    # One person in a hundred photos that all fail, and one who succeeds once.
    values, people = [0] * 100 + [1], ["a"] * 100 + ["b"]
    wide = estimate(np.array(values), people)
    assert wide.low == 0 and wide.high == 1


@given(st.floats(0.05, 20), st.integers(0, 2**16))
def test_laplacian_energy_grows_with_the_square_of_contrast(gain, seed):
    images = torch.rand(1, 3, 16, 16, generator=torch.manual_seed(seed))
    energy = appearance.laplacian_energy(images)
    torch.testing.assert_close(appearance.laplacian_energy(images * gain), energy * gain**2)


def test_sharpness_is_one_for_the_same_and_less_for_a_blurred_mouth():
    crops = torch.randint(0, 255, (2, 3, 160, 160), generator=torch.manual_seed(0)).byte()
    assert (appearance.mouth_sharpness(crops, crops) == 1).all()
    blurred = crops.clone()
    appearance.region(blurred, appearance.MOUTH)[:] = 128
    assert (appearance.mouth_sharpness(crops, blurred) < 0.1).all()


@given(st.floats(0.7, 6), st.floats(-3, 3))
def test_sharpness_is_measured_in_the_photos_own_pixels(scale, turn):
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = (template(128).numpy() @ rotation * scale + 300).astype(np.float32)
    size, margin = appearance.natural_size(landmarks)
    assert size == pytest.approx(128 * scale, abs=0.6)
    mouth = appearance.region(torch.empty(1, 3, *2 * [size + 2 * margin]), appearance.MOUTH)
    # Each edge is rounded, and so are the size and both margins that set the scale.
    assert mouth.shape[-1] == pytest.approx(35 * scale, abs=1 + 1.5 * 35 / 160)


def test_skin_colour_and_tone():
    pale = torch.tensor([230, 195, 170]).view(1, 3, 1, 1).expand(1, 3, 160, 160).byte()
    deep = torch.tensor([70, 45, 35]).view(1, 3, 1, 1).expand(1, 3, 160, 160).byte()
    assert appearance.skin_tones(torch.cat([pale, deep])) == ["light", "dark"]
    assert (appearance.colour_difference(pale, pale) == 0).all()
    assert (appearance.colour_difference(pale, deep) > 30).all()
    # A blotch is seen though the mean of its patch is as before.
    blotched = pale.clone()
    left, top, right, bottom = (side + 16 for side in appearance.FOREHEAD[0])
    blotched[:, 0, top:bottom, left : (left + right) // 2] -= 60
    blotched[:, 0, top:bottom, (left + right) // 2 : right] += 25
    difference = appearance.colour_difference(pale, blotched)
    assert np.quantile(difference, 0.95) > 10 and np.median(difference) < 1


def test_jpeg_and_half_size_lose_what_is_fine_and_keep_what_is_not():
    fine = torch.randint(0, 255, (2, 3, 160, 160), generator=torch.manual_seed(0)).byte()
    plain = torch.full((2, 3, 160, 160), 90, dtype=torch.uint8)
    for degraded in (compressed, halved):
        assert degraded(fine).dtype == torch.uint8 and degraded(fine).shape == fine.shape
        assert (degraded(fine).float() - fine.float()).abs().mean() > 10
        assert (degraded(plain).float() - plain.float()).abs().max() <= 1


@pytest.fixture(scope="module")
def recognition_path(tmp_path_factory):
    """An ONNX file in the form of InsightFace's recognition networks: a projection of small
    pictures."""
    numbers = np.random.default_rng(0).normal(size=(3 * 16 * 16, 64)).astype(np.float32)
    nodes = [
        onnx.helper.make_node(
            "AveragePool", ["data"], ["small"], kernel_shape=[7, 7], strides=[7, 7]
        ),
        onnx.helper.make_node("Flatten", ["small"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "numbers"], ["described"]),
    ]
    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "recognition",
        [onnx.helper.make_tensor_value_info("data", real, ["N", 3, 112, 112])],
        [onnx.helper.make_tensor_value_info("described", real, ["N", 64])],
        [onnx.numpy_helper.from_array(numbers, "numbers")],
    )
    path = tmp_path_factory.mktemp("recognition") / "projection.onnx"
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.parametrize("library", ["dlib", "insightface"])
def test_identity_of_real_people(shared, library, recognition_path):
    subjects = held_out_subjects(shared / "data", "report", most=1).parted(6)[0]
    if library == "dlib":
        recogniser = identity.Dlib()
    else:
        recogniser = identity.InsightFace(str(recognition_path), subjects.crops, subjects.people)
    described = recogniser.describe(subjects.crops)
    assert np.allclose(identity.similarity(described, described), 1)
    assert recogniser.same_person(described, described).all()
    others = np.roll(described, 1, axis=0)
    assert (identity.similarity(described, others) < 1).all()
    assert not recogniser.same_person(described, others).any()


def test_a_recognition_network_that_is_none_is_one_clear_line(
    shared, tmp_path, scrfd_path, monkeypatch
):
    monkeypatch.setattr(detector_files, "INSIGHTFACE_ROOT", str(tmp_path))
    (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
    (tmp_path / "broken.onnx").write_bytes(b"none")
    for name, reason in (
        ("nobody", "no recognition network 'nobody'"),
        ("buffalo_l", "buffalo_l has no recognition network in"),
        (tmp_path / "broken.onnx", "is no ONNX file that can be loaded"),
        (scrfd_path, "is no recognition network of InsightFace"),
    ):
        with pytest.raises(SarganError, match=reason):
            identity.InsightFace(str(name), torch.empty(0), [])


def test_subjects_are_held_out_few_of_each_and_split_in_halves(shared):
    choose, report = (held_out_subjects(shared / "data", half) for half in ("choose", "report"))
    assert not set(choose.people) & set(report.people)
    assert all(is_held_out(person) for person in choose.people + report.people)
    choose, rest = choose.parted(60)
    assert rest.rows and not {row.path for row in choose.rows} & {row.path for row in rest.rows}
    assert max(choose.people.count(person) for person in choose.people) <= 3
    assert choose.crops.shape == (60, 3, 160, 160)


class Blind:
    def detect(self, image):
        return []


def test_faces_are_found_where_nobody_says_where_they_are(shared):
    subjects = held_out_subjects(shared / "data", "report").parted(4)[0]
    edits = edit_subjects(ExpressionEditor(), subjects, "happy").crops
    found = edit_subjects(ExpressionEditor(), subjects.found_by(FaceDetector()), "happy").crops
    assert not torch.equal(found, edits)
    assert (found != subjects.crops).flatten(1).any(dim=1).all()
    # The same expression in the same places, give or take what the detector misses by.
    painted, repainted = (each.float() - subjects.crops.float() for each in (edits, found))
    assert torch.corrcoef(torch.stack([painted.flatten(), repainted.flatten()]))[0, 1] > 0.5
    unfound = edit_subjects(ExpressionEditor(), subjects.found_by(Blind()), "happy")
    assert torch.equal(unfound.crops, subjects.crops)
    assert not unfound.clipped.any()


def test_crops_of_edits_are_cut_where_a_detector_finds_the_face(shared):
    subjects = held_out_subjects(shared / "data", "report").parted(4)[0]
    row = subjects.rows[0]
    photo, detector = subjects.photo(row), FaceDetector()
    found = crop_found(photo, row.landmarks, detector)
    assert (found != aligned_crop(photo, row.landmarks)).any()
    # Wherever about there the landmarks are said to be, and whoever else is on the picture.
    beside = np.concatenate([photo, photo], axis=1)
    here, nearby, there = (
        crop_found(beside, row.landmarks + np.float32(shift), detector)
        for shift in ([0, 0], [4, -3], [photo.shape[1], 0])
    )
    assert (here == nearby).all() and (here != there).any()
    for crop in (here, there):
        assert np.corrcoef(crop[16:-16, 16:-16].ravel(), found[16:-16, 16:-16].ravel())[0, 1] > 0.8
    # Where there is none, where it is said to be.
    for nobody, landmarks in ((Blind(), row.landmarks), (detector, row.landmarks + 140)):
        assert (crop_found(photo, landmarks, nobody) == aligned_crop(photo, landmarks)).all()

    edits = edit_subjects(ExpressionEditor(), subjects, "happy", detector)
    assert edits.found.shape == edits.crops.shape
    for others in (edits.crops, subjects.crops_found(detector)):
        assert (edits.found != others).flatten(1).any(dim=1).all()
    unfound = edit_subjects(ExpressionEditor(), subjects, "happy", Blind())
    assert torch.equal(unfound.found, unfound.crops)
    assert edit_subjects(ExpressionEditor(), subjects, "happy").found is None


def test_the_model_to_choose_is_read_often_enough_and_then_told_least():
    def every(value):
        return Estimate(value, value, value, 100)

    def figures(model, read, told, least=None, same=1.0):
        result = Figures(model, confusion={"judge": []}, verified=[every(same)] * 7)
        result.mean_ecs["judge"] = every(read)
        # Rare expressions do not count, nor one that all photos show already.
        shares = [read, read, read, np.nan, least or read, 0, 0]
        result.ecs["judge"] = [every(share) for share in shares]
        if told is not None:
            result.realism = TwoSampleTest(every(told), 300, 0.9)
        return result

    weak, bland = figures("weak", 0.6, 0.55), figures("bland", 0.7, 0.6)
    strong, best = figures("strong", 0.99, 0.9), figures("best", 0.85, 0.8)
    uneven = figures("uneven", 0.84, 0.7, least=0.6)
    others = figures("others", 0.83, 0.7, same=0.97)
    order = sorted([weak, strong, others, bland, uneven, best], key=lambda each: each.rank())
    names = ["best", "strong", "uneven", "others", "bland", "weak"]
    assert [each.model for each in order] == names
    assert unequal_steps(order) is None
    hurried = figures("hurried", 0.85, 0.7)
    hurried.realism = replace(hurried.realism, steps=200)
    assert unequal_steps([hurried, *order]) == (200, 300)
    # Where realism was not measured, the one that is read most.
    untested = [figures("less", 0.85, None), figures("more", 0.9, None)]
    assert min(untested, key=lambda each: each.rank()).model == "more"


def test_subjects_may_be_edited_weakly(shared):
    subjects = held_out_subjects(shared / "data", "report").parted(4)[0]
    whole, half, nothing = (
        edit_subjects(ExpressionEditor(), subjects.weakly(each), "surprised").crops
        for each in (1, 0.5, 0)
    )
    assert torch.equal(nothing, subjects.crops)
    painted, weaker = (each.float() - subjects.crops.float() for each in (whole, half))
    assert (weaker.abs().mean(dim=(1, 2, 3)) < painted.abs().mean(dim=(1, 2, 3))).all()


def test_evaluate_for_a_moment(data, package, tmp_path, capsys):
    arguments = ["evaluate", Manifest().default, "--data", data, "--run", tmp_path / "run"]
    arguments += ["--photos", 8, "--judge-steps", 1, "--realism-minutes", 0.001]
    arguments += ["--face-api", package[0], "--no-identity"]
    arguments += ["--sheet", tmp_path / "sheet.png", "--json"]
    assert main([*map(str, arguments), "--quiet"]) == 0
    out, err = capsys.readouterr()
    # In the half of the few people held out, some expressions are not shown at all.
    assert "NaN" not in out and "null" in out and not err
    told = json.loads(out)
    (model,) = told["models"]
    assert "chosen" not in told and told["setting"]["half"] == "report"
    assert model["sha256"] == Manifest().find().sha256
    assert len(model["ecs"]["resnet10t"]) == 7
    ways = ("JPEG 75", "half size", "faces found", "grey photos", "intensity 0.5")
    assert {f"resnet10t, {way}" for way in ways} <= set(model["ecs"])
    assert len(model["mixes"]["resnet10t"]) == 6
    assert len(model["kid"]) == len(model["colour"]) == len(model["clipped"]) == 7
    assert 0 <= model["realism"]["auc"]["value"] <= 1 and model["realism"]["steps"] > 0
    assert all(0 <= each["value"] <= 1 for each in model["by_expression"].values())
    assert model["confusion"].keys() == {"resnet10t", "cs3darknet_focus_s", "face-api"}
    assert model["by_expression"].keys() == model["confusion"].keys()
    assert all(sum(row) == pytest.approx(1) for row in model["confusion"]["resnet10t"])
    assert (tmp_path / "sheet.png").exists()
    assert len(list(tmp_path.glob("crops_128_*.npy"))) == 1
    assert told == json.loads((tmp_path / "run" / "figures_report.json").read_text())


def test_a_brief_evaluation_tells_what_a_checkpoint_is_chosen_by(data, narrow, tmp_path, capsys):
    arguments = ["evaluate", narrow, narrow, "--data", data, "--run", tmp_path]
    arguments += ["--photos", 8, "--judge-steps", 1, "--realism-steps", 3]
    arguments += ["--brief", "--no-identity", "--json"]
    assert main([*map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    for model in told["models"]:
        assert model["ecs"].keys() == {"resnet10t", "cs3darknet_focus_s"}
        assert model["realism"]["steps"] == 3
        assert not model["mixes"] and not model["kid"] and not model["colour"]
    assert "told from photos: AUC" in err and "in 3 steps" in err
    assert "KID (real photos)" not in err and "halfway" not in err
    assert (tmp_path / f"sheet_report_0_{narrow.parent.name}_narrow.png").exists()


def test_several_models_are_told_apart(data, tmp_path, capsys, monkeypatch):
    def measure(self, model):
        figures = Figures(str(model))
        figures.confusion["judge"] = np.eye(7).tolist()
        read = Estimate(0.9 if "good" in figures.model else 0.4, 0, 1, 8)
        figures.ecs["judge"], figures.mean_ecs["judge"] = [read] * 7, read
        figures.mixes["judge"] = {"happy+sad": [read, read]}
        figures.kid = figures.colour = figures.blotches = figures.sharpness = [read] * 7
        figures.clipped, figures.kid_photos = [read] * 7, [8] * 7
        if "broken" in figures.model:
            raise SarganError("it cannot edit")
        return figures, [self.subjects.crops] * 7

    judge = ReadsAllAsHappy().requires_grad_(False)
    monkeypatch.setattr(evaluate, "trained_judge", lambda *_: judge)
    monkeypatch.setattr(evaluate.Evaluation, "measure", measure)
    weights = Manifest().path_of(Manifest().find())
    files = [tmp_path / name / "average_000001.safetensors" for name in ("bad", "good", "broken")]
    for file in files:
        file.parent.mkdir()
        shutil.copy(weights, file)
    run, sheet = tmp_path / "run", tmp_path / "sheet.png"
    arguments = ["--data", data, "--run", run, "--photos", 8, "--sheet", sheet, "--json"]
    arguments = [str(each) for each in ("evaluate", *files[:2], files[1], *arguments)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "the best first" in err and "choose" not in err and "chosen" not in json.loads(out)
    # Too few of the few people held out are in the half to choose by.
    monkeypatch.setattr(evaluate, "held_out_subjects", lambda *_: held_out_subjects(data, "report"))
    assert main([*arguments, "--half", "choose"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert [each["sha256"] for each in told["models"]] == [Manifest().find().sha256] * 3
    assert [each["model"] for each in told["models"]] == [str(files[i]) for i in (0, 1, 1)]
    assert told["chosen"] == str(files[1])
    summary = err[err.index("all models, the one to choose first") :]
    assert summary.index("good_average_000001") < summary.index("bad_average_000001")
    # Files of the same name have a sheet each.
    assert sorted(file.name for file in tmp_path.glob("*.png")) == [
        f"sheet_{number}_{name}_average_000001.png"
        for number, name in enumerate(("bad", "good", "good"))
    ]
    assert main([*arguments[:1], str(files[0]), str(files[2]), *arguments[4:]]) == 1
    assert "it cannot edit" in capsys.readouterr().err
    (kept,) = json.loads((run / "figures_report.json").read_text())["models"]
    assert kept["model"] == str(files[0])


class ReadsBrightAsAngry(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return images.mean(dim=(1, 2, 3))[:, None] * torch.eye(7)[3] * self.scale


def test_a_sheet_shows_the_best_the_median_and_the_worst_from_left_to_right(data, tmp_path):
    subjects = held_out_subjects(data, "report").parted(3)[0]
    light = torch.tensor([60, 240, 120])
    edits = light.view(3, 1, 1, 1).expand(3, 3, 160, 160).byte()
    judges = {"judge": ReadsBrightAsAngry().requires_grad_(False)}
    subjects = replace(subjects, rows=[replace(row, label=0) for row in subjects.rows])
    sheet.write_extremes(tmp_path / "sheet.png", subjects, [edits] * 7, judges, each=1)
    picture = np.array(Image.open(tmp_path / "sheet.png"))
    crops = picture[sheet.TOP :, sheet.LEFT :]
    edited = crops[7 * 130 + 64]  # two rows for each expression, angry's edits are the eighth
    assert [edited[130 * column + 64, 0] for column in range(3)] == [240, 120, 60]
    names = picture[sheet.TOP :, : sheet.LEFT].min(axis=(1, 2))
    written = (names < 128).reshape(-1)
    assert [written[260 * row + 110 : 260 * row + 150].any() for row in range(7)] == [True] * 7


class ReadsAllAsHappy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return torch.eye(7)[[1]].expand(len(images), -1) * self.scale

    def features(self, images):
        return images.mean(dim=(2, 3))


def test_only_edits_towards_what_a_photo_does_not_show_count(data, narrow, tmp_path, monkeypatch):
    judge = ReadsAllAsHappy().requires_grad_(False)
    taught_on = []
    monkeypatch.setattr(
        evaluate, "trained_judge", lambda name, train, *_: taught_on.extend(train.people) or judge
    )
    setting = evaluate.Setting(
        data, tmp_path / "run", photos=8, half="report", realism_minutes=0, identity=False
    )
    evaluation = evaluate.Evaluation(setting, say=lambda line: None)
    assert taught_on and not any(is_held_out(person) for person in taught_on)
    assert set(evaluation.subjects.people) <= set(evaluation.real.people)
    figures, _ = evaluation.measure(str(narrow))
    counts = [int((evaluation.subjects.labels != target).sum()) for target in range(7)]
    assert min(counts) < len(evaluation.subjects.rows)
    for way in ("resnet10t", "resnet10t, half size"):
        assert [each.value for each in figures.ecs[way]] == [0, 1, 0, 0, 0, 0, 0]
        assert [each.photos for each in figures.ecs[way]] == counts
        assert figures.mean_ecs[way].value == pytest.approx(0.2)
    assert figures.mean_ecs["resnet10t, grey photos"].value == pytest.approx(0.2)
    assert figures.confusion["resnet10t"] == [[0, 1, 0, 0, 0, 0, 0]] * 7
    assert len(figures.mixes["resnet10t"]) == 6
    labels = evaluation.subjects.labels
    for names, shares in figures.mixes["resnet10t"].items():
        pair = [EXPRESSIONS.index(name) for name in names.split("+")]
        assert [each.value for each in shares] == [float(k == 1) for k in pair]
        neither = int((labels[:, None] != torch.tensor(pair)).all(dim=1).sum())
        assert [each.photos for each in shares] == [neither, neither]
    for each in (figures.colour, figures.clipped, figures.sharpness, figures.kid):
        assert [one.photos for one in each] == counts
    # One of five, or of the four that are left where a group's only photo shows one of them.
    tones = {round(tone["ecs"].value, 6) for tone in figures.skin_tones.values()}
    assert tones and tones <= {0.2, 0.25}
    known = [(k, each) for k, each in enumerate(evaluation.ceiling()["resnet10t"]) if each.photos]
    assert known and all(each.value == (k == 1) for k, each in known)


@pytest.mark.parametrize("photos", [2, 1000])
def test_photos_and_edits_are_told_apart_where_their_faces_are_found(
    photos, data, narrow, tmp_path, monkeypatch
):
    seen = []

    def watched(photos, edits, *others):
        seen.append((photos, edits))
        return two_sample_test(photos, edits, *others)

    judge = ReadsAllAsHappy().requires_grad_(False)
    monkeypatch.setattr(evaluate, "trained_judge", lambda *_: judge)
    monkeypatch.setattr(evaluate, "two_sample_test", watched)
    setting = evaluate.Setting(
        data, tmp_path / "run", photos=photos, realism_minutes=0.001, identity=False
    )
    evaluation = evaluate.Evaluation(setting, say=lambda line: None)
    evaluation.elsewhere.clear()
    evaluation.measure(str(narrow))
    ((shown, edits),) = seen
    everybody = held_out_subjects(data, "report")
    assert torch.equal(shown, central(everybody.crops_found(FaceDetector())))
    assert len(edits) == 5
    editor = ExpressionEditor(model=create_generator(narrow))
    for target in (0, 4):
        edited = edit_subjects(editor, everybody, EXPRESSIONS[target], FaceDetector())
        assert torch.equal(edits[target], central(edited.found))


def test_evaluate_on_prepared_photos_and_other_pictures(shared, narrow, tmp_path, capsys):
    rows = [row for row in read_rows(shared / "data") if row.path.startswith("lfw")]
    held_out = {
        row.person: row
        for row in rows
        if is_held_out(row.person) and half_of(row.person) == "report"
    }
    trained = {row.person: row for row in rows[:40] if not is_held_out(row.person)}
    for row in [*list(held_out.values())[:4], *list(trained.values())[:4]]:
        folder = tmp_path / "photos" / EXPRESSIONS[row.label] / row.person
        folder.mkdir(parents=True)
        shutil.copy(shared / "data" / row.path, folder)
    prepared, others = tmp_path / "prepared", tmp_path / "others"
    assert main(["train", "prepare", str(tmp_path / "photos"), str(prepared)]) == 0
    others.mkdir()
    Image.fromarray(astronaut()).save(others / "astronaut.png")
    Image.new("RGB", (64, 64)).save(others / "black.png")
    (others / "broken.png").write_bytes(b"no picture")
    arguments = ["evaluate", narrow, "--data", prepared, "--pictures", others]
    arguments += ["--run", tmp_path / "run", "--photos", 8, "--judge-steps", 1]
    arguments += ["--realism-minutes", 0, "--json"]
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    told = capsys.readouterr()
    (model,) = json.loads(told.out)["models"]
    assert model["ecs"]["resnet10t, other pictures"][0]["photos"] == 1
    assert "black.png: no face found" in told.err and "broken.png" in told.err
    tones = model["skin_tones"].values()
    assert sum(tone["photos"] for tone in tones) == json.loads(told.out)["photos"]
    assert all(0 <= tone["fvs"]["value"] <= 1 for tone in tones)

    shutil.rmtree(tmp_path / "photos")
    assert main([str(argument) for argument in arguments]) == 1
    assert "photos" in capsys.readouterr().err


def test_a_judge_is_kept_for_the_photos_and_labels_it_learnt_from(data, tmp_path):
    faces = load_faces(data, tmp_path)
    first = trained_judge("resnet10t", faces, tmp_path, 2)
    (kept,) = tmp_path.glob("judge_resnet10t_*.safetensors")
    written = kept.stat().st_mtime_ns
    again = trained_judge("resnet10t", faces, tmp_path, 2)
    assert kept.stat().st_mtime_ns == written
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    trained_judge("resnet10t", faces, tmp_path, 1)
    trained_judge("resnet10t", replace(faces, shares=faces.shares.flip(0)), tmp_path, 2)
    assert len(list(tmp_path.glob("judge_resnet10t_*.safetensors"))) == 3
    save_weights(kept, {"weight": torch.zeros(1)})
    with pytest.raises(SarganError, match=f"{kept.name}: is of another network"):
        trained_judge("resnet10t", faces, tmp_path, 2)
    kept.write_bytes(b"none")
    with pytest.raises(SarganError, match=f"{kept.name}: cannot be read"):
        trained_judge("resnet10t", faces, tmp_path, 2)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nobody"], "nobody"),
        (["sargan_flow_128.lfw", "--run", "{file}/run"], "run: cannot be made"),
        (["sargan_flow_128.lfw", "--sheet", "{file}/sheet.png"], "file: cannot be made"),
    ],
)
def test_evaluate_refuses_before_it_trains_judges(arguments, reason, data, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = [each.format(file=tmp_path / "file") for each in arguments]
    if "--run" not in arguments:
        arguments += ["--run", str(tmp_path / "run")]
    code = main(["evaluate", *arguments, "--data", str(data)])
    assert code == (2 if "nobody" in arguments else 1)
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("judge_*"))


def test_evaluate_says_what_is_missing(tmp_path, capsys):
    assert main(["evaluate", "sargan_flow_128.lfw", "--data", str(tmp_path)]) == 1
    assert "there is no expressions.csv" in capsys.readouterr().err


def test_without_timm_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SarganError, match=r"pip install 'sargan-plugin\[train,eval\]'"):
        runpy.run_path(backbones.__file__)
