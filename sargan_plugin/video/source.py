"""Reading a video file: frames in order, and the packets of all other streams as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import reason, refusal
from sargan_plugin.video.display import Display, display_of
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.palette import colours_of
from sargan_plugin.video.planes import in_planes, layout_of

logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
# A file may be damaged in many places; one that gives nothing but errors is given up.
MAX_FAILURES_IN_A_ROW = 1000
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
DISPLAY_MATRIX, MASTERING, LIGHT_LEVEL = (
    "DISPLAYMATRIX",
    "MASTERING_DISPLAY_METADATA",
    "CONTENT_LIGHT_LEVEL",
)


@dataclass(frozen=True, eq=False)
class VideoFormat:
    """What a sink must know of the frames, told from the first one.

    Attributes:
        width: of the coded frames.
        height: likewise.
        pixels: FFmpeg's name of the planar pixel format.
        rate: frames per second, on average.
        time_base: unit of the frames' ``pts``.
        aspect: width of a pixel over its height, or None.
        colour: numbers of range, primaries, transfer and matrix (FFmpeg's, as in H.273).
        display: how the frames are shown.
        interlaced: whether each frame holds two fields.
        codec: FFmpeg's name of the source's codec, or an empty string.
        mastering: static HDR metadata as FFmpeg's structures: mastering display, light level.
        plays: how often an animation is shown; 0 is for ever.
    """

    width: int
    height: int
    pixels: str
    rate: Fraction
    time_base: Fraction
    aspect: Fraction | None
    colour: tuple[int, int, int, int]
    display: Display
    interlaced: bool = False
    codec: str = ""
    mastering: tuple[bytes, bytes] = (b"", b"")
    plays: int = 0

    @property
    def bits(self) -> int:
        """Of one sample."""
        return av.VideoFormat(self.pixels).components[0].bits

    @property
    def hdr(self) -> str:
        """``"PQ"``, ``"HLG"``, or an empty string."""
        return HDR_TRANSFERS.get(self.colour[2], "")


class VideoFile:
    """A video file that is read once, from its beginning to its end. A context manager.

    Attributes:
        format: of its frames.
        container: PyAV's, for metadata and for the streams that are copied.
        stream: the video stream.
        frame_count: how many frames there will be, perhaps an estimate; None if unknown.
        declared: how many frames the index names; 0 where it names none.
        damaged: packets and frames that could not be decoded so far.
        on_packet: is given the packets of all other streams, in the order of the file.

    Raises:
        SarganError: naming the file: it cannot be opened, has no video stream or no frame, or
            holds its pixels in a way that is not supported.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.damaged = path, 0
        self.on_packet: Callable[[av.Packet], None] | None = None
        self._waiting: list[av.Packet] = []
        self._last_pts: int | None = None
        try:
            with path.open("rb"):
                pass
            self.container = av.open(f"file:{path}", metadata_errors="replace")
        except av.error.InvalidDataError as error:
            raise refusal(
                path, "is no video that can be read, or was cut off before its index was written"
            ) from error
        except av.error.EOFError as error:
            raise refusal(path, "holds no frame that can be decoded") from error
        except (OSError, ValueError, av.FFmpegError) as error:
            raise refusal(path, f"cannot be opened: {reason(error)}") from error
        try:
            self._open_stream()
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def _open_stream(self) -> None:
        streams = [s for s in self.container.streams.video if not _is_cover(s)]
        if not streams:
            raise refusal(self.path, "has no video stream")
        self.stream = streams[0]
        if self.stream.codec_context is None:
            raise refusal(self.path, "its video codec is unknown")
        context = self.stream.codec_context
        context.thread_type = "AUTO"
        context.flags |= av.codec.context.Flags.output_corrupt
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise refusal(self.path, "holds no frame that can be decoded")
        self._first = first
        self.format = self._describe(first)
        self.declared = self.stream.frames
        self.frame_count = self._count()

    def frames(self) -> Iterator[Frame]:
        """All frames, in the order in which they are shown.

        Raises:
            SarganError: when the size or the pixel format changes on the way.
        """
        begin = self._first.pts
        for packet in self._waiting:
            self._pass_on(packet)
        for index, frame in enumerate(self._with(self._first)):
            planar = in_planes(frame)
            made = (planar.width, planar.height, planar.format.name)
            if made != (self.format.width, self.format.height, self.format.pixels):
                raise refusal(
                    self.path,
                    f"its frames change from {self.format.width}x{self.format.height} "
                    f"{self.format.pixels} to {made[0]}x{made[1]} {made[2]} at frame {index}, "
                    "which is not supported",
                )
            seconds = float((frame.pts - begin) * self.format.time_base)
            colours = colours_of(planar) if self.format.codec == "gif" else None
            yield Frame(planar, index, seconds, colours=colours)

    def _with(self, first: av.VideoFrame) -> Iterator[av.VideoFrame]:
        yield first
        yield from self._decoded

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            if packet.stream.index != self.stream.index:
                self._pass_on(packet)
                continue
            try:
                decoded = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                logger.debug("%s: a packet cannot be decoded: %s", self.path, error)
                self.damaged += 1
                continue
            for frame in decoded:
                self.damaged += frame.is_corrupt
                self._put_in_time(frame)
                yield frame

    def _packets(self) -> Iterator[av.Packet]:
        failures = 0
        packets = self.container.demux()
        while failures < MAX_FAILURES_IN_A_ROW:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                logger.debug("%s: cannot be read on: %s", self.path, error)
                self.damaged += 1
                failures += 1
                packets = self.container.demux()
                continue
            failures = 0
            if packet.dts is not None or packet.size == 0 or packet.pts is not None:
                yield packet

    def _put_in_time(self, frame: av.VideoFrame) -> None:
        """Each frame has a time of its own, later than the last one's, as encoders insist."""
        if frame.pts is None:
            step = max(1, round(1 / (self._rate() * self.stream.time_base)))
            frame.pts = 0 if self._last_pts is None else self._last_pts + step
            frame.time_base = self.stream.time_base
        elif self._last_pts is not None and frame.pts <= self._last_pts:
            frame.pts = self._last_pts + 1
            self.damaged += 1
        self._last_pts = frame.pts

    def _pass_on(self, packet: av.Packet) -> None:
        if packet.size == 0:
            return
        if not hasattr(self, "_first"):
            self._waiting.append(packet)
        elif self.on_packet is not None:
            self.on_packet(packet)

    def _describe(self, first: av.VideoFrame) -> VideoFormat:
        try:
            planar = in_planes(first)
            layout_of(planar)
        except SarganError as error:
            raise refusal(self.path, str(error)) from error
        context = self.stream.codec_context
        rotation = first.side_data.get(DISPLAY_MATRIX)
        if rotation is not None:
            rotation = tuple(np.frombuffer(bytes(rotation), np.int32).tolist())
        aspect = self.stream.sample_aspect_ratio or None
        colour = (
            first.color_range,
            first.color_primaries,
            first.color_trc,
            first.colorspace,
        )
        hdr = (first.side_data.get(name) for name in (MASTERING, LIGHT_LEVEL))
        return VideoFormat(
            first.width,
            first.height,
            planar.format.name,
            self._rate(),
            self.stream.time_base,
            aspect,
            tuple(map(int, colour)),
            display_of(first.width, first.height, aspect, rotation),
            first.interlaced_frame,
            context.name,
            tuple(b"" if data is None else bytes(data) for data in hdr),
            _plays_of_gif(self.path) if context.name == "gif" else 0,
        )

    def _rate(self) -> Fraction:
        return self.stream.average_rate or self.stream.guessed_rate or DEFAULT_RATE

    def _count(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration is not None:
            return round(self.stream.duration * self.stream.time_base * self._rate())
        if self.container.duration is not None:
            return round(Fraction(self.container.duration, av.time_base) * self._rate())
        return None


def _plays_of_gif(path: Path) -> int:
    """A GIF says how often it is repeated, or nothing when it is shown once."""
    try:
        with Image.open(path) as image:
            repeated = image.info.get("loop")
    except (OSError, ValueError):
        return 0
    return 1 if repeated is None else repeated and repeated + 1


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
