"""What the README says to type to see that training works, typed from an empty folder."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

from PIL import Image

from sargan_cli.app import main
from sargan_plugin.expressions import EXPRESSIONS
from sargan_training.data import half_of, is_held_out, read_rows

README = Path(__file__).parents[2] / "README.md"


def commands():
    """The lines of the block that trains the smoke recipe; continued ones are one."""
    blocks = re.findall(r"^```\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "train run smoke" in block]
    return block.replace("\\\n", " ").splitlines()


def test_the_smoke_recipe_from_photos_to_an_edit(shared, tmp_path, monkeypatch):
    people = {row.person: row for row in read_rows(shared / "data") if row.path.startswith("lfw")}
    held_out = [row for row in people.values() if is_held_out(row.person)]
    reported = [row for row in held_out if half_of(row.person) == "report"]
    chosen_by = [row for row in held_out if half_of(row.person) == "choose"]
    trained = [row for row in people.values() if not is_held_out(row.person)]
    for row in [*reported[:6], *chosen_by[:3], *trained[:8]]:
        folder = tmp_path / "PHOTOS" / EXPRESSIONS[row.label] / row.person
        folder.mkdir(parents=True)
        shutil.copy(shared / "data" / row.path, folder)
    shutil.copy(shared / "data" / trained[9].path, tmp_path / "me.jpg")

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
