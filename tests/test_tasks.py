from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sargan_plugin.errors import SarganError
from sargan_plugin.tasks import (
    ExistingFileError,
    PlanError,
    expression_label,
    plan_folder,
    plan_picture,
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.PNG", "sub/a.jpg", "sub/deeper/c d.webp", "notes.txt"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"never looked at")
    return folder


def destinations(plan, out: Path) -> list[str]:
    return [task.destination.relative_to(out).as_posix() for task in plan.tasks]


class TestFolder:
    def test_tree_is_mirrored_and_other_files_are_left_out(self, photos, tmp_path):
        plan = plan_folder(photos, tmp_path / "out", ["happy"])
        expected = ["a.jpg", "b.PNG", "sub/a.jpg", "sub/deeper/c d.webp"]
        assert destinations(plan, tmp_path / "out") == expected

    def test_several_expressions_add_their_names(self, photos, tmp_path):
        plan = plan_folder(photos, tmp_path / "out", ["smile", "sad"], glob="b*")
        assert destinations(plan, tmp_path / "out") == ["b_happy.PNG", "b_sad.PNG"]
        assert [task.expression for task in plan.tasks] == ["smile", "sad"]

    def test_name_template_may_make_folders(self, photos, tmp_path):
        plan = plan_folder(
            photos, tmp_path / "out", ["happy"], name="{expr}/{stem}-1{suffix}", glob="c*"
        )
        assert destinations(plan, tmp_path / "out") == ["sub/deeper/happy/c d-1.webp"]

    def test_format_gives_the_ending(self, photos, tmp_path):
        plan = plan_folder(photos, tmp_path / "out", ["happy"], format="jpeg", glob="c*")
        assert destinations(plan, tmp_path / "out") == ["sub/deeper/c d.jpg"]
        assert plan.tasks[0].format == "jpeg"

    def test_unknown_format_is_refused(self, photos, tmp_path):
        with pytest.raises(PlanError, match="Unknown format 'gif'; known are bmp, jpeg, png"):
            plan_folder(photos, tmp_path / "out", ["happy"], format="gif")

    def test_glob_with_a_slash_matches_the_path(self, photos, tmp_path):
        plan = plan_folder(photos, tmp_path / "out", ["happy"], glob="sub/*.jpg")
        assert destinations(plan, tmp_path / "out") == ["sub/a.jpg"]

    def test_two_pictures_on_one_name_are_refused(self, photos, tmp_path):
        (photos / "a.png").touch()
        with pytest.raises(PlanError, match=r"out/a\.png: a\.jpg \(happy\) and a\.png \(happy\)"):
            plan_folder(photos, tmp_path / "out", ["happy"], format="png")

    def test_one_expression_under_two_names_is_refused(self, photos, tmp_path):
        with pytest.raises(PlanError, match="would both be written here"):
            plan_folder(photos, tmp_path / "out", ["happy", "smile"])

    def test_results_inside_the_folder_are_not_edited_again(self, photos):
        out = photos / "sub" / "out"
        out.mkdir()
        (out / "a.jpg").touch()
        plan = plan_folder(photos, out, ["happy"], existing="overwrite")
        assert all(out not in task.source.parents for task in plan.tasks)
        assert len(plan.tasks) == 4

    def test_folder_onto_itself_is_refused(self, photos, tmp_path):
        (tmp_path / "link").symlink_to(photos)
        with pytest.raises(PlanError, match="another folder"):
            plan_folder(photos, tmp_path / "link", ["happy"], existing="overwrite")

    def test_originals_are_never_overwritten(self, photos):
        # photos/sub/sub/a.jpg would become photos/sub/a.jpg, another original
        (photos / "sub" / "sub").mkdir()
        (photos / "sub" / "sub" / "a.jpg").touch()
        with pytest.raises(PlanError, match=r"sub/a\.jpg: is an original"):
            plan_folder(photos / "sub", photos, ["happy"], existing="overwrite")

    def test_links_to_folders_are_named_and_not_followed(self, photos, tmp_path):
        (photos / "loop").symlink_to(photos)
        plan = plan_folder(photos, tmp_path / "out", ["happy"])
        assert len(plan.tasks) == 4
        assert plan.notes == [f"{photos}/loop: is a link to a folder, which is not followed"]

    def test_unreadable_folder_is_told(self, photos, tmp_path, monkeypatch):
        scandir = os.scandir

        def refuse(path):  # because root may read everything
            if Path(path).name == "deeper":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        plan = plan_folder(photos, tmp_path / "out", ["happy"])
        assert len(plan.tasks) == 3
        assert plan.unreadable == [f"{photos}/sub/deeper: cannot be opened: Permission denied"]

    @pytest.mark.parametrize(
        ("name", "format", "problem"),
        [
            ("{stem}_{expr}", None, "does not end like a picture"),
            ("{stem}.gif", None, "does not end like a picture"),
            ("{stem}.png", "jpeg", "does not end like jpeg"),
        ],
    )
    def test_names_that_do_not_say_what_is_written(self, photos, tmp_path, name, format, problem):
        with pytest.raises(PlanError, match=problem):
            plan_folder(photos, tmp_path / "out", ["happy"], name=name, format=format)

    def test_where_case_does_not_count_two_names_may_be_one(self, photos, tmp_path, monkeypatch):
        (photos / "A.png").touch()
        arguments = (photos, tmp_path / "out", ["happy"])
        assert len(plan_folder(*arguments, format="jpeg").tasks) == 5
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(PlanError, match=r"A\.png \(happy\) and a\.jpg \(happy\) would both"):
            plan_folder(*arguments, format="jpeg")

    def test_missing_folder(self, tmp_path):
        with pytest.raises(SarganError, match="none: cannot be opened: No such file"):
            plan_folder(tmp_path / "none", tmp_path / "out", ["happy"])


class TestExisting:
    @pytest.fixture
    def out(self, photos, tmp_path) -> Path:
        (tmp_path / "out" / "sub").mkdir(parents=True)
        (tmp_path / "out" / "sub" / "a.jpg").touch()
        return tmp_path / "out"

    def test_refused_before_work_starts(self, photos, out):
        with pytest.raises(ExistingFileError, match=r"out/sub/a\.jpg: is there already\."):
            plan_folder(photos, out, ["happy"])

    def test_skipped(self, photos, out):
        plan = plan_folder(photos, out, ["happy"], existing="skip")
        assert destinations(plan, out) == ["a.jpg", "b.PNG", "sub/deeper/c d.webp"]
        assert [task.destination for task in plan.skipped] == [out / "sub" / "a.jpg"]

    def test_overwritten(self, photos, out):
        assert len(plan_folder(photos, out, ["happy"], existing="overwrite").tasks) == 4

    def test_a_folder_in_the_way_is_not_taken_for_a_result(self, photos, out):
        (out / "a.jpg").mkdir()
        plan = plan_folder(photos, out, ["happy"], existing="skip")
        assert out / "a.jpg" in [task.destination for task in plan.tasks]


class TestPicture:
    @pytest.mark.parametrize(
        ("out", "expressions", "expected"),
        [
            ("x.png", ["happy"], ["x.png"]),
            ("new/", ["happy"], ["new/a.jpg"]),
            ("new/", ["happy", "sad"], ["new/a_happy.jpg", "new/a_sad.jpg"]),
            ("there", ["happy"], ["there/a.jpg"]),
            ("{expr}/{stem}.png", ["happy", "sad"], ["happy/a.png", "sad/a.png"]),
            ("{other}{suffix}", ["happy"], ["{other}.jpg"]),
        ],
    )
    def test_destinations(self, photos, tmp_path, monkeypatch, out, expressions, expected):
        monkeypatch.chdir(tmp_path)
        Path("there").mkdir()
        plan = plan_picture(photos / "a.jpg", out, expressions)
        assert [task.destination.as_posix() for task in plan.tasks] == expected

    def test_name_without_an_ending_is_refused(self, photos, tmp_path):
        with pytest.raises(PlanError, match="does not end like a picture"):
            plan_picture(photos / "a.jpg", f"{tmp_path}/new", ["happy"])

    def test_several_expressions_need_several_names(self, photos, tmp_path):
        with pytest.raises(PlanError, match=r"\{expr\}"):
            plan_picture(photos / "a.jpg", f"{tmp_path}/x.jpg", ["happy", "sad"])

    def test_original_is_refused_through_a_link_too(self, photos, tmp_path):
        (tmp_path / "link").symlink_to(photos)
        with pytest.raises(PlanError, match="is an original"):
            plan_picture(
                photos / "a.jpg", f"{tmp_path}/link/a.jpg", ["happy"], existing="overwrite"
            )

    def test_missing_picture(self, tmp_path):
        with pytest.raises(SarganError, match=r"none\.jpg: cannot be opened: No such file"):
            plan_picture(tmp_path / "none.jpg", f"{tmp_path}/out.jpg", ["happy"])

    def test_braces_in_the_picture_s_name_are_kept(self, tmp_path):
        (tmp_path / "{expr}.jpg").touch()
        plan = plan_picture(tmp_path / "{expr}.jpg", f"{tmp_path}/out/", ["happy", "sad"])
        assert plan.tasks[0].destination.name == "{expr}_happy.jpg"


def test_label_of_a_mix_is_a_file_name():
    assert expression_label("surprised:2,happy:1") == "surprised0.67-happy0.33"
