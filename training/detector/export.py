"""Write a trained detector as ONNX in InsightFace's SCRFD format.

Nine outputs: scores, distances and landmark offsets, each at strides 8, 16 and 32; one row an
anchor. InsightFace reads strides and anchors from their number.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sargan_plugin.errors import SarganError
from sargan_training.detector.anchors import STRIDES
from sargan_training.detector.network import FaceDetectionNetwork
from sargan_training.files import replace_with

OPSET = 11  # InsightFace's own files have it, so every ONNX Runtime it works with reads it
OUTPUTS = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]


class ScrfdOutputs(nn.Module):
    """The network with SCRFD's outputs: of one picture, rank 2, scores after the sigmoid.

    Args:
        network: what is wrapped.
        threshold: the network's score, between 0 and 1, that comes out as 0.5: everybody's default
            threshold is then where precision and recall were found to balance.
    """

    def __init__(self, network: FaceDetectionNetwork, threshold: float = 0.5) -> None:
        super().__init__()
        self.network = network
        self.shift = math.log(threshold / (1 - threshold))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``(1, 3, H, W)`` to nine ``(anchors, 1 | 4 | 10)`` in the order of :data:`OUTPUTS`."""
        logits, distances, offsets = zip(*self.network.levels(images), strict=True)
        return tuple(
            part.flatten(0, 1)
            for part in (
                *((logit - self.shift).sigmoid() for logit in logits),
                *distances,
                *offsets,
            )
        )


def load_network(checkpoint: Path) -> FaceDetectionNetwork:
    """The averaged network of a checkpoint, for inference.

    Raises:
        SarganError: when the file is not a checkpoint of this network.
    """
    network = FaceDetectionNetwork()
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        average = saved["average"]
        network.load_state_dict({key.removeprefix("module."): average[key] for key in average})
    except Exception as error:  # torch.load's exceptions share no base class
        reason = str(error).strip().splitlines()[0]
        raise SarganError(f"{checkpoint}: not a detector's checkpoint ({reason}).") from error
    return network.eval()


def export_onnx(network: FaceDetectionNetwork, path: Path, threshold: float = 0.5) -> None:
    """Write the network; input height and width are free, multiples of 32.

    ``threshold`` is that of :class:`ScrfdOutputs`.
    """
    dynamic = {"input.1": {2: "height", 3: "width"}} | {name: {0: "anchors"} for name in OUTPUTS}

    def write(partial: Path) -> None:
        torch.onnx.export(
            ScrfdOutputs(network, threshold).eval(),
            (torch.zeros(1, 3, 320, 256),),
            str(partial),
            input_names=["input.1"],
            output_names=OUTPUTS,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,  # the other exporter writes opset 18 and needs onnxscript
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about loops that do not depend on input
        replace_with(path, write)


def multiply_adds(network: FaceDetectionNetwork, side: int = 640) -> float:
    """Multiply-adds of the convolutions on a square picture, as SCRFD's authors count FLOP."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2
