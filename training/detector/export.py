"""Write a trained detector as ONNX in InsightFace's SCRFD format.

    python -m sargan_training.detector.export runs/detector/checkpoint.pt detector_small.onnx

Nine outputs: scores, distances and landmark offsets, each at strides 8, 16 and 32; one row an
anchor. InsightFace reads strides and anchors from their number. A file called ``detector_*.onnx``
in ``weights/`` is the package's default detector.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sargan_plugin.zoo import checksum
from sargan_training.command import run_script
from sargan_training.detector.anchors import STRIDES
from sargan_training.detector.network import FaceDetectionNetwork

OPSET = 11  # InsightFace's own files have it, so every ONNX Runtime it works with reads it
OUTPUTS = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]


class ScrfdOutputs(nn.Module):
    """The network with SCRFD's outputs: of one picture, rank 2, scores after the sigmoid."""

    def __init__(self, network: FaceDetectionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``(1, 3, H, W)`` to nine ``(anchors, 1 | 4 | 10)`` in the order of :data:`OUTPUTS`."""
        logits, distances, offsets = zip(*self.network.levels(images), strict=True)
        return tuple(
            part.flatten(0, 1)
            for part in (*(logit.sigmoid() for logit in logits), *distances, *offsets)
        )


def load_network(checkpoint: Path) -> FaceDetectionNetwork:
    """The averaged network of a checkpoint, for inference.

    Raises:
        SystemExit: when the file is not a checkpoint of this network.
    """
    network = FaceDetectionNetwork()
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        average = saved["average"]
        network.load_state_dict({key.removeprefix("module."): average[key] for key in average})
    except Exception as error:  # torch.load's exceptions share no base class
        reason = str(error).strip().splitlines()[0]
        raise SystemExit(f"{checkpoint}: not a detector's checkpoint ({reason}).") from error
    return network.eval()


def export_onnx(network: FaceDetectionNetwork, path: Path) -> None:
    """Write the network; input height and width are free, multiples of 32."""
    dynamic = {"input.1": {2: "height", 3: "width"}} | {name: {0: "anchors"} for name in OUTPUTS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about loops that do not depend on input
        torch.onnx.export(
            ScrfdOutputs(network).eval(),
            (torch.zeros(1, 3, 320, 256),),
            str(path),
            input_names=["input.1"],
            output_names=OUTPUTS,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,  # the other exporter writes opset 18 and needs onnxscript
        )


def multiply_adds(network: FaceDetectionNetwork, side: int = 640) -> float:
    """Multiply-adds of the convolutions on a square picture, as SCRFD's authors count FLOP."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("onnx", type=Path)
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint)
    export_onnx(network, arguments.onnx)
    print(f'file = "{arguments.onnx.name}"\nsha256 = "{checksum(arguments.onnx)}"')
    size = arguments.onnx.stat().st_size / 1e6
    print(f"# {size:.2f} MB; {multiply_adds(network) / 1e9:.2f} GFLOP at 640 x 640")


if __name__ == "__main__":
    run_script(main)
