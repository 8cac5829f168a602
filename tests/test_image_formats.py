"""Each picture format keeps what it can hold: samples, depth, inks, tables, compression."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from picture_files import (
    OLD_THUMBNAIL,
    SRGB,
    deep_png,
    edited,
    exif_block,
    refused,
    round_trip,
    smooth,
)
from PIL import Image, PngImagePlugin

from sargan_plugin.images import load_picture, save_picture


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
        forms = ["png"] if channels == 2 else ["png", "tiff"]
        if not deep and alpha is None:
            forms.append("bmp")
        if not deep and channels >= 3:
            forms.append("webp")
        destination = folder / ("b." + data.draw(st.sampled_from(forms), "form"))
        save_picture(picture, colours, destination, alpha=alpha)
        result = load_picture(destination)
        assert np.array_equal(result.pixels, colours)
        assert alpha is None or result.alpha is None or np.array_equal(result.alpha, alpha)
        assert (result.alpha is None) <= (alpha is None or bool((alpha == 255).all()))
        shutil.rmtree(folder)

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
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

    @pytest.mark.parametrize("deep", [False, True])
    def test_grey_with_alpha_keeps_its_samples(self, tmp_path: Path, deep: bool) -> None:
        samples = np.random.default_rng(3).integers(0, 256, (20, 30, 2), dtype=np.uint8)
        if deep:
            samples = samples.astype(np.uint16) * 251
            deep_png(tmp_path / "a.png", samples)
        else:
            Image.fromarray(samples).save(tmp_path / "a.png")
        source = load_picture(tmp_path / "a.png")
        save_picture(source, source.pixels, tmp_path / "b.tif")
        result = load_picture(tmp_path / "b.tif")
        grey = result.pixels.reshape(20, 30, -1)
        assert np.array_equal(grey, np.repeat(samples[..., :1], grey.shape[2], axis=2))
        assert np.array_equal(result.alpha, samples[..., 1])

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
    def test_bmp(self, tmp_path: Path, mode: str) -> None:
        path = tmp_path / "a.bmp"
        Image.fromarray(smooth()).convert(mode).save(path)
        _, wanted, _, result = round_trip(path)
        assert np.array_equal(result.pixels, wanted)

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


def deep_samples(path: Path, layout: str) -> np.ndarray:
    """16-bit samples as FFmpeg reads them, an opinion independent of Pillow and of ours."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format=layout).to_ndarray().astype(np.uint16)


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

    @pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255])])
    def test_a_palette_becomes_rgb(self, tmp_path: Path, transparency) -> None:
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

    def test_bilevel_becomes_greyscale(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(smooth()).convert("1").save(path)
        source, wanted, _, result = round_trip(path)
        assert source.pixels.shape == (90, 130)
        assert np.array_equal(result.pixels, wanted)


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
