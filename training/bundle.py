"""Turn averages of a run into one file of weights to use and to hand on.

    python -m sargan_training.bundle runs/flow/average_002000.safetensors sargan_flow_128.mine
    sargan-cli edit me.jpg happy.jpg --expr happy --model sargan_flow_128.mine.safetensors

Several averages of one run are averaged again, weight by weight. Writes ``NAME.safetensors`` (half
precision) into the working folder or ``--folder``. With ``--folder weights`` in the project's
sources, the two lines it prints are what the manifest says of weights that ship.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_plugin.images import make_folder, printable_name
from sargan_plugin.manifest import checksum
from sargan_plugin.zoo import architecture_in, create_generator
from sargan_training.checkpoints import save_generator
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
        SarganError: when they are not all of the architecture that ``name`` says, the file is there
            already, or it cannot be written.
    """
    destination = folder / f"{name}.safetensors"
    if destination.exists():
        raise SarganError(f"{printable_name(destination)}: is there already; take another name.")
    wanted, options = name.partition(".")[0], architecture_in(paths[0])[1]
    for path in paths:
        if architecture_in(path) != (wanted, options):
            raise SarganError(f"{path}: is no {wanted} like the others; name the weights after it.")
    generator = mean_of([create_generator(path) for path in paths])
    state = {key: value.half() for key, value in generator.state_dict().items()}
    make_folder(folder)
    save_generator(destination, state, wanted, options)
    error = largest_error(generator, create_generator(destination))
    print(f'file = "{destination.name}"\nsha256 = "{checksum(destination)}"')
    size = destination.stat().st_size / 1e6
    print(f"# {size:.1f} MB; rounding changes {error:.2f} grey levels at most")
    return destination


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("averages", type=Path, nargs="+")
    parser.add_argument("name", help="architecture.tag")
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="the working folder if not given"
    )
    arguments = parser.parse_args()
    bundle(arguments.averages, arguments.name, arguments.folder)


if __name__ == "__main__":
    run_script(main)
