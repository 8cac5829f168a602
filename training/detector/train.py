"""Train the face detector. Read it from top to bottom.

``sargan-cli train detector run`` comes here. A run goes on from ``RUN/checkpoint.pt`` when there is
one, also with more steps than before: the learning rate falls in the second half of the steps only,
so prolong a run before it got there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from sargan_plugin.errors import SarganError
from sargan_plugin.images import make_folder
from sargan_training.backbones import ModelEmaV3
from sargan_training.checkpoints import read_state, save_state, set_state
from sargan_training.detector.anchors import make_anchors
from sargan_training.detector.cpu import slow_convolutions_in_float32
from sargan_training.detector.dataset import Collages, collage_loader
from sargan_training.detector.losses import Targets, detection_loss
from sargan_training.detector.network import FaceDetectionNetwork
from sargan_training.detector.pictures import PictureStore
from sargan_training.hardware import Hardware, averaged, described, first_process_tells
from sargan_training.interruption import Interruption

WARM_UP = 200  # steps
COOL_DOWN = 0.5  # share of the steps in which the rate falls to nothing
SETTLE_ON = 48  # batches that the statistics of batch normalisation are then taken from
WEIGHT_DECAY = 0.02
LARGEST_GRADIENT = 10.0  # norm


@dataclass(frozen=True)
class DetectorTraining:
    """What to train on and how long.

    Attributes:
        pictures: a store written by :func:`~sargan_training.detector.prepare.prepare_pictures`.
        run: folder of the checkpoint.
        steps: in all, those before a resume included.
        batch: collages a step, over all devices.
        side: of the collages in px, a multiple of 32.
        rate: highest learning rate.
        save_every: steps.
        workers: processes that make collages.
        in_memory: read all pictures at the start, for slow disks.
    """

    pictures: Path
    run: Path
    steps: int = 40_000
    batch: int = 16
    side: int = 320
    rate: float = 2e-3
    save_every: int = 250
    workers: int = 1
    in_memory: bool = False

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoint.pt"


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate: warm up, stay, cool down."""
    return min(1.0, (step + 1) / WARM_UP, (1 - step / steps) / COOL_DOWN)


def settles_at(steps: int) -> int:
    """The step from which batch normalisation has fixed statistics: where the rate begins to fall.

    Small batches differ so much that a network which sees each through its own statistics is biased
    under the mean ones (measured: landmarks 5 % of the eye distance to one side).
    """
    return round(steps * (1 - COOL_DOWN))


def fix_statistics(network: FaceDetectionNetwork) -> None:
    """Let batch normalisation use the statistics it has, in training too."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def to_network_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to what InsightFace feeds an SCRFD: ``(value - 127.5) / 128``."""
    pixels = pixels.float().sub_(127.5).div_(128)
    return pixels.contiguous(memory_format=torch.channels_last)


def train_detector(
    setting: DetectorTraining,
    hardware: Hardware | None = None,
    *,
    say: Callable[[str], None] = print,
    report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Train until the last step, from the checkpoint if there is one.

    Args:
        setting: what to train on and how long.
        hardware: what to compute on.
        say: takes a line for people.
        report: takes the step and its losses after every step.

    Raises:
        SarganError: when the store or the checkpoint cannot be read, the machine does not fit, or
            the loss stops being a number.
        KeyboardInterrupt: after SIGINT or SIGTERM, with the checkpoint saved.
    """
    hardware = hardware or Hardware()
    fabric = hardware.launch()
    with first_process_tells(fabric):
        if not fabric.is_global_zero:
            say, report = (lambda line: None), (lambda step, values: None)
        if setting.batch % fabric.world_size:
            raise SarganError(
                f"A batch of {setting.batch} does not fall into {fabric.world_size} equal parts."
            )
        store = PictureStore(setting.pictures, setting.in_memory)
        make_folder(setting.run)
        fabric.seed_everything(0, verbose=False)
        network = FaceDetectionNetwork().to(memory_format=torch.channels_last)
        if fabric.device.type == "cpu" and fabric.strategy.precision.precision == "bf16-mixed":
            slow_convolutions_in_float32(network)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=setting.rate, weight_decay=WEIGHT_DECAY
        )
        compiled = torch.compile(network) if hardware.compile else network
        model, optimizer = fabric.setup(compiled, optimizer)
        average = ModelEmaV3(network, decay=0.999, use_warmup=True)
        state = {"network": network, "average": average, "optimizer": optimizer}
        say(f"{described(fabric)}, {len(store)} pictures")
        step = 0
        if setting.checkpoint.exists():
            saved = read_state(setting.checkpoint)
            set_state(setting.checkpoint, saved, state)
            step = saved["step"]
            say(f"resumed at step {step}")
        if step > settles_at(setting.steps):
            fix_statistics(network)

        collages = Collages(store, setting.side, setting.steps * setting.batch)
        part = setting.batch // fabric.world_size
        loader = collage_loader(collages, part, step * setting.batch, setting.workers)
        loader = fabric.setup_dataloaders(loader, move_to_device=False)
        anchors = make_anchors(setting.side, setting.side).to(fabric.device)
        with Interruption() as interruption:
            for pixels, targets in loader:
                if step == settles_at(setting.steps):
                    shown = islice(collage_loader(collages, part, 0, setting.workers), SETTLE_ON)
                    batches = (to_network_range(pixels) for pixels, _ in shown)
                    update_bn(batches, network, fabric.device)
                    fix_statistics(network)
                    average.set(network)
                for group in optimizer.param_groups:
                    group["lr"] = setting.rate * rate_at(step, setting.steps)
                predictions = model(to_network_range(pixels.to(fabric.device)))
                targets = Targets(*(each.to(fabric.device) for each in vars(targets).values()))
                loss, values = detection_loss(predictions, targets, anchors)
                values["stopped"] = torch.tensor(float(interruption.wanted), device=fabric.device)
                means = averaged(fabric, values)
                stopped = means.pop("stopped") > 0
                if not all(map(math.isfinite, means.values())):
                    raise SarganError(
                        f"Training diverged after step {step}; {setting.checkpoint} is from before."
                    )
                optimizer.zero_grad(set_to_none=True)
                fabric.backward(loss)
                fabric.clip_gradients(model, optimizer, max_norm=LARGEST_GRADIENT)
                optimizer.step()
                step += 1
                average.update(network, step)
                report(step, means)
                due = step % setting.save_every == 0 or step == setting.steps
                if (due or stopped) and fabric.is_global_zero:
                    save_state(setting.checkpoint, state, step=step)
                if stopped:
                    fabric.barrier()  # nobody leaves before the checkpoint is written
                    say(f"stopped at step {step}; the same command goes on from there")
                    raise KeyboardInterrupt
        fabric.barrier()
