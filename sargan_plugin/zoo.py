"""Generators made from the weights that ``manifest.toml`` lists, or from a file.

Weights are safetensors only; a file that does not match its checksum is not loaded.
"""

from __future__ import annotations

import json
import warnings
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from sargan_plugin.errors import SarganError, SarganWarning, closest_match_hint
from sargan_plugin.generators import Generator
from sargan_plugin.generators.registry import BUILDERS
from sargan_plugin.manifest import Manifest

ENTRY_POINT_GROUP = "sargan_plugin.generators"


@cache
def register_generators() -> None:
    """Register our generators and, through entry points, those of other packages.

    A plugin that cannot be loaded is one warning, not the end of the program.
    """
    import sargan_plugin.generators.sargan
    import sargan_plugin.generators.sargan_flow
    import sargan_plugin.generators.stargan
    import sargan_plugin.generators.usgan  # noqa: F401

    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:  # whatever a third party's import may raise
            message = f"The generator plugin {entry.name!r} could not be loaded: {error}"
            warnings.warn(SarganWarning(message), stacklevel=2)


def generator_names() -> list[str]:
    """Architectures that :func:`create_generator` can build, ours and plugins'."""
    register_generators()
    return sorted(BUILDERS)


def create_generator(
    name: str | Path | None = None,
    *,
    pretrained: bool = True,
    manifest: Manifest | None = None,
    **options: object,
) -> Generator:
    """Build a generator: in evaluation mode with its weights, in training mode without.

    Args:
        name: ``architecture.tag`` of the manifest, a bare architecture, the path of a
            ``.safetensors`` file whose metadata names its ``architecture`` (and its ``options`` as
            JSON, where they are not the usual ones), or None for the manifest's default.
        pretrained: load weights; without, they are random (for training).
        manifest: the installed package's by default.
        **options: passed to the architecture, for instance ``channels=32``.

    Raises:
        SarganError: for an unknown name, missing or damaged weights. Never falls back to random
            weights.
    """
    register_generators()
    if str(name).endswith(".safetensors"):
        path = Path(str(name))
        architecture, stored = architecture_in(path)
        return _load(path, architecture, stored | options)
    if not pretrained:
        name = name or (manifest or Manifest()).default
        return _built(str(name).partition(".")[0], options)
    manifest = manifest or Manifest()
    weights = manifest.find(None if name is None else str(name))
    path = manifest.path_of(weights)
    return _load(path, weights.architecture, architecture_in(path)[1] | options)


def _built(architecture: str, options: dict[str, object]) -> Generator:
    name = _known_architecture(architecture)
    try:
        for option, value in options.items():
            # Python makes no blocks at all of range(-1).
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{option} cannot be negative")
        return BUILDERS[name](**options)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SarganError(f"{name} cannot be built with {options}: {reason}") from error


def _known_architecture(name: str) -> str:
    known = generator_names()
    if name not in known:
        hint = closest_match_hint(name, known)
        raise SarganError(f"No generator named {name!r}; known are {', '.join(known)}.{hint}")
    return name


def architecture_in(path: Path) -> tuple[str, dict[str, object]]:
    """The architecture that a weights file names, and the options it was built with.

    Raises:
        SarganError: when it is no such file.
    """
    if not path.is_file():
        raise SarganError(f"{path}: there is no such weights file.")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise SarganError(f"{path}: not a readable safetensors file ({error}).") from error
    if "architecture" not in metadata:
        raise SarganError(f"{path}: its metadata does not name an architecture.")
    try:
        return metadata["architecture"], dict(json.loads(metadata.get("options", "{}")))
    except (ValueError, TypeError) as error:
        raise SarganError(f"{path}: the options in its metadata are no JSON object.") from error


def _load(path: Path, architecture: str, options: dict[str, object]) -> Generator:
    generator = _built(architecture, options)
    try:
        with safe_open(path, framework="pt") as stream:
            state = {key: stream.get_tensor(key).float() for key in stream.keys()}  # noqa: SIM118
        generator.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SarganError(f"{path}: cannot be loaded as {architecture} ({reason}).") from error
    return generator.eval().requires_grad_(False)


def parameter_count(generator: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in generator.parameters())
