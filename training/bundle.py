"""Turn averages of a run into one file of weights to use and to hand on.

    python -m sargan_training.bundle runs/flow/average_002000.safetensors sargan_flow_128.mine
    sargan-cli edit me.jpg happy.jpg --expr happy --model sargan_flow_128.mine.safetensors

Several averages of one run are averaged again, weight by weight. If NAME starts with
``sargan_flow_pair_128``, two generators ``sargan_flow_128`` of runs with different seeds are kept
side by side instead. Writes ``NAME.safetensors`` (half precision) into the working folder or
``--folder``. With ``--folder weights`` in the project's sources, the two lines it prints are what
the manifest says of weights that ship.
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

PAIR, HALF_OF_PAIR = "sargan_flow_pair_128", "sargan_flow_128"


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


def mean_of(generators: Sequence[Generator]) -> dict[str, torch.Tensor]:
    """The state of one generator with the mean of all their weights (Wortsman et al., 2022)."""
    states = [generator.state_dict() for generator in generators]
    return {key: torch.stack([state[key] for state in states]).mean(dim=0) for key in states[0]}


def pair_of(first: Generator, second: Generator) -> dict[str, torch.Tensor]:
    """The state of a :class:`~sargan_plugin.generators.sargan_flow.SARGANFlowPair`."""
    other = {f"other.{key}": value for key, value in second.state_dict().items()}
    return first.state_dict() | other


def bundle(
    paths: Sequence[Path], name: str, folder: Path, reach: Sequence[float] | None = None
) -> Path:
    """Write the mean of some averages, or a pair, in half precision to ``folder``.

    With ``reach`` flow generators move faces farther than they were trained to, by these shares for
    each expression. Returns the file.

    Raises:
        SarganError: when they are not all of the architecture that ``name`` says, a pair is not of
            two, the file is there already, or it cannot be written.
    """
    destination = folder / f"{name}.safetensors"
    if destination.exists():
        raise SarganError(f"{printable_name(destination)}: is there already; take another name.")
    wanted, options = name.partition(".")[0], architecture_in(paths[0])[1]
    member = HALF_OF_PAIR if wanted == PAIR else wanted
    if wanted == PAIR and len(paths) != 2:
        raise SarganError(f"{name}: a pair is made of two {member}, not of {len(paths)}.")
    for path in paths:
        if architecture_in(path) != (member, options):
            raise SarganError(
                f"{path}: is no {member} like the others, of which a {wanted} is made; name the "
                "weights after their architecture."
            )
    if reach is not None:
        options = options | {"reach": list(reach)}
    members = [create_generator(path) for path in paths]
    state = pair_of(*members) if wanted == PAIR else mean_of(members)
    exact = create_generator(wanted, pretrained=False, **options).eval()
    exact.load_state_dict(state)
    make_folder(folder)
    half = {key: value.half() for key, value in state.items()}
    save_generator(destination, half, wanted, options)
    error = largest_error(exact, create_generator(destination))
    print(f'file = "{destination.name}"\nsha256 = "{checksum(destination)}"')
    size = destination.stat().st_size / 1e6
    print(f"# {size:.1f} MB; rounding changes {error:.2f} grey levels at most")
    return destination


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("averages", type=Path, nargs="+")
    parser.add_argument("name", help="architecture.tag; sargan_flow_pair_128.tag of two")
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="the working folder if not given"
    )
    parser.add_argument(
        "--reach",
        type=float,
        nargs=len(EXPRESSIONS),
        metavar="SHARE",
        help="of flow generators: how far each expression moves a face, 1 as in training "
        f"({', '.join(EXPRESSIONS)})",
    )
    arguments = parser.parse_args()
    bundle(arguments.averages, arguments.name, arguments.folder, arguments.reach)


if __name__ == "__main__":
    run_script(main)
