"""What every training takes of the machine: options of ``train run`` and ``detector run``."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

_PANEL = "What to compute on"


class Accelerator(str, Enum):
    """What training computes on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Strategy(str, Enum):
    """How several devices share the work."""

    auto = "auto"
    ddp = "ddp"


class Precision(str, Enum):
    """What networks compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16-mixed"
    fp16 = "fp16-mixed"


AcceleratorOption = Annotated[Accelerator, typer.Option(rich_help_panel=_PANEL)]
Devices = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=_PANEL,
        help="Devices, or processes on a CPU, that share every batch.",
    ),
]
StrategyOption = Annotated[
    Strategy, typer.Option(rich_help_panel=_PANEL, help="How several devices share it.")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        rich_help_panel=_PANEL,
        show_default="bf16-mixed where that is faster than fp32, else fp32",
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=_PANEL,
        help="Compute a batch in N parts, to save memory.",
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", rich_help_panel=_PANEL, help="Use torch.compile.")
]
