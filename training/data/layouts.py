"""Photographs with expression labels, in the layouts that face data sets come in.

Every reader takes a folder or file and returns a :class:`Listing`: photos with label and person,
and what was left out and why. Nothing is opened: that is :mod:`sargan_training.data.prepare`'s job.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS, UnknownExpressionError, canonical_name
from sargan_plugin.images import EXTENSIONS, printable_name


@dataclass(frozen=True)
class LabelledPhoto:
    """A photograph, who is in it and which of ``EXPRESSIONS`` that person shows."""

    path: Path
    person: str
    label: int


@dataclass
class Listing:
    """The photos of a data set.

    Attributes:
        photos: with label and person.
        left_out: how many were left out for each reason.
        nameless: how many say nothing of who they show, so that each counts as another person.
    """

    photos: list[LabelledPhoto] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    nameless: int = 0

    def add(self, path: Path, person: str, expression: str) -> bool:
        """Take a photo in, unless its expression is none of ours; returns whether it was taken."""
        try:
            label = EXPRESSIONS.index(canonical_name(expression))
        except UnknownExpressionError:
            self.left_out[f"expression {expression!r}"] += 1
            return False
        self.photos.append(LabelledPhoto(path, person, label))
        return True


def pictures_under(folder: Path) -> Iterator[Path]:
    """Files that end like a picture, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in EXTENSIONS:
            yield path


def read_class_folders(root: Path) -> Listing:
    """``EXPRESSION/PERSON/*.jpg``, or ``EXPRESSION/*.jpg`` where each photo is a person.

    Folders have the names of expressions or their aliases (happiness, anger).
    """
    listing = Listing()
    for path in pictures_under(root):
        place = path.relative_to(root)
        expression, *between = place.parts[:-1] or ("",)
        # Not by the name alone: cameras call a photo in every folder 001.
        person = between[0] if between else place.with_suffix("").as_posix()
        taken = listing.add(path, person, expression)
        listing.nameless += taken and not between
    return listing


def read_csv(file: Path) -> Listing:
    """A CSV with the columns path (relative to the CSV's folder), person and expression."""
    listing = Listing()
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = {"path", "person", "expression"} - set(reader.fieldnames or ())
        if missing:
            raise SarganError(f"{printable_name(file)}: has no column {', '.join(sorted(missing))}")
        for row in reader:
            if not (row["path"] and row["person"] and row["expression"]):
                listing.left_out["rows without path, person or expression"] += 1
                continue
            listing.add(file.parent / row["path"], row["person"], row["expression"])
    return listing


def read_lfw(root: Path) -> Listing:
    """Labeled Faces in the Wild in its official layout, with ``expressions.csv`` beside it."""
    return read_csv(root / "expressions.csv")


KDEF_NAME = re.compile(r"[AB]([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)", re.IGNORECASE)
KDEF_EXPRESSIONS = {
    "AF": "fearful",
    "AN": "angry",
    "DI": "disgusted",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprised",
}


def read_kdef(root: Path) -> Listing:
    """Karolinska Directed Emotional Faces: ``AF01ANS.JPG`` is session, person, expression, angle.

    Full profiles (FL, FR) are left out: half of such a face is hidden.
    """
    listing = Listing()
    for path in pictures_under(root):
        found = KDEF_NAME.fullmatch(path.stem)
        if found is None:
            listing.left_out["not a name of KDEF"] += 1
        elif found[3].upper() in ("FL", "FR"):
            listing.left_out["full profile"] += 1
        else:
            listing.add(path, found[1].upper(), KDEF_EXPRESSIONS[found[2].upper()])
    return listing


RAFD_NAME = re.compile(r"Rafd(\d+)_(\d+)_[^_]+_[^_]+_([a-z]+)_[a-z]+", re.IGNORECASE)


def read_rafd(root: Path) -> Listing:
    """Radboud Faces: ``Rafd090_01_Caucasian_female_angry_frontal.jpg``, camera angle first.

    Full profiles (0 and 180 degrees) are left out, and contempt, which is none of our expressions.
    """
    listing = Listing()
    for path in pictures_under(root):
        found = RAFD_NAME.fullmatch(path.stem)
        if found is None:
            listing.left_out["not a name of RaFD"] += 1
        elif int(found[1]) in (0, 180):
            listing.left_out["full profile"] += 1
        else:
            listing.add(path, f"rafd{found[2]}", found[3].lower())
    return listing


READERS = {
    "folders": read_class_folders,
    "csv": read_csv,
    "lfw": read_lfw,
    "kdef": read_kdef,
    "rafd": read_rafd,
}


def read_listing(source: Path, layout: str = "auto") -> Listing:
    """The photos of a data set.

    Args:
        source: its folder, or a CSV.
        layout: a key of ``READERS``, or ``"auto"`` to tell by the names that are there.

    Raises:
        SarganError: when ``source`` is missing or holds no photo with a known label.
    """
    if not source.exists():
        raise SarganError(f"{printable_name(source)}: there is no such file or folder.")
    layout = told_layout(source) if layout == "auto" else layout
    try:
        listing = READERS[layout](source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SarganError(
            f"{printable_name(source)}: cannot be read as {layout}: {error}"
        ) from error
    if not listing.photos:
        reasons = "; ".join(f"{count} {reason}" for reason, count in listing.left_out.items())
        raise SarganError(
            f"{printable_name(source)}: holds no labelled photo in the layout {layout!r}"
            + (f" ({reasons})" if reasons else "")
            + f"; --layout names another: {', '.join(READERS)}."
        )
    return listing


def told_layout(source: Path) -> str:
    """The layout that most names under ``source`` speak for."""
    if source.is_file():
        return "csv"
    if (source / "expressions.csv").exists():
        return "lfw"
    names = [path.stem for path in pictures_under(source)]
    for layout, pattern in (("kdef", KDEF_NAME), ("rafd", RAFD_NAME)):
        if sum(pattern.fullmatch(name) is not None for name in names) > len(names) / 2:
            return layout
    return "folders"
