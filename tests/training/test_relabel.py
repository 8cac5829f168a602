"""A second opinion on the labels, from a network in face-api's file format."""

from __future__ import annotations

import io
import json
import sys
import tarfile

import numpy as np
import pytest
import torch

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_training import relabel
from sargan_training.data import Crops, FaceSet, balanced_weights, load_faces
from sargan_training.face_api import NAME, THEIR_EXPRESSIONS, FaceApiExpression, read_weights

pytest_plugins = ["lfw_stage"]


def face_api_tensors(rng) -> dict[str, np.ndarray]:
    tensors = {}

    def add(name, *shape):
        tensors[name] = rng.normal(0, 0.2, shape).astype(np.float32)

    width = 3
    for block, wide in enumerate((32, 64, 128, 256)):
        for conv in range(4):
            name = f"dense{block}/conv{conv}"
            if (block, conv) == (0, 0):
                add(f"{name}/filters", 3, 3, width, wide)
            else:
                add(f"{name}/depthwise_filter", 3, 3, width, 1)
                add(f"{name}/pointwise_filter", 1, 1, width, wide)
            add(f"{name}/bias", wide)
            width = wide
    add("fc/weights", 256, 7)
    add("fc/bias", 7)
    return tensors


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """An npm package as face-api publishes it: weights as bytes with scale and offset."""
    tensors = face_api_tensors(np.random.default_rng(0))
    entries, buffer = [], b""
    for name, values in tensors.items():
        entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if values.ndim > 1:
            low, scale = float(values.min()), float(np.ptp(values)) / 255
            packed = np.round((values - low) / scale).astype(np.uint8)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            tensors[name] = packed * np.float32(scale) + np.float32(low)
            values = packed
        entries.append(entry)
        buffer += values.tobytes()
    path = tmp_path_factory.mktemp("npm") / "face-api.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for suffix, content in (
            ("-weights_manifest.json", json.dumps([{"weights": entries}]).encode()),
            (".bin", buffer),
        ):
            member = tarfile.TarInfo(NAME + suffix)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path, tensors


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

    output.write_text("\n".join(output.read_text().splitlines()[:-1]))
    with pytest.raises(SarganError, match=r"opinions\.csv: says nothing of person39"):
        load_faces(data, folder, second_opinion=output)


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
