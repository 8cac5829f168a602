"""What the README says to type to see that training works, typed from an empty folder."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from sargan_cli.app import main
from sargan_plugin.expressions import EXPRESSIONS
from sargan_training.data import half_of, is_held_out

README = Path(__file__).parents[2] / "README.md"


def commands():
    """The lines of the block that trains the smoke recipe; continued ones are one."""
    blocks = re.findall(r"^```\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "train run smoke" in block]
    return block.replace("\\\n", " ").splitlines()


def enough_of_each(people):
    """People to train on, to choose by and to report of: as few as all commands need."""
    held_out = [person for person in people if is_held_out(person)]
    reported = [person for person in held_out if half_of(person) == "report"]
    chosen_by = [person for person in held_out if half_of(person) == "choose"]
    trained = [person for person in people if not is_held_out(person)]
    return [*reported[:6], *chosen_by[:3], *trained[:8]]


@pytest.fixture
def one_person(tmp_path):
    """The same face under several names, as a set with labels."""
    face = Image.fromarray(astronaut()[:300, 80:380])
    names = [f"person{number}" for number in range(200)]
    for number, person in enumerate(enough_of_each(names)):
        folder = tmp_path / "PHOTOS" / EXPRESSIONS[number % len(EXPRESSIONS)] / person
        folder.mkdir(parents=True)
        face.resize((220 + number, 220 + number)).save(folder / "1.jpg")
    face.save(tmp_path / "me.jpg")


def test_the_smoke_recipe_from_photos_to_an_edit(one_person, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in commands():
        program, *arguments = shlex.split(line)
        if program == "sargan-cli":
            assert main(arguments) == 0, line
        else:
            assert [program, arguments.pop(0)] == ["python", "-m"]
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_module(arguments[0], run_name="__main__")
    with Image.open(tmp_path / "smoke.jpg") as edited, Image.open(tmp_path / "me.jpg") as photo:
        assert edited.size == photo.size
