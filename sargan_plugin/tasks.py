"""Which picture becomes which file: planned and checked as a whole before any work starts."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import parse_expression
from sargan_plugin.images import EXTENSIONS, is_picture_path, is_same_file, printable_name

ONE_EXPRESSION = "{stem}{suffix}"
SEVERAL_EXPRESSIONS = "{stem}_{expr}{suffix}"

IGNORE_CASE = ("darwin", "win32")  # where Me.jpg and me.jpg are one file, as disks come

_FIELD = re.compile(r"\{(stem|expr|suffix)\}")


class PlanError(SarganError, ValueError):
    """Tasks that contradict each other or what is there already; nothing has been done."""


class ExistingFileError(PlanError):
    """A file that would be written is there already, and nobody said what to do with it."""


@dataclass(frozen=True)
class Task:
    """One picture to write.

    Attributes:
        source: the picture.
        destination: the file to write.
        expression: what its faces shall show, as text.
        format: what to write, or None to let the destination's ending decide.
    """

    source: Path
    destination: Path
    expression: str
    format: str | None = None


@dataclass(frozen=True)
class Plan:
    """The tasks of one job.

    Attributes:
        tasks: what is to be done; the tasks of one picture follow one another.
        skipped: what is there already and shall stay.
        unreadable: folders that could not be opened, each with the reason.
        notes: what else the person who asked may want to know.
    """

    tasks: list[Task]
    skipped: list[Task] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_picture(
    source: Path, out: str, expressions: Sequence[str], *, existing: str = "refuse"
) -> Plan:
    """Plan the editing of one picture.

    Args:
        source: the picture.
        out: the file to write, a template of it with ``{stem}``, ``{expr}`` and ``{suffix}``, or a
            folder: one that is there, or any name with a slash at its end.
        expressions: each gives one file.
        existing: ``"refuse"``, ``"skip"`` or ``"overwrite"`` files that are there already.

    Raises:
        SarganError: when there is no such picture.
        PlanError: when files would land on one another, on an original, or, with ``"refuse"``, on
            a file that is there.
    """
    try:
        source.stat()
    except OSError as error:
        raise SarganError(f"{printable_name(source)}: cannot be opened: {error.strerror}") from None
    template = out
    if out.endswith(("/", os.sep)) or Path(out).is_dir():
        template = str(Path(out, _default_name(expressions)))
    tasks = [Task(source, _filled(template, source, each), each) for each in expressions]
    _check_endings(tasks, hint="; a folder needs a slash at its end")
    return _checked(Plan(tasks), existing)


def plan_folder(
    folder: Path,
    out: Path,
    expressions: Sequence[str],
    *,
    name: str | None = None,
    format: str | None = None,
    glob: str = "*",
    existing: str = "refuse",
) -> Plan:
    """Plan the editing of all pictures in a folder and the folders below it.

    Args:
        folder: where to look; ``out`` may lie inside it and is left out then. Links to folders are
            not followed (they may lead in circles), and named in the notes.
        out: where the same tree arises.
        expressions: each gives one file a picture.
        name: template of the files' names with ``{stem}``, ``{expr}`` and ``{suffix}``; without
            one a picture keeps its name, to which several expressions add theirs.
        format: ``"jpeg"``, ``"png"``, ``"webp"``, ``"tiff"`` or ``"bmp"`` for all; None keeps
            every picture's own.
        glob: which pictures, matched against the name, or, when it has a slash, against the path
            below ``folder``.
        existing: as for :func:`plan_picture`.

    Raises:
        SarganError: when there is no such folder.
        PlanError: as for :func:`plan_picture`; for an unknown format; when both folders are one.
    """
    suffix = None if format is None else _suffix_of(format)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise SarganError(f"{printable_name(folder)}: cannot be opened: {error.strerror}") from None
    if is_same_file(folder, out):
        raise PlanError(f"{printable_name(out)}: the pictures must go to another folder.")
    template = name or _default_name(expressions)
    plan = Plan([])
    for source in _pictures_in(folder, out, plan):
        below = source.relative_to(folder)
        pattern_target = below.as_posix() if "/" in glob else below.name
        if not fnmatch.fnmatchcase(pattern_target, glob):
            continue
        for expression in expressions:
            file = _filled(template, source, expression, suffix)
            plan.tasks.append(Task(source, out / below.parent / file, expression, format))
    _check_endings(plan.tasks)
    return _checked(plan, existing)


def expression_label(expression: str) -> str:
    """An expression as a part of a file name.

    Example:
        >>> expression_label("smile"), expression_label("surprised:0.7,happy:0.3")
        ('happy', 'surprised0.7-happy0.3')
    """
    mix = parse_expression(expression)
    if len(mix) == 1:
        return next(iter(mix))
    return "-".join(f"{word}{weight:.2g}" for word, weight in mix.items())


def _default_name(expressions: Sequence[str]) -> str:
    return ONE_EXPRESSION if len(expressions) == 1 else SEVERAL_EXPRESSIONS


def _filled(template: str, source: Path, expression: str, suffix: str | None = None) -> Path:
    fields = {
        "stem": source.stem,
        "expr": expression_label(expression),
        "suffix": suffix or source.suffix,
    }
    return Path(_FIELD.sub(lambda match: fields[match[1]], template))


def _suffix_of(format: str) -> str:
    known = sorted({name.lower() for name in EXTENSIONS.values()})
    suffix = "." + format.lower()
    if suffix not in EXTENSIONS:
        raise PlanError(f"Unknown format {format!r}; known are {', '.join(known)}.")
    return ".jpg" if suffix == ".jpeg" else suffix


def _pictures_in(folder: Path, out: Path, plan: Plan) -> Iterator[Path]:
    """Files that end like pictures, in a fixed order; what is passed over goes into the plan."""

    def unreadable(error: OSError) -> None:
        name = printable_name(error.filename)
        plan.unreadable.append(f"{name}: cannot be opened: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(parent)
        for name in sorted(folders):
            if (here / name).is_symlink():
                shown = printable_name(here / name)
                plan.notes.append(f"{shown}: is a link to a folder, which is not followed")
        folders[:] = sorted(name for name in folders if not is_same_file(here / name, out))
        yield from (here / name for name in sorted(names) if is_picture_path(name))


def _check_endings(tasks: Sequence[Task], hint: str = "") -> None:
    for task in tasks:
        ending = task.destination.suffix.lower()
        if ending not in EXTENSIONS and ending != task.source.suffix.lower():
            raise PlanError(
                f"{printable_name(task.destination)}: does not end like a picture "
                f"({', '.join(EXTENSIONS)}){hint}."
            )
        if task.format and EXTENSIONS.get(ending) != EXTENSIONS["." + task.format.lower()]:
            raise PlanError(f"{printable_name(task.destination)}: does not end like {task.format}.")


def _checked(plan: Plan, existing: str) -> Plan:
    """The plan without what shall be skipped, if its files get in nobody's way."""
    real = functools.cache(os.path.realpath)  # many files, few folders

    def place_of(path: Path) -> str:
        place = str(Path(real(path.parent), path.name))
        return place.casefold() if sys.platform in IGNORE_CASE else place

    originals = {place_of(Path(os.path.realpath(task.source))) for task in plan.tasks}
    originals |= {place_of(task.source) for task in plan.tasks}
    taken: dict[str, Task] = {}
    for task in plan.tasks:
        place = place_of(task.destination)
        shown = printable_name(task.destination)
        if place in originals:
            raise PlanError(f"{shown}: is an original, and originals are never overwritten.")
        if place in taken:
            raise PlanError(
                f"{shown}: {_described(taken[place])} and {_described(task)} would both be written "
                "here; name them apart with {stem}, {expr} and {suffix}."
            )
        taken[place] = task
    there = [task for task in plan.tasks if _is_taken(task.destination)]
    if existing == "overwrite" or not there:
        return plan
    if existing != "skip":
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        shown = printable_name(there[0].destination)
        raise ExistingFileError(f"{shown}: is there already{others}.")
    present = set(there)
    return Plan(
        [task for task in plan.tasks if task not in present], there, plan.unreadable, plan.notes
    )


def _is_taken(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_dir()  # a folder there is an error of its own


def _described(task: Task) -> str:
    return f"{printable_name(task.source.name)} ({task.expression})"
