"""Networks that read the expression of a face and guide no generator.

Two timm backbones of different kind are trained here, on the people generators are trained on
too; face-api's network, trained by others on other photographs, is a third when its package is
given. Where labels were mixed with its opinion (``relabel.py``), it judges what it taught.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import make_folder
from sargan_training.backbones import timm
from sargan_training.checkpoints import load_weights, save_weights
from sargan_training.data import MARGIN, Crops, FaceSet, by_parts, central
from sargan_training.face_api import TRIM, FaceApiExpression, read_weights
from sargan_training.pretrain import train_classifier
from sargan_training.recipe import Jitter, Pretraining

BACKBONES = ("resnet10t", "cs3darknet_focus_s")


class Backbone(nn.Module):
    """A timm network as a judge of ``(B, 3, 160, 160)`` crops with their surroundings."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = timm.create_model(name, num_classes=len(EXPRESSIONS), drop_rate=0.2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(central(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, ``(B, C)``."""
        features = self.network.forward_features(central(images))
        return self.network.forward_head(features, pre_logits=True)


class FaceApiJudge(nn.Module):
    """face-api's network as a judge of crops with their surroundings."""

    def __init__(self, package: Path) -> None:
        super().__init__()
        self.network = FaceApiExpression(read_weights(package))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cut = MARGIN + TRIM
        return self.network(images[..., cut:-cut, cut:-cut])


def trained_judge(
    name: str,
    train: FaceSet,
    folder: Path,
    steps: int,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = print,
) -> Backbone:
    """A judge trained for so many steps, or the one that ``folder`` keeps from last time, if that
    was trained as long on the same photos and labels.

    Raises:
        SarganError: when what ``folder`` keeps cannot be read.
    """
    seed = BACKBONES.index(name) + 11
    torch.manual_seed(seed)
    judge = Backbone(name).to(device, memory_format=torch.channels_last)
    saved = folder / f"judge_{name}_{steps}_{train.digest[:12]}.safetensors"
    if saved.exists():
        load_weights(saved, judge)
    else:
        lessons = Pretraining(
            steps=steps,
            batch=32,
            rate=1e-3,
            weight_decay=0.02,
            smoothing=0.1,
            jitter=Jitter(scale=0.08, rotation=0.08, shift=4),
        )
        make_folder(folder)
        unfinished = saved.with_suffix(".unfinished")
        train_classifier(judge.network, train, lessons, seed, unfinished=unfinished, say=say)
        save_weights(saved, judge.state_dict())
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def readings(judge: nn.Module, crops: torch.Tensor | Crops) -> torch.Tensor:
    """Probabilities ``(N, 7)`` that a judge gives to uint8 crops ``(N, 3, 160, 160)``."""
    return by_parts(lambda images: judge(images).softmax(dim=1), crops, device_of(judge))


@torch.no_grad()
def features(judge: Backbone, crops: torch.Tensor | Crops) -> torch.Tensor:
    """What the last layer of a judge sees of uint8 crops, ``(N, C)``."""
    return by_parts(judge.features, crops, device_of(judge))


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights lie."""
    return next(network.parameters()).device


def compressed(crops: torch.Tensor, quality: int = 75) -> torch.Tensor:
    """uint8 crops after JPEG: an edit that only fools a network dies there."""
    result = []
    for crop in crops:
        file = io.BytesIO()
        Image.fromarray(crop.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        result.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(result)


def halved(crops: torch.Tensor) -> torch.Tensor:
    """uint8 crops scaled to half their size and back."""
    small = F.interpolate(crops.float(), scale_factor=0.5, mode="bilinear", antialias=True)
    large = F.interpolate(small, size=crops.shape[-2:], mode="bicubic")
    return large.round().clamp(0, 255).byte()
