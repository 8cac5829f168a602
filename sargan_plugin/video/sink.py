"""Writing a video file: encoded frames, copied streams, and everything that describes them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import reason, refusal
from sargan_plugin.video.codecs import (
    ChosenEncoder,
    Encoding,
    choose_encoder,
    configure,
    container_of,
)
from sargan_plugin.video.copied import CopiedStreams
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.matroska import write_pixel_aspect
from sargan_plugin.video.palette import in_a_palette
from sargan_plugin.video.planes import as_rgb, at_the_same_time
from sargan_plugin.video.source import VideoFile, VideoFormat

MOV_FAMILY = ("mp4", "mov")
MATROSKA = ("matroska", "webm")
LIMITED_RANGE, BT709 = 1, 1  # FFmpeg's numbers
SEEN_OF_A_FRAME = 0.25  # by so much of its duration a frame must be moved to be told of
IMPOSSIBLY_EARLY = 3600  # seconds that a packet may be decoded before it is shown
# Metadata that says how a container was written; the new one writes its own.
CONTAINERS_OWN = ("major_brand", "minor_version", "compatible_brands", "encoder")


class FileSink:
    """A video file in the making, under a temporary name.

    Args:
        temporary: the name to write under.
        destination: what it will be called; its ending decides the container.
        frames: what will be written.
        source: the file whose other streams, metadata and chapters are taken over, if any.
        encoding: how to encode.
        unstorable: see :class:`CopiedStreams`.

    Attributes:
        encoder: what was chosen.
        notes: what the one who asked should know, a line each.

    Raises:
        SarganError: the container or an encoder cannot hold what it should; from
            :meth:`write` and :meth:`close` when writing fails, on a full disk for example.
    """

    def __init__(
        self,
        temporary: Path,
        destination: Path,
        frames: VideoFormat,
        source: VideoFile | None,
        encoding: Encoding,
        unstorable: str = "refuse",
    ) -> None:
        self.temporary, self.destination = temporary, destination
        if encoding.pixels:
            frames = _with_pixels(frames, encoding.pixels)
        self.frames, self.source = frames, source
        self.aspect_said = False
        self._last_tick, self._moved = -1, False
        name = container_of(destination)
        metadata = dict(source.container.metadata) if source else {}
        for key in CONTAINERS_OWN:
            metadata.pop(key, None)
        with self._told():
            self.result = av.open(
                f"file:{temporary}", "w", format=name, options=_muxing(name, metadata, frames.plays)
            )
        self.copied: CopiedStreams | None = None
        try:
            with self._told():
                self._prepare(name, metadata, encoding, unstorable)
        except BaseException:
            self.abandon()
            raise

    def _prepare(
        self, name: str, metadata: dict[str, str], encoding: Encoding, unstorable: str
    ) -> None:
        storable = self.result.supported_codecs
        self.encoder = choose_encoder(self.destination, name, storable, self.frames, encoding)
        self.result.metadata.update(metadata)
        if self.source is None:
            self._add_video(name, None)
        else:
            self._add_streams(name, unstorable)
        self.result.start_encoding()  # what the container refuses is refused before any work

    def _add_streams(self, name: str, unstorable: str) -> None:
        if chapters := self.source.container.chapters():
            self.result.set_chapters(chapters)
        self.copied = CopiedStreams(
            self.destination, self.source.container, self.result, unstorable
        )
        for stream in self.source.container.streams:
            if stream.index == self.source.stream.index:
                self._add_video(name, stream)
            else:
                self.copied.add(stream)

    def _add_video(self, name: str, stream: av.VideoStream | None) -> None:
        frames = self.frames
        if name == "avi":
            frames = _at_a_rate(frames)
        self.video = self.result.add_stream(self.encoder.name, rate=frames.rate)
        configure(self.video.codec_context, frames, self.encoder.pixels, self.encoder.options)
        self.video.time_base = frames.time_base
        if name == "avi":
            self.video.codec_context.max_b_frames = 0
        if self.encoder.codec == "hevc" and name in MOV_FAMILY:
            self.video.codec_context.codec_tag = "hvc1"  # Apple's players insist on it
        if frames.display.rotation:
            self.video.set_display_matrix(frames.display.rotation)
        if stream is not None:
            self.video.metadata.update(stream.metadata)
            self.video.disposition = stream.disposition

    @property
    def notes(self) -> list[str]:
        """What was decided on the way and may surprise, a line each."""
        told = [f"{text}; {self.encoder.codec} is used" for text in self.encoder.passed_over]
        if self._aspect_is_lost:
            told.append(
                f"that pixels are not square ({self.frames.aspect}) cannot be said in "
                f"{self.result.format.name} with {self.encoder.codec}; in mp4 it can"
            )
        if any(self.frames.mastering) and self.encoder.name != "libx265":
            told.append(
                "the HDR metadata of the mastering display cannot be written with "
                f"{self.encoder.codec}; hevc holds it"
            )
        few_play = self.encoder.name in ("libx264rgb", "ffv1")
        if few_play and self.result.format.name.startswith(MOV_FAMILY):
            told.append(
                f"{self.encoder.codec} in {self.encoder.pixels} keeps all colours of the source; "
                "browsers and phones do not show it, but they do with --pixel-format yuv420p"
            )
        if self._moved:
            told.append("AVI holds a rate and no times; frames that came unevenly are shown at it")
        if self.encoder.codec == "gif" and self.frames.bits > 8:
            told.append(f"GIF holds 8 bits of a colour, the source has {self.frames.bits}")
        if self.copied:
            told += self.copied.notes
            if self.copied.lost:
                told.append(f"{self.copied.lost} packets of other streams could not be stored")
        return told

    @property
    def _aspect_is_lost(self) -> bool:
        """Whether neither the container nor the codec holds the shape of pixels."""
        square = self.frames.aspect in (None, 1)
        in_codec = self.encoder.codec in ("h264", "hevc")
        in_container = self.aspect_said or self.result.format.name in MOV_FAMILY
        return not (square or in_codec or in_container)

    def write(self, frame: Frame) -> None:
        """Encode one frame."""
        with self._told():
            picture = _as_fed(self._converted(frame.video), frame.colours, self.encoder)
            picture.pict_type = 0  # the source's choice of key frames is not ours
            if self.result.format.name == "avi":
                self._set_on_a_tick(picture)
            self._mux(self.video.encode(picture))

    def _set_on_a_tick(self, picture: av.VideoFrame) -> None:
        """AVI has no times, only a rate: a frame is shown at one of its ticks, each at its own."""
        exact = picture.pts * picture.time_base * self.frames.rate
        tick = max(round(exact), self._last_tick + 1)
        self._moved |= abs(tick - exact) > SEEN_OF_A_FRAME
        self._last_tick = picture.pts = tick
        picture.time_base = 1 / self.frames.rate

    def _converted(self, video: av.VideoFrame) -> av.VideoFrame:
        """The frame in the pixel format that was asked for, if one was."""
        wanted = self.frames
        if video.format.name == wanted.pixels:
            return video
        colour_range, _, _, matrix = wanted.colour
        made = video.reformat(
            format=wanted.pixels, dst_colorspace=matrix, dst_color_range=colour_range
        )
        made.color_range, made.colorspace = colour_range, matrix
        return at_the_same_time(made, video)

    def copy(self, packet: av.Packet) -> None:
        """Pass on a packet of another stream of the source."""
        with self._told():
            self.copied.write(packet)

    def close(self) -> None:
        """Write what is still held back, and the index."""
        with self._told():
            self._mux(self.video.encode(None))
            if self.copied:
                self.copied.finish()
            self.result.close()
            if self._aspect_is_lost and self.result.format.name in MATROSKA:
                before = list(self.result.streams)[: self.video.index]
                number = 1 + sum(stream.type != "attachment" for stream in before)
                self.aspect_said = write_pixel_aspect(self.temporary, number, self.frames.aspect)

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            # Of one or two frames x265 gives whatever was in memory as the time of decoding.
            early = 0 if packet.dts is None else (packet.pts - packet.dts) * packet.time_base
            if not 0 <= early < IMPOSSIBLY_EARLY:
                packet.dts = packet.pts
            self.result.mux_one(packet)

    def abandon(self) -> None:
        """Close what cannot be completed."""
        with contextlib.suppress(Exception):
            self.result.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong in here is one line that names the destination."""
        try:
            yield
        except SarganError:
            raise
        except (OSError, ValueError, av.FFmpegError) as error:
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
            told = reason(error) if isinstance(error, OSError) else _error_text(error)
            why = "the disk is full" if full else f"cannot be written: {told}"
            raise refusal(self.destination, why) from error


def _error_text(error: Exception) -> str:
    """What FFmpeg says is wrong, without file names."""
    log = getattr(error, "log", None)
    return log[2].strip() if log else reason(error)


def _muxing(name: str, metadata: dict[str, str], plays: int) -> dict[str, str]:
    """Options of the container."""
    if name in MOV_FAMILY:
        # Players look for titles in the usual place; only keys such as
        # com.apple.quicktime.make need the other one.
        keyed = any("." in key for key in metadata)
        return {"movflags": "+faststart" + ("+use_metadata_tags" if keyed else "")}
    if name == "gif":  # counts repetitions; -1 is none
        return {"loop": str(plays - 1 or -1) if plays else "0"}
    return {"loop": str(plays)} if name == "webp" else {}


def _at_a_rate(frames: VideoFormat) -> VideoFormat:
    return replace(frames, time_base=1 / frames.rate)


def _with_pixels(frames: VideoFormat, pixels: str) -> VideoFormat:
    """The same frames in another pixel format; RGB becomes YUV as players take it for granted."""
    colour = frames.colour
    if av.VideoFormat(frames.pixels).is_rgb:
        colour = (LIMITED_RANGE, *colour[1:3], BT709)
    return replace(frames, pixels=pixels, colour=colour)


def _as_fed(
    video: av.VideoFrame, colours: np.ndarray | None, encoder: ChosenEncoder
) -> av.VideoFrame:
    """The frame in the encoder's own format, when that only arranges the same samples anew."""
    if video.format.name == encoder.pixels:
        return video
    if encoder.pixels != "pal8":
        return at_the_same_time(video.reformat(format=encoder.pixels), video)
    if not video.format.is_rgb:
        video = at_the_same_time(as_rgb(video, "gbrp"), video)
    return at_the_same_time(in_a_palette(video, colours), video)
