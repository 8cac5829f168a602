"""``sargan-cli edit-dir``: all pictures of a folder and the folders below it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.editing import EditorOptions, carry_out, conclude
from sargan_cli.options import Leave, OnNoFace
from sargan_cli.sheet import check_sheet
from sargan_cli.usage import UsageError, usage
from sargan_plugin.errors import SarganError

if TYPE_CHECKING:
    from sargan_plugin.tasks import Plan


def edit_dir(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="IN", readable=False, help="The folder of pictures; they are never touched."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", readable=False, help="Where the same tree arises.")
    ],
    expressions: options.Expressions,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Name of the files, with {stem}, {expr} and {suffix}.",
            show_default="{stem}{suffix}, or {stem}_{expr}{suffix} for several --expr",
        ),
    ] = None,
    glob: Annotated[
        str, typer.Option(help="Only these names; with a slash, only these paths below IN.")
    ] = "*",
    format: Annotated[
        str | None,
        typer.Option(
            metavar="jpeg|png|webp|tiff|bmp", help="Write all in this format.", show_default="as is"
        ),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave files alone that are there: go on.")
    ] = False,
    overwrite: options.Overwrite = False,
    compare: options.Compare = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be written.")
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="How many edits go through the generator together.")
    ] = 8,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that read, find faces and write.",
            show_default="one for each usable CPU",
        ),
    ] = None,
    intensity: options.Intensity = 1.0,
    faces: options.Faces = "all",
    neutralise_first: options.NeutraliseFirst = False,
    model: options.Model = None,
    detector: options.Detector = None,
    any_rotation: options.AnyRotation = False,
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
    """Change the expression in all pictures of a folder.

    A picture that fails does not keep the others from being done; failures are listed at the end.
    Ctrl-C leaves no half file, and --skip-existing goes on from there.
    """
    from sargan_plugin.batch import usable_cpus
    from sargan_plugin.images import make_folder, printable_name
    from sargan_plugin.tasks import ExistingFileError, PlanError, plan_folder

    if folder.is_file():
        raise UsageError(f"{printable_name(folder)}: is a file; use edit.")
    if skip_existing and overwrite:
        raise UsageError("--skip-existing and --overwrite contradict each other.")
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
    editor_options.check(expressions)
    with usage(PlanError):
        try:
            existing = "skip" if skip_existing else "overwrite" if overwrite else "refuse"
            plan = plan_folder(
                folder, out, expressions, name=name, format=format, glob=glob, existing=existing
            )
        except ExistingFileError as error:
            hint = "Go on with --skip-existing, or replace with --overwrite."
            raise UsageError(f"{error} {hint}") from error
    with usage():
        check_sheet(compare, plan, overwrite)
    output = Output(quiet)
    for note in plan.notes:
        output.warn(note)
    if dry_run:
        return _tell_only(plan, output)
    if not (plan.tasks or plan.skipped or plan.unreadable):
        raise SarganError(f"{printable_name(folder)}: holds no picture{_matching(glob)}.")
    outcomes, seconds = [], 0.0
    if plan.tasks:
        make_folder(out)
        workers = workers or usable_cpus()
        editor = editor_options.open_editor(workers)
        begun = time.monotonic()
        try:
            outcomes = carry_out(plan, editor, output, batch_size=batch_size, workers=workers)
        except KeyboardInterrupt:
            output.warn("stopped; --skip-existing goes on from here")
            raise
        seconds = time.monotonic() - begun
    report = conclude(plan, outcomes, compare, output, seconds=round(seconds, 3))
    rate = f" ({len(outcomes) / seconds:.1f} pictures/s)" if outcomes else ""
    output.say(
        "{done} written, {failed} failed, {skipped} skipped".format_map(report.data)
        + f" in {seconds:.1f} s{rate}"
    )
    return report


def _matching(glob: str) -> str:
    return "" if glob == "*" else f" that matches {glob!r}"


def _tell_only(plan: Plan, output: Output) -> Report:
    from sargan_plugin.images import printable_name

    for task in plan.tasks:
        source, destination = map(printable_name, (task.source, task.destination))
        output.say(f"{source} -> {destination} ({task.expression})")
    output.say(f"{len(plan.tasks)} to write, {len(plan.skipped)} there already")
    for line in plan.unreadable:
        output.fail(line)
    tasks = [
        {
            "source": json_path(task.source),
            "destination": json_path(task.destination),
            "expression": task.expression,
        }
        for task in plan.tasks
    ]
    data = {"dry_run": True, "tasks": tasks, "skipped": len(plan.skipped)}
    if plan.unreadable:
        data["error"] = plan.unreadable[0]
    return Report(data, 1 if plan.unreadable else 0)
