"""``sargan-cli edit`` and ``edit-dir`` where all goes well."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sargan_cli import progress
from sargan_cli.options import Expressions
from sargan_plugin.expressions import EXPRESSIONS

pytest_plugins = ["cli_stage"]


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def folder(here: Path) -> Path:
    """``in/`` with two faces in folders, one picture without a face and no picture."""
    for name in ("in/a.jpg", "in/sub/b.jpg"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes((here / "me.jpg").read_bytes())
    Image.new("RGB", (60, 40), "teal").save(here / "in" / "wall.png")
    (here / "in" / "notes.txt").write_text("not a picture")
    return here


def tree(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.*"))


class TestEdit:
    def test_only_the_face_changes(self, edit, here):
        original = (here / "me.jpg").read_bytes()
        assert edit("edit", "me.jpg", "out.png", "--expr", "happy").code == 0
        changed = (pixels("me.jpg") != pixels("out.png")).any(axis=-1)
        assert 0.02 < changed.mean() < 0.6
        assert not changed[:, 170:].any()
        assert (here / "me.jpg").read_bytes() == original

    def test_zero_intensity_copies_the_file(self, edit, here):
        assert edit("edit", "me.jpg", "o.jpg", "--expr", "sad", "--intensity", "0").code == 0
        assert (here / "o.jpg").read_bytes() == (here / "me.jpg").read_bytes()

    def test_an_output_for_each_expression(self, edit, here):
        done = edit(
            *("edit", "me.jpg", "new/{stem}-{expr}{suffix}", "--json"),
            *("--expr", "happy", "--expr", "surprised:3,sad:1", "--compare", "sheet.png"),
        )
        assert done.code == 0
        names = ["new/me-happy.jpg", "new/me-surprised0.75-sad0.25.jpg"]
        assert [each["destination"] for each in done.json["results"]] == names
        assert (pixels(names[0]) != pixels(names[1])).any()
        sheet = pixels("sheet.png")
        assert sheet.shape[1] > 3 * 200 and sheet.shape[0] < 2 * 256

    def test_existing_output_needs_overwrite(self, edit, here):
        (here / "out.jpg").write_bytes(b"precious")
        done = edit("edit", "me.jpg", "out.jpg", "--expr", "happy")
        assert done.code == 2
        assert done.err == "error: out.jpg: is there already. Replace it with --overwrite.\n"
        assert (here / "out.jpg").read_bytes() == b"precious"
        assert edit("edit", "me.jpg", "out.jpg", "--expr", "happy", "--overwrite").code == 0
        assert pixels("out.jpg").shape == (200, 200, 3)

    def test_options_reach_the_editor(self, edit, here):
        args = ("--json", "--expr", "happy", "--neutralise-first", "--no-grain", "--seed", "3")
        done = edit("edit", "me.jpg", "a.png", *args, "--min-face-size", "500")
        (face,) = done.json["results"][0]["faces"]
        assert face["remark"].startswith("it is small") and face["changed_pixels"] > 0
        assert "warning: me.jpg: the face at (" in done.err
        done = edit(
            "edit", "me.jpg", "b.png", *args, "--min-face-size", "500", "--small-faces", "leave"
        )
        (face,) = done.json["results"][0]["faces"]
        assert face["left_because"].startswith("it is small") and face["changed_pixels"] == 0
        assert edit("edit", "me.jpg", "c.png", *args, "--faces", "1").code == 1

    def test_quiet_tells_nothing(self, edit, here):
        done = edit("edit", "me.jpg", "out.jpg", "--expr", "happy", "--quiet")
        assert (done.code, done.out, done.err) == (0, "", "")

    @pytest.mark.parametrize(
        ("policy", "code", "told"),
        [
            ("pass", 0, ""),
            ("warn", 0, "warning: wall.png: no face was found; the picture is left as it is\n"),
            ("error", 1, "error: wall.png: No face was found.\n"),
        ],
    )
    def test_no_face(self, edit, here, policy, code, told):
        Image.new("RGB", (60, 40), "teal").save("wall.png")
        done = edit("edit", "wall.png", "out.png", "--expr", "happy", "--on-no-face", policy)
        assert (done.code, done.err) == (code, told)


class TestEditDir:
    def test_tree_is_mirrored(self, edit, folder):
        done = edit("edit-dir", "in", "out", "--expr", "happy")
        assert done.code == 0
        assert tree(folder / "out") == ["a.jpg", "sub/b.jpg", "wall.png"]
        assert (folder / "out/wall.png").read_bytes() == (folder / "in/wall.png").read_bytes()
        assert done.out.startswith("3 written, 0 failed, 0 skipped in ")
        assert done.err == (
            "warning: in/wall.png: no face was found; the picture is left as it is\n"
        )

    def test_failures_are_listed_and_the_rest_is_done(self, edit, folder):
        (folder / "in" / "empty.jpg").touch()
        (folder / "in" / "torn.jpg").write_bytes((folder / "me.jpg").read_bytes()[:3000])
        done = edit("edit-dir", "in", "out", "--expr", "happy", "--expr", "sad", "--glob", "*.jpg")
        assert done.code == 1
        assert len(tree(folder / "out")) == 4
        first, second = done.err.splitlines()  # once each, although two expressions fail
        assert first == "error: in/empty.jpg: is an empty file"
        assert second.startswith("error: in/torn.jpg: cannot be read as JPEG: ")
        assert done.out.startswith("4 written, 4 failed")

    def test_json_is_one_object_that_tells_all(self, edit, folder):
        (folder / "in" / "empty.jpg").touch()
        done = edit("edit-dir", "in", "out", "--expr", "happy", "--json")
        assert done.code == 1
        assert (done.json["done"], done.json["failed"], done.json["skipped"]) == (3, 1, 0)
        assert done.json["error"] == "in/empty.jpg: is an empty file"
        errors = {each["source"]: each["error"] for each in done.json["results"]}
        assert errors == {
            "in/a.jpg": None,
            "in/sub/b.jpg": None,
            "in/wall.png": None,
            "in/empty.jpg": "in/empty.jpg: is an empty file",
        }

    def test_dry_run_writes_nothing(self, edit, folder):
        done = edit("edit-dir", "in", "out", "--expr", "happy", "--dry-run", "--format", "png")
        assert done.code == 0
        assert done.out.splitlines() == [
            "in/a.jpg -> out/a.png (happy)",
            "in/wall.png -> out/wall.png (happy)",
            "in/sub/b.jpg -> out/sub/b.png (happy)",
            "3 to write, 0 there already",
        ]
        assert not (folder / "out").exists()
        as_json = edit("edit-dir", "in", "out", "--expr", "happy", "--dry-run", "--json").json
        assert as_json["tasks"][0] == {
            "source": "in/a.jpg",
            "destination": "out/a.jpg",
            "expression": "happy",
        }

    def test_format_converts(self, edit, folder):
        assert edit("edit-dir", "in", "out", "--expr", "sad", "--format", "webp").code == 0
        assert {Image.open(file).format for file in (folder / "out").rglob("*.webp")} == {"WEBP"}

    def test_existing_outputs(self, edit, folder):
        (folder / "out").mkdir()
        (folder / "out" / "a.jpg").write_bytes(b"precious")
        command = ("edit-dir", "in", "out", "--expr", "happy")
        refused = edit(*command)
        assert refused.code == 2
        assert refused.err == (
            "error: out/a.jpg: is there already. "
            "Go on with --skip-existing, or replace with --overwrite.\n"
        )
        assert edit(*command, "--skip-existing", "--overwrite").code == 2
        assert tree(folder / "out") == ["a.jpg"]
        assert edit(*command, "--skip-existing", "--json").json["skipped"] == 1
        assert (folder / "out" / "a.jpg").read_bytes() == b"precious"
        assert edit(*command, "--overwrite", "--json").json["done"] == 3
        assert (folder / "out" / "a.jpg").read_bytes() != b"precious"

    def test_nothing_left_to_do(self, edit, folder):
        command = ("edit-dir", "in", "out", "--expr", "happy", "--skip-existing")
        edit(*command)
        done = edit(*command)
        assert done.code == 0 and done.out.startswith("0 written, 0 failed, 3 skipped")

    def test_output_inside_the_input(self, edit, folder):
        for _ in range(2):
            done = edit("edit-dir", "in", "in/out", "--expr", "happy", "--overwrite", "--json")
            assert done.json["done"] == 3
        assert tree(folder / "in" / "out") == ["a.jpg", "sub/b.jpg", "wall.png"]

    def test_compare_sheet_has_a_row_for_each_picture(self, edit, folder):
        (folder / "in" / "empty.jpg").touch()
        edit("edit-dir", "in", "out", "--expr", "happy", "--compare", "sheet.png")
        sheet = pixels("sheet.png")
        # The cut-out of what the bundled weights change here is 200 wide and 194 high.
        rows = 2 * (194 + 28) + (40 + 28) + 8
        assert sheet.shape == (rows, 2 * (200 + 8) + 8, 3)
        refused = edit("edit-dir", "in", "o", "--expr", "sad", "--compare", "in/a.jpg")
        assert refused.code == 2
        refused = edit(
            *("edit-dir", "in", "o", "--expr", "sad", "--overwrite", "--compare", "in/a.jpg")
        )
        assert refused.code == 2 and "is a picture of this job" in refused.err

    def test_a_sheet_that_cannot_be_written_hides_nothing(self, edit, folder):
        done = edit(
            *("edit-dir", "in", "out", "--expr", "happy"), "--compare", "me.jpg/sheet.png", "--json"
        )
        assert done.code == 1
        assert done.json["done"] == 3
        assert done.json["error"] == "me.jpg/sheet.png: cannot be written: File exists"

    def test_plain_progress_when_stderr_is_no_terminal(self, edit, folder, monkeypatch):
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
        done = edit("edit-dir", "in", "out", "--expr", "happy", "--on-no-face", "pass")
        lines = done.err.splitlines()
        assert len(lines) == 3
        assert lines[0].startswith("1 of 3, ") and lines[0].endswith(" s left")

    def test_rich_progress_on_a_terminal(self, edit, folder, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")
        done = edit("edit-dir", "in", "out", "--expr", "happy", "--on-no-face", "pass")
        assert "3/3" in done.err and "pictures/s" in done.err


def test_odd_names_survive(edit, here):
    names = ["with space.jpg", "two\nlines.jpg", "smile😀.jpg", os.fsdecode(b"caf\xe9.jpg")]
    (here / "in").mkdir()
    for name in names:
        (here / "in" / name).write_bytes((here / "me.jpg").read_bytes())
    (here / "in" / os.fsdecode(b"\xff\n.jpg")).touch()
    done = edit("edit-dir", "in", "out", "--expr", "happy", "--json")
    assert sorted(file.name for file in (here / "out").iterdir()) == sorted(names)
    assert done.err.splitlines()[0] == "error: in/\\xff\\n.jpg: is an empty file"
    sources = {each["source"] for each in json.loads(done.out)["results"]}
    assert {"in/two\nlines.jpg", "in/smile😀.jpg", "in/caf\\xe9.jpg"} <= sources


def test_help_names_every_expression():
    (option,) = Expressions.__metadata__
    assert option.help.startswith(f"{', '.join(EXPRESSIONS)}, or a mix")
