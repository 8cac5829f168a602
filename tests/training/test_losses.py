from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from sargan_plugin.errors import SarganError
from sargan_training.augment import (
    colour_jitter,
    expression_augmentation,
    jittered_crops,
    realism_augmentation,
    whole_pixel_shift,
)
from sargan_training.discriminators import ExpressionReader, PatchGAN, RealismCritic
from sargan_training.draws import Draws, Rows
from sargan_training.losses import (
    class_loss,
    cycle_loss,
    flow_roughness,
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    mask_sparsity,
    r1_penalty,
    reading_loss,
    same_loss,
    total_variation,
    wasserstein_discriminator,
    wasserstein_generator,
)


def close(value: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(value, torch.tensor(expected))


def test_hinge_by_hand():
    real, edited = [torch.tensor([[2.0, 0.5]])], [torch.tensor([[-3.0, 0.0]])]
    close(hinge_discriminator(real, edited), (0 + 0.5) / 2 + (0 + 1) / 2)
    close(hinge_generator(edited), 1.5)


def test_wasserstein_by_hand():
    real, edited = torch.tensor([[2.0, 4.0]]), torch.tensor([[-1.0, 0.0]])
    close(wasserstein_discriminator(real, edited), -0.5 - 3.0)
    close(wasserstein_generator(edited), 0.5)


def test_gradient_penalty_by_hand():
    def realness(images):
        return images.square() / 2  # whose gradient is the image itself

    real, edited = torch.full((2, 3, 2, 2), 4.0), torch.zeros(2, 3, 2, 2)
    share = torch.tensor([0.5, 0.25]).view(2, 1, 1, 1)
    # Between lie 12 values of 2 and 12 of 1: norms sqrt(48) and sqrt(12).
    by_hand = ((math.sqrt(48) - 1) ** 2 + (math.sqrt(12) - 1) ** 2) / 2
    close(gradient_penalty(realness, real, edited, share), by_hand)


def test_gradient_penalty_teaches_the_network():
    slope = torch.tensor(3.0, requires_grad=True)
    real, edited = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    penalty = gradient_penalty(lambda images: slope * images, real, edited, torch.ones(1, 1, 1, 1))
    penalty.backward()
    close(slope.grad, 2 * (3.0 - 1))


def test_class_loss_by_hand():
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    shares = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    first = -(0.5 * math.log(0.25) + 0.5 * math.log(0.75))
    close(class_loss(logits, shares), (first + math.log(2)) / 2)
    # Smoothing by 0.2 gives every class 0.1 and the label 0.8 of its share more.
    smooth = -(0.1 * math.log(0.25) + 0.9 * math.log(0.75))
    close(class_loss(logits[:1], torch.tensor([[0.0, 1.0]]), smoothing=0.2), smooth)


def test_cycle_same_and_mask_by_hand():
    images = torch.zeros(2, 1, 1, 2)
    edited = torch.tensor([[1.0, -3.0], [8.0, 8.0]]).view(2, 1, 1, 2)
    close(cycle_loss(images, edited), 5.0)
    close(same_loss(images, edited, torch.tensor([True, False])), 1.0)
    close(mask_sparsity(torch.tensor([0.2, 0.4])), 0.3)


def test_hinge_counts_every_scale_the_same():
    fine, coarse = torch.zeros(1, 100), torch.full((1, 1), 2.0)
    close(hinge_generator([fine, coarse]), -1.0)


def test_the_worst_patches_of_each_image_count():
    fine = torch.tensor([[4.0, -2, 3, 0], [1, 1, 1, 1]])
    coarse = torch.tensor([[2.0], [-1]])
    close(hinge_generator([fine, coarse], worst=0.5), -(((-2 + 0) / 2 + 1) / 2 + 0.5) / 2)
    close(hinge_generator([fine, coarse], worst=1), hinge_generator([fine, coarse]).item())


def test_r1_by_hand():
    class Linear(nn.Module):
        def forward(self, images):
            return [3 * images.flatten(1).sum(1, keepdim=True)]

    # The gradient is 3 at each of 12 values: half of 9 * 12.
    close(r1_penalty(Linear(), torch.rand(2, 3, 2, 2)), 54.0)


def test_reading_loss_by_hand():
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.01, 0.99]]))
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    mixed = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    weight = torch.tensor([1.0, 1.0, 0.0])
    close(reading_loss(logits, target, weight, 0.0), (mixed + math.log(2)) / 3)
    # The mixed row is nearer to its target than asked: it adds nothing.
    close(reading_loss(logits, target, weight, 0.5), (math.log(2) - 0.5) / 3)


def test_total_variation_and_roughness_by_hand():
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    close(total_variation(ramp), 1.0)
    close(flow_roughness(2 * ramp.expand(1, 2, 4, 4)), 4.0)


def test_jitter_without_amount_cuts_the_middle():
    torch.manual_seed(0)
    crops = torch.rand(8, 3, 40, 40)
    cut = jittered_crops(crops, 32, scale=0, rotation=0, shift=0)
    middle = crops[..., 4:-4, 4:-4]
    for each, plain in zip(cut, middle, strict=True):
        mirrored = plain.flip(-1)
        assert min((each - plain).abs().max(), (each - mirrored).abs().max()) < 1e-4


def test_whole_pixel_shift_resamples_nothing():
    torch.manual_seed(0)
    images = torch.rand(4, 3, 16, 16)
    for before, after in zip(images, whole_pixel_shift(images, 3), strict=True):
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist())


def test_augmentations_keep_the_shape_and_pass_gradients():
    for augment in (partial(realism_augmentation, amount=0.5), expression_augmentation):
        images = torch.rand(4, 3, 32, 32, requires_grad=True)
        result = augment(images)
        assert result.shape == images.shape
        result.sum().backward()
        assert torch.isfinite(images.grad).all() and images.grad.abs().sum() > 0


def test_colour_jitter_of_nothing_is_nothing():
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(colour_jitter(images, 0.0), images)


def test_critic_and_reader_shapes():
    images = torch.rand(2, 3, 128, 128)
    fine, coarse = RealismCritic(8)(images)
    assert fine.shape == (2, 256)
    assert coarse.shape == (2, 16)
    assert ExpressionReader(8)(images).shape == (2, 7)


def test_patchgan_has_the_released_size_and_shapes():
    with torch.device("meta"):
        released = PatchGAN()
    assert round(sum(each.numel() for each in released.parameters()) / 1e6, 1) == 44.8
    realness, logits = PatchGAN(64, channels=2, layers=5)(torch.rand(3, 3, 64, 64))
    assert realness.shape == (3, 1, 2, 2)
    assert logits.shape == (3, 7)
    with pytest.raises(SarganError, match="multiple of 64 pixels, not of 96"):
        PatchGAN(96)


def test_parts_of_a_batch_draw_what_the_whole_draws():
    def all_kinds(rows):
        draws = Draws(rows, seed=(3, 5), purpose="test")
        return [
            draws.uniform(-1, 1, 2),
            draws.normal(3),
            draws.integers(9, 2),
            draws.chance(0.5),
            draws.choices(torch.tensor([1.0, 2.0, 3.0])),
            draws.order(),
        ]

    parts = zip(all_kinds(Rows.part(8, 0, 2)), all_kinds(Rows.part(8, 1, 2)), strict=True)
    for whole, (first, second) in zip(all_kinds(8), parts, strict=True):
        assert torch.equal(whole, torch.cat([first, second]))
    other = Draws(8, seed=(3, 6), purpose="test").uniform(-1, 1, 2)
    assert not torch.equal(other, all_kinds(8)[0])


def test_augmented_parts_are_the_augmented_whole():
    images = torch.rand(4, 3, 32, 32)
    for augment in (partial(realism_augmentation, amount=0.7), expression_augmentation):
        whole = augment(images, draws=Draws(4, seed=(1,)))
        parts = [
            augment(images[rows.slice], draws=Draws(rows, seed=(1,)))
            for rows in (Rows.part(4, 0, 2), Rows.part(4, 1, 2))
        ]
        torch.testing.assert_close(torch.cat(parts), whole)
