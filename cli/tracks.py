"""``sargan-cli tracks``: who is in a video, when, and by which number ``--track`` knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options, video_options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.progress import Progress
from sargan_cli.usage import usage

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table


@dataclass
class Appearance:
    """What is known of one track.

    Attributes:
        first: seconds of its first frame.
        last: seconds of its last frame.
        frames: number of frames in which the face is in sight.
        largest: size of the face in pixels, where it is largest.
        picture: a thumbnail from there.
    """

    first: float
    last: float
    frames: int = 0
    largest: float = 0.0
    picture: Image.Image | None = None


def tracks(
    source: video_options.Video,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="Where to write the thumbnails.",
            show_default="IN with the ending .tracks.jpg, in the working folder",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    rate: video_options.Rate = 25.0,
    detector: options.Detector = None,
    any_rotation: options.AnyRotation = False,
    detect_every: video_options.DetectEvery = 6,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """List the people in a video, with times and a sheet of thumbnails.

    --track of edit-video takes the numbers; give it the same --detect-every,
    --detector and --any-rotation, and no --no-smooth.
    """
    from sargan_cli.drawing import check_drawing, write_drawing
    from sargan_cli.video_sheet import clock, in_rows
    from sargan_plugin.images import printable_name

    path = sheet or Path(f"{source.stem or 'video'}.tracks.jpg")
    with usage():
        check_drawing(path, overwrite, source)
    output = Output(quiet)
    found = _look_through(source, rate, detector, any_rotation, detect_every, device, output)
    if not found:
        output.say(f"{printable_name(source)}: no face was found")
        return Report({"source": json_path(source), "sheet": None, "tracks": []})
    cells = [
        (f"{number}: {clock(each.first)} to {clock(each.last)}", each.picture)
        for number, each in sorted(found.items())
    ]
    write_drawing(in_rows(cells, 6), path)
    output.show(_table(found))
    output.say(f"thumbnails: {printable_name(path)}")
    described = [_described(number, each) for number, each in sorted(found.items())]
    return Report({"source": json_path(source), "sheet": json_path(path), "tracks": described})


def _look_through(
    source: Path,
    rate: float,
    detector: str | None,
    any_rotation: bool,
    detect_every: int,
    device: str,
    output: Output,
) -> dict[int, Appearance]:
    from sargan_cli.sheet import thumbnail
    from sargan_cli.video_sheet import face_part, shown
    from sargan_plugin import FaceDetector
    from sargan_plugin.compute import detector_device
    from sargan_plugin.video.places import open_source
    from sargan_plugin.video.tracker import Tracker
    from sargan_plugin.video.tracks import face_size

    finder = FaceDetector(detector, device=detector_device(device), any_rotation=any_rotation)
    found: dict[int, Appearance] = {}
    with (
        open_source(source, rate) as opened,
        Progress(
            opened.frame_count, quiet=output.quiet, things="frames", doing="looking"
        ) as progress,
    ):
        display = opened.format.display
        tracker = Tracker(finder, display, every=detect_every)
        for frame in tracker.follow(opened.frames()):
            progress.advance()
            for number, landmarks in frame.landmarks.items():
                seen = found.setdefault(number, Appearance(frame.seconds, frame.seconds))
                seen.last, seen.frames = frame.seconds, seen.frames + 1
                size = face_size(landmarks)
                if size > 1.1 * seen.largest:  # a little growth is not worth a new thumbnail
                    seen.largest = size
                    part = face_part(shown(frame, display), landmarks)
                    seen.picture = thumbnail(part)
    return found


def _table(found: dict[int, Appearance]) -> Table:
    from rich.table import Table

    from sargan_cli.video_sheet import clock

    table = Table("track", "from", "to", "frames", "largest")
    for column in table.columns:
        column.justify = "right"
    for number, each in sorted(found.items()):
        times = (clock(each.first), clock(each.last))
        table.add_row(str(number), *times, str(each.frames), f"{each.largest:.0f} px")
    return table


def _described(number: int, each: Appearance) -> dict[str, Any]:
    return {
        "track": number,
        "from": round(each.first, 3),
        "to": round(each.last, 3),
        "frames": each.frames,
        "largest": round(each.largest, 1),
    }
