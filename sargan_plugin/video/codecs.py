"""Containers by the ending of a name, and encoders with settings near the source."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av

from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import reason, refusal
from sargan_plugin.video.planes import planar_format
from sargan_plugin.video.source import VideoFormat

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".gif": "gif",
    ".webp": "webp",
}
# Encoders in order of preference, with what they are told. Fast presets: at a fixed quality they
# cost file size, and the encoder shares the machine with the editing.
ENCODERS: dict[str, tuple[tuple[str, dict[str, str]], ...]] = {
    "h264": (
        ("libx264", {"crf": "17", "preset": "veryfast"}),
        ("libx264rgb", {"crf": "17", "preset": "veryfast"}),
    ),
    "hevc": (("libx265", {"crf": "19", "preset": "veryfast", "x265-params": "log-level=error"}),),
    "vp9": (
        (
            "libvpx-vp9",
            {"crf": "22", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
        ),
    ),
    "av1": (
        ("libsvtav1", {"crf": "22", "preset": "9"}),
        ("libaom-av1", {"crf": "22", "b": "0", "cpu-used": "6", "row-mt": "1"}),
    ),
    "ffv1": (("ffv1", {"level": "3", "slicecrc": "1"}),),
    "gif": (("gif", {}),),
    "webp": (("libwebp_anim", {"lossless": "1"}),),
}
# What --codec auto tries, by container; the first that can hold the frames as they are is taken.
AUTOMATIC = {
    "webm": ("vp9", "av1"),
    "gif": ("gif",),
    "webp": ("webp",),
    "avi": ("h264", "ffv1"),
}
AUTOMATIC_8_BITS = ("h264", "hevc", "vp9", "av1", "ffv1")
AUTOMATIC_DEEP = ("hevc", "vp9", "av1", "ffv1")
CODEC_NAMES = ("h264", "hevc", "vp9", "av1", "ffv1")
# Formats an encoder may take in place of another one, because they hold the same samples.
SAME_SAMPLES = {"gbrp": ("rgb24", "bgr24", "bgr0"), "gbrap": ("bgra", "rgba"), "gray": ("gray8",)}


@dataclass(frozen=True)
class Encoding:
    """How the result is encoded.

    Attributes:
        codec: ``"auto"`` or one of :data:`CODEC_NAMES`.
        crf: constant quality, lower is better; None is near the source.
        options: further options of the encoder, by FFmpeg's names.
        pixels: FFmpeg's name of the YUV pixel format to convert to, such as ``"yuv420p"``; None
            leaves the samples as they are.
    """

    codec: str = "auto"
    crf: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    pixels: str | None = None

    def __post_init__(self) -> None:
        if self.codec not in ("auto", *CODEC_NAMES):
            known = ", ".join(("auto", *CODEC_NAMES))
            raise SarganError(f"Unknown video codec {self.codec!r}; known are {known}.")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise SarganError(f"The CRF must lie between 0 and 63, not {self.crf:g}.")
        if self.pixels is not None and av.VideoFormat(planar_format(self.pixels)).is_rgb:
            raise SarganError(f"The pixel format must be YUV, such as yuv420p, not {self.pixels}.")


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that a path's ending asks for.

    Raises:
        SarganError: for an ending that names none.
    """
    name = CONTAINERS.get(path.suffix.lower())
    if name is None:
        raise refusal(path, f"does not end like a video ({', '.join(CONTAINERS)}) and is no folder")
    return name


@dataclass(frozen=True)
class ChosenEncoder:
    """An encoder that was opened on trial and takes the frames.

    Attributes:
        codec: one of :data:`ENCODERS`.
        name: FFmpeg's name of the encoder.
        pixels: the pixel format it is fed.
        options: what it is told.
        passed_over: codecs that would have come first, each with the reason why it cannot be.
    """

    codec: str
    name: str
    pixels: str
    options: dict[str, str]
    passed_over: tuple[str, ...] = ()


def choose_encoder(
    destination: Path,
    container: str,
    storable: Collection[str],
    frames: VideoFormat,
    encoding: Encoding,
) -> ChosenEncoder:
    """The first encoder that this build has, the container can hold, and that takes the frames.

    Args:
        destination: to name in errors.
        container: FFmpeg's name of it.
        storable: names of the codecs that it can hold.
        frames: what is to be encoded.
        encoding: what is wished for.

    Raises:
        SarganError: when there is none, with the reason.
    """
    if container == "gif" and frames.hdr:
        raise refusal(destination, f"GIF holds no HDR ({frames.hdr}); write .mkv or .mp4")
    reasons: dict[str, str] = {}
    for codec in _candidates(container, frames, encoding):
        for name, defaults in ENCODERS[codec]:
            options = {**defaults, **encoding.options}
            if encoding.crf is not None and "crf" in defaults:
                options["crf"] = f"{encoding.crf:g}"
            options = with_hdr(name, options, frames)
            try:
                pixels = _tried(name, storable, frames, options)
            except SarganError as error:
                if encoding.options and _takes(
                    name, storable, frames, with_hdr(name, defaults, frames)
                ):
                    raise refusal(
                        destination, f"cannot be encoded: {codec} refuses these options: {error}"
                    ) from error
                reasons.setdefault(codec, f"{codec} {error}")
                continue
            reasons.pop(codec, None)
            return ChosenEncoder(codec, name, pixels, options, tuple(reasons.values()))
    advice = "" if encoding.pixels else " (--pixel-format yuv420p is what most encoders take)"
    raise refusal(destination, "cannot be encoded: " + "; ".join(reasons.values()) + advice)


def _candidates(container: str, frames: VideoFormat, encoding: Encoding) -> Sequence[str]:
    if container in ("gif", "webp"):
        return AUTOMATIC[container]
    if encoding.codec != "auto":
        return (encoding.codec,)
    usual = AUTOMATIC_8_BITS if frames.bits == 8 else AUTOMATIC_DEEP
    wanted = AUTOMATIC.get(container, usual)
    # What came without loss leaves without loss.
    return ("ffv1", *wanted) if frames.codec == "ffv1" else wanted


def _tried(
    name: str, storable: Collection[str], frames: VideoFormat, options: dict[str, str]
) -> str:
    """The pixel format an encoder takes, after it was opened once with the real settings."""
    try:
        codec = av.Codec(name, "w")
    except ValueError:
        raise SarganError("is not in this build of FFmpeg") from None
    if codec.canonical_name not in storable:
        raise SarganError("cannot be stored in this container")
    known = [each.name for each in codec.video_formats or ()]
    same = ("pal8",) if name == "gif" else (frames.pixels, *SAME_SAMPLES.get(frames.pixels, ()))
    pixels = next((each for each in same if each in known), None)
    if pixels is None:
        raise SarganError(f"does not take {frames.pixels}")
    if name == "libsvtav1":
        # It prints its settings on stderr, whatever FFmpeg's log level is. Errors only:
        os.environ.setdefault("SVT_LOG", "1")
    context = av.CodecContext.create(name, "w")
    configure(context, frames, pixels, options)
    with av.logging.Capture() as log:
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            told = next((text.strip() for _, _, text in log), reason(error))
            raise SarganError(
                f"does not take {frames.width}x{frames.height} {pixels}: {told}"
            ) from error
    return pixels


def _takes(
    name: str, storable: Collection[str], frames: VideoFormat, options: dict[str, str]
) -> bool:
    try:
        _tried(name, storable, frames, options)
    except SarganError:
        return False
    return True


def configure(
    context: av.VideoCodecContext, frames: VideoFormat, pixels: str, options: Mapping[str, str]
) -> None:
    """Tell an encoder all that is known of the frames."""
    context.width, context.height, context.pix_fmt = frames.width, frames.height, pixels
    context.time_base, context.framerate = frames.time_base, frames.rate
    if frames.aspect:
        context.sample_aspect_ratio = frames.aspect
    (
        context.color_range,
        context.color_primaries,
        context.color_trc,
        context.colorspace,
    ) = frames.colour
    flags = av.codec.context.Flags
    context.flags |= flags.frame_duration
    if frames.interlaced:
        context.flags |= flags.interlaced_dct | flags.interlaced_me
    context.options = dict(options)


def with_hdr(name: str, options: dict[str, str], frames: VideoFormat) -> dict[str, str]:
    """The options, and HDR10's static metadata where the encoder takes it (x265 does)."""
    mastering, light = frames.mastering
    if name != "libx265" or not (mastering or light):
        return options
    parameters = [options["x265-params"]] if options.get("x265-params") else []
    if mastering:
        # AVMasteringDisplayMetadata: red, green, blue and white as x, y, then darkest, brightest.
        values = struct.unpack_from("=20i", mastering)
        units = (*(50_000,) * 8, *(10_000,) * 2)
        rx, ry, gx, gy, bx, by, wx, wy, dark, bright = (
            round(unit * above / (below or 1))
            for unit, above, below in zip(units, values[::2], values[1::2], strict=True)
        )
        primaries = f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})"
        parameters.append(f"master-display={primaries}L({bright},{dark})")
    if light:
        highest, average = struct.unpack_from("=II", light)  # AVContentLightMetadata
        parameters.append(f"max-cll={highest},{average}")
    return {**options, "x265-params": ":".join(parameters)}
