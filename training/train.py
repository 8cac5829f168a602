"""Train the flow generator against the pre-trained discriminator. Read it from top to bottom.

    python -m sargan_training.train --data DATA --run runs/flow --steps 4000

Resumes from ``RUN/checkpoint.pt`` when there is one; stops cleanly on Ctrl-C.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3

from sargan_plugin.expressions import EXPRESSIONS, condition_of
from sargan_plugin.generators.edit import Edit, apply_edit
from sargan_plugin.generators.sargan_flow import SARGANFlow
from sargan_training.augment import (
    expression_augmentation,
    jittered_crops,
    realism_augmentation,
)
from sargan_training.command import run_script
from sargan_training.data import FaceSet, balanced_indices, central, load_faces, to_unit
from sargan_training.discriminator import ExpressionReader, RealismCritic
from sargan_training.losses import (
    flow_roughness,
    hinge_discriminator,
    hinge_generator,
    r1_penalty,
    reading_loss,
    total_variation,
)
from sargan_training.sheet import sheet_of_edits

BATCH = 16
R1_EVERY, R1_WEIGHT = 16, 0.1
SAME_WEIGHT = 4.0
GAME_WEIGHT = 1.0
MASK_WEIGHT, MASK_VARIATION_WEIGHT, FLOW_WEIGHT = 8.0, 1.0, 6.0
# The two rare expressions are asked for less often. There are too few photos to learn them from: a
# reader that knows twenty frightened faces by heart has white blobs painted that look like them. So
# they are to be read as what they share most movements with in the facial action coding system.
TARGET_ODDS = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.4])
READ_AS = torch.eye(len(EXPRESSIONS))
READ_AS[EXPRESSIONS.index("disgusted")] = condition_of("angry:0.65,sad:0.35")
READ_AS[EXPRESSIONS.index("fearful")] = condition_of("surprised:0.55,sad:0.45")
# An edit that the reader believes this much (in nats from the target) has had enough: pushing it
# on is what paints teeth over angry mouths after the first thousand steps.
READ_ENOUGH = 0.2
MIXED_SHARE, WEAKENED_SHARE = 0.12, 0.25
OVERFIT_TARGET = 0.6
CRITIC_UPDATES = 2
# Moving is learnt first: a generator that may paint from the start paints black bars for brows,
# which satisfy the reader within a hundred steps, and then never finds the flow.
PAINT_FROM = 300
FLOW_HEAD_RATE = 5  # times the rate of the rest; it starts at zero


def draw_sources(faces: FaceSet) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of crops with labels, from all photos alike."""
    index = torch.randint(len(faces.crops), (BATCH,))
    return training_crops(faces, index), faces.shares[index].argmax(dim=1)


def training_crops(faces: FaceSet, index: torch.Tensor) -> torch.Tensor:
    """Crops jittered as much as a detector's landmarks are."""
    return jittered_crops(to_unit(faces.crops[index]), 128, scale=0.06, rotation=0.06, shift=3)


def draw_targets(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Conditions ``(B, 7)``, intensities ``(B,)`` and which rows ask for what is there already."""
    targets = torch.multinomial(TARGET_ODDS, BATCH, replacement=True)
    condition = F.one_hot(targets, len(EXPRESSIONS)).float()
    other = F.one_hot(torch.multinomial(TARGET_ODDS, BATCH, replacement=True), len(EXPRESSIONS))
    mixed = torch.rand(BATCH) < MIXED_SHARE
    share = torch.rand(BATCH, 1)
    condition = torch.where(mixed[:, None], share * condition + (1 - share) * other, condition)
    weakened = (torch.rand(BATCH) < WEAKENED_SHARE) & ~mixed
    intensity = torch.where(weakened, torch.empty(BATCH).uniform_(0.25, 1.0), 1.0)
    return condition, intensity, (targets == labels) & ~mixed


def edit_faces(generator, images, condition, intensity, paint=1.0):
    """The edited crops and the edit; geometry in float32, networks in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        edit = generator.edit(images, condition)
    edit = edit.to(images).feathered()
    edit = Edit(edit.delta * paint, edit.replace * paint, edit.flow)
    return apply_edit(images, edit.at_intensity(intensity)), edit


def critic_loss(critic, real, edited, amount):
    with torch.autocast("cpu", torch.bfloat16):
        both = realism_augmentation(torch.cat([real, edited]), amount)
        scores = [score.float().chunk(2) for score in critic(both)]
    real_scores, edited_scores = (list(each) for each in zip(*scores, strict=True))
    loss = hinge_discriminator(real_scores, edited_scores)
    return loss, {
        "critic": loss.item(),
        "real_sign": mean_sign(real_scores),
        "edited_sign": mean_sign(edited_scores),
    }


def reader_loss(reader, faces):
    index = balanced_indices(faces.shares, BATCH)
    images = expression_augmentation(training_crops(faces, index))
    with torch.autocast("cpu", torch.bfloat16):
        logits = reader(images)
    return F.cross_entropy(logits.float(), faces.shares[index], label_smoothing=0.1)


def mean_sign(scores):
    """Share of patches called real minus share called edited, averaged over the scales."""
    return torch.stack([score.sign().mean() for score in scores]).mean().item()


def generator_loss(critic, reader, edited, edit, condition, intensity, amount):
    with torch.autocast("cpu", torch.bfloat16):
        scores = critic(realism_augmentation(edited, amount))
        logits = reader(expression_augmentation(edited))
    game = hinge_generator([score.float() for score in scores])
    whole = (intensity == 1).float()  # a weakened edit has to be believable, not recognisable
    reading = reading_loss(logits, condition @ READ_AS, whole, READ_ENOUGH)
    mask, roughness = edit.replace.mean(), flow_roughness(edit.flow)
    variation = total_variation(edit.replace)
    total = GAME_WEIGHT * game + reading + MASK_WEIGHT * mask + MASK_VARIATION_WEIGHT * variation
    return total + FLOW_WEIGHT * roughness, {
        "game": game.item(),
        "class": reading.item(),
        "mask": mask.item(),
        "flow": edit.flow.abs().mean().item(),
        "rough": roughness.item(),
    }


def update(optimizer, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def same_loss(images, edited, same):
    """L1 to the input where the input already shows what is asked for."""
    each = (edited - images).abs().mean(dim=(1, 2, 3))
    return (each * same).sum() / BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--second-opinion", type=Path, help="a CSV written by relabel.py")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--save-every", type=int, default=250)
    arguments = parser.parse_args()
    run: Path = arguments.run
    torch.manual_seed(0)

    train, held_out = load_faces(
        arguments.data, run.parent / "crops_128.npy", second_opinion=arguments.second_opinion
    ).split()
    shown = to_unit(central(held_out.crops[showcase(held_out)]))

    generator, critic, reader = SARGANFlow(), RealismCritic(), ExpressionReader()
    reader.load_state_dict(torch.load(run / "pretrained.pt", weights_only=True))
    critic.trunk.load_state_dict(reader.trunk.state_dict())
    average = ModelEmaV3(generator, decay=0.999, use_warmup=True)
    head = list(generator.to_flow.parameters())
    rest = [each for name, each in generator.named_parameters() if not name.startswith("to_flow")]
    groups = {
        generator: [{"params": rest, "lr": 2e-4}, {"params": head, "lr": 2e-4 * FLOW_HEAD_RATE}],
        critic: [{"params": critic.parameters(), "lr": 4e-4}],
        reader: [{"params": reader.parameters(), "lr": 1e-4}],
    }
    optimizers = {net: torch.optim.Adam(each, betas=(0.5, 0.99)) for net, each in groups.items()}
    parts = {"generator": generator, "critic": critic, "reader": reader, "average": average}
    parts |= {
        f"{name}_optimizer": optimizers[parts[name]] for name in ("generator", "critic", "reader")
    }
    step, amount = 0, 0.2
    if (run / "checkpoint.pt").exists():
        saved = torch.load(run / "checkpoint.pt", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, amount = saved["step"], saved["amount"]
        torch.set_rng_state(saved["rng"])
        print(f"resumed at step {step}", flush=True)

    started = time.monotonic()
    while step < arguments.steps:
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("first_lr", group["lr"])
                group["lr"] = group["first_lr"] * min(1.0, 1.5 * (1 - step / arguments.steps))

        images, labels = draw_sources(train)
        condition, intensity, same = draw_targets(labels)
        paint = float(step >= PAINT_FROM)
        edited, edit = edit_faces(generator, images, condition, intensity, paint)

        for turn in range(CRITIC_UPDATES):
            real, _ = draw_sources(train)
            loss, log = critic_loss(critic, real, edited.detach(), amount)
            if step % R1_EVERY == 0 and turn == 0:
                loss = loss + R1_EVERY * R1_WEIGHT * r1_penalty(critic, real)
            update(optimizers[critic], loss)
        # Augment more while the critic is too sure of real photos, less otherwise.
        amount += 0.004 if log["real_sign"] > OVERFIT_TARGET else -0.004
        amount = min(max(amount, 0.1), 0.8)
        update(optimizers[reader], reader_loss(reader, train))

        for network in (critic, reader):
            network.requires_grad_(False)
        loss, g_log = generator_loss(critic, reader, edited, edit, condition, intensity, amount)
        kept = same_loss(images, edited, same)
        loss = loss + SAME_WEIGHT * kept
        update(optimizers[generator], loss)
        for network in (critic, reader):
            network.requires_grad_(True)

        step += 1
        average.update(generator, step)
        if not torch.isfinite(loss):
            raise SystemExit(f"The loss is {loss.item()} at step {step}; see {run}/checkpoint.pt.")
        if step % 10 == 0:
            values = {**log, **g_log, "amount": amount}
            line = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
            print(f"{step}  {time.monotonic() - started:.0f} s  {line}", flush=True)
        if step % arguments.save_every == 0 or step == arguments.steps:
            states = {name: part.state_dict() for name, part in parts.items()}
            states |= {"step": step, "amount": amount, "rng": torch.get_rng_state()}
            torch.save(states, run / "checkpoint.part")
            (run / "checkpoint.part").replace(run / "checkpoint.pt")
            torch.save(average.module.state_dict(), run / f"average_{step:06d}.pt")
            sheet_of_edits(average.module, shown, run / f"sheet_{step:06d}.png")


def showcase(faces: FaceSet, count: int = 12) -> list[int]:
    """Indices of one photo each of people who look neutral, happy or otherwise."""
    wanted = [0] * 7 + [1] * 4 + [2]
    people, chosen = set(), []
    for label in wanted[:count]:
        for index in (faces.labels == label).nonzero()[:, 0].tolist():
            if faces.people[index] not in people:
                people.add(faces.people[index])
                chosen.append(index)
                break
    return chosen


if __name__ == "__main__":
    run_script(main)
