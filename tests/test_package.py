"""What a user gets: the wheel, installed away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sargan_plugin", "sargan_cli", "sargan_weights", "sargan_training")

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
found = {}
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    found[name] = package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            found[module.name] = importlib.import_module(module.name).__file__
print(json.dumps(found))
"""

EDIT_ONE_PHOTO = """
import numpy as np
from skimage.data import astronaut
from sargan_plugin import ExpressionEditor, Face
points = np.array([[203, 104], [243, 101], [226, 125], [207, 147], [246, 145]], np.float32)
photo = astronaut()
edited = ExpressionEditor("happy")(photo, faces=[Face.from_landmarks(points)])
changed = (edited != photo).any(-1)
assert 500 < changed.sum() < 40000, changed.sum()
print("edited")
"""


def copy_of_the_checkout(destination: Path) -> None:
    """Only what belongs to the project: nothing a build of the checkout may have left behind."""
    for name in ("sargan_plugin", "cli", "weights", "training"):
        shutil.copytree(
            ROOT / name, destination / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, destination / name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("source")
    copy_of_the_checkout(source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", source / "dist", source], check=True)
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """A folder the wheel is installed into."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*command, wheel], check=True)
    return folder


def run_away_from_the_checkout(site: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_module_is_imported_from_the_installed_wheel(site):
    found = json.loads(run_away_from_the_checkout(site, "-c", IMPORT_EVERYTHING, *PACKAGES))
    modules = [*ROOT.glob("sargan_plugin/**/*.py"), *ROOT.glob("cli/**/*.py")]
    modules += [*ROOT.glob("training/**/*.py"), *ROOT.glob("weights/**/*.py")]
    assert len(found) == len([path for path in modules if path.name != "__main__.py"])
    for name, path in found.items():
        assert Path(path).is_relative_to(site), name


def test_wheel_holds_weights_and_recipes_and_nothing_foreign(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "sargan_weights/manifest.toml" in names
    assert any(name.endswith(".safetensors") for name in names)
    assert "sargan_training/recipes/sargan_128.toml" in names
    assert any(name.endswith(".onnx") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert tops - {*PACKAGES} == {name for name in tops if name.endswith(".dist-info")}


def test_one_edit_from_the_installed_wheel(site):
    assert "edited" in run_away_from_the_checkout(site, "-c", EDIT_ONE_PHOTO)


def test_the_program_runs_from_the_installed_wheel(site, tmp_path, monkeypatch):
    """With nothing but what the wheel holds: no detector named, no network."""
    monkeypatch.delenv("SARGAN_DETECTOR", raising=False)
    Image.fromarray(astronaut()[:256, 80:368]).save(tmp_path / "photo.png")
    command = ["-m", "sargan_cli", "edit", str(tmp_path / "photo.png"), str(tmp_path / "sad.png")]
    run_away_from_the_checkout(site, *command, "--expr", "sad")
    with Image.open(tmp_path / "sad.png") as edited, Image.open(tmp_path / "photo.png") as photo:
        assert edited.size == photo.size and edited.tobytes() != photo.tobytes()


def test_import_is_light():
    """No host toolkit, no detector, not even torch, until they are used."""
    code = "import sargan_plugin, sys; print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    for heavy in (b"'torch'", b"'insightface'", b"'cv2'", b"'onnxruntime'", b"'kornia'"):
        assert heavy not in result.stdout


def test_using_the_editor_imports_no_detector_no_host_and_no_timm():
    code = "import sargan_plugin.editor, sys; print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    for heavy in (b"'insightface'", b"'cv2'", b"'onnxruntime'", b"'torchvision'", b"'timm'"):
        assert heavy not in result.stdout
