"""Which weights there are and where they lie: ``manifest.toml`` beside the bundled files.

It lists every generator and every face detector with its SHA-256, licence, data, recipe and
metrics. Generators are safetensors, detectors ONNX; a file that does not match its checksum is not
loaded. Entries with a ``url`` are fetched once into a cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from sargan_plugin.errors import SarganError, closest_match_hint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Weights:
    """One entry of the manifest: a generator or a face detector.

    Attributes:
        name: of a generator ``architecture.tag``, timm's convention.
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
    """The generators and face detectors known to an installation.

    Args:
        folder: holds ``manifest.toml`` and the bundled files; the installed package's by default.

    Attributes:
        default: name of the generator used when none is named.
        default_detector: name of the detector used when none is named.
        weights: generators by name.
        detectors: face detectors by name.

    Raises:
        SarganError: when the manifest is missing or malformed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(str(files("sargan_weights")))
        path = self.folder / "manifest.toml"
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
            self.default: str = entries["default"]
            self.default_detector: str = entries["default_detector"]
            self.weights = _listed(entries["weights"])
            self.detectors = _listed(entries["detectors"])
        except OSError as error:
            raise SarganError(f"{path}: cannot be read ({error.strerror}).") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SarganError(f"{path}: not a weights manifest ({error}).") from error

    @property
    def everything(self) -> dict[str, Weights]:
        """Generators, then detectors."""
        return self.weights | self.detectors

    def find(self, name: str | None = None) -> Weights:
        """The generator called ``name`` (the default one without a name).

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
        path = self.local_file(weights)
        if path is None:
            if not weights.url:
                missing = self.folder / weights.file
                raise SarganError(f"{missing}: the weights of {weights.name} are missing.")
            path = cache_folder() / weights.file
            fetch(weights.url, path, weights.sha256)
        verify(path, weights.sha256)
        return path

    def local_file(self, weights: Weights) -> Path | None:
        """Where the file of an entry lies, unchecked, or None when it is not there."""
        bundled = self.folder / weights.file
        if bundled.is_file():  # the cache needs a home, which not every user has
            return bundled
        cached = cache_folder() / weights.file
        return cached if cached.is_file() else None


def _listed(table: dict[str, dict[str, Any]]) -> dict[str, Weights]:
    return {
        name: Weights(name=name, **{**entry, "experimental": tuple(entry.get("experimental", ()))})
        for name, entry in table.items()
    }


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
