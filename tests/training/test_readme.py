"""What the README says to type to see that training works, typed from an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from sargan_plugin.expressions import EXPRESSIONS
from sargan_training.data import half_of, is_held_out, read_rows

README = Path(__file__).parents[2] / "README.md"


def commands():
    """The lines of the block that trains the smoke recipe; continued ones are one."""
    blocks = re.findall(r"^```\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "train run smoke" in block]
    return block.replace("\\\n", " ").splitlines()


def test_the_smoke_recipe_from_photos_to_an_edit(shared, tmp_path):
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

    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in commands():
        done = subprocess.run(
            line,
            shell=True,
            cwd=tmp_path,
            env=os.environ | {"PATH": programs},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    with Image.open(tmp_path / "smoke.jpg") as edited, Image.open(tmp_path / "me.jpg") as photo:
        assert edited.size == photo.size
