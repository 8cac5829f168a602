"""What a run computes on: Lightning Fabric made from a few words, and what Fabric leaves to us."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn

from sargan_plugin.compute import has_fast_bfloat16, resolve_device
from sargan_plugin.errors import SarganError

try:
    import tensorboard  # noqa: F401
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.precision import Precision
    from lightning.fabric.utilities.exceptions import MisconfigurationException
except ImportError as error:
    raise SarganError(
        f"Training needs Lightning and TensorBoard: pip install 'sargan-plugin[train]' ({error})"
    ) from error

T = TypeVar("T")
PRECISIONS = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}


@dataclass(frozen=True)
class Hardware:
    """What a run computes on; changes its speed and rounding, not what it learns.

    Attributes:
        accelerator: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        devices: number of devices, or of processes on a CPU; they share every batch.
        strategy: ``"auto"`` or ``"ddp"``, which several devices take anyway.
        precision: a key of ``PRECISIONS``, or ``"auto"``: bf16-mixed where that is faster.
        accumulate: parts of the batch that a device computes one after another, to save memory.
        compile: whether the generator goes through ``torch.compile``.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    accumulate: int = 1
    compile: bool = False

    def launch(self) -> Fabric:
        """Fabric with all its processes running.

        Raises:
            SarganError: when the machine has no such devices or cannot compute like that.
        """
        device = resolve_device(self.accelerator)
        precision = self.precision
        if precision == "auto":
            # On a CPU without instructions for it, bfloat16 is three times as slow as float32.
            precision = "bf16-mixed" if has_fast_bfloat16(device) else "fp32"
        if precision == "fp16-mixed" and device.type != "cuda":
            raise SarganError(f"fp16-mixed needs a CUDA device, and this run is on {device.type}.")
        for part in ("fabric", "pytorch"):  # Fabric's own banner comes from the other one's logger
            logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
        try:
            fabric = Fabric(
                accelerator=device.type,
                devices=self.devices,
                strategy=self.strategy,
                precision=PRECISIONS[precision],
            )
            fabric.launch()
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise SarganError(f"{self.devices} {device.type} devices: {reason}") from error
        return fabric


def described(fabric: Fabric) -> str:
    """On what a run computes and how, such as ``"2 cpu processes, fp32"``."""
    precision = fabric.strategy.precision.precision
    word = {fabrics: ours for ours, fabrics in PRECISIONS.items()}[precision]
    processes = "process" if fabric.world_size == 1 else "processes"
    return f"{fabric.world_size} {fabric.device.type} {processes}, {word}"


def computes_in_16_bits(fabric: Fabric) -> bool:
    """Whether autocast makes convolutions bfloat16 or float16."""
    return fabric.strategy.precision.precision != PRECISIONS["fp32"]


class LossScale:
    """The scale of float16's losses. Other precisions have none, and it starts afresh."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision

    def state_dict(self) -> dict[str, Any]:
        return self.precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.precision.load_state_dict(state)


@contextlib.contextmanager
def first_process_tells(fabric: Fabric) -> Iterator[None]:
    """However the processes end, only the first one tells: the others leave without a word.

    They leave with exit code 0, because Fabric kills the first process when another one fails.
    """
    try:
        yield
    except (SarganError, KeyboardInterrupt):
        if fabric.is_global_zero:
            raise
    if not fabric.is_global_zero:
        raise SystemExit(0)


def first_process_first(fabric: Fabric, work: Callable[[], T]) -> T:
    """What ``work`` gives, done by the first process and then by the others.

    Raises:
        SarganError: in all of them where it does in the first one. Otherwise the others would wait
            for it in vain, and say so.
    """
    failure, result = None, None
    if fabric.is_global_zero:
        try:
            result = work()
        except SarganError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        fail_together(fabric, failure)
    return result if fabric.is_global_zero else work()


def fail_together(fabric: Fabric, failure: SarganError) -> NoReturn:
    """Raise in every process what the first one has told all of them."""
    fabric.barrier()  # what is told would not arrive from a process that is gone
    raise failure


def average_gradients(fabric: Fabric, network: nn.Module) -> None:
    """Make every process's gradients the mean over all, in one reduction.

    By hand, as StyleGAN's training does: the hooks of DistributedDataParallel allow for neither
    ``autograd.grad`` (R1, WGAN-GP) nor several passes through one network between two updates.
    """
    if fabric.world_size > 1:
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        # Those of a channels-last network are no views of a vector.
        together = torch.cat([each.flatten() for each in gradients])
        mean = fabric.all_reduce(together, reduce_op="mean")
        parts = mean.split([each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


def averaged(fabric: Fabric, values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Scalars by name, averaged over all processes."""
    together = torch.stack([value.float() for value in values.values()])
    mean = fabric.all_reduce(together, reduce_op="mean")
    return dict(zip(values, mean.tolist(), strict=True))
