"""What stays beside the pixels: EXIF, XMP, profiles, text; and orientation, which does not."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import (
    EXIF_IFD,
    GPS_IFD,
    IFD1,
    MAKER_NOTE,
    OLD_THUMBNAIL,
    ORIENTATION,
    SRGB,
    XMP,
    edited,
    exif_block,
    round_trip,
    smooth,
)
from PIL import Image, ImageOps, PngImagePlugin

from sargan_plugin.exif import refresh_exif
from sargan_plugin.images import load_picture, save_picture


def thumbnail_of(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        block = picture.info["exif"].removeprefix(b"Exif\0\0")
        pointers = picture.getexif().get_ifd(IFD1)
    data = block[pointers[0x0201] : pointers[0x0201] + pointers[0x0202]]
    assert data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")
    return Image.open(io.BytesIO(data))


class TestMetadata:
    @pytest.mark.parametrize("format", ["jpg", "png", "webp"])
    @pytest.mark.parametrize("tail", [b"", b"tags behind the thumbnail"])
    def test_exif_keeps_its_tags_and_shows_the_new_face(
        self, tmp_path: Path, format: str, tail: bytes
    ) -> None:
        path = tmp_path / f"a.{format}"
        block = exif_block(6, OLD_THUMBNAIL, tail)
        Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + block)
        _, wanted, destination, result = round_trip(path)
        with Image.open(destination) as after:
            exif = after.getexif()
            details, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
            new_block = after.info["exif"].removeprefix(b"Exif\0\0")
            assert exif[0x010F] == "Acme"
            assert exif[ORIENTATION] == 1
            assert details[0x9003] == "2024:05:06 07:08:09"
            assert details[0x927C] == MAKER_NOTE
            assert (details[0xA002], details[0xA003]) == (90, 130)
            assert exif.get_ifd(0xA005) == {1: "R98"}
            assert gps[1] == "N" and [float(v) for v in gps[4]] == [13.0, 24.0, 18.25]
        assert new_block.index(MAKER_NOTE) == block.index(MAKER_NOTE)
        assert OLD_THUMBNAIL[30:400] not in destination.read_bytes()
        thumbnail = thumbnail_of(destination)
        assert thumbnail.size == (83, 120)
        shown = np.asarray(Image.fromarray(wanted).resize((83, 120))).astype(int)
        assert np.abs(np.asarray(thumbnail) - shown).mean() < 12
        assert result.pixels.shape == (130, 90, 3)

    def test_the_thumbnail_does_not_accumulate(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + exif_block(1, OLD_THUMBNAIL))
        sizes = []
        for _ in range(3):
            _, _, path, result = round_trip(path)
            sizes.append(len(result.source.metadata.exif))
        assert max(sizes) - min(sizes) < 400

    def test_no_thumbnail_appears_where_none_was(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        block = exif_block(1)
        Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + block)
        _, _, _, result = round_trip(path)
        assert result.source.metadata.exif == block

    def test_a_thumbnail_too_large_for_the_jpeg_goes_before_the_tags_do(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.jpg"
        block = exif_block(1, b"", b"")
        block += bytes(65500 - len(block))
        Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + block)
        _, _, destination, result = round_trip(path)
        assert MAKER_NOTE in result.source.metadata.exif
        with Image.open(destination) as after:
            assert after.getexif().get_ifd(IFD1) == {}

    @pytest.mark.parametrize("damage", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"nonsense"])
    def test_unreadable_exif_is_no_obstacle(self, tmp_path: Path, damage: bytes) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + damage)
        _, _, _, result = round_trip(path)
        assert result.source.metadata.exif == b""

    def test_exif_that_ends_with_its_last_entry_is_kept(self) -> None:
        entry = struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0)
        block = b"II*\0" + struct.pack("<IH", 8, 1) + entry
        fresh = refresh_exif(block, turned=True, thumbnail=b"new")
        assert fresh == block.replace(entry, struct.pack("<HHIHH", ORIENTATION, 3, 1, 1, 0))

    def test_exif_that_was_cut_off_anywhere_never_stops_a_save(self) -> None:
        block = exif_block(6, OLD_THUMBNAIL[:300])
        for end in range(8, len(block)):
            refresh_exif(block[:end], turned=True, thumbnail=b"new")

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_damaged_exif_never_stops_a_save(self, data: st.DataObject) -> None:
        block = bytearray(exif_block(6, OLD_THUMBNAIL[:300]))
        for _ in range(data.draw(st.integers(1, 4))):
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
        del block[data.draw(st.integers(8, len(block))) :]
        fresh = refresh_exif(bytes(block), turned=True, thumbnail=b"new")
        assert refresh_exif(fresh, turned=False, thumbnail=b"new") is not None

    @pytest.mark.parametrize("format", ["jpg", "png", "webp", "tif"])
    def test_xmp_and_icc_survive(self, tmp_path: Path, format: str) -> None:
        path = tmp_path / f"a.{format}"
        options = {"xmp": XMP} if format in ("jpg", "webp") else {}
        if format == "png":
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
        if format == "tif":
            options["tiffinfo"] = {700: XMP}
        Image.fromarray(smooth()).save(path, icc_profile=SRGB, **options)
        _, _, destination, _ = round_trip(path)
        with Image.open(destination) as after:
            packet = after.info["xmp"]
            assert after.info["icc_profile"] == SRGB
        # Pillow takes the entry out of a TIFF's packet, which says upright as well
        assert b'tiff:Orientation="1"' in packet or b"tiff:Orientation" not in packet
        assert b'dc:rights="me"' in packet
        assert b"OLDFACE" not in packet and b"HasExtendedXMP" not in packet

    @pytest.mark.parametrize("format", ["jpg", "png", "tif", "bmp"])
    def test_resolution_survives(self, tmp_path: Path, format: str) -> None:
        path = tmp_path / f"a.{format}"
        Image.fromarray(smooth()).save(path, dpi=(300, 150))
        _, _, destination, _ = round_trip(path)
        with Image.open(destination) as after:
            assert [round(float(v)) for v in after.info["dpi"]] == [300, 150]

    def test_png_text_gamma_and_safe_private_chunks_survive(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"gAMA", struct.pack(">I", 45455))
        chunks.add_text("Author", "Ada")
        chunks.add_text("parameters", "steps: 20, " * 50, zip=True)
        chunks.add_itxt("Title", "Grüße 😀", lang="de")
        chunks.add(b"saFe", b"may be copied")
        chunks.add(b"unSA", b"speaks of the old pixels")
        Image.fromarray(smooth()).save(path, pnginfo=chunks)
        _, _, destination, _ = round_trip(path)
        with Image.open(destination) as after:
            assert after.text["Author"] == "Ada"
            assert after.text["parameters"] == "steps: 20, " * 50
            assert after.text["Title"] == "Grüße 😀" and after.text["Title"].lang == "de"
            assert after.info["gamma"] == pytest.approx(0.45455)
        data = destination.read_bytes()
        assert b"saFe" in data and b"unSA" not in data

    def test_exif_in_a_png_text_chunk_is_moved_to_its_own_chunk(self, tmp_path: Path) -> None:
        block = b"Exif\0\0" + exif_block(8, OLD_THUMBNAIL)
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", True)
        path = tmp_path / "a.png"
        Image.fromarray(smooth()).save(path, pnginfo=chunks)
        _, _, destination, result = round_trip(path)
        assert result.pixels.shape == (130, 90, 3)
        assert thumbnail_of(destination).size == (83, 120)
        assert b"Raw profile" not in destination.read_bytes()

    def test_tiff_tags_keep_their_types_and_sub_directories(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tags = Image.Exif()
        tags[0x010F], tags[315] = "Acme", "M??ller"
        tags[33550] = (1.5, 2.5, 0.0)  # a private tag of doubles
        tags[EXIF_IFD] = {0x9003: "2024:05:06 07:08:09", 0x927C: MAKER_NOTE}
        tags[GPS_IFD] = {1: "N", 2: (52.0, 31.0, 12.5)}
        Image.fromarray(smooth()).save(path, exif=tags.tobytes())
        # Pillow would not write a name that is not ASCII
        path.write_bytes(path.read_bytes().replace(b"M??ller", "Müller".encode()))
        for form in ("tif", "jpg", "png", "webp"):
            destination = tmp_path / f"b.{form}"
            source = load_picture(path)
            save_picture(source, edited(source.pixels), destination)
            with Image.open(destination) as after:
                exif = after.getexif()
                assert exif[0x010F] == "Acme"
                assert exif[33550] == (1.5, 2.5, 0.0)
                assert exif[315].encode("latin-1") == "Müller".encode()
                assert exif.get_ifd(EXIF_IFD)[0x927C] == MAKER_NOTE
                assert [float(v) for v in exif.get_ifd(GPS_IFD)[2]] == [52.0, 31.0, 12.5]

    def test_exif_of_a_jpeg_survives_in_a_tiff(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + exif_block(6, OLD_THUMBNAIL))
        source = load_picture(path)
        save_picture(source, source.pixels, tmp_path / "a.tif")
        with Image.open(tmp_path / "a.tif") as after:
            assert after.n_frames == 1 and after.size == (90, 130)
            exif = after.getexif()
            assert exif.get(ORIENTATION, 1) == 1
            assert exif.get_ifd(EXIF_IFD)[0x927C] == MAKER_NOTE
            assert exif.get_ifd(0xA005) == {1: "R98"}
            assert exif.get_ifd(GPS_IFD)[1] == "N"


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["jpg", "png", "webp", "tif"])
    def test_pixels_are_upright_and_written_back_upright(
        self, tmp_path: Path, format: str, orientation: int
    ) -> None:
        path = tmp_path / f"a.{format}"
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        Image.fromarray(smooth(40, 60)).save(path, exif=exif, dpi=(300, 100), lossless=True)
        source, wanted, destination, result = round_trip(path)
        with Image.open(path) as picture:
            assert np.array_equal(source.pixels, ImageOps.exif_transpose(picture))
        with Image.open(destination) as after:
            assert after.getexif().get(ORIENTATION, 1) == 1
            assert after.size == wanted.shape[1::-1]
            if format != "webp":
                dpi = [round(float(v)) for v in after.info["dpi"]]
                assert dpi == ([100, 300] if orientation >= 5 else [300, 100])
        assert result.pixels.shape == wanted.shape
        if format != "jpg":
            assert np.array_equal(result.pixels, wanted)

    @pytest.mark.parametrize("orientation", [0, 9, 300])
    def test_senseless_values_mean_upright(self, tmp_path: Path, orientation: int) -> None:
        path = tmp_path / "a.jpg"
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        Image.fromarray(smooth(40, 60)).save(path, exif=exif)
        assert load_picture(path).pixels.shape == (40, 60, 3)

    def test_alpha_palette_and_inks_turn_with_the_pixels(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        colours = Image.fromarray(smooth())
        alpha = Image.fromarray(smooth()[..., 1])
        clear = colours.copy()
        clear.putalpha(alpha)
        clear.save(tmp_path / "a.png", exif=exif)
        colours.quantize(32).save(tmp_path / "p.png", exif=exif)
        colours.convert("CMYK").save(tmp_path / "c.jpg", exif=exif)
        picture = load_picture(tmp_path / "a.png")
        assert np.array_equal(picture.alpha, np.rot90(np.asarray(alpha), -1))
        for name in ("a.png", "p.png", "c.jpg"):
            source, wanted, _, result = round_trip(tmp_path / name)
            assert source.pixels.shape == wanted.shape == result.pixels.shape == (130, 90, 3)
            if name != "c.jpg":
                assert np.array_equal(result.pixels, wanted)
