"""``sargan-cli train detector``, run for a moment on synthetic pictures."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from sargan_plugin.manifest import checksum

pytest_plugins = ["cli_stage"]


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


def test_prepare_train_resume_and_export(cli, tmp_path):
    verb, pictures, folder = ("train", "detector"), tmp_path / "pictures", tmp_path / "runs/smoke"
    done = cli(*verb, "prepare", pictures, "--wider", wider_face(tmp_path / "wider"), "--json")
    assert (done.code, done.json["pictures"]) == (0, 2)
    common = (pictures, folder, "--side", 64, "--batch", 2, "--workers", 0)
    common += ("--save-every", 1, "--accelerator", "cpu")
    assert cli(*verb, "run", *common, "--steps", 1).code == 0
    first = torch.load(folder / "checkpoint.pt", weights_only=True)
    done = cli(*verb, "run", *common, "--steps", 2)
    assert "resumed at step 1" in done.err and "2/2" in done.err and "score" in done.err
    second = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert (first["step"], second["step"]) == (1, 2)
    assert not list(folder.glob(".sargan-*"))
    assert not torch.equal(first["network"]["scales"], second["network"]["scales"])
    done = cli(*verb, "export", folder / "checkpoint.pt", tmp_path / "smoke.onnx", "--json")
    assert done.json["sha256"] == checksum(tmp_path / "smoke.onnx")
    assert done.json["bytes"] < 2.5e6 and done.json["multiply_adds"] < 1.5e9


def test_two_processes_share_a_batch_and_one_of_them_tells(cli, tmp_path):
    pictures, folder = tmp_path / "pictures", tmp_path / "run"
    cli("train", "detector", "prepare", pictures, "--wider", wider_face(tmp_path / "wider"))
    arguments = [pictures, folder, "--side", 64, "--batch", 4, "--workers", 0, "--steps", 1]
    arguments += ["--accelerator", "cpu", "--devices", 2, "--strategy", "ddp"]
    command = [sys.executable, "-m", "sargan_cli", "train", "detector", "run", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checkpoint.pt: step 1") == 1
    assert done.stderr.count("2 cpu processes, ") == 1
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 1


@pytest.mark.parametrize("arguments", [("prepare", "pictures"), ("run", "p", "r", "--side", 100)])
def test_what_cannot_be_right_is_a_usage_error(cli, arguments):
    done = cli("train", "detector", *arguments)
    assert done.code == 2 and done.err.count("\n") == 1
