"""``sargan-cli edit-video``: one video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options, video_options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.editing import EditorOptions
from sargan_cli.options import Leave, OnNoFace
from sargan_cli.progress import Progress
from sargan_cli.usage import UsageError, usage
from sargan_cli.video_options import Codec, Unstorable

if TYPE_CHECKING:
    from sargan_plugin.video.editor import VideoEditor
    from sargan_plugin.video.run import VideoReport


def edit_video(
    source: video_options.Video,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            readable=False,
            help="The file to write (.mp4 .mov .mkv .webm .avi .gif .webp), or a folder or "
            "pattern of pictures such as out/%05d.png. With --preview, a picture.",
        ),
    ],
    expression: Annotated[
        str | None,
        typer.Option(
            "--expr",
            metavar="EXPRESSION",
            help="neutral, happy, surprised, angry, sad, disgusted, fearful, or a mix such as "
            "surprised:0.7,happy:0.3.",
            show_default="none, but --keyframes can take its place",
        ),
    ] = None,
    keyframes: video_options.Keyframes = None,
    start: video_options.Start = None,
    end: video_options.End = None,
    ramp: video_options.Ramp = 0.25,
    track: video_options.TrackNumbers = None,
    preview: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Write a sheet of N edited frames, spread evenly, in place of a video.",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Show before and after side by side, in video or preview."),
    ] = False,
    overwrite: options.Overwrite = False,
    intensity: options.Intensity = 1.0,
    faces: options.Faces = "all",
    neutralise_first: options.NeutraliseFirst = False,
    calm: video_options.Calm = True,
    min_cutoff: video_options.MinCutoff = 0.05,
    beta: video_options.Beta = 3.0,
    fade: video_options.Fade = 6,
    codec: video_options.CodecName = Codec.auto,
    crf: video_options.Crf = None,
    pixel_format: video_options.PixelFormat = None,
    encoder_options: video_options.EncoderOptions = None,
    unstorable: video_options.UnstorableStreams = Unstorable.refuse,
    rate: video_options.Rate = 25.0,
    model: options.Model = None,
    detector: options.Detector = None,
    any_rotation: options.AnyRotation = False,
    detect_every: video_options.DetectEvery = 6,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    small_faces: options.SmallFaces = Leave.edit,
    min_face_size: options.MinFaceSize = 24,
    profiles: options.Profiles = Leave.edit,
    on_no_face: options.NoFace = OnNoFace.warn,
    no_grain: options.NoGrain = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Change the expression in a video.

    Size, times of the frames, colours, sound, subtitles, chapters and metadata stay; pixels that
    the edit does not reach go to the encoder as they came. Ctrl-C keeps what is done:
    out.partial.mp4 for out.mp4.
    """
    if expression is None and keyframes is None:
        raise UsageError("Say what to show: --expr, or --keyframes.")
    if expression is not None and keyframes is not None:
        raise UsageError("--expr and --keyframes contradict each other.")
    if keyframes is not None and intensity != 1:
        raise UsageError("--intensity and --keyframes contradict each other.")
    editor_options = EditorOptions(
        intensity=intensity,
        faces=faces,
        neutralise_first=neutralise_first,
        model=model,
        detector=detector,
        any_rotation=any_rotation,
        device=device,
        seed=seed,
        small_faces=small_faces,
        min_face_size=min_face_size,
        profiles=profiles,
        on_no_face=on_no_face,
        grain=not no_grain,
    )
    editor_options.check([expression] if expression else [])

    from sargan_cli.drawing import check_drawing
    from sargan_plugin.video.codecs import Encoding
    from sargan_plugin.video.editor import VideoEditor
    from sargan_plugin.video.one_euro import Smoothing
    from sargan_plugin.video.places import check_destination
    from sargan_plugin.video.timeline import pair_ranges, read_keyframes

    with usage():
        ranges = pair_ranges(start or [], end or [])
        further = video_options.parsed(encoder_options or [])
        encoding = Encoding(codec.value, crf, further, pixel_format)
        smoothing = Smoothing(min_cutoff, beta) if calm else None
        if preview:
            check_drawing(out, overwrite, source)
        else:
            check_destination(source, out, overwrite)
        frames = read_keyframes(keyframes) if keyframes else ()
    editor = editor_options.open_editor(workers=2)
    editor.expression = expression or editor.expression
    with usage():
        video = VideoEditor(
            editor,
            keyframes=frames,
            ranges=ranges,
            ramp=ramp,
            tracks=track or None,
            smoothing=smoothing,
            calm=calm,
            fade=fade,
            detect_every=detect_every,
            encoding=encoding,
            unstorable=unstorable.value,
            rate=rate,
            beside=compare,
        )
    output = Output(quiet)
    if preview:
        return _write_preview(video, source, out, preview, output)
    return _write_video(video, source, out, overwrite, output)


def _write_video(
    video: VideoEditor, source: Path, out: Path, overwrite: bool, output: Output
) -> Report:
    from sargan_plugin.images import printable_name
    from sargan_plugin.video.run import Interrupted

    with Progress(None, quiet=output.quiet, things="frames") as progress:

        def advance(_, total: int | None) -> None:
            progress.total = total
            progress.advance()

        try:
            report = video.run(source, out, overwrite=overwrite, progress=advance)
        except Interrupted as stopped:
            if stopped.report is not None:
                done = stopped.report
                output.warn(
                    f"stopped; the first {done.frames} frames are in "
                    f"{printable_name(done.destination)}"
                )
            raise
    notes = list(report.notes)
    if video.ranges and report.tracks[1] and not report.edited:
        notes.append("nothing was changed: no chosen face is in sight between the given times")
    for note in notes:
        output.warn(f"{printable_name(source)}: {note}")
    output.say(
        f"{printable_name(report.destination)}: {report.edited} of {report.frames} frames changed, "
        f"{report.seconds:.1f} s ({report.frames / max(report.seconds, 1e-6):.1f} frames/s)"
    )
    return Report(_summary(source, report) | {"warnings": notes})


def _summary(source: Path, report: VideoReport) -> dict[str, Any]:
    found, chosen = report.tracks
    return {
        "source": json_path(source),
        "destination": json_path(report.destination),
        "frames": report.frames,
        "edited_frames": report.edited,
        "tracks": list(found),
        "edited_tracks": list(chosen),
        "seconds": round(report.seconds, 3),
        "frames_per_second": round(report.frames / max(report.seconds, 1e-6), 2),
        "stage_seconds": dict(report.stages),
        "damaged": report.damaged,
        "encoder": report.encoder,
    }


def _write_preview(
    video: VideoEditor, source: Path, out: Path, count: int, output: Output
) -> Report:
    from sargan_cli.drawing import write_drawing
    from sargan_cli.video_sheet import preview_sheet
    from sargan_plugin.images import printable_name

    sheet, times = preview_sheet(video, source, count)
    write_drawing(sheet, out)
    output.say(f"{printable_name(out)}: {len(times)} frames")
    return Report({"source": json_path(source), "destination": json_path(out), "times": times})
