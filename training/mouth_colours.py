"""How bright and how saturated real mouths are: the figures that limit what may be painted.

    python -m sargan_training.mouth_colours --data DATA --run RUN

Reads the photos to train on and prints quartiles to hold against the limits in
``sargan_plugin/generators/skin.py``: of a mouth's saturation by its light, both as shares of the
skin's; of how far its hue lies off the skin's, as a share of its saturation (below zero it is
pinker, above greener); and of the light of teeth (of a smile the brightest thirtieth), by the
skin's light.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import skin
from sargan_training.command import run_script
from sargan_training.data import central, load_faces, to_unit

INNER_MOUTH = ((63.5, 85, 13, 7),)  # lips and what is between them, also in a mouth at rest
TEETH = 29 / 30
COLOURED = 0.08  # a skin with less colour than this says nothing about saturation
QUARTILES = torch.tensor([0.25, 0.5, 0.75])
FEWEST = 20  # for quartiles
PALE = 0.05  # saturation below which a hue is taken as a share of this instead

OF_SKIN = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0, 1.2, 2.0)
OF_WHITE = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)


def mouths(crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Light, saturation, hue ``(N, P)`` of P pixels of each mouth, and the skin ``(N, 3, 1, 1)``.

    Args:
        crops: uint8 crops with their surroundings ``(N, 3, S, S)``.

    Returns:
        The light as it is, in [0, 1]; the saturation as a share of the skin's; the hue as a share
        of the saturation, 0 for the skin's own.
    """
    image = to_unit(central(crops))
    colours, own = (image + 1) / 2, skin.skin_colour(image)
    inside = skin.ellipses(INNER_MOUTH, image)[0, 0] == 1
    chroma = skin.chroma(own)
    saturation, rest = skin.along(skin.chroma(colours), chroma)
    off = rest.norm(dim=1, keepdim=True) * rest[:, 1:2].sign()
    hue = off / (saturation.clamp(min=PALE) * chroma.norm(dim=1, keepdim=True))
    return *(each[:, 0, inside] for each in (skin.light(colours), saturation, hue)), own


def quartiles(
    title: str,
    keys: torch.Tensor,
    values: torch.Tensor,
    edges: Sequence[float],
    limits: dict[str, Callable[[torch.Tensor], torch.Tensor]],
) -> Table:
    """Quartiles of the values by their keys, and limits that are functions of the key."""
    table = Table("from", "to", "values", "quarter", "median", "three quarters", *limits)
    table.title = title
    for low, high in pairwise(edges):
        here = (keys >= low) & (keys < high)
        if here.sum() < FEWEST:
            continue
        shown = torch.quantile(values[here], QUARTILES).tolist()
        shown += [float(limit(keys[here].mean())) for limit in limits.values()]
        table.add_row(str(low), str(high), str(int(here.sum())), *(f"{x:.2f}" for x in shown))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--run",
        type=Path,
        required=True,
        help="Crops are kept beside it, where training runs keep theirs.",
    )
    parser.add_argument("--photos", type=int, default=1000, help="Of each expression, at most.")
    arguments = parser.parse_args()
    faces = load_faces(arguments.data, arguments.run.parent).split()[0]
    rows = torch.cat(
        [
            (faces.labels == expression).nonzero()[: arguments.photos, 0]
            for expression in range(len(EXPRESSIONS))
        ]
    )
    parts = [mouths(faces.crops[part]) for part in rows.split(256)]
    brightness, saturation, hue, own = (torch.cat(each) for each in zip(*parts, strict=True))
    light_of_skin = skin.light(own).flatten()
    coloured = skin.chroma(own).norm(dim=1).flatten() > COLOURED
    relative = (brightness / light_of_skin[:, None])[coloured].flatten()
    smiles = faces.labels[rows] == EXPRESSIONS.index("happy")
    Console().print(
        quartiles(
            "Saturation of mouths by their light",
            relative,
            saturation[coloured].flatten(),
            OF_SKIN,
            {"palest": skin.mouth_palest, "richest": skin.mouth_richest},
        ),
        quartiles(
            "Hue of mouths off the skin's by their light",
            relative,
            hue[coloured].flatten(),
            OF_SKIN,
            {"pinkest": lambda _: -skin.PINKER, "greenest": lambda _: skin.GREENER},
        ),
        quartiles(
            "Light of teeth by the skin's",
            light_of_skin[smiles],
            brightness[smiles].quantile(TEETH, dim=1),
            OF_WHITE,
            {"brightest": skin.brightest_mouth},
        ),
    )


if __name__ == "__main__":
    run_script(main)
