"""Can edits be told from photos? A fresh network that tries, and the kernel distance (KID)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F

from sargan_training.precision import fast_autocast


def area_under_curve(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Chance that a positive scores above a negative, ties counting half."""
    difference = positive[:, None] - negative[None]
    return ((difference > 0).float() + 0.5 * (difference == 0).float()).mean().item()


def two_sample_test(
    photos: torch.Tensor, edits: torch.Tensor, people: Sequence[str], minutes: float = 3
) -> float:
    """Area under the curve of a fresh network that tells edits from photos; 0.5 is chance.

    Args:
        photos: ``(N, 3, S, S)`` in [-1, 1], row i of ``people[i]``.
        edits: the edited photos, in the same order.
        people: half of them are trained on, the others scored.
        minutes: of training.
    """
    torch.manual_seed(1)
    seen = set(sorted(set(people))[::2])
    inside = torch.tensor([person in seen for person in people])
    network = timm.create_model("resnet10t", num_classes=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    train_photos, train_edits = photos[inside], edits[inside]
    target = torch.cat([torch.zeros(16), torch.ones(16)])
    start = time.monotonic()
    while (spent := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - spent)
        images = torch.cat(
            [part[torch.randint(len(part), (16,))] for part in (train_photos, train_edits)]
        )
        if torch.rand(()) < 0.5:
            images = images.flip(-1)
        with fast_autocast(images.device):
            logits = network(images)[:, 0].float()
        loss = F.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        scores = [
            torch.cat([network(part)[:, 0] for part in images[~inside].split(64)])
            for images in (edits, photos)
        ]
    return area_under_curve(*scores)


def kernel_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """KID: unbiased squared maximum mean discrepancy with the kernel (x.y / C + 1)^3.

    Args:
        a: features ``(N, C)`` of one set.
        b: features ``(M, C)`` of the other; N and M at least 2.

    Source: Binkowski et al., "Demystifying MMD GANs" (2018).
    """

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x):
        values = kernel(x, x)
        return (values.sum() - values.diagonal().sum()) / (len(x) * (len(x) - 1))

    a, b = a.double(), b.double()
    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()
