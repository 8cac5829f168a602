"""``detect``, ``models`` and ``doctor``."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

pytest_plugins = ["cli_stage"]


class TestDetect:
    def test_table(self, cli, here):
        done = cli("detect", "me.jpg")
        assert done.code == 0
        assert "face" in done.out and "score" in done.out and done.err == ""

    def test_json(self, cli, here):
        (face,) = cli("detect", "me.jpg", "--json").json["faces"]
        assert face["index"] == 0 and face["score"] > 0.5
        left, top, right, bottom = face["box"]
        for x, y in face["landmarks"]:
            assert left < x < right and top < y < bottom

    def test_drawing(self, cli, here):
        assert cli("detect", "me.jpg", "--draw", "new/faces.png").code == 0
        drawn = np.asarray(Image.open("new/faces.png"))
        assert drawn.shape == (200, 200, 3)
        assert (drawn == (0, 229, 255)).all(axis=-1).sum() > 100
        again = cli("detect", "me.jpg", "--draw", "new/faces.png")
        assert again.code == 2 and "--overwrite" in again.err
        assert cli("detect", "me.jpg", "--draw", "new/faces.png", "--overwrite").code == 0

    def test_another_name_of_the_original_is_the_original(self, cli, here):
        os.link("me.jpg", "ME.JPG")  # as on disks where case does not count
        done = cli("detect", "me.jpg", "--draw", "ME.JPG", "--overwrite")
        assert (done.code, done.err) == (2, "error: ME.JPG: is the original, and stays as it is.\n")

    def test_original_is_never_drawn_on(self, cli, here):
        before = (here / "me.jpg").read_bytes()
        done = cli("detect", "me.jpg", "--draw", "me.jpg", "--overwrite")
        assert done.code == 2 and (here / "me.jpg").read_bytes() == before

    def test_no_face(self, cli, here):
        Image.new("L", (50, 50)).save("grey.png")
        done = cli("detect", "grey.png", "--json")
        assert done.code == 0 and done.json["faces"] == []
        assert done.err == "grey.png: no face was found\n"


class TestModels:
    def test_list(self, cli, manifest):
        done = cli("models", "list", "--json")
        assert done.json["default"] == "sargan_flow_128.random"
        assert done.json["default_detector"] == "detector_fake"
        assert [(each["name"], each["kind"]) for each in done.json["models"]] == [
            ("sargan_flow_128.random", "generator"),
            ("sargan_flow_128.elsewhere", "generator"),
            ("detector_fake", "detector"),
        ]
        assert done.json["models"][1]["bytes"] is None
        assert "sargan_flow_128.random" in done.err and "not fetched" in done.err
        assert cli("models", "list").code == 0

    def test_info(self, cli, manifest):
        done = cli("models", "info", "sargan_flow_128.random")
        assert done.code == 0
        for known in ("Apache-2.0", "disgusted, fearful", "fid", "12.5", "# A card"):
            assert known in done.out
        assert cli("models", "info", "--json").json["metrics"] == {"fid": 12.5}
        assert cli("models", "info", "detector_fake", "--json").json["metrics"] == {"recall": 0.5}
        assert cli("models", "info", "nobody").code == 2

    def test_verify(self, cli, manifest):
        done = cli("models", "verify", "--json")
        assert done.code == 0
        assert done.json["models"] == {
            "sargan_flow_128.random": "ok",
            "sargan_flow_128.elsewhere": "not fetched",
            "detector_fake": "ok",
        }
        file = manifest / "random.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        done = cli("models", "verify")
        assert done.code == 1
        assert done.err.startswith(f"error: sargan_flow_128.random: {file}: damaged")
        assert cli("models", "verify", "--json").json["error"] == "1 of 3 damaged or missing"


class TestDoctor:
    def test_healthy(self, cli, here, manifest):
        done = cli("doctor")
        assert (done.code, done.err) == (0, "")
        names = [line.split()[1] for line in done.out.splitlines()]
        assert names == ["versions", "device", "bf16", "detector", "weights", "cache"]

    def test_what_stops_editing_is_told(self, cli, here, manifest, monkeypatch):
        monkeypatch.setenv("SARGAN_DETECTOR", "none.onnx")
        (manifest / "random.safetensors").unlink()
        done = cli("doctor", "--json")
        assert done.code == 1
        assert done.json["error"] == "pictures cannot be edited: detector, weights"
        assert "error: detector: There is no face detector 'none.onnx'" in done.err

    def test_a_device_that_cannot_edit_is_told(self, cli, here, manifest, monkeypatch):
        def unsupported(*_, **__):
            raise RuntimeError("MPS: Unsupported Border padding mode")

        monkeypatch.setattr("torch.nn.functional.grid_sample", unsupported)
        done = cli("doctor", "--json")
        assert done.json["error"] == "pictures cannot be edited: device"
        assert "error: device: MPS: Unsupported Border padding mode" in done.err

    def test_a_cache_that_cannot_be_written_is_no_obstacle(self, cli, here, manifest, monkeypatch):
        monkeypatch.setenv("SARGAN_CACHE", str(here / "me.jpg"))
        done = cli("doctor")
        assert done.code == 0
        assert done.out.splitlines()[-1].startswith("warning  cache     ")


def test_models_without_a_verb_is_a_usage_error(cli):
    assert cli("models").code == 2


@pytest.mark.parametrize("verb", [["models", "list"], ["detect", "none.jpg"], ["models", "info"]])
def test_failures_are_json_too(cli, verb, monkeypatch, tmp_path):
    monkeypatch.setattr("sargan_plugin.manifest.files", lambda _: tmp_path)
    done = cli(*verb, "--json")
    assert done.code == 1
    assert list(done.json) == ["error"] and done.err == f"error: {done.json['error']}\n"
