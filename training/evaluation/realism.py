"""Can edits be told from photos? A fresh network that tries, and the kernel distance (KID)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from sargan_training.backbones import timm
from sargan_training.data import by_parts, to_unit
from sargan_training.evaluation.intervals import Estimate, drawn_together, estimated
from sargan_training.precision import fast_autocast


@dataclass(frozen=True)
class TwoSampleTest:
    """What became of the attempt to tell edits from photos.

    Attributes:
        auc: area under the curve; 0.5 is chance.
        steps: how long the network was trained; a busy machine does fewer in its minutes.
        learnt: the area under the curve on what it was trained on: near 0.5 where it had too little
            time to learn anything, near 1 where it knows those photos by heart.
    """

    auc: Estimate
    steps: int
    learnt: float


def area_under_curve(
    positive: torch.Tensor, negative: torch.Tensor, people: Sequence[str], others: Sequence[str]
) -> Estimate:
    """Chance that a positive scores above a negative, ties counting half.

    Args:
        positive: scores ``(N,)``.
        negative: scores ``(M,)``.
        people: whose each positive is.
        others: whose each negative is.
    """
    difference = positive[:, None] - negative[None]
    above = ((difference > 0).double() + 0.5 * (difference == 0).double()).numpy()
    of_positive, of_negative = drawn_together(people, others)
    pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    total = ((of_positive @ above) * of_negative).sum(axis=1)
    samples = np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return estimated(above.mean(), samples, len(negative))


def two_sample_test(
    photos: torch.Tensor,
    edits: Sequence[torch.Tensor],
    asked: torch.Tensor,
    people: Sequence[str],
    minutes: float = 3,
    steps: int | None = None,
    device: torch.device | str = "cpu",
) -> TwoSampleTest:
    """Train a fresh network to tell edits from photos, and score it on other people.

    Every batch holds photos and edits of the same photos: what sets them apart is the edit, and not
    who happened to be drawn. Drawn apart, the same network learns nothing in the same time.

    Args:
        photos: uint8 ``(N, 3, S, S)``, row i of ``people[i]``.
        edits: the photos edited towards each of K expressions, in the same order.
        asked: ``(N, K)``: which edits count; one towards what a photo shows is hardly one.
        people: half of them are trained on, the others scored.
        minutes: of training.
        steps: of training, however long they take: figures of several runs and machines compare,
            where a slow machine does fewer in the same minutes, and so tells less.
        device: to train on.
    """
    torch.manual_seed(1)
    inside = _learnt_from(people)
    network = timm.create_model("resnet10t", num_classes=1).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    pairs = (inside[:, None] & asked).nonzero()
    target = torch.cat([torch.zeros(16), torch.ones(16)]).to(device)
    start, done = time.monotonic(), 0

    def spent() -> float:
        return (time.monotonic() - start) / (60 * minutes) if steps is None else done / steps

    while (share := spent()) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - share)
        drawn_pairs = pairs[torch.randint(len(pairs), (16,))].tolist()
        edited = torch.stack([edits[expression][photo] for photo, expression in drawn_pairs])
        images = torch.cat([photos[[photo for photo, _ in drawn_pairs]], edited])
        mirrored = (torch.rand(16, 1, 1, 1) < 0.5).repeat(2, 1, 1, 1)
        images = to_unit(torch.where(mirrored, images.flip(-1), images).to(device))
        with fast_autocast(images.device):
            logits = network(images)[:, 0].float()
        loss = F.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done += 1
    network.eval()

    @torch.no_grad()
    def scores(images: torch.Tensor) -> torch.Tensor:
        return by_parts(lambda part: network(part)[:, 0], images, device)

    of_photos, of_edits = scores(photos), [scores(edit) for edit in edits]
    others = _told_apart(of_photos, of_edits, asked, people, ~inside)
    learnt = _told_apart(of_photos, of_edits, asked, people, inside)
    return TwoSampleTest(others, done, learnt.value)


def told_by_expression(
    photos: torch.Tensor, edits: Sequence[torch.Tensor], asked: torch.Tensor, people: Sequence[str]
) -> Estimate:
    """How well edits without a flaw would be told from photos: by what they show.

    People on photos are seldom angry, and edits are often. So the same area under the curve is
    reached by somebody who looks at nothing but the expression, and knows from the same half of the
    people how often each is seen on edits and on photos.

    Args:
        photos: what a judge reads in the photos, probabilities ``(N, C)``.
        edits: the same of the edits towards each of K expressions.
        asked: as for :func:`two_sample_test`.
        people: as well.
    """
    inside = _learnt_from(people)
    seen = torch.cat([each[inside & asked[:, k]] for k, each in enumerate(edits)])
    likelier = seen.mean(dim=0) / photos[inside].mean(dim=0).clamp(min=1e-6)
    scores = [each @ likelier for each in edits]
    return _told_apart(photos @ likelier, scores, asked, people, ~inside)


def _learnt_from(people: Sequence[str]) -> torch.Tensor:
    """Whether each belongs to the people who are learnt from, and not scored."""
    seen = set(sorted(set(people))[::2])
    return torch.tensor([person in seen for person in people])


def _told_apart(
    photos: torch.Tensor,
    edits: Sequence[torch.Tensor],
    asked: torch.Tensor,
    people: Sequence[str],
    chosen: torch.Tensor,
) -> Estimate:
    """Area under the curve of scores ``(N,)`` of photos and of each expression's edits, where
    ``chosen`` and asked for."""
    rows = [(chosen & asked[:, k]).nonzero()[:, 0] for k in range(len(edits))]
    others = chosen.nonzero()[:, 0]
    return area_under_curve(
        torch.cat([each[row] for each, row in zip(edits, rows, strict=True)]),
        photos[others],
        [people[i] for i in torch.cat(rows).tolist()],
        [people[i] for i in others.tolist()],
    )


def kernel_distance(
    a: torch.Tensor, b: torch.Tensor, people_a: Sequence[str], people_b: Sequence[str]
) -> Estimate:
    """KID: unbiased squared maximum mean discrepancy with the kernel (x.y / C + 1)^3.

    Args:
        a: features ``(N, C)`` of one set.
        b: features ``(M, C)`` of the other; without two of each there is no figure.
        people_a: whose each row of a is.
        people_b: whose each row of b is.

    Source: Binkowski et al., "Demystifying MMD GANs" (2018).
    """
    a, b = a.double().numpy(), b.double().numpy()

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within_a, within_b, between = kernel(a, a), kernel(b, b), kernel(a, b)

    def distance(times_a: np.ndarray, times_b: np.ndarray) -> np.ndarray:
        """Of sets that hold each photo so many times; no photo is compared with itself."""

        def mean_within(times: np.ndarray, values: np.ndarray) -> np.ndarray:
            same = times**2
            total = ((times @ values) * times).sum(axis=1) - same @ values.diagonal()
            return total / (times.sum(axis=1) ** 2 - same.sum(axis=1))

        pairs = times_a.sum(axis=1) * times_b.sum(axis=1)
        across = ((times_a @ between) * times_b).sum(axis=1) / pairs
        return mean_within(times_a, within_a) + mean_within(times_b, within_b) - 2 * across

    with np.errstate(divide="ignore", invalid="ignore"):
        value = distance(np.ones((1, len(a))), np.ones((1, len(b))))[0]
        samples = distance(*drawn_together(people_a, people_b))
    return estimated(value, samples, len(a))
