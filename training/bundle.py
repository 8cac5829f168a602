"""Turn checkpoints of a run into weights that ship with the package.

    python -m sargan_training.bundle runs/flow/average_002600.pt sargan_flow_128.lfw

Several checkpoints of one run are averaged, weight by weight. Writes
``weights/NAME.safetensors`` (half precision) and prints the checksum for the manifest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import save_file

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_plugin.zoo import checksum, create_generator
from sargan_training.command import run_script
from sargan_training.weights import load_checkpoint


def largest_error(first: Generator, second: Generator, size: int = 128) -> float:
    """Largest difference of two generators' results in grey levels, on smooth random pictures."""
    torch.manual_seed(0)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("name", help="architecture.tag")
    arguments = parser.parse_args()
    generator = mean_of([load_checkpoint(path) for path in arguments.checkpoints])
    state = {key: value.half() for key, value in generator.state_dict().items()}
    path = Path(str(files("sargan_weights"))) / f"{arguments.name}.safetensors"
    save_file(state, path, metadata={"architecture": arguments.name.partition(".")[0]})
    error = largest_error(generator, create_generator(path))
    print(f'file = "{path.name}"\nsha256 = "{checksum(path)}"')
    print(f"# {path.stat().st_size / 1e6:.1f} MB; rounding changes {error:.2f} grey levels at most")


if __name__ == "__main__":
    run_script(main)
