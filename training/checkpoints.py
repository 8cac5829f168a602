"""Files of a run: the checkpoint it resumes from, and averages that are weights like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sargan_plugin.detector_files import first_line
from sargan_plugin.errors import SarganError
from sargan_plugin.images import printable_name
from sargan_training.files import replace_with
from sargan_training.recipe import Recipe

# A run with other values of these is another run.
SHAPE = ("system", "generator", "game", "discriminator")


class Stateful(Protocol):
    """Anything with a state: networks, optimizers, a game."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


def save_state(path: Path, parts: dict[str, Stateful], **facts: Any) -> None:
    """Write the state of all parts, and more facts beside it."""
    states = {name: part.state_dict() for name, part in parts.items()} | facts
    replace_with(path, lambda partial: torch.save(states, partial))


def read_state(path: Path) -> dict[str, Any]:
    """What :func:`save_state` wrote, on the CPU.

    Parts take it to where they compute, except for Adam's counts of steps, which belong there.

    Raises:
        SarganError: when the file cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports damaged files in many ways
        raise _not_resumable(path, error) from error


def set_state(path: Path, saved: dict[str, Any], parts: dict[str, Stateful]) -> None:
    """Set all parts to what was read from ``path``.

    Raises:
        SarganError: when it belongs to other parts.
    """
    try:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _not_resumable(path, error) from error


def load_weights(path: Path, network: nn.Module) -> None:
    """Set a network to the weights that :func:`save_weights` wrote.

    Raises:
        SarganError: when they cannot be read or belong to another network.
    """
    try:
        weights = load_file(path, str(next(network.parameters()).device))
    except (OSError, SafetensorError) as error:
        raise SarganError(f"{printable_name(path)}: cannot be read: {first_line(error)}") from error
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise SarganError(
            f"{printable_name(path)}: is of another network: {first_line(error)}"
        ) from error


def save_weights(
    path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write weights by name as safetensors."""
    contiguous = {name: value.contiguous().cpu() for name, value in state.items()}
    # safetensors' save_file would let nobody but the owner read the file.
    replace_with(path, lambda partial: partial.write_bytes(save(contiguous, metadata)))


def _not_resumable(path: Path, error: Exception) -> SarganError:
    return SarganError(f"{printable_name(path)}: cannot be resumed from: {first_line(error)}")


def save_generator(
    path: Path, state: dict[str, Tensor], architecture: str, options: dict[str, Any], **facts: Any
) -> None:
    """Write a generator's state as safetensors that say which architecture they are of.

    Args:
        path: of the file.
        state: weights by name.
        architecture: the name a generator is registered under.
        options: what that generator was made with.
        facts: more for the file's metadata.
    """
    metadata = {"architecture": architecture, "options": json.dumps(options)}
    metadata |= {name: str(value) for name, value in facts.items()}
    save_weights(path, state, metadata)


def changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Fields of two recipes that differ, as ``{"losses.mask": "8.0, now 4.0"}``."""
    found: dict[str, str] = {}
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= changes(old, new, f"{prefix}{name}.")
        elif old != new:
            found[prefix + name] = f"{old}, now {new}"
    return dict(sorted(found.items()))


def changes_since(path: Path, saved: dict[str, Any], recipe: Recipe, faces: str) -> list[str]:
    """What the recipe says now and did not when a checkpoint was written, a line each.

    Args:
        path: of the checkpoint.
        saved: what was read from it.
        recipe: of now.
        faces: digest of what is trained on now.

    Raises:
        SarganError: when the checkpoint is none of a run, or of a run of something else.
    """
    before = saved.get("recipe") if isinstance(saved, dict) else None
    if not isinstance(before, dict):
        raise SarganError(f"{printable_name(path)}: is no checkpoint of this program's training.")
    found = changes(before, recipe.to_dict())
    for name, change in found.items():
        if name.partition(".")[0] in SHAPE:
            raise SarganError(
                f"{printable_name(path)}: is of a run with {name} {change}; choose another --run."
            )
    if saved.get("faces") != faces:
        raise SarganError(
            f"{printable_name(path)}: is of a run on other photos or labels (another --data or "
            "--second-opinion, or more photos prepared since); choose another --run."
        )
    found.pop("description", None)
    late = {name for name in found if name == "start" or name.startswith("pretraining.")}
    if recipe.game == "hinge":
        late.discard("pretraining.smoothing")  # all else of that is over
    return [f"{name} was {found[name]}" for name in found if name not in late] + [
        f"{name} was {found[name]}, too late to matter" for name in sorted(late)
    ]
