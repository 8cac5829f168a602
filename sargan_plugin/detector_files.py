"""Where the face detector's ONNX file comes from, and how it is opened.

An explicit path or name goes first, then ``$SARGAN_DETECTOR``, then the bundled detector.
InsightFace's packs are for non-commercial research only, so one is used only when it is named.
"""

from __future__ import annotations

import logging
import os
import sys
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sargan_plugin.errors import SarganError
from sargan_plugin.manifest import Manifest

if TYPE_CHECKING:
    from types import ModuleType

    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)

DETECTOR_VARIABLE = "SARGAN_DETECTOR"
PACKS = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc")
INSIGHTFACE_ROOT = "~/.insightface"


def find_detector(model: str | os.PathLike[str] | None = None) -> Path:
    """Return the ONNX file to detect with; a pack that is not there yet is downloaded.

    Args:
        model: path of an SCRFD ONNX file, name of an InsightFace pack or of a detector in the
            manifest; None is what ``$SARGAN_DETECTOR`` names, else the manifest's default.

    Raises:
        SarganError: when there is none of that name, or the bundled one is missing or damaged.
    """
    name = os.fspath(model) if model else os.environ.get(DETECTOR_VARIABLE)
    if name and (path := Path(name).expanduser()).is_file():
        return path
    manifest = Manifest()
    if not name or name in manifest.detectors:
        return manifest.path_of(manifest.detectors[name or manifest.default_detector])
    if name in PACKS:
        return file_of_pack(name, ("det_*.onnx", "scrfd_*.onnx"), "detector")
    source = "" if model else f" (from ${DETECTOR_VARIABLE})"
    raise SarganError(
        f"There is no face detector {name!r}{source}: it is neither an ONNX file, nor "
        f"{', '.join(manifest.detectors)}, nor one of the InsightFace packs {', '.join(PACKS)}."
    )


def file_of_pack(name: str, patterns: Sequence[str], what: str) -> Path:
    """A network of an InsightFace pack, from InsightFace's own cache or through its download.

    Args:
        name: one of ``PACKS``.
        patterns: how its file may be called.
        what: it is, for the error.

    Raises:
        SarganError: when the pack cannot be downloaded or holds no such file.
    """
    folder = Path(INSIGHTFACE_ROOT).expanduser() / "models" / name
    if not folder.is_dir():
        ensure_available = _import_insightface().utils.ensure_available
        logger.warning(
            "Downloading InsightFace pack %s: its models are for non-commercial research only.",
            name,
        )
        try:
            with redirect_stdout(sys.stderr):  # it prints, and stdout may carry our JSON
                ensure_available("models", name, root=str(folder.parents[1]))
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()  # InsightFace would take it for the finished pack
            raise SarganError(
                f"InsightFace pack {name} could not be downloaded: {first_line(error)}"
            ) from error
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            return path
    raise SarganError(
        f"InsightFace pack {name} has no {what} in {folder}: delete that folder to download anew."
    )


def open_detector(path: Path, device: str = "auto", threads: int | None = None) -> InferenceSession:
    """Open an SCRFD ONNX file as one ONNX Runtime session.

    Raises:
        SarganError: when it cannot be loaded, is no SCRFD, or CUDA is asked for and not there.
    """
    _import_insightface()  # first: it switches ONNX Runtime's telemetry off
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    wants_cuda = device.startswith("cuda")
    if wants_cuda or (device == "auto" and has_cuda):
        # Pictures come in many sizes; an exhaustive search would run anew for each of them.
        options = {
            "device_id": int(device.partition(":")[2] or 0),
            "cudnn_conv_algo_search": "HEURISTIC",
        }
        providers.insert(0, ("CUDAExecutionProvider", options))
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
    no_cuda = SarganError(
        "CUDA was asked for, but ONNX Runtime cannot use it here: install onnxruntime-gpu and "
        "CUDA, or detect on the CPU."
    )
    if wants_cuda and not has_cuda:
        raise no_cuda
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or usable_cpus()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    # Measured on 2 cores: neither costs time. Idle threads that spin slow PyTorch down; the arena
    # would keep half a gigabyte after one large picture.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise SarganError(
            f"{path} is no ONNX file that can be loaded: {first_line(error)}"
        ) from error
    if wants_cuda and session.get_providers()[0] != "CUDAExecutionProvider":
        raise no_cuda
    _check_is_scrfd(session, path)
    return session


def _check_is_scrfd(session: InferenceSession, path: Path) -> None:
    """Refuse what InsightFace's SCRFD class would misread: it only counts the outputs."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(outputs) in (6, 10):
        raise SarganError(f"{path} finds no landmarks: an SCRFD with key points (bnkps) is needed.")
    levels = len(outputs) // 3
    widths = [1] * levels + [4] * levels + [10] * levels
    image_like = len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[1] == 3
    if (
        len(outputs) not in (9, 15)
        or not image_like
        or any(
            isinstance(o.shape[-1], int) and o.shape[-1] != w
            for o, w in zip(outputs, widths, strict=True)
            if o.shape
        )
    ):
        raise SarganError(f"{path} is no SCRFD face detector: its inputs and outputs are others.")


def _import_insightface() -> ModuleType:
    # It imports albumentations where that is installed, which would ask PyPI for its version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import insightface

    return insightface


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
