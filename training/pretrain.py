"""Teach a network to read expressions, before a game starts or as a judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from sargan_training.augment import expression_augmentation, training_crops
from sargan_training.checkpoints import read_state, save_state, set_state
from sargan_training.data import FaceSet, balanced_indices, central, to_unit
from sargan_training.draws import Draws
from sargan_training.losses import class_loss
from sargan_training.precision import fast_autocast
from sargan_training.recipe import Pretraining

SECONDS_BETWEEN_SAVES = 60


def class_accuracy(network: nn.Module, faces: FaceSet) -> list[float]:
    """Share of photos read as labelled, for each expression (NaN where there is no photo)."""
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), fast_autocast(device):
        images = (to_unit(central(part)).to(device) for part in faces.crops.split(64))
        read = [network(part).argmax(dim=1) for part in images]
    network.train()
    right = (torch.cat(read).cpu() == faces.labels).float()
    return [right[faces.labels == k].mean().item() for k in range(7)]


def train_classifier(
    network: nn.Module,
    faces: FaceSet,
    lessons: Pretraining,
    *,
    autocast: Callable[[], AbstractContextManager] | None = None,
    unfinished: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    alive: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train a network (images to logits) on class-balanced batches for so many minutes.

    Args:
        network: on its device.
        faces: to train on.
        lessons: how long and how.
        autocast: context to compute in; bfloat16 where that is fast without it.
        unfinished: file that keeps the state every minute and that an interrupted training goes on
            from; it is removed at the end.
        stopped: asked after every step whether to stop early.
        alive: called every minute.
        say: takes a line every hundred steps.

    Returns:
        Whether the time is over; false when stopped early.
    """
    device = next(network.parameters()).device
    autocast = autocast or (lambda: fast_autocast(device))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=lessons.rate, weight_decay=lessons.weight_decay
    )
    parts = {"network": network, "optimizer": optimizer}
    seconds, step = 0.0, 0
    if unfinished is not None and unfinished.exists():
        saved = read_state(unfinished, device)
        set_state(unfinished, saved, parts)
        seconds, step = saved["seconds"], saved["step"]
    saved_at = time.monotonic()
    start = saved_at - seconds
    while (spent := (time.monotonic() - start) / (60 * lessons.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lessons.rate * min(1, 4 * (1 - spent))
        index = balanced_indices(faces.shares, lessons.batch)
        images = training_crops(faces.crops, index, lessons.jitter, Draws(lessons.batch, device))
        with autocast():
            logits = network(expression_augmentation(images))
        loss = class_loss(logits, faces.shares[index].to(device), lessons.smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            say(f"step {step}  {spent:4.0%}  loss {loss.item():.3f}")
        now, stop = time.monotonic(), stopped()
        if now - saved_at > SECONDS_BETWEEN_SAVES or stop:
            saved_at = now
            alive()
            if unfinished is not None:
                save_state(unfinished, parts, seconds=now - start, step=step)
        if stop:
            return False
    if unfinished is not None:
        unfinished.unlink(missing_ok=True)
    return True
