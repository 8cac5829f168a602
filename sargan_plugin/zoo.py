"""Which weights there are, where they lie, and generators made from them.

``manifest.toml`` beside the bundled weights lists every file with its SHA-256, licence, data,
recipe and metrics. Weights are safetensors only; a file that does not match its checksum is not
loaded. Entries with a ``url`` are fetched once into a cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import urllib.request
import warnings
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open

from sargan_plugin.errors import SarganError, closest_match_hint
from sargan_plugin.generators import Generator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENTRY_POINT_GROUP = "sargan_plugin.generators"


@dataclass(frozen=True)
class Weights:
    """One entry of the manifest.

    Attributes:
        name: ``architecture.tag``, timm's convention.
        file: file name, beside the manifest or in the cache.
        sha256: checksum of the file.
        licence: of the weights.
        data: what they were trained on.
        recipe: the command that trained them.
        card: path of the model card, relative to the manifest.
        url: where to fetch a file that is not bundled, or an empty string.
        experimental: expressions that do not work reliably.
        metrics: measured figures by name.
    """

    name: str
    file: str
    sha256: str
    licence: str
    data: str
    recipe: str = ""
    card: str = ""
    url: str = ""
    experimental: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]


class Manifest:
    """The weights known to an installation.

    Args:
        folder: holds ``manifest.toml`` and the bundled files; the installed package's by default.

    Raises:
        SarganError: when the manifest is missing or malformed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(str(files("sargan_weights")))
        path = self.folder / "manifest.toml"
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
            self.default: str = entries["default"]
            self.weights = {
                name: Weights(
                    name=name, **{**entry, "experimental": tuple(entry.get("experimental", ()))}
                )
                for name, entry in entries["weights"].items()
            }
        except OSError as error:
            raise SarganError(f"{path}: cannot be read ({error.strerror}).") from error
        except (KeyError, TypeError, ValueError) as error:
            raise SarganError(f"{path}: not a weights manifest ({error}).") from error

    def find(self, name: str | None = None) -> Weights:
        """The entry called ``name`` (the default one without a name).

        A bare architecture name stands for its only or first weights.

        Raises:
            SarganError: for an unknown name, with the known ones and the closest match.
        """
        name = name or self.default
        if name in self.weights:
            return self.weights[name]
        for weights in self.weights.values():
            if weights.architecture == name:
                return weights
        known, hint = ", ".join(self.weights), closest_match_hint(name, self.weights)
        raise SarganError(f"No weights named {name!r}; known are {known}.{hint}")

    def path_of(self, weights: Weights) -> Path:
        """The verified local file of an entry, fetched into the cache when it has to be.

        Raises:
            SarganError: when the file is missing, cannot be fetched, or fails its checksum.
        """
        bundled = self.folder / weights.file
        path = bundled if bundled.exists() else cache_folder() / weights.file
        if not path.exists():
            if not weights.url:
                raise SarganError(f"{bundled}: the weights of {weights.name} are missing.")
            fetch(weights.url, path, weights.sha256)
        verify(path, weights.sha256)
        return path


def cache_folder() -> Path:
    """``$SARGAN_CACHE``, or ``sargan-plugin`` in the user's cache folder."""
    if chosen := os.environ.get("SARGAN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sargan-plugin"


def checksum(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify(path: Path, sha256: str) -> None:
    """Check a file against its checksum.

    Raises:
        SarganError: when they differ or the file cannot be read.
    """
    try:
        found = checksum(path)
    except OSError as error:
        raise SarganError(f"{path}: cannot be read ({error.strerror}).") from error
    if found != sha256:
        raise SarganError(
            f"{path}: damaged or not the published file (SHA-256 {found[:12]}…, "
            f"expected {sha256[:12]}…); reinstall the package or delete the file."
        )


def fetch(url: str, destination: Path, sha256: str, timeout: float = 30) -> None:
    """Download a file to ``destination`` under a temporary name, checked before it is renamed.

    Raises:
        SarganError: when the download fails or the checksum differs; nothing is left behind.
    """
    partial = None
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
        partial = Path(name)
        with (
            os.fdopen(handle, "wb") as stream,
            urllib.request.urlopen(url, timeout=timeout) as response,
        ):
            shutil.copyfileobj(response, stream)
        verify(partial, sha256)
        partial.replace(destination)
    except OSError as error:
        raise SarganError(f"{url}: could not be fetched to {destination} ({error}).") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


@cache
def register_generators() -> None:
    """Register our generators and, through entry points, those of other packages with timm.

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
            warnings.warn(
                f"The generator plugin {entry.name!r} could not be loaded: {error}", stacklevel=2
            )


def generator_names() -> list[str]:
    """Architectures that :func:`create_generator` can build, ours and plugins'."""
    register_generators()
    return [
        name
        for name in timm.list_models()
        if not timm.models.model_entrypoint(name).__module__.startswith("timm.")
    ]


def create_generator(
    name: str | Path | None = None,
    *,
    pretrained: bool = True,
    manifest: Manifest | None = None,
    **options: object,
) -> Generator:
    """Build a generator, in evaluation mode.

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
        return _built(str(name).partition(".")[0], options)
    manifest = manifest or Manifest()
    weights = manifest.find(None if name is None else str(name))
    return _load(manifest.path_of(weights), weights.architecture, options)


def _built(architecture: str, options: dict[str, object]) -> Generator:
    name = _known_architecture(architecture)
    try:
        return timm.create_model(name, **options)
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
