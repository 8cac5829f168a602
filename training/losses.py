"""The losses of the game, one function each; all return a scalar mean over the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sargan_training.discriminator import RealismCritic


def hinge_discriminator(real: list[torch.Tensor], edited: list[torch.Tensor]) -> torch.Tensor:
    """mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(edited))), averaged over the scales."""
    each = [F.relu(1 - r).mean() + F.relu(1 + e).mean() for r, e in zip(real, edited, strict=True)]
    return torch.stack(each).mean()


def hinge_generator(edited: list[torch.Tensor]) -> torch.Tensor:
    """-mean(D(edited)), averaged over the scales."""
    return -torch.stack([score.mean() for score in edited]).mean()


def r1_penalty(critic: RealismCritic, real: torch.Tensor) -> torch.Tensor:
    """Half the squared norm of the realism scores' gradient at real images (Mescheder, 2018)."""
    real = real.detach().requires_grad_()
    score = sum(scores.mean(dim=1).sum() for scores in critic(real))
    (gradient,) = torch.autograd.grad(score, real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def reading_loss(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, enough: float
) -> torch.Tensor:
    """max(0, KL(target || softmax(logits)) - enough), weighted a row, divided by the weights.

    Args:
        logits: ``(B, K)``.
        target: ``(B, K)`` distributions.
        weight: ``(B,)``.
        enough: nats below which a row adds nothing.
    """
    divergence = F.kl_div(F.log_softmax(logits.float(), dim=1), target, reduction="none").sum(dim=1)
    return (F.relu(divergence - enough) * weight).sum() / weight.sum().clamp(min=1)


def total_variation(image: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of vertical plus horizontal neighbours."""
    vertical = (image[:, :, 1:] - image[:, :, :-1]).abs().mean()
    return vertical + (image[:, :, :, 1:] - image[:, :, :, :-1]).abs().mean()


def flow_roughness(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared gradient of a flow in pixels: 1 is a displacement as large as its distance."""
    vertical = (flow[:, :, 1:] - flow[:, :, :-1]).square().mean()
    return vertical + (flow[:, :, :, 1:] - flow[:, :, :, :-1]).square().mean()
