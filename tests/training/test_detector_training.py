"""The detector's commands, run for a moment on synthetic pictures, and what they are made of."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import torch

from sargan_training.detector import export, prepare, train
from sargan_training.detector.cpu import Float32Convolution, slow_convolutions_in_float32
from sargan_training.detector.dataset import Collages, collage_loader
from sargan_training.detector.network import FaceDetectionNetwork
from sargan_training.detector.pictures import PictureStore, without_faces, write_store


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    module.main()


def wider_face(folder):
    """Two noise pictures with a face each, in WIDER FACE's official layout."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(2):
        path = folder / f"WIDER_train/images/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 256, (90, 80, 3), dtype=np.uint8))
        lines += [path.name, "1", "20 20 40 50 0 0 0 0 0 0"]
    labels = folder / "wider_face_split/wider_face_train_bbx_gt.txt"
    labels.parent.mkdir()
    labels.write_text("\n".join(lines))
    return folder


def test_prepare_train_resume_and_export(tmp_path, monkeypatch, capsys):
    pictures, folder = tmp_path / "pictures", tmp_path / "runs" / "smoke"
    run(prepare, monkeypatch, pictures, "--wider", wider_face(tmp_path / "wider"))
    common = ("--pictures", pictures, "--run", folder, "--side", 64, "--batch", 2, "--workers", 0)
    common += ("--report-every", 1, "--save-every", 1, "--accelerator", "cpu")
    run(train, monkeypatch, *common, "--steps", 1)
    first = torch.load(folder / "checkpoint.pt", weights_only=True)
    run(train, monkeypatch, *common, "--steps", 2)
    printed = capsys.readouterr().out
    assert "2 pictures in" in printed and "resumed at step 1" in printed
    assert "images/s" in printed and "2/2  score" in printed
    second = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert (first["step"], second["step"]) == (1, 2)
    assert not (folder / "checkpoint.part").exists()
    changed = [
        not torch.equal(first["network"][key], second["network"][key]) for key in ("scales",)
    ]
    assert all(changed)
    run(export, monkeypatch, folder / "checkpoint.pt", tmp_path / "detector_smoke.onnx")
    assert "sha256" in capsys.readouterr().out
    assert (tmp_path / "detector_smoke.onnx").stat().st_size < 2.5e6


def test_a_resumed_run_goes_on_with_the_pictures_it_would_have_seen(tmp_path):
    write_store(tmp_path, [one_face(), without_faces(np.zeros((70, 70, 3), np.uint8))])
    collages = Collages(PictureStore(tmp_path), 64, count=6)
    whole = list(collage_loader(collages, batch=2, first=0, workers=0))
    rest = list(collage_loader(collages, batch=2, first=2, workers=0))
    assert len(whole) == 3 and len(rest) == 2
    for (pixels, targets), (again, same) in zip(whole[1:], rest, strict=True):
        torch.testing.assert_close(pixels, again)
        torch.testing.assert_close(targets.assigned, same.assigned)
        assert len(targets.boxes) == int((targets.assigned >= 0).sum()) == len(targets.landmarks)


def one_face():
    picture = without_faces(np.full((80, 80, 3), 128, np.uint8))
    picture.boxes = np.array([[20, 20, 60, 60]], np.float32)
    picture.landmarks = np.full((1, 5, 2), np.nan, np.float32)
    picture.sure = np.array([True])
    return picture


def test_rate_warms_up_stays_and_falls_to_nothing():
    assert train.rate_at(0, 1000) == 1 / train.WARM_UP
    assert train.rate_at(500, 1000) == 1
    assert 0 < train.rate_at(999, 1000) < 0.01


def test_convolutions_in_float32_change_speed_and_not_the_answer():
    torch.manual_seed(0)
    network = FaceDetectionNetwork().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network(images)
        slow_convolutions_in_float32(network)
        after = network(images)
    assert any(type(module) is Float32Convolution for module in network.modules())
    torch.testing.assert_close(before.distances, after.distances)
