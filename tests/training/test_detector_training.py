"""The detector's commands, run for a moment on synthetic pictures, and what they are made of."""

from __future__ import annotations

import os
from dataclasses import replace
from signal import SIGINT

import numpy as np
import pytest
import torch

from sargan_plugin.errors import SarganError
from sargan_training.detector import train
from sargan_training.detector.cpu import Float32Convolution, slow_convolutions_in_float32
from sargan_training.detector.dataset import Collages, collage_loader
from sargan_training.detector.losses import detection_loss
from sargan_training.detector.network import FaceDetectionNetwork
from sargan_training.detector.pictures import PictureStore, without_faces, write_store
from sargan_training.detector.train import DetectorTraining, train_detector
from sargan_training.hardware import Hardware

CPU = Hardware("cpu")


def a_short_training(folder, **changes):
    write_store(folder / "pictures", [one_face()])
    setting = DetectorTraining(
        folder / "pictures", folder, steps=2, batch=2, side=64, save_every=1, workers=0
    )
    return replace(setting, **changes)


def steps_in(setting):
    return torch.load(setting.checkpoint, weights_only=True)["step"]


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    setting = a_short_training(tmp_path)
    losses = iter([train.detection_loss, broken_loss])
    monkeypatch.setattr(train, "detection_loss", lambda *parts: next(losses)(*parts))
    with pytest.raises(SarganError, match=r"diverged after step 1; .*checkpoint\.pt is from"):
        train_detector(setting, CPU)
    assert steps_in(setting) == 1


def broken_loss(*parts):
    loss, values = detection_loss(*parts)
    return loss * float("nan"), values | {"score": torch.tensor(float("nan"))}


def test_an_interrupt_waits_for_the_end_of_a_step_and_saves(tmp_path):
    setting = a_short_training(tmp_path, steps=9, save_every=9)
    with pytest.raises(KeyboardInterrupt):
        train_detector(setting, CPU, report=interrupt_at_the_first_step)
    assert steps_in(setting) == 2  # noted after the first step, saved with the second


def interrupt_at_the_first_step(step, values):
    if step == 1:
        os.kill(os.getpid(), SIGINT)


def test_a_folder_that_is_no_store_is_one_clear_line(tmp_path):
    with pytest.raises(SarganError, match="no picture store"):
        train_detector(DetectorTraining(tmp_path / "nothing", tmp_path / "run"), CPU)


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
