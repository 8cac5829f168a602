"""Turn averages of a run into weights that ship with the package.

    python -m sargan_training.bundle runs/flow/average_002600.safetensors sargan_flow_128.lfw

Several averages of one run are averaged again, weight by weight. Writes
``weights/NAME.safetensors`` (half precision) and prints the checksum for the manifest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import save_file

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_plugin.manifest import checksum
from sargan_plugin.zoo import architecture_in, create_generator
from sargan_training.command import run_script


def largest_error(first: Generator, second: Generator) -> float:
    """Largest difference of two generators' results in grey levels, on smooth random pictures."""
    torch.manual_seed(0)
    size = first.crop_size
    coarse = torch.rand(len(EXPRESSIONS), 3, 8, 8) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    conditions = torch.eye(len(EXPRESSIONS))
    with torch.no_grad():
        difference = first(images, conditions) - second(images, conditions)
    return float(difference.abs().max()) * 127.5


def mean_of(generators: Sequence[Generator]) -> Generator:
    """The first generator with the mean of all their weights (Wortsman et al., 2022)."""
    states = [generator.state_dict() for generator in generators]
    mean = {key: torch.stack([state[key] for state in states]).mean(dim=0) for key in states[0]}
    generators[0].load_state_dict(mean)
    return generators[0]


def bundle(paths: Sequence[Path], name: str, folder: Path) -> Path:
    """Write the mean of some averages in half precision to ``folder``; returns the file.

    Raises:
        SarganError: when they are not all of the architecture that ``name`` says.
    """
    wanted, options = name.partition(".")[0], architecture_in(paths[0])[1]
    for path in paths:
        if architecture_in(path) != (wanted, options):
            raise SarganError(f"{path}: is no {wanted} like the others; name the weights after it.")
    generator = mean_of([create_generator(path) for path in paths])
    state = {key: value.half() for key, value in generator.state_dict().items()}
    destination = folder / f"{name}.safetensors"
    save_file(state, destination, {"architecture": wanted, "options": json.dumps(options)})
    error = largest_error(generator, create_generator(destination))
    print(f'file = "{destination.name}"\nsha256 = "{checksum(destination)}"')
    size = destination.stat().st_size / 1e6
    print(f"# {size:.1f} MB; rounding changes {error:.2f} grey levels at most")
    return destination


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("averages", type=Path, nargs="+")
    parser.add_argument("name", help="architecture.tag")
    arguments = parser.parse_args()
    bundle(arguments.averages, arguments.name, Path(str(files("sargan_weights"))))


if __name__ == "__main__":
    run_script(main)
