"""Teach a network to read expressions, before a game starts or as a judge."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_training.augment import expression_augmentation, training_crops
from sargan_training.checkpoints import read_state, save_state, set_state
from sargan_training.data import FaceSet, balanced_weights
from sargan_training.draws import Draws
from sargan_training.losses import class_loss
from sargan_training.precision import fast_autocast
from sargan_training.recipe import Pretraining
from sargan_training.speed import told_speed

SECONDS_BETWEEN_SAVES = 60
DIVERGED = 10 * math.log(len(EXPRESSIONS))  # whoever guesses has a tenth of that loss


def train_classifier(
    network: nn.Module,
    faces: FaceSet,
    lessons: Pretraining,
    seed: int,
    *,
    autocast: Callable[[], AbstractContextManager] | None = None,
    unfinished: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    alive: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train a network (images to logits) on class-balanced batches.

    Args:
        network: on its device.
        faces: to train on.
        lessons: how long and how.
        seed: of everything random but the network's own weights.
        autocast: context to compute in; bfloat16 where that is fast without it.
        unfinished: file that keeps the state every minute and that an interrupted training goes on
            from, with the numbers it would have had; it is removed at the end.
        stopped: asked after every step whether to stop early.
        alive: called every minute.
        say: takes a line every hundred steps.

    Returns:
        Whether all steps are done; false when stopped early.

    Raises:
        SarganError: when it diverged.
    """
    device = next(network.parameters()).device
    autocast = autocast or (lambda: fast_autocast(device))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=lessons.rate, weight_decay=lessons.weight_decay
    )
    parts, step = {"network": network, "optimizer": optimizer}, 0
    if unfinished is not None and unfinished.exists():
        saved = read_state(unfinished)
        set_state(unfinished, saved, parts)
        step = saved["step"]
    weights = balanced_weights(faces.shares)
    saved_at = begun_at = time.monotonic()
    first = step
    while step < lessons.steps:
        for group in optimizer.param_groups:
            group["lr"] = lessons.rate * min(1, 4 * (1 - step / lessons.steps))
        torch.manual_seed(seed + step)  # for networks that draw, as dropout does
        index = Draws(lessons.batch, "cpu", (seed, step), "lessons: faces").choices(weights)
        draws = Draws(lessons.batch, device, (seed, step), "lessons")
        images = training_crops(faces.crops, index, lessons.jitter, draws)
        with autocast():
            logits = network(expression_augmentation(images, draws=draws))
        loss = class_loss(logits, faces.shares[index].to(device), lessons.smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            spent, left = time.monotonic() - begun_at, lessons.steps - step
            speed = told_speed(step - first, spent, left, lessons.batch)
            say(f"step {step} of {lessons.steps}  {speed}  loss {loss.item():.3f}")
        stop = stopped()
        due = stop or time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES
        if (due or step == lessons.steps) and not loss.item() < DIVERGED:
            raise SarganError(
                f"Learning to read expressions diverged: the loss of step {step} is "
                f"{loss.item():g}. Try a lower rate than {lessons.rate:g}."
            )
        if due:
            saved_at = time.monotonic()
            alive()
            if unfinished is not None:
                save_state(unfinished, parts, step=step)
        if stop:
            return False
    if unfinished is not None:
        unfinished.unlink(missing_ok=True)
    return True
