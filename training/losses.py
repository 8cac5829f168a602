"""The losses of the games, one function each; all return a scalar mean over the rows given.

So the mean of a loss over equal parts of a batch is the loss of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F


def wasserstein_discriminator(real: torch.Tensor, edited: torch.Tensor) -> torch.Tensor:
    """mean(D(edited)) - mean(D(real)) (Arjovsky et al., 2017)."""
    return edited.mean() - real.mean()


def wasserstein_generator(edited: torch.Tensor) -> torch.Tensor:
    """-mean(D(edited))."""
    return -edited.mean()


def gradient_penalty(
    realness: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    edited: torch.Tensor,
    share: torch.Tensor,
) -> torch.Tensor:
    """mean((|gradient| - 1)^2) at random points between real and edited (Gulrajani et al., 2017).

    Args:
        realness: images to a realness map; the gradient is that of the map's sum, as in StarGAN.
        real: ``(B, 3, S, S)``.
        edited: the same shape.
        share: ``(B, 1, 1, 1)`` in [0, 1]: of the real image in each point.
    """
    between = (share * real + (1 - share) * edited).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(realness(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def class_loss(logits: torch.Tensor, shares: torch.Tensor, smoothing: float = 0) -> torch.Tensor:
    """Cross-entropy of ``(B, K)`` logits and ``(B, K)`` distributions."""
    return F.cross_entropy(logits.float(), shares, label_smoothing=smoothing)


def cycle_loss(images: torch.Tensor, returned: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of images and what they became there and back."""
    return (images - returned).abs().mean()


def same_loss(images: torch.Tensor, edited: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the rows that ``same`` ``(B,)`` marks; others count as zero."""
    return ((edited - images).abs().mean(dim=(1, 2, 3)) * same).mean()


def mask_sparsity(mask: torch.Tensor) -> torch.Tensor:
    """Mean of a mask in [0, 1]: how much of the face is painted over."""
    return mask.mean()


def hinge_discriminator(real: list[torch.Tensor], edited: list[torch.Tensor]) -> torch.Tensor:
    """mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(edited))), averaged over the scales."""
    each = [F.relu(1 - r).mean() + F.relu(1 + e).mean() for r, e in zip(real, edited, strict=True)]
    return torch.stack(each).mean()


def hinge_generator(edited: list[torch.Tensor], worst: float = 1) -> torch.Tensor:
    """-mean(D(edited)) over the least real patches of each image, averaged over the scales.

    Args:
        edited: realism scores ``(B, P)`` of every scale.
        worst: share of an image's patches that count, at least one. A blotch is a few patches of
            hundreds; in the mean over all of them it costs next to nothing.
    """
    counted = [
        score.topk(max(1, round(worst * score.shape[1])), largest=False)[0] for score in edited
    ]
    return -torch.stack([score.mean() for score in counted]).mean()


def r1_penalty(
    critic: Callable[[torch.Tensor], list[torch.Tensor]], real: torch.Tensor
) -> torch.Tensor:
    """Half the squared norm of the realism scores' gradient at real images (Mescheder, 2018)."""
    real = real.detach().requires_grad_()
    score = sum(scores.mean(dim=1).sum() for scores in critic(real))
    (gradient,) = torch.autograd.grad(score, real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def reading_loss(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, enough: float
) -> torch.Tensor:
    """Mean over the rows of weight * max(0, KL(target || softmax(logits)) - enough).

    Args:
        logits: ``(B, K)``.
        target: ``(B, K)`` distributions.
        weight: ``(B,)``; of mean 1 over the batch, or the loss is smaller than its rows.
        enough: nats below which a row adds nothing.
    """
    divergence = F.kl_div(F.log_softmax(logits.float(), dim=1), target, reduction="none").sum(dim=1)
    return (F.relu(divergence - enough) * weight).mean()


def total_variation(image: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of vertical plus horizontal neighbours."""
    vertical = (image[:, :, 1:] - image[:, :, :-1]).abs().mean()
    return vertical + (image[:, :, :, 1:] - image[:, :, :, :-1]).abs().mean()


def flow_roughness(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared gradient of a flow in pixels: 1 is a displacement as large as its distance."""
    vertical = (flow[:, :, 1:] - flow[:, :, :-1]).square().mean()
    return vertical + (flow[:, :, :, 1:] - flow[:, :, :, :-1]).square().mean()
