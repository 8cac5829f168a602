"""What the verbs that edit have in common: an editor from the options, and a job carried out."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sargan_cli.console import Output, Report, json_path
from sargan_cli.options import Leave, OnNoFace
from sargan_cli.progress import Progress
from sargan_cli.sheet import write_sheet
from sargan_cli.usage import usage
from sargan_plugin.errors import SarganError

if TYPE_CHECKING:
    from sargan_plugin.batch import Outcome
    from sargan_plugin.editor import EditedFace, ExpressionEditor
    from sargan_plugin.tasks import Plan


# For generators at work: what the editor takes by default, shared by those who edit at once.
EDITING_MEMORY_MB = 1024


def check_model(model: str) -> None:
    """Find out that there are no weights of such a name before anything is loaded.

    Raises:
        UsageError: naming those that there are.
    """
    from sargan_plugin.manifest import Manifest

    if not model.endswith(".safetensors"):
        manifest = Manifest()
        with usage():
            manifest.find(model)


@dataclass(frozen=True)
class EditorOptions:
    """How to edit, as typed. See :class:`sargan_plugin.ExpressionEditor`."""

    intensity: float
    faces: str
    neutralise_first: bool
    model: str | None
    detector: str | None
    any_rotation: bool
    device: str
    seed: int
    small_faces: Leave
    min_face_size: float
    profiles: Leave
    on_no_face: OnNoFace
    grain: bool

    def check(self, expressions: Sequence[str]) -> None:
        """Find mistakes in what was typed before anything is loaded.

        Raises:
            UsageError: naming the mistake.
        """
        from sargan_plugin.expressions import check_intensity, parse_expression
        from sargan_plugin.faces import parse_selection

        with usage():
            for expression in expressions:
                parse_expression(expression)
            check_intensity(self.intensity)
            parse_selection(self.faces)
        if self.model is not None:
            check_model(self.model)

    def open_editor(self, workers: int = 1) -> ExpressionEditor:
        """Load the weights and make the editor, for as many threads as will use it.

        Raises:
            SarganError: when the weights or the device are not to be had.
        """
        from sargan_plugin import ExpressionEditor, FaceDetector
        from sargan_plugin.batch import EDITS_AT_ONCE
        from sargan_plugin.compute import detector_device

        detector = FaceDetector(
            self.detector,
            device=detector_device(self.device),
            any_rotation=self.any_rotation,
            threads=1 if workers > 1 else None,
        )
        return ExpressionEditor(
            intensity=self.intensity,
            model=self.model,
            faces=self.faces,
            detector=detector,
            device=self.device,
            neutralise_first=self.neutralise_first,
            on_no_face=self.on_no_face.value,
            small_faces=self.small_faces.value,
            profiles=self.profiles.value,
            min_face_size=self.min_face_size,
            grain=self.grain,
            seed=self.seed,
            memory_limit_mb=EDITING_MEMORY_MB / min(workers, EDITS_AT_ONCE),
        )


def carry_out(
    plan: Plan, editor: ExpressionEditor, output: Output, *, batch_size: int, workers: int
) -> list[Outcome]:
    """Do the tasks of a plan with progress on stderr; one line of warnings a picture."""
    from sargan_plugin.batch import run
    from sargan_plugin.images import printable_name

    outcomes = []
    warned = set()
    job = run(plan.tasks, editor, batch_size=batch_size, workers=workers)
    with contextlib.closing(job), Progress(len(plan.tasks), quiet=output.quiet) as progress:
        for outcome in job:
            outcomes.append(outcome)
            progress.advance()
            source = outcome.task.source
            if outcome.warnings and source not in warned:
                warned.add(source)
                output.warn(f"{printable_name(source)}: {'; '.join(outcome.warnings)}")
    return outcomes


def conclude(
    plan: Plan, outcomes: Sequence[Outcome], sheet: Path | None, output: Output, **more: Any
) -> Report:
    """Write the sheet if one is wanted, list the failures, and report."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    failures = [*plan.unreadable, *errors]
    if sheet:
        try:
            write_sheet(sheet, plan)
        except SarganError as error:
            failures.append(str(error))
    for line in dict.fromkeys(failures):  # a picture that cannot be read fails for each --expr
        output.fail(line)
    data: dict[str, Any] = {
        "done": len(outcomes) - len(errors),
        "failed": len(failures),
        "skipped": len(plan.skipped),
        "results": [_result(outcome) for outcome in outcomes],
        **more,
    }
    if failures:
        data["error"] = failures[0] if len(failures) == 1 else f"{len(failures)} failures"
    return Report(data, 1 if failures else 0)


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "source": json_path(outcome.task.source),
        "destination": json_path(outcome.task.destination),
        "expression": outcome.task.expression,
        "faces": [_face(face) for face in outcome.faces],
        "seconds": round(outcome.seconds, 3),
        "warnings": list(outcome.warnings),
        "error": outcome.error or None,
    }


def _face(edited: EditedFace) -> dict[str, Any]:
    return {
        "box": [round(value, 1) for value in edited.face.bbox],
        "score": round(edited.face.score, 3),
        "changed_pixels": edited.changed,
        "clipped_pixels": edited.clipped,
        "left_because": edited.left_because or None,
        "remark": edited.remark or None,
    }
