"""Audio, subtitles and whatever else a file holds beside its video: copied packet by packet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from sargan_plugin.errors import SarganError
from sargan_plugin.image_errors import refusal

# What to do with a stream that the container of the result cannot hold.
UNSTORABLE = ("refuse", "reencode", "drop")
# What mov_text has between two texts; the muxer writes its own.
NO_TEXT = b"\0\0"
MILLISECOND = Fraction(1, 1000)  # of texts in all these containers
AUDIO_CODECS = {"webm": "libopus", "mp4": "aac", "mov": "aac", "matroska": "aac", "avi": "mp3"}
SUBTITLE_CODECS = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "matroska": "srt"}


class CopiedStreams:
    """The streams of a result beside its video.

    Args:
        destination: to name in errors.
        source: the container to copy from.
        result: the container to write to.
        unstorable: one of :data:`UNSTORABLE`.

    Attributes:
        notes: what was re-encoded or left out, a line each.
        lost: packets that the container refused.
    """

    def __init__(
        self,
        destination: Path,
        source: av.container.InputContainer,
        result: av.container.OutputContainer,
        unstorable: str,
    ) -> None:
        if unstorable not in UNSTORABLE:
            raise SarganError(
                f"unstorable must be one of {', '.join(UNSTORABLE)}, not {unstorable!r}."
            )
        self.destination, self.source, self.result = destination, source, result
        self.unstorable, self.notes, self.lost = unstorable, [], 0
        self._copies: dict[int, av.stream.Stream] = {}
        self._encoders: dict[int, _Reencoded] = {}

    def add(self, stream: av.stream.Stream) -> None:
        """Make room for one stream of the source.

        Raises:
            SarganError: when the container cannot hold it and nothing else is wished for.
        """
        if stream.type == "attachment":
            self._attach(stream)
            return
        if stream.type not in ("video", "audio", "subtitle"):
            # QuickTime's chapters are a track of their titles; they are written anew.
            if not stream.frames == len(self.source.chapters()) > 0:
                self.notes.append(f"stream {stream.index} ({stream.type}) is left out")
            return
        try:
            copy = self.result.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.FFmpegError) as error:
            self._make_do(stream, error)
            return
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        self._copies[stream.index] = copy

    def write(self, packet: av.Packet) -> None:
        """Pass on a packet of one of the streams."""
        index = packet.stream.index
        if index in self._copies:
            copy = self._copies[index]
            if copy.codec_context.name == "mov_text" and bytes(packet) == NO_TEXT:
                return
            packet.stream = copy
            self._mux([packet])
        elif index in self._encoders:
            self._mux(self._encoders[index].packets(packet))

    def finish(self) -> None:
        """Write what the encoders still hold back."""
        for encoder in self._encoders.values():
            self._mux(encoder.last_packets())

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            try:
                self.result.mux_one(packet)
            except av.error.ArgumentError:  # times that run backwards, as in damaged files
                self.lost += 1

    def _make_do(self, stream: av.stream.Stream, error: Exception) -> None:
        container = self.result.format.name
        name = getattr(stream.codec_context, "name", None) or "unknown codec"
        what = f"stream {stream.index} ({stream.type}, {name})"
        if self.unstorable == "refuse":
            raise refusal(
                self.destination,
                f"{container} cannot hold {what} of the source; choose another container (mkv "
                "holds nearly all), or re-encode or drop it (--unstorable)",
            ) from error
        if self.unstorable == "reencode":
            with contextlib.suppress(ValueError, av.FFmpegError):
                self._encoders[stream.index] = encoder = _reencoded(stream, self.result)
                self.notes.append(f"{what} is re-encoded as {encoder.name}")
                return
        self.notes.append(f"{what} is left out, {container} cannot hold it")

    def _attach(self, stream: av.stream.Stream) -> None:
        try:
            self.result.add_attachment(
                stream.metadata.get("filename", f"attachment-{stream.index}"),
                stream.mimetype or "application/octet-stream",
                stream.data,
            )
        except (ValueError, av.FFmpegError) as error:
            self._make_do(stream, error)


class _Reencoded:
    """One stream that goes through a decoder and an encoder."""

    def __init__(self, stream: av.stream.Stream, encoder: av.stream.Stream) -> None:
        self.stream, self.encoder, self.name = stream, encoder, encoder.codec_context.name
        encoder.metadata.update(stream.metadata)
        encoder.disposition = stream.disposition

    def packets(self, packet: av.Packet) -> Iterable[av.Packet]:
        raise NotImplementedError

    def last_packets(self) -> Iterable[av.Packet]:
        return ()


class _Audio(_Reencoded):
    def packets(self, packet: av.Packet) -> Iterable[av.Packet]:
        with contextlib.suppress(av.error.InvalidDataError):  # silence, where it was damaged
            for frame in packet.decode():
                yield from self.encoder.encode(frame)

    def last_packets(self) -> Iterable[av.Packet]:
        for frame in self.stream.codec_context.decode(None):
            yield from self.encoder.encode(frame)
        yield from self.encoder.encode(None)


class _Subtitles(_Reencoded):
    def packets(self, packet: av.Packet) -> Iterable[av.Packet]:
        subtitles = self.stream.codec_context.decode2(packet)
        if subtitles is None or not len(subtitles):
            return
        written = self.encoder.codec_context.encode_subtitle(subtitles)
        written.pts = written.dts = packet.pts
        written.duration, written.time_base = packet.duration, packet.time_base
        written.stream = self.encoder
        yield written


def _reencoded(stream: av.stream.Stream, result: av.container.OutputContainer) -> _Reencoded:
    """Raises ValueError when there is no encoder for such a stream in such a container."""
    container = result.format.name
    context = stream.codec_context
    if stream.type == "audio":
        name = AUDIO_CODECS.get(container, result.default_audio_codec)
        rate = 48000 if name == "libopus" else context.sample_rate
        encoder = result.add_stream(name, rate=rate)
        encoder.codec_context.layout = context.layout
        return _Audio(stream, encoder)
    if stream.type == "subtitle" and container in SUBTITLE_CODECS:
        encoder = result.add_stream(SUBTITLE_CODECS[container])
        encoder.codec_context.time_base = MILLISECOND
        context.open(strict=False)  # only then a decoder says how its texts are styled
        encoder.codec_context.subtitle_header = context.subtitle_header
        return _Subtitles(stream, encoder)
    raise ValueError(f"no encoder for {stream.type} in {container}")
