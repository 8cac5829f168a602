"""The program as a process: what it imports, its endings, its interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from cli_stage import PROGRAM
from PIL import Image

from sargan_plugin import __version__

pytest_plugins = ["cli_stage"]

WITHOUT_TORCH = """
import sys
from sargan_cli import main
assert main(sys.argv[1:]) == 0
heavy = {"torch", "numpy", "PIL", "kornia", "timm", "onnxruntime"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["edit", "--help"],
        ["edit-video", "--help"],
        ["train", "run", "--help"],
        ["--version"],
    ],
)
def test_help_answers_without_heavy_imports(arguments):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = f"sargan-cli {__version__}\n" if "--version" in arguments else "Usage: "
    assert expected in done.stdout


def test_a_story_from_photo_to_result(program, here, weights):
    found = program("detect", "me.jpg", "--json")
    assert found.code == 0 and len(found.json["faces"]) == 1
    done = program("edit", "me.jpg", "smile.jpg", "--expr", "smile", "--model", weights)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("smile.jpg: smile, 1 face changed, ")
    assert (here / "smile.jpg").read_bytes() != (here / "me.jpg").read_bytes()


def test_ctrl_c_leaves_no_half_file_and_a_second_run_goes_on(here, weights, edit):
    count = 40
    for number in range(count):
        (here / "in").mkdir(exist_ok=True)
        (here / "in" / f"{number:02}.jpg").write_bytes((here / "me.jpg").read_bytes())
    arguments = ["edit-dir", "in", "out", "--expr", "happy", "--batch-size", "1", "--workers", "1"]
    job = subprocess.Popen(
        [PROGRAM, *arguments, "--model", weights],
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background makes its children ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    out = here / "out"
    deadline = time.monotonic() + 120
    while not list(out.glob("*.jpg")) and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    _, told = job.communicate(timeout=30)
    assert job.returncode == 130, told
    assert told.splitlines() == [
        "warning: stopped; --skip-existing goes on from here",
        "error: interrupted",
    ]
    first = sorted(out.iterdir())
    assert 1 <= len(first) < count
    assert all(file.suffix == ".jpg" for file in first)
    for file in first:
        Image.open(file).load()
    again = edit(*arguments, "--skip-existing", "--json")
    assert again.code == 0
    assert again.json["skipped"] == len(first) and again.json["done"] == count - len(first)
    assert len(list(out.iterdir())) == count


def test_whoever_reads_may_leave(here):
    """As by ``| head``: no traceback, no complaint of Python's own."""
    (here / "in").mkdir()
    for number in range(40):
        (here / "in" / f"{number}.jpg").write_bytes((here / "me.jpg").read_bytes())
    command = [PROGRAM, "edit-dir", "in", "out", "--expr", "happy", "--dry-run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1
