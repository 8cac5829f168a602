"""``sargan-cli doctor``: whether this installation can do its work, a line a check."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sargan_cli import options
from sargan_cli.console import Output, Report

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "sargan-plugin",
    "torch",
    "torchvision",
    "kornia",
    "insightface",
    "onnxruntime",
    "numpy",
    "pillow",
    "av",
    "safetensors",
)


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: shown first.
        look: returns what was found, and raises when it is not as it should be.
        needed: whether editing pictures needs it.
    """

    name: str
    look: Callable[[], str]
    needed: bool = True


def doctor(
    model: options.Model = None,
    detector: options.Detector = None,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Check the installation: versions, device, detector, weights, cache.

    The exit code is 1 when pictures cannot be edited.
    """
    checks = [
        Check("versions", _versions),
        Check("device", lambda: _device(device)),
        Check("bf16", lambda: _bf16(device), needed=False),
        Check("detector", lambda: _detector(detector, device)),
        Check("weights", lambda: _weights(model)),
        Check("cache", _cache, needed=False),
    ]
    output = Output(quiet)
    found = []
    for check in checks:
        state, text = _looked_at(check)
        found.append({"check": check.name, "state": state, "text": text})
        if state == "failed":
            output.fail(f"{check.name}: {text}")
        else:
            output.say(f"{state:8} {check.name:9} {text}")
    failed = [each["check"] for each in found if each["state"] == "failed"]
    data: dict[str, object] = {"checks": found}
    if failed:
        data["error"] = f"pictures cannot be edited: {', '.join(failed)}"
    return Report(data, 1 if failed else 0)


def _looked_at(check: Check) -> tuple[str, str]:
    try:
        return "ok", check.look()
    except Exception as error:  # whatever a broken installation raises
        text = " ".join(str(error).split()) or type(error).__name__
        return ("failed" if check.needed else "warning"), text


def _versions() -> str:
    python = f"Python {platform.python_version()}"
    return ", ".join([python, *(f"{name} {_version(name)}" for name in PACKAGES)])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"  # a variant under another name, such as onnxruntime-gpu; the other checks tell


def _device(device: str) -> str:
    import torch

    from sargan_plugin.compute import resolve_device

    chosen = resolve_device(device)
    _edit_a_face(chosen)
    if chosen.type == "cuda":
        return f"{chosen}, {torch.cuda.get_device_name(chosen)}"
    return f"{chosen}, {torch.get_num_threads()} threads"


def _edit_a_face(device: torch.device) -> None:
    """Not every device, nor every version of torch, can do all that an edit takes."""
    import numpy as np

    from sargan_plugin import ExpressionEditor, create_generator
    from sargan_plugin.align import TEMPLATE_SIZE, template

    editor = ExpressionEditor(model=create_generator(pretrained=False), device=device)
    photo = np.full((TEMPLATE_SIZE, TEMPLATE_SIZE, 3), 128, np.uint8)
    editor(photo, faces=template(TEMPLATE_SIZE)[None])


def _bf16(device: str) -> str:
    from sargan_plugin.compute import has_fast_bfloat16, resolve_device

    fast = has_fast_bfloat16(resolve_device(device))
    return "fast here, and used" if fast else "slow here; float32 is used"


def _detector(detector: str | None, device: str) -> str:
    import numpy as np

    from sargan_plugin import FaceDetector
    from sargan_plugin.compute import detector_device
    from sargan_plugin.detector_files import find_detector
    from sargan_plugin.images import printable_name

    path = find_detector(detector)
    FaceDetector(path, device=detector_device(device)).detect(np.zeros((32, 32, 3), np.uint8))
    return printable_name(path)


def _weights(model: str | None) -> str:
    from sargan_plugin.manifest import Manifest
    from sargan_plugin.zoo import create_generator, parameter_count

    generator = create_generator(model)
    name = model if model and model.endswith(".safetensors") else Manifest().find(model).name
    return f"{name}, {parameter_count(generator) / 1e6:.1f} million parameters"


def _cache() -> str:
    from sargan_plugin.errors import SarganError
    from sargan_plugin.images import printable_name
    from sargan_plugin.manifest import cache_folder

    folder = cache_folder()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise SarganError(f"{printable_name(folder)}: cannot be written to; set $SARGAN_CACHE")
    return printable_name(folder)
