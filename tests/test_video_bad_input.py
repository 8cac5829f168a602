"""Videos that are damaged, are none, or cannot be written: one clear line each."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from picture_files import refused
from PIL import Image
from video_files import frames_of, packets_of, panned, times_of, write_clip

from sargan_plugin import FaceDetector
from sargan_plugin.errors import SarganError
from sargan_plugin.video import codecs
from sargan_plugin.video.codecs import Encoding
from sargan_plugin.video.places import Target, check_destination, open_source
from sargan_plugin.video.source import VideoFile

pytest_plugins = ["video_files"]


def opened(path: Path) -> None:
    with open_source(path, 25):
        pass


def test_no_such_file(tmp_path):
    refused(lambda: opened(tmp_path / "no.mp4"), tmp_path / "no.mp4", "cannot be opened")


def test_what_is_no_video(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    refused(lambda: opened(path), path, "no video that can be read")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    refused(lambda: opened(path), path, "no video that can be read")


def test_sound_alone(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as result:
        stream = result.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48000, 0
        result.mux(stream.encode(frame))
        result.mux(stream.encode(None))
    refused(lambda: opened(path), path, "has no video stream")


def test_a_recording_that_was_cut_off(tmp_path):
    """Without its index (the moov box at the end) an mp4 cannot be read."""
    path = write_clip(tmp_path / "in.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    refused(lambda: opened(path), path, "cut off before its index was written")


def test_no_frames(tmp_path):
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as result:
        stream = result.add_stream("ffv1", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        result.start_encoding()
    refused(lambda: opened(path), path, "holds no frame that can be decoded")


def test_a_picture_is_no_video(here_picture):
    refused(lambda: opened(here_picture), here_picture, "is one picture; use edit")


@pytest.fixture
def here_picture(tmp_path):
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_a_folder_without_pictures(tmp_path):
    refused(lambda: opened(tmp_path), tmp_path, "holds no picture")


def test_damaged_packets_are_counted_and_time_goes_on(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mkv", pictures=panned(30), options={"g": "6"}, sound=1.2)
    with av.open(str(source)) as container:
        places = [
            (packet.pos, packet.size)
            for packet in container.demux(video=0)
            if packet.size and not packet.is_keyframe
        ]
    content = bytearray(source.read_bytes())
    for position, size in places[9:12]:
        start = position + size // 3
        content[start : start + size // 2] = b"\xff" * (size // 2)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(content)
    report = video_editor().run(broken, tmp_path / "out.mkv")
    assert report.damaged > 0
    assert any("damaged" in note for note in report.notes)
    whole, kept = times_of(source), times_of(tmp_path / "out.mkv")
    assert len(kept) >= 20 and set(kept) <= set(whole)
    assert kept[-1] == whole[-1]
    assert packets_of(tmp_path / "out.mkv", "audio") == packets_of(broken, "audio")


def test_a_size_that_changes_on_the_way(tmp_path, video_editor, monkeypatch):
    source = write_clip(tmp_path / "in.mkv", pictures=panned(5), codec="ffv1")
    frames = VideoFile._with

    def changing(self, first):
        for index, frame in enumerate(frames(self, first)):
            yield frame.reformat(width=80, height=80) if index == 3 else frame

    monkeypatch.setattr(VideoFile, "_with", changing)
    refused(
        lambda: video_editor().run(source, tmp_path / "out.mkv"),
        source,
        "change from 160x160 yuv420p to 80x80",
        "frame 3",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("name", ["out", "out.txt", "out.mp3"])
def test_a_path_without_a_videos_ending(tmp_path, name):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    refused(
        lambda: check_destination(source, tmp_path / name, False),
        tmp_path / name,
        "does not end like a video",
    )


def test_a_source_without_an_ending_is_read(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2)).rename(tmp_path / "clip")
    assert video_editor().run(source, tmp_path / "out.mp4").frames == 2


def test_the_original_is_never_overwritten(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    refused(lambda: check_destination(source, source, True), source, "is the original")
    (tmp_path / "link.mp4").symlink_to(source)
    with pytest.raises(SarganError, match="is the original"):
        check_destination(source, tmp_path / "link.mp4", True)


def test_what_is_there_is_not_overwritten_unasked(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    (tmp_path / "out.mp4").write_text("precious")
    refused(
        lambda: check_destination(source, tmp_path / "out.mp4", False),
        tmp_path / "out.mp4",
        "is there already",
    )


def test_an_encoder_that_is_missing(tmp_path, video_editor, monkeypatch):
    monkeypatch.setitem(codecs.ENCODERS, "av1", (("libnosuchthing", {}),))
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    refused(
        lambda: video_editor(encoding=Encoding("av1")).run(source, tmp_path / "out.mp4"),
        tmp_path / "out.mp4",
        "av1 is not in this build of FFmpeg",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_codec_that_the_container_cannot_hold(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    refused(
        lambda: video_editor(encoding=Encoding("h264")).run(source, tmp_path / "out.webm"),
        tmp_path / "out.webm",
        "h264 cannot be stored in this container",
    )


def test_an_option_the_encoder_does_not_take(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    encoding = Encoding("h264", options={"preset": "no-such-preset"})
    refused(
        lambda: video_editor(encoding=encoding).run(source, tmp_path / "out.mp4"),
        tmp_path / "out.mp4",
        "cannot be encoded",
    )


COPY_ONTO_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from sargan_plugin.video.codecs import Encoding
from sargan_plugin.video.places import open_sink, open_source, output
source, out = map(Path, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with open_source(source, 25) as opened, output(source, out, False) as target:
        sink = open_sink(target, opened.format, opened, Encoding(), "refuse")
        for frame in opened.frames():
            sink.write(frame)
        sink.close()
        target.finish()
except Exception as error:
    print(error)
"""


def test_a_full_disk(tmp_path):
    """A limit on the size of files stands for the end of the disk: writes fail the same way.

    In a process of its own, because the limit must not hit the other tests.
    """
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    source = write_clip(tmp_path / "in.mkv", pictures=list(noise))
    command = [sys.executable, "-c", COPY_ONTO_A_SMALL_DISK, source, tmp_path / "out.mkv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'out.mkv'}: the disk is full\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_a_disk_that_fills_up_while_editing_stops_the_work(tmp_path, video_editor, monkeypatch):
    from sargan_plugin.video import sink

    written = 0

    def fails(self, frame):
        nonlocal written
        written += 1
        if written > 3:
            with self._told():
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sink.FileSink, "write", fails)
    source = write_clip(tmp_path / "in.mp4", pictures=panned(40, 64, 64))
    refused(
        lambda: video_editor().run(source, tmp_path / "out.mp4"),
        tmp_path / "out.mp4",
        "the disk is full",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_destination_that_cannot_be_made(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(2))
    (tmp_path / "file").write_text("")
    refused(
        lambda: video_editor().run(source, tmp_path / "file" / "out.mp4"),
        tmp_path / "file",
        "cannot be made",
    )


def test_no_face_can_be_an_error(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=[np.zeros((64, 64, 3), np.uint8)] * 2)
    editor = video_editor(editor={"on_no_face": "error"})
    refused(lambda: editor.run(source, tmp_path / "out.mp4"), source, "no face was found")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    editor = video_editor(editor={"on_no_face": "warn"})
    assert any("no face" in note for note in editor.run(source, tmp_path / "out.mp4").notes)
    for old, new in zip(frames_of(source), frames_of(tmp_path / "out.mp4"), strict=True):
        assert new.pts == old.pts


def test_a_partial_file_does_not_replace_an_earlier_one(tmp_path):
    names = []
    for text in ("first", "second"):
        target = Target(tmp_path / "out.mp4", pictures=False)
        target.temporary.write_text(text)
        names.append(target.finish(partial=True).name)
    assert names == ["out.partial.mp4", "out.partial2.mp4"]
    assert [(tmp_path / name).read_text() for name in names] == ["first", "second"]


def test_whatever_fails_on_the_way_ends_the_run_and_leaves_nothing(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(40))

    def failing(frame, total):
        raise ZeroDivisionError("in a callback")

    with pytest.raises(ZeroDivisionError, match="in a callback"):
        video_editor().run(source, tmp_path / "out.mp4", progress=failing)
    assert [each.name for each in tmp_path.iterdir()] == ["in.mp4"]


def test_a_detector_that_cannot_be_read_ends_the_run(tmp_path, video_editor):
    (tmp_path / "broken.onnx").write_text("junk")
    detector = FaceDetector(tmp_path / "broken.onnx", device="cpu")
    video = video_editor(editor={"detector": detector})
    source = write_clip(tmp_path / "in.mp4")
    with pytest.raises(SarganError, match=r"broken\.onnx"):
        video.run(source, tmp_path / "out.mp4")
    assert not list(tmp_path.glob(".sargan*"))


def test_a_file_that_was_cut_off_behind_its_index_says_how_much_is_missing(tmp_path, video_editor):
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w", options={"movflags": "+faststart"}) as result:
        stream = result.add_stream("libx264", rate=25, options={"g": "1", "bf": "0"})
        stream.width = stream.height = 160
        for picture in panned(20):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            result.mux(stream.encode(frame))
        result.mux(stream.encode(None))
    content = whole.read_bytes()
    source = tmp_path / "in.mp4"
    source.write_bytes(content[: len(content) // 2])
    report = video_editor().run(source, tmp_path / "out.mp4")
    assert 0 < report.frames < 20
    told = f"only {report.frames} of the 20 frames that its index names could be read"
    assert told in report.notes
    preview = list(video_editor().preview(source, 4))
    assert len(preview) == 4
    assert max(frame.index for frame, _ in preview) < report.frames


def test_deep_colour_is_not_crushed_into_pictures(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", pixels="yuv420p10le")
    target = tmp_path / "out" / "%03d.png"
    refused(lambda: video_editor().run(source, target), target, "would lose the 10 bits")
    report = video_editor().run(source, tmp_path / "out.gif")
    assert "GIF holds 8 bits of a colour, the source has 10" in report.notes
    hdr = write_clip(tmp_path / "hdr.mkv", codec="ffv1", pixels="yuv420p10le", colour=(1, 9, 16, 9))
    with pytest.raises(SarganError, match="GIF holds no HDR"):
        video_editor().run(hdr, tmp_path / "hdr.gif")


def test_an_option_is_to_blame_and_not_the_codec(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4")
    video = video_editor(encoding=Encoding(options={"crf": "abc"}))
    target = tmp_path / "out.mp4"
    refused(lambda: video.run(source, target), target, "h264 refuses these options")


@pytest.mark.parametrize("name", ["smile [final].mp4", "100%dpc.mov", "what?.mkv"])
def test_signs_of_a_pattern_in_the_name_of_a_video(name, tmp_path, video_editor):
    source = write_clip(tmp_path / ("in " + name))
    report = video_editor().run(source, tmp_path / name)
    assert report.destination == tmp_path / name
    assert len(frames_of(tmp_path / name)) == report.frames == 12


def test_a_partial_sequence_in_the_working_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = Target(Path("%05d.png"), pictures=True)
    target.temporary.mkdir()
    (target.temporary / "00001.png").touch()
    assert target.finish(partial=True) == Path("pictures.partial")
    assert (tmp_path / "pictures.partial" / "00001.png").exists()


@pytest.mark.parametrize("rate", [0, 1e-4, 1e300, float("nan")])
def test_impossible_rates(rate, video_editor):
    with pytest.raises(SarganError, match="frame rate must lie between"):
        video_editor(rate=rate)


def pictures_in(folder: Path) -> Path:
    """A folder with three pictures of one face."""
    folder.mkdir()
    for number, picture in enumerate(panned(3)):
        Image.fromarray(picture).save(folder / f"{number:05d}.png")
    return folder


def test_signs_of_a_pattern_in_the_name_of_a_folder(tmp_path, video_editor):
    source = pictures_in(tmp_path / "frames [4k]")
    before = [file.read_bytes() for file in sorted(source.iterdir())]
    onto_themselves = source / "%05d.png"
    run = video_editor().run
    refused(lambda: run(source, onto_themselves, overwrite=True), onto_themselves, "the original")
    assert [file.read_bytes() for file in sorted(source.iterdir())] == before
    (tmp_path / "out [1]").mkdir()
    run(source, tmp_path / "out [1]")
    assert len(list((tmp_path / "out [1]").iterdir())) == 3
    run(source, tmp_path / "%05d.png", overwrite=True)  # beside the folder is not in it
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_a_folder_that_is_there_may_be_another_disk(tmp_path, video_editor, monkeypatch):
    """Nothing can be renamed from one disk to another."""
    source = pictures_in(tmp_path / "in")
    (tmp_path / "out").mkdir()
    rename = Path.replace

    def on_one_disk(path, target):
        if (path.is_relative_to(tmp_path / "out")) != Path(target).is_relative_to(tmp_path / "out"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", on_one_disk)
    video_editor().run(source, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]


def test_a_place_that_cannot_be_written_to(tmp_path, video_editor, monkeypatch):
    source, target = pictures_in(tmp_path / "in"), tmp_path / "out"
    rename = Path.replace

    def locked(path, name):
        if name == target:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, name)

    monkeypatch.setattr(Path, "replace", locked)
    refused(lambda: video_editor().run(source, target), target, "cannot be written")
    assert list(tmp_path.iterdir()) == [source]


def test_what_pictures_hold_and_a_video_does_not(tmp_path, video_editor):
    source = pictures_in(tmp_path / "in")
    clear = Image.open(source / "00001.png")
    clear.putalpha(100)
    clear.save(source / "00001.png")
    lost = "the pictures' opacity is left out"
    assert lost in video_editor().run(source, tmp_path / "out.mkv").notes
    assert lost in video_editor(beside=True).run(source, tmp_path / "both").notes
    assert lost not in video_editor().run(source, tmp_path / "out").notes
    deep = tmp_path / "deep"
    deep.mkdir()
    Image.fromarray(np.full((160, 160), 40_000, np.uint16)).save(deep / "1.png")
    crushed = "pictures side by side have 8 bits of a colour"
    assert crushed in video_editor(beside=True).run(deep, tmp_path / "deep both").notes
    assert crushed not in video_editor().run(deep, tmp_path / "deep out").notes
    assert Image.open(tmp_path / "out" / "00001.png").mode == "RGBA"


def test_uneven_times_in_a_container_without_times(tmp_path, video_editor):
    """Two frames within one tick, and a gap."""
    source = write_clip(tmp_path / "in.mkv", times=[0, 5, 80, *range(200, 560, 40)])
    report = video_editor().run(source, tmp_path / "out.avi")
    assert any(note.startswith("AVI holds a rate") for note in report.notes)
    assert len(frames_of(tmp_path / "out.avi")) == 12
    even = write_clip(tmp_path / "even.mp4")
    assert not video_editor().run(even, tmp_path / "even.avi").notes
