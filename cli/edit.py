"""``sargan-cli edit``: one picture."""

from __future__ import annotations

from typing import Annotated

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report
from sargan_cli.editing import EditorOptions, carry_out, conclude
from sargan_cli.options import Leave, OnNoFace
from sargan_cli.sheet import check_sheet
from sargan_cli.usage import UsageError, usage


def edit(
    source: options.Picture,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="The file to write, or a folder (a new one needs a slash at its end). With "
            "several --expr a folder or a template such as out/{stem}_{expr}{suffix}.",
        ),
    ],
    expressions: options.Expressions,
    compare: options.Compare = None,
    overwrite: options.Overwrite = False,
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
    """Change the expression in one picture.

    The picture itself is never touched, and everything but the faces stays as it is.
    """
    from sargan_plugin.images import printable_name
    from sargan_plugin.tasks import ExistingFileError, PlanError, plan_picture

    if source.is_dir():
        raise UsageError(f"{printable_name(source)}: is a folder; use edit-dir.")
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
            existing = "overwrite" if overwrite else "refuse"
            plan = plan_picture(source, out, expressions, existing=existing)
        except ExistingFileError as error:
            raise UsageError(f"{error} Replace it with --overwrite.") from error
    with usage():
        check_sheet(compare, plan, overwrite)
    output = Output(quiet)
    outcomes = carry_out(plan, editor_options.open_editor(), output, batch_size=8, workers=1)
    for outcome in outcomes:
        if not outcome.error:
            count = sum(face.changed > 0 for face in outcome.faces)
            output.say(
                f"{printable_name(outcome.task.destination)}: {outcome.task.expression}, "
                f"{count} {'face' if count == 1 else 'faces'} changed, {outcome.seconds:.1f} s"
            )
    return conclude(plan, outcomes, compare, output)
