"""The training commands, run for a moment on a tiny synthetic data set in LFW's layout."""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image

from sargan_plugin.zoo import checksum, create_generator
from sargan_training import bundle, pretrain, train
from sargan_training.data import is_held_out, load_faces, read_rows

pytest_plugins = ["lfw_stage"]


def test_rows_are_read_and_cut_along_the_template(data, tmp_path):
    rows = read_rows(data)
    assert len(rows) == 40
    faces = load_faces(data, tmp_path / "crops.npy")
    assert len(faces.crops) == 40
    photo = np.array(Image.open(data / faces.paths[3]))
    # The landmarks stand 40 px off the template's, so the crop with its margin of 16 is a cut.
    difference = faces.crops[[3]][0].permute(1, 2, 0).numpy().astype(int) - photo[24:184, 24:184]
    assert np.abs(difference).mean() < 2


def test_disagreeing_annotators_drop_a_face(data, tmp_path):
    text = (data / "faces.csv").read_text().splitlines()
    fields = text[1].split(",")
    fields[2] = "100"
    (tmp_path / "faces.csv").write_text("\n".join([text[0], ",".join(fields), *text[2:]]))
    (tmp_path / "expressions.csv").write_text((data / "expressions.csv").read_text())
    assert len(read_rows(tmp_path)) == 39


def test_split_is_by_person_and_stable():
    people = [f"person{number}" for number in range(2000)]
    held_out = [person for person in people if is_held_out(person)]
    assert 0.09 < len(held_out) / 2000 < 0.15
    # Published figures and pictures rest on who was held out.
    assert is_held_out("Tiger_Woods") and not is_held_out("Tony_Blair")


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    module.main()


def test_pretrain_train_resume_and_bundle(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "BATCH", 4)
    folder = tmp_path / "runs" / "smoke"
    run(pretrain, monkeypatch, "--data", data, "--run", folder, "--minutes", "0.01")
    common = ("--data", data, "--run", folder, "--save-every", 1)
    run(train, monkeypatch, *common, "--steps", 1)
    run(train, monkeypatch, *common, "--steps", 2)
    assert "resumed at step 1" in capsys.readouterr().out
    assert (folder / "sheet_000002.png").exists()
    monkeypatch.setattr(bundle, "files", lambda package: tmp_path)
    run(bundle, monkeypatch, folder / "average_000002.pt", "sargan_flow_128.smoke")
    path = tmp_path / "sargan_flow_128.smoke.safetensors"
    assert checksum(path) in capsys.readouterr().out
    generator = create_generator(path)
    saved = torch.load(folder / "average_000002.pt", weights_only=True)
    torch.testing.assert_close(
        generator.state_dict(), {key: value.half().float() for key, value in saved.items()}
    )
    both = [folder / "average_000001.pt", folder / "average_000002.pt"]
    run(bundle, monkeypatch, *both, "sargan_flow_128.mean")
    first, second = (torch.load(each, weights_only=True)["to_flow.weight"] for each in both)
    mean = create_generator(tmp_path / "sargan_flow_128.mean.safetensors").to_flow.weight
    torch.testing.assert_close(mean.data, (first + second) / 2, atol=1e-3, rtol=1e-2)
