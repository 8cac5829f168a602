"""Picture files in and out: what is refused, and what never happens to a file."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import OLD_THUMBNAIL, edited, exif_block, refused, round_trip, smooth
from PIL import Image

from sargan_plugin.errors import SarganError
from sargan_plugin.images import (
    EXTENSIONS,
    is_picture_path,
    load_picture,
    picture_size,
    printable_name,
    save_picture,
)


class TestBadInput:
    def test_missing(self, tmp_path: Path) -> None:
        refused(lambda: load_picture(tmp_path / "no.jpg"), tmp_path / "no.jpg", "No such file")

    def test_folder_and_pipe(self, tmp_path: Path) -> None:
        refused(lambda: load_picture(tmp_path), tmp_path, "is a folder")
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.jpg")
            refused(lambda: load_picture(tmp_path / "pipe.jpg"), tmp_path / "pipe.jpg", "regular")

    def test_null_byte_in_the_name(self) -> None:
        refused(lambda: load_picture("a\0.jpg"), "a\0.jpg")

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(b"secret")

        def forbidden(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "open", forbidden)
        refused(lambda: load_picture(path), path, "Permission denied")

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            (b"", "empty"),
            (b"plain text", "is not a JPEG"),
            (b"GIF89a" + bytes(40), "is not a JPEG"),
            (b"\xff\xd8\xff\xe0", "JPEG"),
            (b"\x89PNG\r\n\x1a\n", "PNG"),
            (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(30), "WEBP"),
            (b"II*\0\x08\0\0\0", "TIFF"),
            (b"BM" + bytes(30), "BMP"),
        ],
    )
    def test_not_a_picture(self, tmp_path: Path, content: bytes, word: str) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(content)
        refused(lambda: load_picture(path), path, word)

    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "z.tif", "a.bmp"])
    def test_cut_short(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
        options = {"compression": "tiff_lzw"} if name == "z.tif" else {}
        Image.fromarray(noise).save(path, **options)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        refused(lambda: load_picture(path), path)

    def test_a_raw_photo_is_not_mistaken_for_its_preview(self, tmp_path: Path) -> None:
        path = tmp_path / "a.dng"
        Image.fromarray(smooth()).save(path, "TIFF")
        refused(lambda: load_picture(path), path, "is not a JPEG")

    def test_one_pixel(self, tmp_path: Path) -> None:
        for form in ("jpg", "png", "webp", "tif", "bmp"):
            path = tmp_path / f"a.{form}"
            block = b"Exif\0\0" + exif_block(6, OLD_THUMBNAIL)
            Image.new("RGB", (1, 1), "red").save(path, **({} if form == "bmp" else {"exif": block}))
            source = load_picture(path)
            assert source.pixels.shape == (1, 1, 3)
            save_picture(source, source.pixels // 2, tmp_path / f"b.{form}")
            assert load_picture(tmp_path / f"b.{form}").pixels.shape == (1, 1, 3)

    @pytest.mark.parametrize("form", ["png", "bmp", "jpg", "tif"])
    def test_60000_by_60000_is_refused_from_the_header(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / f"a.{form}"
        Image.new("RGB", (16, 16)).save(path)
        data = bytearray(path.read_bytes())
        if form == "png":
            data[16:24] = struct.pack(">II", 60000, 60000)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        elif form == "bmp":
            data[18:26] = struct.pack("<II", 60000, 60000)
        elif form == "jpg":
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
        else:
            for tag in (256, 257):
                at = data.index(struct.pack("<HHI", tag, 4, 1))
                data[at + 8 : at + 12] = struct.pack("<I", 60000)
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            refused(lambda: load_picture(path), path, "60000 x 60000", "250 megapixels")

    @pytest.mark.parametrize("kind", ["VP8 ", "VP8L", "VP8X"])
    def test_a_large_webp_is_refused_before_its_canvas_exists(
        self, tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / "a.webp"
        picture = Image.new("RGBA" if kind == "VP8X" else "RGB", (300, 200), (9, 9, 9, 99)[:4])
        picture.save(path, lossless=kind == "VP8L")
        assert path.read_bytes()[12:16] == kind.encode()
        assert load_picture(path, max_pixels=60_000).pixels.shape == (200, 300, 3)
        refused(lambda: load_picture(path, max_pixels=59_999), path, "300 x 200")

    def test_pillows_own_limit_is_neither_used_nor_changed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
        paths = [tmp_path / f"a.{form}" for form in ("jpg", "png", "tif", "bmp")]
        for path in paths:
            Image.fromarray(smooth(700, 1000)).save(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with ThreadPoolExecutor(4) as pool:
                pictures = list(pool.map(load_picture, paths))
            for path, picture in zip(paths, pictures, strict=True):
                assert picture.pixels.shape == (700, 1000, 3)
                save_picture(picture, edited(picture.pixels), tmp_path / f"b{path.suffix}")
                refused(lambda path=path: load_picture(path, max_pixels=699_999), path)
        assert Image.MAX_IMAGE_PIXELS == 200_000

    @pytest.mark.parametrize("form", ["png", "webp", "tiff"])
    def test_several_frames_are_refused(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / f"a.{form}"
        frames = [Image.new("RGB", (20, 20), (i * 40, 0, 0)) for i in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        refused(lambda: load_picture(path), path, "single pictures")

    def test_gif_is_no_format_of_ours(self) -> None:
        assert ".gif" not in EXTENSIONS
        assert not is_picture_path("a.gif")
        assert is_picture_path("dir.x/A.JPeG") and not is_picture_path("jpg")

    def test_an_extra_tiff_channel_is_refused_and_not_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        Image.new("RGBX", (8, 8)).save(path)
        refused(lambda: load_picture(path), path, "extra channel")


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "with space.png",
            "line\nbreak\r.png",
            "smile 😀👨‍👩‍👧.png",
            os.fsdecode(b"latin-\xe9\xff.png"),
            "\x1b[31mred.png",
            "right-to-left \u202e.png",
            "x" * 251 + ".png",
        ],
    )
    def test_odd_names_work_and_print_on_one_line(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "in" / name
        path.parent.mkdir()
        Image.fromarray(smooth()).save(path, "PNG")
        (tmp_path / "out").mkdir()
        picture = load_picture(path)
        save_picture(picture, edited(picture.pixels), tmp_path / "out" / name)
        assert load_picture(tmp_path / "out" / name).format == "PNG"
        path.write_bytes(b"")
        refused(lambda: load_picture(path), path, "empty")

    @given(st.text(st.characters(), max_size=30))
    def test_any_name_prints(self, name: str) -> None:
        text = printable_name(name)
        text.encode("utf-8")
        assert len(text.splitlines()) <= 1

    def test_readable_names_stay_as_they_are(self) -> None:
        assert printable_name(Path("Fotos/Grüße 😀.jpg")) == str(Path("Fotos/Grüße 😀.jpg"))
        assert printable_name(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + exif_block(6, OLD_THUMBNAIL))
    return path


class TestSaving:
    def test_an_unedited_picture_is_copied_byte_for_byte(self, tmp_path: Path, photo: Path) -> None:
        picture = load_picture(photo)
        for pixels in (picture.pixels, picture.pixels.copy()):
            save_picture(picture, pixels, tmp_path / "copy.jpg", quality=10)
            assert (tmp_path / "copy.jpg").read_bytes() == photo.read_bytes()

    def test_pixels_cannot_be_edited_in_place_unnoticed(self, photo: Path) -> None:
        with pytest.raises(ValueError, match="read-only"):
            load_picture(photo).pixels[0] = 0

    def test_changed_alpha_is_an_edit(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.new("RGBA", (9, 9), (1, 2, 3, 200)).save(path)
        picture = load_picture(path)
        alpha = np.full((9, 9), 7, np.uint8)
        save_picture(picture, picture.pixels, tmp_path / "b.png", alpha=alpha)
        assert (load_picture(tmp_path / "b.png").alpha == 7).all()

    def test_the_original_is_never_overwritten(self, tmp_path: Path, photo: Path) -> None:
        picture, before = load_picture(photo), photo.read_bytes()
        (tmp_path / "soft.jpg").symlink_to(photo)
        os.link(photo, tmp_path / "hard.jpg")
        for name in ("photo.jpg", "soft.jpg", "hard.jpg"):
            for pixels in (picture.pixels, edited(picture.pixels)):
                target = tmp_path / name
                refused(lambda t=target, p=pixels: save_picture(picture, p, t), target, "original")
        assert photo.read_bytes() == before

    def test_an_older_result_is_replaced(self, tmp_path: Path, photo: Path) -> None:
        (tmp_path / "out.jpg").write_bytes(b"old")
        picture = load_picture(photo)
        save_picture(picture, edited(picture.pixels), tmp_path / "out.jpg")
        assert load_picture(tmp_path / "out.jpg").pixels.shape == picture.pixels.shape
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jpg", "photo.jpg"]

    def test_result_permissions_follow_the_umask(self, tmp_path: Path, photo: Path) -> None:
        picture = load_picture(photo)
        before = os.umask(0o027)
        try:
            save_picture(picture, edited(picture.pixels), tmp_path / "out.jpg")
        finally:
            os.umask(before)
        assert (tmp_path / "out.jpg").stat().st_mode & 0o777 == 0o640

    def test_format_follows_argument_then_ending_then_source(
        self, tmp_path: Path, photo: Path
    ) -> None:
        picture = load_picture(photo)
        pixels = edited(picture.pixels)
        for name, format, wanted in (
            ("a.png", None, "PNG"),
            ("a.jpg", "webp", "WEBP"),
            ("a.out", None, "JPEG"),
            ("a.tiff", "tif", "TIFF"),
        ):
            save_picture(picture, pixels, tmp_path / name, format=format)
            with Image.open(tmp_path / name) as after:
                assert after.format == wanted

    def test_a_misnamed_picture_keeps_its_real_format(self, tmp_path: Path) -> None:
        path = tmp_path / "really-a-png.jpg"
        Image.fromarray(smooth()).save(path, "PNG")
        source, wanted, _, result = round_trip(path)
        assert result.format == source.format == "PNG"
        assert np.array_equal(result.pixels, wanted)

    def test_unknown_format_and_wrong_arrays(self, tmp_path: Path, photo: Path) -> None:
        picture = load_picture(photo)
        with pytest.raises(SarganError, match="unknown picture format; known: bmp, jpeg, png"):
            save_picture(picture, picture.pixels, tmp_path / "a.jpg", format="gif")
        with pytest.raises(ValueError, match="pixels must be uint8"):
            save_picture(picture, picture.pixels.astype(float), tmp_path / "a.jpg")
        with pytest.raises(ValueError, match="alpha must be"):
            save_picture(picture, picture.pixels, tmp_path / "a.png", alpha=np.zeros((3, 3)))

    @pytest.mark.parametrize("form", ["jpg", "bmp"])
    @pytest.mark.parametrize("opacity", [254, 255])
    def test_jpeg_and_bmp_refuse_transparency_but_not_full_opacity(
        self, tmp_path: Path, form: str, opacity: int
    ) -> None:
        path, target = tmp_path / "a.png", tmp_path / f"a.{form}"
        Image.new("RGBA", (20, 20), (1, 2, 3, opacity)).save(path)
        picture = load_picture(path)
        if opacity == 255:
            save_picture(picture, picture.pixels, target)
            assert load_picture(target).alpha is None
        else:
            refused(lambda: save_picture(picture, picture.pixels, target), target, "png or webp")

    def test_too_long_for_the_format(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.new("L", (16384, 1)).save(path)
        picture = load_picture(path)
        target = tmp_path / "a.webp"
        refused(lambda: save_picture(picture, picture.pixels, target), target, "16383")


class TestFailingDisk:
    @pytest.mark.parametrize("untouched", [False, True])
    def test_no_folder_there(self, tmp_path: Path, photo: Path, untouched: bool) -> None:
        picture = load_picture(photo)
        pixels = picture.pixels if untouched else edited(picture.pixels)
        for target, word in (
            (photo / "a.jpg", "Not a directory"),
            (tmp_path / "missing" / "a.jpg", "No such file"),
            (tmp_path, "irectory"),
        ):
            refused(lambda t=target: save_picture(picture, pixels, t), target, word)
        assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]

    @pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
    def test_read_only_folder(
        self, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        picture, target = load_picture(photo), tmp_path / "a.jpg"

        def forbidden(self: Path, *_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code), str(self))

        monkeypatch.setattr(Path, "open", forbidden)
        pixels = edited(picture.pixels)
        refused(lambda: save_picture(picture, pixels, target), target, os.strerror(code))

    def test_vanished_source_is_named(self, tmp_path: Path, photo: Path) -> None:
        picture = load_picture(photo)
        photo.unlink()
        refused(lambda: save_picture(picture, picture.pixels, tmp_path / "a.jpg"), photo)

    @pytest.mark.parametrize("form", ["jpg", "png", "webp", "tif", "bmp"])
    def test_a_disk_that_fills_up_leaves_no_half_file(self, tmp_path: Path, form: str) -> None:
        resource = pytest.importorskip("resource")
        path, target = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
        noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **({"quality": 95} if form in ("jpg", "webp") else {}))
        target.write_bytes(b"the older result")
        picture = load_picture(path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        for pixels in (edited(picture.pixels), picture.pixels):
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
            try:
                refused(lambda p=pixels: save_picture(picture, p, target), target, "too large")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, target.name]
        assert target.read_bytes() == b"the older result"

    def test_full_disk_while_copying(
        self, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: Path, temporary: Path) -> None:
            Path(temporary).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))

        monkeypatch.setattr(shutil, "copyfile", full)
        picture, target = load_picture(photo), tmp_path / "a.jpg"
        refused(lambda: save_picture(picture, picture.pixels, target), target, "No space left")
        assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]

    def test_an_interrupt_cleans_up_too(
        self, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", interrupted)
        picture = load_picture(photo)
        with pytest.raises(KeyboardInterrupt):
            save_picture(picture, edited(picture.pixels), tmp_path / "a.jpg")
        assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("format", ["jpg", "png", "webp", "tiff", "bmp"])
def test_size_is_known_before_a_picture_is_read(tmp_path, format):
    file = tmp_path / f"x.{format}"
    Image.new("RGB", (31, 17)).save(file)
    assert picture_size(file) == (31, 17)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_has_no_size(tmp_path, content):
    file = tmp_path / "x.png"
    file.write_bytes(content)
    assert picture_size(file) == picture_size(tmp_path / "missing") == (0, 0)
