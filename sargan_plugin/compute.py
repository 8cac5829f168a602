"""Which device and precision the generator runs in."""

from __future__ import annotations

import torch

from sargan_plugin.errors import SarganError

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device named, or the best there is for ``"auto"``.

    Raises:
        SarganError: when it is unknown or not available on this machine.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise SarganError(
            f"Unknown device {str(device)!r}; use auto, cpu, cuda, cuda:N or mps."
        ) from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(chosen.type, False):
        raise SarganError(f"Device {str(device)!r} is not available on this machine; use cpu.")
    return chosen


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: AMX or AVX512-BF16 on a CPU, most CUDA cards."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Private in torch; where a version lacks them, float32 is always right.
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)
    return False


def autocast_dtype(dtype: str, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast the generator to, or None for none.

    Raises:
        SarganError: for an unknown dtype.
    """
    if dtype == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else None
    if dtype not in DTYPES:
        raise SarganError(f"Unknown dtype {dtype!r}; known are auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def detector_device(device: str | torch.device) -> str:
    """Where the detector runs when the generator runs on ``device``.

    ONNX Runtime's build decides whether it has CUDA, not torch's; so only the CPU is insisted on.
    """
    return "cpu" if str(device) == "cpu" else "auto"
