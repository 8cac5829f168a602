"""Train the face detector. Read it from top to bottom.

    python -m sargan_training.detector.train --pictures runs/detector_pictures --run runs/detector

Resumes from ``RUN/checkpoint.pt`` when there is one, also with more ``--steps`` than before: the
learning rate falls in the last part of the steps only, so prolong a run before it got there.
Several GPUs: ``--devices 4``.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from timm.utils import ModelEmaV3

from sargan_training.command import run_script
from sargan_training.detector.anchors import make_anchors
from sargan_training.detector.cpu import slow_convolutions_in_float32
from sargan_training.detector.dataset import Collages, collage_loader
from sargan_training.detector.losses import Targets, detection_loss
from sargan_training.detector.network import FaceDetectionNetwork
from sargan_training.detector.pictures import PictureStore

try:
    from lightning.fabric import Fabric
except ImportError as error:
    raise SystemExit("Training needs Lightning: pip install 'sargan-plugin[train]'") from error

WARM_UP = 200  # steps
COOL_DOWN = 0.3  # share of the steps in which the rate falls to nothing
WEIGHT_DECAY = 0.02
LARGEST_GRADIENT = 10.0  # norm


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate: warm up, stay, cool down."""
    return min(1.0, (step + 1) / WARM_UP, (1 - step / steps) / COOL_DOWN)


def to_network_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to what InsightFace feeds an SCRFD: ``(value - 127.5) / 128``."""
    pixels = pixels.float().sub_(127.5).div_(128)
    return pixels.contiguous(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, required=True, help="from ...detector.prepare")
    parser.add_argument("--run", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=16, help="pictures a step and device")
    parser.add_argument("--side", type=int, default=320, help="px, a multiple of 32")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--save-every", type=int, default=250, help="steps")
    parser.add_argument("--report-every", type=int, default=25, help="steps")
    parser.add_argument("--workers", type=int, default=1, help="processes that make collages")
    parser.add_argument("--in-memory", action="store_true", help="read all pictures at the start")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--devices", default="auto", help="how many; several run DDP")
    arguments = parser.parse_args()
    if arguments.side % 32:
        parser.error(f"--side must be a multiple of 32, not {arguments.side}")

    # Without a GPU there is one device: all CPUs work on the same batch.
    fabric = Fabric(
        accelerator=arguments.accelerator, devices=arguments.devices, precision="bf16-mixed"
    )
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    network = FaceDetectionNetwork().to(memory_format=torch.channels_last)
    if fabric.device.type == "cpu":
        slow_convolutions_in_float32(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=arguments.rate, weight_decay=WEIGHT_DECAY
    )
    model, optimizer = fabric.setup(network, optimizer)
    average = ModelEmaV3(network, decay=0.999, use_warmup=True)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    checkpoint, step = arguments.run / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=fabric.device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step = saved["step"]
        fabric.print(f"resumed at step {step}", flush=True)

    batch = arguments.batch * fabric.world_size
    store = PictureStore(arguments.pictures, arguments.in_memory)
    collages = Collages(store, arguments.side, arguments.steps * batch)
    loader = collage_loader(collages, arguments.batch, step * batch, arguments.workers)
    loader = fabric.setup_dataloaders(loader, move_to_device=False)
    anchors = make_anchors(arguments.side, arguments.side).to(fabric.device)
    sums: dict[str, float] = {}
    started, waited, ready = time.monotonic(), 0.0, time.monotonic()
    for pixels, targets in loader:
        waited += time.monotonic() - ready
        rate = rate_at(step, arguments.steps)
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * rate
        predictions = model(to_network_range(pixels.to(fabric.device)))
        targets = Targets(*(each.to(fabric.device) for each in vars(targets).values()))
        loss, parts_of_loss = detection_loss(predictions, targets, anchors)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=LARGEST_GRADIENT)
        optimizer.step()
        step += 1
        average.update(network, step)
        if not math.isfinite(loss.item()):
            raise SystemExit(f"The loss is {loss.item()} at step {step}; see {checkpoint}.")

        for name, value in parts_of_loss.items():
            sums[name] = sums.get(name, 0.0) + value.item() / arguments.report_every
        if step % arguments.report_every == 0:
            seconds = time.monotonic() - started
            speed = batch * arguments.report_every / seconds
            losses = "  ".join(f"{name} {value:.3f}" for name, value in sums.items())
            fabric.print(
                f"{step}/{arguments.steps}  {losses}  rate {arguments.rate * rate:.5f}  "
                f"{speed:.1f} images/s, {100 * waited / seconds:.0f} % waiting for pictures",
                flush=True,
            )
            sums, started, waited = {}, time.monotonic(), 0.0
        last = step == arguments.steps
        if fabric.is_global_zero and (step % arguments.save_every == 0 or last):
            states = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
            arguments.run.mkdir(parents=True, exist_ok=True)
            torch.save(states, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
        ready = time.monotonic()


if __name__ == "__main__":
    run_script(main)
