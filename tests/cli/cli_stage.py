"""What the tests of the command line share. A plugin, because two ``conftest`` would collide."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sargan_cli import main
from sargan_plugin.manifest import checksum
from sargan_plugin.zoo import create_generator

PROGRAM = Path(sys.executable).with_name("sargan-cli")
ARCHITECTURE = "sargan_flow_128"


@dataclass(frozen=True)
class Ending:
    """How a run of the program ended, and what it told."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What ``--json`` printed; fails unless it is one object and nothing else."""
        return json.loads(self.out)


Run = Callable[..., Ending]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that change pixels (new ones do not move anything)."""
    torch.manual_seed(0)
    generator = create_generator(ARCHITECTURE, pretrained=False)
    torch.nn.init.normal_(generator.to_flow.weight, std=0.02)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(generator.state_dict(), path, {"architecture": ARCHITECTURE})
    return path


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of one face, 200 x 200 pixels; copy it to where it is wanted."""
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("portrait") / "portrait.jpg"
    Image.fromarray(astronaut()[:200, 130:330]).save(path, quality=95)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scrfd_path: Path, portrait: Path) -> Path:
    """An empty folder to work in with ``me.jpg``, and a detector for the program to find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SARGAN_DETECTOR", str(scrfd_path))
    (tmp_path / "me.jpg").write_bytes(portrait.read_bytes())
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process."""

    def run(*arguments: object) -> Ending:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ending(code, *capsys.readouterr())

    return run


@pytest.fixture
def edit(cli: Run, weights: Path) -> Run:
    """Run ``edit`` or ``edit-dir`` with the random weights."""

    def run(*arguments: object) -> Ending:
        return cli(*arguments, "--model", weights)

    return run


@pytest.fixture
def program() -> Run:
    """Run the installed program in a process of its own."""

    def run(*arguments: object) -> Ending:
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
        return Ending(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def manifest(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights that the program takes for the installed one."""
    folder = tmp_path / "weights"
    folder.mkdir()
    file = folder / "random.safetensors"
    file.write_bytes(weights.read_bytes())
    detector = folder / "detector.onnx"
    detector.write_bytes(b"not opened by the tests that use this manifest")
    (folder / "card.md").write_text("# A card\n")
    (folder / "manifest.toml").write_text(f"""
default = "{ARCHITECTURE}.random"
default_detector = "detector_fake"

[detectors.detector_fake]
file = "detector.onnx"
sha256 = "{checksum(detector)}"
licence = "Apache-2.0"
data = "none"
metrics = {{ recall = 0.5 }}

[weights."{ARCHITECTURE}.random"]
file = "random.safetensors"
sha256 = "{checksum(file)}"
licence = "Apache-2.0"
data = "none"
card = "card.md"
experimental = ["disgusted", "fearful"]
metrics = {{ fid = 12.5 }}

[weights."{ARCHITECTURE}.elsewhere"]
file = "elsewhere.safetensors"
sha256 = "{"0" * 64}"
licence = "Apache-2.0"
data = "none"
url = "https://example.org/elsewhere.safetensors"
""")
    monkeypatch.setattr("sargan_plugin.manifest.files", lambda _: folder)
    monkeypatch.setenv("SARGAN_CACHE", str(tmp_path / "cache"))
    return folder
