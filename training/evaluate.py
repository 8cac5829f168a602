"""How good are the edits, on people that no model was trained on?

    python -m sargan_training.evaluate --data DATA --run runs/flow --weights FILE...

Prints, for every weights file in one run: the share of edits that an unseen classifier reads as
the target (with the real photos' share as the ceiling), the mean flow and mask, and how well a
fresh network tells edits from photos (area under the curve; 0.5 is what we want).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.edit import Generator
from sargan_training.data import FaceSet, central, load_faces, to_unit
from sargan_training.discriminator import ExpressionReader
from sargan_training.pretrain import class_accuracy, train_classifier
from sargan_training.sheet import edited_crops
from sargan_training.weights import load_generator

FREQUENT = 5  # the first five expressions have enough photos to be judged by


def expression_reader(train: FaceSet, saved: Path, minutes: float = 8) -> torch.nn.Module:
    """A classifier that no generator was trained with: another width, another start."""
    torch.manual_seed(5)
    network = ExpressionReader(channels=32)
    if saved.exists():
        network.load_state_dict(torch.load(saved, weights_only=True))
    else:
        train_classifier(network, train, minutes)
        torch.save(network.state_dict(), saved)
    return network.eval()


@torch.no_grad()
def recognised(reader: torch.nn.Module, edits: torch.Tensor, target: int) -> float:
    """Share of edits read as the target."""
    with torch.autocast("cpu", torch.bfloat16):
        read = torch.cat([reader(part).argmax(1) for part in edits.split(64)])
    return (read == target).float().mean().item()


def area_under_curve(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Chance that a positive scores above a negative, ties counting half."""
    difference = positive[:, None] - negative[None]
    return ((difference > 0).float() + 0.5 * (difference == 0).float()).mean().item()


def two_sample_test(
    photos: torch.Tensor, edits: torch.Tensor, people: list[str], steps: int = 300
) -> float:
    """Area under the curve of a fresh network that tells edits from photos.

    Args:
        photos: ``(N, 3, S, S)`` in [-1, 1], row i of ``people[i]``.
        edits: the edited photos, in the same order.
        people: half of them are trained on, the others scored.
    """
    torch.manual_seed(1)
    names = sorted(set(people))
    seen = set(names[::2])
    inside = torch.tensor([person in seen for person in people])
    network = timm.create_model("resnet10t", num_classes=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    train_photos, train_edits = photos[inside], edits[inside]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        images = torch.cat(
            [part[torch.randint(len(part), (16,))] for part in (train_photos, train_edits)]
        )
        if step % 2:
            images = images.flip(-1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)[:, 0].float()
        target = torch.cat([torch.zeros(16), torch.ones(16)])
        loss = F.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = [
            torch.cat([network(part)[:, 0].float() for part in images[~inside].split(64)])
            for images in (edits, photos)
        ]
    return area_under_curve(*scores)


def few_of_each_person(people: list[str], photos: int, most: int = 3) -> np.ndarray:
    """Choose photos at random, at most three of one person: some are in hundreds."""
    chosen, count = np.zeros(len(people), dtype=bool), Counter()
    for index in torch.randperm(len(people)).tolist():
        if count[people[index]] < most and chosen.sum() < photos:
            chosen[index] = True
            count[people[index]] += 1
    return chosen


def report(
    generator: Generator, faces: FaceSet, reader: torch.nn.Module, two_sample: bool
) -> dict[str, float]:
    """The figures of one generator on held-out people."""
    photos = to_unit(central(faces.crops))
    figures: dict[str, float] = {}
    mixed = photos.clone()
    for target in range(len(EXPRESSIONS)):
        other = faces.labels != target
        edits = edited_crops(generator, photos[other], target)
        figures[EXPRESSIONS[target]] = recognised(reader, edits, target)
        turn = torch.arange(len(photos)) % FREQUENT == target
        mixed[other & turn] = edits[turn[other]]
    figures["mean of 5"] = sum(figures[name] for name in EXPRESSIONS[:FREQUENT]) / FREQUENT
    with torch.no_grad():
        edit = generator.edit(photos[:64], torch.eye(len(EXPRESSIONS))[torch.arange(64) % FREQUENT])
    figures |= {"flow px": edit.flow.abs().mean().item(), "mask": edit.replace.mean().item()}
    changed = (mixed != photos).flatten(1).any(1)
    if two_sample:
        people = [p for p, kept in zip(faces.people, changed.tolist(), strict=True) if kept]
        figures["AUC"] = two_sample_test(photos[changed], mixed[changed], people)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="*", default=[])
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--no-two-sample", action="store_true")
    parser.add_argument(
        "--half",
        choices=("choose", "report"),
        default="report",
        help="the half of the held-out people to choose a checkpoint by, or the one to report",
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    train, held_out = load_faces(arguments.data, arguments.run.parent / "crops_128.npy").split()
    reader = expression_reader(train, arguments.run.parent / "reader.pt")
    ceiling = class_accuracy(reader, held_out)
    print("real photos  " + line_of(dict(zip(EXPRESSIONS, ceiling, strict=True))))
    names = sorted(set(held_out.people))
    half = set(names[arguments.half == "report" :: 2])
    held_out = held_out.subset(np.array([person in half for person in held_out.people]))
    faces = held_out.subset(few_of_each_person(held_out.people, arguments.photos))
    for weights in arguments.weights:
        generator = load_generator(weights)
        figures = report(generator, faces, reader, not arguments.no_two_sample)
        print(f"{weights.name}  {line_of(figures)}", flush=True)


def line_of(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in figures.items())


if __name__ == "__main__":
    main()
