"""A second opinion on the labels, from a network in face-api's file format."""

from __future__ import annotations

import sys
import tarfile

import numpy as np
import pytest
import torch

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_training import relabel
from sargan_training.data import Crops, FaceSet, balanced_weights, load_faces
from sargan_training.data.faces import read_opinions
from sargan_training.evaluation.judges import FaceApiJudge, readings
from sargan_training.evaluation.subjects import held_out_subjects
from sargan_training.face_api import THEIR_EXPRESSIONS, FaceApiExpression, read_weights

pytest_plugins = ["face_api_stage", "lfw_stage"]


def test_weights_are_read_as_they_were_packed(package):
    path, tensors = package
    weights = read_weights(path)
    assert weights.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_allclose(weights[name], values, atol=1e-6)


def test_the_network_answers_in_our_order_of_expressions(package):
    weights = read_weights(package[0])
    weights["fc/weights"] = torch.zeros(256, 7)
    weights["fc/bias"] = torch.arange(7.0)
    logits = FaceApiExpression(weights)(torch.zeros(1, 3, 64, 64))
    read = [THEIR_EXPRESSIONS[int(value)] for value in logits[0]]
    assert read == list(EXPRESSIONS)


def test_relabel_writes_what_training_reads(package, data, tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    output = folder / "opinions.csv"
    arguments = ["--data", data, "--package", package[0], "--output", output]
    command = ["relabel", *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", command)
    relabel.main()
    hard, soft = load_faces(data, folder), load_faces(data, folder, second_opinion=output)
    torch.testing.assert_close(soft.shares.sum(1), torch.ones(40), atol=1e-3, rtol=0)
    own = soft.shares[torch.arange(40), hard.labels]
    assert (own >= 0.45).all() and (own < 1).any()
    judged_on = held_out_subjects(data, "report", output)
    softened = dict(zip(soft.paths, soft.labels.tolist(), strict=True))
    assert judged_on.labels.tolist() == [softened[row.path] for row in judged_on.rows]

    output.write_text("\n".join(output.read_text().splitlines()[:-1]))
    with pytest.raises(SarganError, match=r"opinions\.csv: says nothing of person39"):
        load_faces(data, folder, second_opinion=output)


@pytest.mark.parametrize("share", ["nan", "-0.5", "2", ""])
def test_opinions_that_are_no_probabilities_are_one_clear_line(share, tmp_path):
    table = tmp_path / "opinions.csv"
    table.write_text(f"path,{','.join(EXPRESSIONS)}\nann.jpg,{share},1,0,0,0,0,0\n")
    with pytest.raises(SarganError, match=r"opinions\.csv: is no CSV of path and 7 prob[^\n]*$"):
        read_opinions(table)


def test_as_a_judge_it_reads_what_it_reads_when_labels_are_asked_for(package, data, tmp_path):
    faces = load_faces(data, tmp_path)
    # Halves that mirror each other: opinions are of the crop and its mirror image.
    halves = faces.crops[:][..., : faces.crops.side // 2]
    crops = torch.cat([halves, halves.flip(-1)], dim=-1)
    faces.crops = Crops([crops.permute(0, 2, 3, 1).numpy()])
    judge = FaceApiJudge(package[0]).eval()
    torch.testing.assert_close(readings(judge, crops), relabel.opinions(judge.network, faces))


def test_what_is_no_package_is_one_clear_line(tmp_path):
    (tmp_path / "text.tgz").write_text("no archive")
    with tarfile.open(tmp_path / "empty.tgz", "w:gz"):
        pass
    for name in ("text.tgz", "empty.tgz", "nowhere.tgz"):
        with pytest.raises(SarganError, match=rf"{name}: is no npm package of face-api"):
            read_weights(tmp_path / name)


def test_drawing_is_balanced_over_soft_labels():
    torch.manual_seed(0)
    shares = torch.zeros(100, 7)
    shares[:90, 0] = 1
    shares[90:, 0], shares[90:, 1] = 0.5, 0.5
    faces = FaceSet(
        Crops([np.zeros((100, 1, 1, 3), np.uint8)]),
        shares,
        ["a"] * 100,
        ["b"] * 100,
        np.zeros((100, 5, 2)),
    )
    assert faces.labels.max() == 0
    drawn = shares[torch.multinomial(balanced_weights(faces.shares), 4000, True)].mean(0)
    # 90 sure photos of weight 1/95, 10 of weight (1/95 + 1/5) / 2: half of the latter's mass.
    expected = 0.5 * 10 * (1 / 95 + 1 / 5) / 2 / (90 / 95 + 10 * (1 / 95 + 1 / 5) / 2)
    assert abs(drawn[1].item() - expected) < 0.03
