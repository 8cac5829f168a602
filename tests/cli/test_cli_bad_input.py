"""Bad input: one clear line each, the right exit code, nothing written, no traceback."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

pytest_plugins = ["cli_stage"]


def claimed_png(side: int) -> bytes:
    """A PNG whose header claims ``side`` x ``side`` pixels and that holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def unreadable(path: Path) -> None:
    if os.geteuid():
        path.write_bytes(b"secret")
        path.chmod(0)
    else:  # root may read everything but this
        path.symlink_to("/proc/self/mem")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


PICTURES = {
    "missing": (lambda path: None, "cannot be opened: No such file or directory"),
    "text": (lambda path: path.write_text("hello"), "is not a JPEG, PNG, WebP, TIFF or BMP"),
    "empty": (Path.touch, "is an empty file"),
    "huge claim": (
        lambda path: path.write_bytes(claimed_png(60000)),
        "60000 x 60000 pixels is more than the limit",
    ),
    "truncated": (
        lambda path: path.write_bytes(Path("me.jpg").read_bytes()[:4000]),
        "cannot be read as JPEG",
    ),
    "unreadable": (unreadable, "cannot be"),
    "link to itself": (loop, "Too many levels of symbolic links"),
    "pipe": (lambda path: os.mkfifo(path), "is not a regular file"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_bad_picture(edit, here, kind):
    make, reason = PICTURES[kind]
    make(here / "bad\n.jpg")
    done = edit("edit", "bad\n.jpg", "out.jpg", "--expr", "happy")
    assert done.code == 1
    assert done.err.startswith("error: bad\\n.jpg: ") and reason in done.err
    assert done.err.count("\n") == 1
    assert not list(here.glob("out*"))


def test_one_pixel_is_copied(edit, here):
    Image.new("RGB", (1, 1)).save("dot.png")
    assert edit("edit", "dot.png", "out.png", "--expr", "happy").code == 0
    assert Path("out.png").read_bytes() == Path("dot.png").read_bytes()


COMMAND_LINES = {
    "unknown expression": (["--expr", "hapy"], "Unknown expression 'hapy'"),
    "no expression": ([], "Missing option '--expr'"),
    "intensity NaN": (["--expr", "sad", "--intensity", "nan"], "Intensity must lie between 0 and"),
    "intensity 9": (["--expr", "sad", "--intensity", "9"], "Intensity must lie between 0 and"),
    "intensity word": (["--expr", "sad", "--intensity", "much"], "--intensity"),
    "unknown faces": (["--expr", "sad", "--faces", "prettiest"], "Unknown face selection"),
    "unknown device": (["--expr", "sad", "--device", "toaster"], "'toaster' is not auto, cpu"),
    "unknown option": (["--expr", "sad", "--sparkle"], "--sparkle"),
    "unknown policy": (["--expr", "sad", "--profiles", "hide"], "'hide'"),
    "two on one name": (["--expr", "sad", "--expr", "happy"], "would both be written here"),
}


@pytest.mark.parametrize("kind", COMMAND_LINES)
def test_bad_command_line(edit, here, kind):
    options, reason = COMMAND_LINES[kind]
    done = edit("edit", "me.jpg", "out.jpg", *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and reason in done.err
    assert done.err.count("\n") == 1
    assert [file.name for file in here.iterdir()] == ["me.jpg"]
    as_json = edit("edit", "me.jpg", "out.jpg", *options, "--json")
    assert as_json.json["error"] == done.err.removeprefix("error: ").rstrip("\n")


def test_folder_given_to_edit_and_file_to_edit_dir(edit, here):
    done = edit("edit", ".", "out.jpg", "--expr", "sad")
    assert (done.code, done.err) == (2, "error: .: is a folder; use edit-dir.\n")
    done = edit("edit-dir", "me.jpg", "out", "--expr", "sad")
    assert (done.code, done.err) == (2, "error: me.jpg: is a file; use edit.\n")


@pytest.mark.parametrize("command", [["edit", "me.jpg", ""], ["edit-dir", "", "out"]])
def test_an_empty_argument_is_not_the_working_folder(edit, here, command):
    before = sorted(here.iterdir())
    done = edit(*command, "--expr", "sad")
    assert (done.code, done.err) == (
        2,
        "error: An argument is empty; is it a variable that is not set?\n",
    )
    assert sorted(here.iterdir()) == before


def test_missing_and_empty_folder(edit, here):
    done = edit("edit-dir", "none", "out", "--expr", "sad")
    assert (done.code, done.err) == (
        1,
        "error: none: cannot be opened: No such file or directory\n",
    )
    (here / "empty").mkdir()
    done = edit("edit-dir", "empty", "out", "--expr", "sad", "--json")
    assert done.code == 1
    assert done.json == {"error": "empty: holds no picture."}
    assert not (here / "out").exists()


def test_two_pictures_on_one_name_before_work_starts(edit, here):
    (here / "in").mkdir()
    for name in ("a.jpg", "a.bmp"):
        Image.new("RGB", (9, 9)).save(here / "in" / name)
    done = edit("edit-dir", "in", "out", "--expr", "sad", "--format", "png")
    assert done.code == 2 and "out/a.png: a.bmp (sad) and a.jpg (sad) would" in done.err
    assert not (here / "out").exists()


def test_output_that_cannot_be_written_to(edit, here, monkeypatch):
    (here / "in").mkdir()
    (here / "in" / "a.jpg").write_bytes((here / "me.jpg").read_bytes())
    (here / "locked").mkdir(mode=0o555)
    if not os.geteuid():  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda *_: False)
    done = edit("edit-dir", "in", "locked", "--expr", "sad")
    assert (done.code, done.err) == (1, "error: locked: cannot be written to\n")
    done = edit("edit-dir", "in", "me.jpg/out", "--expr", "sad")
    assert (done.code, done.err) == (1, "error: me.jpg/out: cannot be made: Not a directory\n")
    done = edit("edit", "me.jpg", "me.jpg/out.jpg", "--expr", "sad")
    assert done.code == 1 and done.err.startswith("error: me.jpg: cannot be created")


def test_picture_onto_itself(edit, here):
    before = (here / "me.jpg").read_bytes()
    done = edit("edit", "me.jpg", "./me.jpg", "--expr", "sad", "--overwrite")
    assert (done.code, done.err) == (
        2,
        "error: me.jpg: is an original, and originals are never overwritten.\n",
    )
    assert (here / "me.jpg").read_bytes() == before


def test_unknown_model(cli, here, manifest):
    done = cli("edit", "me.jpg", "out.jpg", "--expr", "sad", "--model", "random_128")
    assert done.code == 2
    assert done.err.startswith("error: No weights named 'random_128'; known are sargan_flow_128.")
    done = cli("edit", "me.jpg", "out.jpg", "--expr", "sad", "--model", "none.safetensors")
    assert (done.code, done.err) == (1, "error: none.safetensors: there is no such weights file.\n")


def test_weights_with_one_flipped_byte(cli, here, manifest):
    file = manifest / "random.safetensors"
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    done = cli("edit", "me.jpg", "out.jpg", "--expr", "sad")
    assert done.code == 1
    assert done.err.startswith(f"error: {file}: damaged or not the published file (SHA-256 ")
    assert done.err.count("\n") == 1


def test_onnx_that_is_no_detector(edit, here):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [value], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, "relu.onnx")
    done = edit("edit", "me.jpg", "out.jpg", "--expr", "sad", "--detector", "relu.onnx")
    assert done.code == 1 and done.err.startswith("error: relu.onnx is no SCRFD face detector")
    done = edit("edit", "me.jpg", "out.jpg", "--expr", "sad", "--detector", "me.jpg")
    assert done.code == 1 and done.err.startswith("error: me.jpg is no ONNX file")
    assert done.err.count("\n") == 1


def test_cuda_where_there_is_none(edit, here, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = edit("edit", "me.jpg", "out.jpg", "--expr", "sad", "--device", "cuda")
    assert done.code == 1
    assert done.err == "error: Device 'cuda' is not available on this machine; use cpu.\n"


def test_a_mistake_of_ours_is_one_line_and_a_traceback_with_debug(edit, here, monkeypatch):
    monkeypatch.setattr("sargan_cli.edit.carry_out", lambda *_, **__: 1 / 0)
    done = edit("edit", "me.jpg", "out.jpg", "--expr", "sad")
    assert done.code == 1
    assert (
        done.err == "error: unexpected ZeroDivisionError: division by zero; --debug shows where\n"
    )
    done = edit("edit", "me.jpg", "out.jpg", "--expr", "sad", "--debug")
    assert "Traceback" in done.err and done.err.endswith("ZeroDivisionError: division by zero\n")
