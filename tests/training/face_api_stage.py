"""A network with random weights, in an npm package like face-api's."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest

from sargan_training.face_api import NAME


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
