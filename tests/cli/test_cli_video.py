"""``sargan-cli edit-video`` and ``tracks``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from cli_stage import PROGRAM
from video_files import frames_of, panned, times_of, write_clip

pytest_plugins = ["cli_stage"]


@pytest.fixture
def clip(here: Path) -> Path:
    """``in.mp4`` with ten frames of one face, in the folder to work in."""
    write_clip(here / "in.mp4", pictures=panned(10), sound=0.5)
    return here


@pytest.fixture
def edit_video(cli, weights):
    """Run ``edit-video`` with the random weights."""

    def run(*arguments: object):
        return cli("edit-video", *arguments, "--model", weights)

    return run


def test_a_video_with_another_expression(edit_video, clip):
    original = (clip / "in.mp4").read_bytes()
    done = edit_video("in.mp4", "out.mp4", "--expr", "happy", "--json")
    assert done.code == 0, done.err
    assert done.json["frames"] == done.json["edited_frames"] == 10
    assert done.json["tracks"] == done.json["edited_tracks"] == [0]
    assert done.json["encoder"] == "libx264" and done.json["warnings"] == []
    assert set(done.json["stage_seconds"]) >= {"read", "track", "generate", "paste", "write"}
    assert times_of(clip / "out.mp4") == times_of(clip / "in.mp4")
    assert (clip / "in.mp4").read_bytes() == original


def test_what_is_told(edit_video, clip):
    done = edit_video("in.mp4", "out.mp4", "--expr", "happy", "--start", "0.2")
    assert done.code == 0 and done.err == ""
    assert done.out.startswith("out.mp4: 4 of 10 frames changed, ")  # a ramp begins at nothing
    assert edit_video("in.mp4", "q.mp4", "--expr", "sad", "--quiet").out == ""


def test_keyframes_and_options_of_the_encoder(edit_video, clip):
    (clip / "keys.csv").write_text("0,happy,0\n0.2,happy,1\n0.36,sad,0.5\n")
    done = edit_video(
        *("in.mp4", "out.mkv", "--keyframes", "keys.csv", "--neutralise-first", "--json"),
        *("--codec", "h264", "--crf", "30", "--encoder-option", "preset=ultrafast"),
        *("--no-smooth", "--fade", "0", "--detect-every", "2"),
    )
    assert done.code == 0, done.err
    assert done.json["edited_frames"] == 9  # intensity 0 at first
    small = (clip / "out.mkv").stat().st_size
    assert edit_video("in.mp4", "big.mkv", "--expr", "happy", "--crf", "5").code == 0
    assert (clip / "big.mkv").stat().st_size > 1.5 * small


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to show"),
        (["--expr", "grumpy"], "Unknown expression 'grumpy'"),
        (["--expr", "happy", "--keyframes", "k.csv"], "contradict"),
        (["--keyframes", "k.csv", "--intensity", "0.5"], "contradict"),
        (["--keyframes", "none.csv"], "none.csv: cannot be read"),
        (["--expr", "happy", "--start", "soon"], "'soon' is no time"),
        (["--expr", "happy", "--start", "3", "--end", "2"], "A range must end after it starts"),
        (["--expr", "happy", "--codec", "mpeg7"], "mpeg7"),
        (["--expr", "happy", "--crf", "99"], "CRF"),
        (["--expr", "happy", "--pixel-format", "rgb24"], "must be YUV"),
        (["--expr", "happy", "--pixel-format", "yuv420x"], "yuv420x is not supported"),
        (["--expr", "happy", "--encoder-option", "fast"], "NAME=VALUE"),
        (["--expr", "happy", "--min-cutoff", "0"], "cutoff"),
        (["--expr", "happy", "--faces", "some"], "Unknown face selection"),
        (["--expr", "happy", "--track", "x"], "'--track'"),
        (["--expr", "happy", "--fps", "0"], "'--fps'"),
        (["--expr", "happy", "--preview", "2"], "does not end like a picture"),
    ],
)
def test_command_lines_that_cannot_be_right(edit_video, clip, arguments, message):
    done = edit_video("in.mp4", "out.mp4", *arguments)
    assert done.code == 2
    assert message in done.err and done.err.count("\n") == 1
    assert not (clip / "out.mp4").exists()


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("no.mp4", "out.mp4", "no.mp4: cannot be opened"),
        ("me.jpg", "out.mp4", "me.jpg: is one picture; use edit"),
        ("in.mp4", "out", "out: does not end like a video"),
        ("in.mp4", "in.mp4", "in.mp4: is the original"),
        ("in.mp4", "there.mp4", "there.mp4: is there already; --overwrite replaces it"),
    ],
)
def test_files_that_cannot_be_right(edit_video, clip, source, out, message):
    (clip / "there.mp4").write_text("precious")
    done = edit_video(source, out, "--expr", "happy", "--json")
    assert done.code in (1, 2) and done.json["error"].startswith(message)
    assert (clip / "there.mp4").read_text() == "precious"


def test_tracks_and_one_of_them(cli, edit_video, here):
    """Two people: the table counts them, and --track edits one."""
    two = [np.hstack([picture, picture[:, ::-1]]) for picture in panned(8)]
    write_clip(here / "two.mp4", pictures=two)
    done = cli("tracks", "two.mp4", "--json")
    assert done.code == 0, done.err
    assert [each["track"] for each in done.json["tracks"]] == [0, 1]
    for each in done.json["tracks"]:
        assert each["from"] == 0 and each["to"] == pytest.approx(0.28) and each["frames"] == 8
    with Image.open(done.json["sheet"]) as sheet:
        assert sheet.width > 100
    shown = cli("tracks", "two.mp4", "--overwrite")
    assert "track" in shown.out and "0:00.28" in shown.out and "two.tracks.jpg" in shown.out
    assert cli("tracks", "two.mp4").code == 2  # the sheet is there
    done = edit_video("two.mp4", "out.mkv", "--expr", "happy", "--track", "1", "--json")
    assert done.json["edited_tracks"] == [1]
    before, after = frames_of(here / "two.mp4")[4], frames_of(here / "out.mkv")[4]
    change = np.abs(before.to_ndarray(format="gray").astype(int) - after.to_ndarray(format="gray"))
    assert change[:, 160:].max() > 3 * max(change[:, :150].max(), 4)


def test_preview_and_comparison(edit_video, clip):
    done = edit_video("in.mp4", "sheet.png", "--expr", "happy", "--preview", "3", "--json")
    assert done.code == 0, done.err
    assert done.json["times"] == pytest.approx([0.04, 0.2, 0.32], abs=0.001)
    with Image.open(clip / "sheet.png") as plain:
        assert plain.width > 2 * 160
    assert edit_video("in.mp4", "c.png", "--expr", "sad", "--preview", "2", "--compare").code == 0
    assert edit_video("in.mp4", "both.mp4", "--expr", "sad", "--compare").code == 0
    assert frames_of(clip / "both.mp4")[0].width == 320


def test_a_range_beyond_the_end_is_told(edit_video, clip):
    done = edit_video("in.mp4", "out.mkv", "--expr", "happy", "--start", "99", "--json")
    assert done.code == 0 and done.json["edited_frames"] == 0
    assert "between the given times" in done.json["warnings"][0]
    assert "between the given times" in done.err


def test_a_preview_never_replaces_an_original(edit_video, here):
    pictures = here / "frames"
    pictures.mkdir()
    for number, picture in enumerate(panned(3)):
        Image.fromarray(picture).save(pictures / f"{number:02d}.png")
    Image.fromarray(panned(1)[0]).save(here / "one.webp")
    for source, out in [
        ("frames", "frames/01.png"),
        ("frames/%02d.png", "frames/01.png"),
        ("one.webp", "one.webp"),
    ]:
        before = (here / out).read_bytes()
        done = edit_video(source, out, "--expr", "happy", "--preview", "2", "--overwrite")
        assert done.code == 2 and "is the original" in done.err
        assert (here / out).read_bytes() == before


def test_ctrl_c_leaves_a_partial_file_that_can_be_played(here, weights):
    write_clip(here / "in.mp4", pictures=panned(20) * 30, sound=20.0)
    command = [PROGRAM, "edit-video", "in.mp4", "out.mp4", "--expr", "happy", "--model", weights]
    command += ["--crf", "1", "--json"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A shell that runs the tests in the background makes its children ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    begun = time.monotonic()
    # Large frames, so that some have left FFmpeg's buffers soon.
    while not any(path.stat().st_size > 40_000 for path in here.glob(".sargan-*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - begun < 120
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out) == {"error": "interrupted"}
    assert "out.partial.mp4" in err.decode()
    partial = times_of(here / "out.partial.mp4")
    assert 0 < len(partial) < 600
    assert partial == times_of(here / "in.mp4")[: len(partial)]
    assert sorted(path.name for path in here.iterdir()) == ["in.mp4", "me.jpg", "out.partial.mp4"]
