"""Picture files: what survives a round trip, what is refused, and what never happens to a file."""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from sargan_plugin.errors import SarganError
from sargan_plugin.images import (
    EXTENSIONS,
    is_picture_path,
    load_picture,
    printable_name,
    save_picture,
)
from sargan_plugin.metadata import refresh_exif

ORIENTATION, EXIF_IFD, GPS_IFD, IFD1 = 0x0112, 0x8769, 0x8825, -1
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKER_NOTE = b"ACME\0" + bytes(range(200)) + b"the maker's own offsets"
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation=\"6\" "
    b'xmpNote:HasExtendedXMP="ABCD" dc:rights="me">'
    b"<xmp:Thumbnails><rdf:Alt>OLDFACE</rdf:Alt></xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)


def smooth(height: int = 90, width: int = 130) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = (x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height))
    return np.stack(planes, axis=-1).astype(np.uint8)


def edited(pixels: np.ndarray) -> np.ndarray:
    result = pixels.copy()
    result[10:30, 20:50] = result[10:30, 20:50] // 2 + np.iinfo(pixels.dtype).max // 5
    return result


def round_trip(path: Path, **options) -> tuple:
    """Load, edit, save beside and load again: source, edited samples, destination, result."""
    source = load_picture(path)
    wanted = edited(source.pixels)
    destination = path.with_name("edited-" + path.name)
    save_picture(source, wanted, destination, **options)
    return source, wanted, destination, load_picture(destination)


def jpeg_bytes(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


OLD_THUMBNAIL = jpeg_bytes(Image.effect_noise((96, 64), 90).convert("RGB"), quality=70)


def exif_block(orientation: int = 1, thumbnail: bytes | None = None, tail: bytes = b"") -> bytes:
    """An EXIF block with GPS, a maker note, interoperability tags and perhaps a thumbnail."""
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    exif[ORIENTATION] = orientation
    exif[EXIF_IFD] = {
        0x9003: "2024:05:06 07:08:09",
        0x927C: MAKER_NOTE,
        0xA002: 130,
        0xA003: 90,
        0xA005: {1: "R98"},
    }
    exif[GPS_IFD] = {1: "N", 2: (52.0, 31.0, 12.5), 3: "E", 4: (13.0, 24.0, 18.25)}
    block = bytearray(exif.tobytes()[6:])
    if thumbnail is None:
        return bytes(block)
    order = "<" if block[:2] == b"II" else ">"
    (count,) = struct.unpack_from(order + "H", block, 8)
    start = len(block)
    struct.pack_into(order + "I", block, 10 + 12 * count, start)
    fields = ((0x0201, start + 30), (0x0202, len(thumbnail)))
    block += struct.pack(order + "H", 2)
    block += b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in fields)
    return bytes(block + bytes(4) + thumbnail + tail)


def thumbnail_of(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        block = picture.info["exif"].removeprefix(b"Exif\0\0")
        pointers = picture.getexif().get_ifd(IFD1)
    data = block[pointers[0x0201] : pointers[0x0201] + pointers[0x0202]]
    assert data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")
    return Image.open(io.BytesIO(data))


def deep_png(path: Path, samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> None:
    """A 16-bit PNG from first principles: unfiltered rows, samples (H, W, channels)."""
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
            PngImagePlugin.putchunk(file, name, body)


def deep_samples(path: Path, layout: str) -> np.ndarray:
    """16-bit samples as FFmpeg reads them, an opinion independent of Pillow and of ours."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format=layout).to_ndarray().astype(np.uint16)


class TestJpeg:
    @pytest.mark.parametrize("subsampling", [0, 1, 2])
    @pytest.mark.parametrize("progressive", [False, True])
    def test_tables_subsampling_and_progression_are_the_sources(
        self, tmp_path: Path, subsampling: int, progressive: bool
    ) -> None:
        path = tmp_path / "a.jpg"
        options = {"subsampling": subsampling, "progressive": progressive}
        Image.fromarray(smooth()).save(path, quality=83, **options)
        _, wanted, destination, result = round_trip(path)
        with Image.open(path) as before, Image.open(destination) as after:
            assert after.quantization == before.quantization
            assert after.layer == before.layer
            assert bool(after.info.get("progressive")) is progressive
        assert np.abs(result.pixels.astype(int) - wanted).mean() < 2

    def test_tables_keep_their_numbers_when_each_component_has_its_own(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, qtables=[[2] * 64, [3] * 64, [3] * 64])
        _, _, destination, _ = round_trip(path)
        with Image.open(destination) as after:
            assert after.quantization == {0: [2] * 64, 1: [3] * 64, 2: [3] * 64}

    def test_stored_rgb_stays_stored_rgb(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, keep_rgb=True, quality=97)
        _, _, destination, result = round_trip(path)
        with Image.open(destination) as after:
            assert [component[0] for component in after.layer] == [*b"RGB"]
        assert result.source.encoder["keep_rgb"]

    def test_greyscale_stays_greyscale(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()[..., 0]).save(path, quality=71)
        source, _, destination, result = round_trip(path)
        assert source.pixels.shape == result.pixels.shape == (90, 130)
        with Image.open(path) as before, Image.open(destination) as after:
            assert after.mode == "L"
            assert after.quantization == before.quantization

    def test_fine_tables_on_noise_are_written_even_where_pillow_gives_up_progressive(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.jpg"
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, qtables=[[1] * 64], subsampling=0)
        source = load_picture(path)
        source.source.encoder["progressive"] = True
        save_picture(source, edited(source.pixels), tmp_path / "b.jpg")
        assert load_picture(tmp_path / "b.jpg").source.encoder["qtables"] == [[1] * 64]

    def test_quality_replaces_the_tables_and_keeps_the_subsampling(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, quality=40, subsampling=1)
        _, _, _, result = round_trip(path, quality=90)
        assert result.source.encoder["subsampling"] == 1
        assert sum(result.source.encoder["qtables"][0]) < sum(
            load_picture(path).source.encoder["qtables"][0]
        )

    def test_mpo_is_read_as_its_first_picture_and_written_as_a_plain_jpeg(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.jpg"
        second = Image.new("RGB", (130, 90), "red")
        block = b"Exif\0\0" + exif_block(thumbnail=OLD_THUMBNAIL)
        Image.fromarray(smooth()).save(
            path, "MPO", save_all=True, append_images=[second], exif=block
        )
        source, _, destination, _ = round_trip(path)
        assert source.format == "JPEG"
        data = destination.read_bytes()
        assert b"MPF\0" not in data
        assert data.count(b"\xff\xd8\xff") == 2  # the picture and its thumbnail
        with Image.open(destination) as after:
            assert after.format == "JPEG"

        save_picture(source, source.pixels, tmp_path / "copy.jpg")
        assert (tmp_path / "copy.jpg").read_bytes() == path.read_bytes()

    def test_iptc_and_comment_survive_but_the_photoshop_thumbnail_does_not(
        self, tmp_path: Path
    ) -> None:
        def resource(number: int, data: bytes) -> bytes:
            return (
                b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + b"\0" * (len(data) % 2)
            )

        caption = resource(0x0404, b"\x1c\x02\x78\0\x05smile")
        body = b"Photoshop 3.0\0" + resource(0x040C, b"OLDFACE") + caption
        segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
        path = tmp_path / "a.jpg"
        Image.fromarray(smooth()).save(path, extra=segment, comment=b"hello")
        _, _, destination, _ = round_trip(path)
        with Image.open(destination) as after:
            assert after.info["photoshop"] == {0x0404: b"\x1c\x02\x78\0\x05smile"}
            assert after.info["comment"] == b"hello"
        assert b"OLDFACE" not in destination.read_bytes()


class TestCmyk:
    @staticmethod
    def plane() -> np.ndarray:
        black = np.full((90, 130, 1), 60, np.uint8)
        return np.concatenate([smooth() // 2, black], axis=-1)

    def test_unedited_pixels_keep_their_inks_and_edited_ones_their_black(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.tif"
        Image.frombytes("CMYK", (130, 90), self.plane().tobytes()).save(path, icc_profile=SRGB)
        source = load_picture(path)
        darker = source.pixels.copy()
        darker[10:30, 20:50] -= 20
        save_picture(source, darker, tmp_path / "b.tif")
        with Image.open(tmp_path / "b.tif") as after:
            inks = np.asarray(after)
            assert after.mode == "CMYK"
            assert after.info["icc_profile"] == SRGB
        same = (darker == source.pixels).all(-1)
        assert np.array_equal(inks[same], self.plane()[same])
        assert (inks[..., 3] == 60).all()
        shown = load_picture(tmp_path / "b.tif").pixels.astype(int)
        assert np.abs(shown - darker).max() <= 1

    def test_more_light_than_the_black_allows_lowers_the_black(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        Image.new("CMYK", (8, 8), (0, 0, 0, 200)).save(path)
        source = load_picture(path)
        save_picture(source, np.full_like(source.pixels, 240), tmp_path / "b.tif")
        assert np.abs(load_picture(tmp_path / "b.tif").pixels.astype(int) - 240).max() <= 1

    def test_jpeg_stays_cmyk_with_its_tables(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        picture = Image.frombytes("CMYK", (130, 90), self.plane().tobytes())
        picture.save(path, quality=90, icc_profile=SRGB)
        _, wanted, destination, result = round_trip(path)
        with Image.open(path) as before, Image.open(destination) as after:
            assert after.mode == "CMYK"
            assert after.quantization == before.quantization
            assert after.info["icc_profile"] == SRGB
        assert np.abs(result.pixels.astype(int) - wanted).mean() < 2

    def test_a_format_without_cmyk_gets_colours_and_no_ink_profile(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        picture = Image.frombytes("CMYK", (130, 90), self.plane().tobytes())
        picture.save(path, icc_profile=b"not a profile at all")
        source = load_picture(path)
        save_picture(source, source.pixels, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as after:
            assert after.mode == "RGB"
            assert "icc_profile" not in after.info
            assert np.array_equal(np.asarray(after), source.pixels)


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


class TestLosslessFormats:
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_any_samples_come_back_exactly(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        folder = tmp_path_factory.mktemp("law")
        deep = data.draw(st.booleans(), "16 bit")
        dtype = np.uint16 if deep else np.uint8
        channels = data.draw(st.sampled_from([1, 2, 3, 4]), "channels")
        size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)), "size")
        before, after = (
            data.draw(npst.arrays(dtype, (*size, channels)), name) for name in ("before", "after")
        )
        path = folder / "a.png"
        if deep:
            deep_png(path, before)
        else:
            Image.fromarray(before.squeeze(-1) if channels == 1 else before).save(path)
        picture = load_picture(path)
        colours, alpha = (after[..., :-1], after[..., -1]) if channels in (2, 4) else (after, None)
        colours = colours.reshape(picture.pixels.shape)
        forms = ["png"] if channels == 2 else ["png", "tiff"] if deep else ["png", "tiff", "bmp"]
        if not deep and channels >= 3:
            forms.append("webp")
        destination = folder / ("b." + data.draw(st.sampled_from(forms), "form"))
        save_picture(picture, colours, destination, alpha=alpha)
        result = load_picture(destination)
        assert np.array_equal(result.pixels, colours)
        assert alpha is None or result.alpha is None or np.array_equal(result.alpha, alpha)
        assert (result.alpha is None) <= (alpha is None or bool((alpha == 255).all()))
        shutil.rmtree(folder)

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
    def test_tiff_compression_survives(self, tmp_path: Path, compression: str, mode: str) -> None:
        path = tmp_path / "a.tif"
        picture = Image.fromarray(smooth(300, 500)).convert(mode)
        picture.save(path, compression=compression)
        _, wanted, destination, result = round_trip(path)
        with Image.open(destination) as after:  # read by libtiff, not by our own tables
            assert after.info["compression"] == compression
            assert after.mode == mode
            assert np.array_equal(np.asarray(after.convert("RGB" if mode != "L" else "L")), wanted)
        assert np.array_equal(result.pixels, wanted)

    @pytest.mark.parametrize(("form", "deep"), [("tif", False), ("tif", True), ("bmp", False)])
    def test_grey_with_alpha_keeps_its_samples(self, tmp_path: Path, form: str, deep: bool) -> None:
        samples = np.random.default_rng(3).integers(0, 256, (20, 30, 2), dtype=np.uint8)
        if deep:
            samples = samples.astype(np.uint16) * 251
            deep_png(tmp_path / "a.png", samples)
        else:
            Image.fromarray(samples).save(tmp_path / "a.png")
        source = load_picture(tmp_path / "a.png")
        save_picture(source, source.pixels, tmp_path / f"b.{form}")
        result = load_picture(tmp_path / f"b.{form}")
        grey = result.pixels.reshape(20, 30, -1)
        assert np.array_equal(grey, np.repeat(samples[..., :1], grey.shape[2], axis=2))
        assert np.array_equal(result.alpha, samples[..., 1])

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
    def test_bmp(self, tmp_path: Path, mode: str) -> None:
        path = tmp_path / "a.bmp"
        Image.fromarray(smooth()).convert(mode).save(path)
        _, wanted, _, result = round_trip(path)
        assert np.array_equal(result.pixels, wanted)

    def test_bmp_alpha_survives_and_other_readers_see_it(self, tmp_path: Path) -> None:
        picture = Image.fromarray(smooth())
        picture.putalpha(Image.fromarray(smooth()[..., 1]))
        picture.save(tmp_path / "a.png")
        source = load_picture(tmp_path / "a.png")
        save_picture(source, source.pixels, tmp_path / "a.bmp")
        _, wanted, destination, _ = round_trip(tmp_path / "a.bmp")
        with Image.open(destination) as after:
            assert after.mode == "RGBA"
            assert np.array_equal(np.asarray(after)[..., :3], wanted)
            assert np.array_equal(np.asarray(after)[..., 3], source.alpha)

    def test_lossless_webp_stays_lossless_with_colours_under_clear_pixels(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.webp"
        picture = Image.fromarray(smooth())
        picture.putalpha(Image.fromarray((smooth()[..., 0] // 128 * 255).astype(np.uint8)))
        picture.save(path, lossless=True, exact=True)
        source, wanted, _, result = round_trip(path)
        assert np.array_equal(result.pixels, wanted)
        assert np.array_equal(result.alpha, source.alpha)

    def test_lossy_webp_stays_lossy(self, tmp_path: Path) -> None:
        path = tmp_path / "a.webp"
        Image.fromarray(smooth()).save(path, quality=80)
        _, _, _, result = round_trip(path)
        assert result.source.encoder == {"lossless": False}


class TestSixteenBits:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_png_keeps_its_depth(self, tmp_path: Path, channels: int) -> None:
        rng = np.random.default_rng(channels)
        samples = rng.integers(0, 65536, (300, 40, channels), dtype=np.uint16)
        path = tmp_path / "a.png"
        deep_png(path, samples, (b"tEXt", b"Author\0Ada"), (b"gAMA", struct.pack(">I", 45455)))
        source, wanted, destination, result = round_trip(path)
        assert source.pixels.dtype == np.uint16
        assert np.array_equal(source.pixels.reshape(300, 40, -1)[..., 0], samples[..., 0])
        assert np.array_equal(result.pixels, wanted)
        assert destination.read_bytes()[24:26] == path.read_bytes()[24:26]  # depth, colour type
        with Image.open(destination) as after:
            assert after.text["Author"] == "Ada"
            assert after.info["gamma"] == pytest.approx(0.45455)
        if channels in (2, 4):
            assert np.array_equal(source.alpha, samples[..., -1])
            assert np.array_equal(result.alpha, samples[..., -1])
        if channels in (1, 3):
            layout = {1: "gray16be", 3: "rgb48be"}[channels]
            assert np.array_equal(deep_samples(destination, layout), wanted)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_transparent_colour_is_compared_at_full_depth(
        self, tmp_path: Path, channels: int
    ) -> None:
        samples = np.full((4, 4, channels), 0x1234, np.uint16)
        samples[0, 0] = 0x1235
        deep_png(tmp_path / "a.png", samples, (b"tRNS", b"\x12\x34" * channels))
        source, _, _, result = round_trip(tmp_path / "a.png")
        assert source.alpha[0, 0] == 65535 and not source.alpha.ravel()[1:].any()
        assert np.array_equal(result.alpha, source.alpha)

    @pytest.mark.parametrize("order", ["II", "MM"])
    @pytest.mark.parametrize("alpha", [False, True])
    def test_tiff_keeps_its_depth(self, tmp_path: Path, order: str, alpha: bool) -> None:
        rng = np.random.default_rng(1)
        samples = rng.integers(0, 65536, (50, 40, 3 + alpha), dtype=np.uint16)
        deep_png(tmp_path / "a.png", samples)
        png = load_picture(tmp_path / "a.png")
        path = tmp_path / "a.tif"
        save_picture(png, png.pixels, path)
        assert np.array_equal(deep_samples(path, "rgb48le"), samples[..., :3])
        if order == "MM":
            path.write_bytes(big_endian_tiff(samples))
        source, wanted, _, result = round_trip(path)
        assert np.array_equal(source.pixels, samples[..., :3])
        assert np.array_equal(result.pixels, wanted)
        assert not alpha or np.array_equal(result.alpha, samples[..., 3])
        assert result.source.encoder == source.source.encoder

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
    def test_grey_tiff_keeps_its_depth(self, tmp_path: Path, compression: str) -> None:
        path = tmp_path / "a.tif"
        samples = np.random.default_rng(2).integers(0, 65536, (50, 40), dtype=np.uint16)
        Image.fromarray(samples).save(path, compression=compression)
        source, wanted, _, result = round_trip(path)
        assert np.array_equal(source.pixels, samples)
        assert np.array_equal(result.pixels, wanted)
        assert result.source.encoder == {"compression": compression}

    def test_other_sample_kinds_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        Image.new("F", (8, 8), 0.5).save(path)
        refused(lambda: load_picture(path), path, "32-bit")
        Image.new("LAB", (8, 8)).save(path)
        refused(lambda: load_picture(path), path, "LAB")

    def test_a_format_of_8_bits_rounds(self, tmp_path: Path) -> None:
        deep_png(tmp_path / "a.png", np.full((16, 16, 3), 0x80FF, np.uint16))
        source = load_picture(tmp_path / "a.png")
        save_picture(source, source.pixels, tmp_path / "a.bmp")
        assert (load_picture(tmp_path / "a.bmp").pixels == round(0x80FF / 257)).all()


def big_endian_tiff(samples: np.ndarray) -> bytes:
    height, width, channels = samples.shape
    data = samples.astype(">u2").tobytes()
    at = 8 + len(data)
    fields = [(256, 3, 1, width << 16), (257, 3, 1, height << 16), (262, 3, 1, 2 << 16)]
    fields += [(273, 4, 1, 8), (277, 3, 1, channels << 16), (279, 4, 1, len(data))]
    fields += [(338, 3, 1, 2 << 16)] if channels == 4 else []
    bits = at + 2 + 12 * (len(fields) + 1) + 4
    fields.append((258, 3, channels, bits))
    body = b"".join(struct.pack(">HHII", *entry) for entry in sorted(fields))
    directory = struct.pack(">H", len(fields)) + body + bytes(4)
    return b"MM\0*" + struct.pack(">I", at) + data + directory + b"\0\x10" * channels


class TestSmallPngForms:
    def test_palette_stays_while_no_colour_is_new(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(smooth()).quantize(40).save(path, transparency=bytes([0, 128]))
        source = load_picture(path)
        swapped = source.pixels.copy()
        opaque = source.alpha == 255
        ys, xs = np.nonzero(opaque)
        swapped[ys[0], xs[0]] = swapped[ys[-1], xs[-1]]
        save_picture(source, swapped, tmp_path / "b.png")
        with Image.open(tmp_path / "b.png") as after:
            assert after.mode == "P"
            rgba = np.asarray(after.convert("RGBA"))
        assert np.array_equal(rgba[..., :3], swapped)
        assert np.array_equal(rgba[..., 3], source.alpha)

    @pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255])])
    def test_new_colours_turn_a_palette_into_rgb(self, tmp_path: Path, transparency) -> None:
        path = tmp_path / "a.png"
        options = {} if transparency is None else {"transparency": transparency}
        Image.fromarray(smooth()).quantize(40).save(path, **options)
        source, wanted, destination, result = round_trip(path)
        with Image.open(path) as before:
            rgba = np.asarray(before.convert("RGBA"))
        assert np.array_equal(source.pixels, rgba[..., :3])
        assert transparency is None or np.array_equal(source.alpha, rgba[..., 3])
        with Image.open(destination) as after:
            assert after.mode == ("RGB" if transparency is None else "RGBA")
        assert np.array_equal(result.pixels, wanted)
        assert transparency is None or np.array_equal(result.alpha, source.alpha)

    def test_bilevel_stays_while_it_is_black_and_white(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(smooth()).convert("1").save(path)
        source = load_picture(path)
        assert source.pixels.shape == (90, 130)
        save_picture(source, 255 - source.pixels, tmp_path / "b.png")
        with Image.open(tmp_path / "b.png") as after:
            assert after.mode == "1"
            assert np.array_equal(np.asarray(after.convert("L")), 255 - source.pixels)
        _, wanted, _, result = round_trip(path)
        assert np.array_equal(result.pixels, wanted)

    @pytest.mark.parametrize("bits", [2, 4, 8])
    def test_a_transparent_grey_of_few_bits_is_found(self, tmp_path: Path, bits: int) -> None:
        path = tmp_path / "a.png"
        levels = np.arange(2**bits, dtype=np.uint8).reshape(1, -1)
        packed = np.packbits(np.unpackbits(levels.T, axis=1)[:, -bits:].ravel())
        header = struct.pack(">IIBBBBB", levels.size, 1, bits, 0, 0, 0, 0)
        with path.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for name, body in (
                (b"IHDR", header),
                (b"tRNS", b"\0\x02"),
                (b"IDAT", zlib.compress(b"\0" + packed.tobytes())),
                (b"IEND", b""),
            ):
                PngImagePlugin.putchunk(file, name, body)
        alpha = load_picture(path).alpha
        assert alpha[0, 2] == 0 and np.count_nonzero(alpha == 0) == 1


def refused(action, path: Path | str, *words: str) -> str:
    """The action raises one printable line that names the file and holds the words."""
    with pytest.raises(SarganError) as caught:
        action()
    message = str(caught.value)
    message.encode("utf-8")
    assert "\n" not in message and "\r" not in message
    assert message.startswith(printable_name(path) + ": ")
    for word in words:
        assert word in message
    return message


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

    @pytest.mark.parametrize("opacity", [254, 255])
    def test_jpeg_refuses_transparency_but_not_full_opacity(
        self, tmp_path: Path, opacity: int
    ) -> None:
        path, target = tmp_path / "a.png", tmp_path / "a.jpg"
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


def test_a_photo_of_several_strips_survives(tmp_path: Path) -> None:
    """Rows are copied some 2**16 pixels at a time; the seams must not show."""
    path = tmp_path / "a.png"
    Image.fromarray(smooth(700, 900)).save(path)
    source = load_picture(path)
    assert np.array_equal(source.pixels, smooth(700, 900))
    for form in ("png", "tif", "bmp", "webp"):
        wanted = source.pixels.copy()
        wanted[600:, 5] = 9
        save_picture(source, wanted, tmp_path / f"b.{form}")
        assert np.array_equal(load_picture(tmp_path / f"b.{form}").pixels, wanted)
