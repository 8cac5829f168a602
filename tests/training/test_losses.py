from __future__ import annotations

import math

import torch
from torch import nn

from sargan_training.augment import (
    colour_jitter,
    expression_augmentation,
    jittered_crops,
    realism_augmentation,
    whole_pixel_shift,
)
from sargan_training.discriminator import ExpressionReader, RealismCritic
from sargan_training.losses import (
    flow_roughness,
    hinge_discriminator,
    hinge_generator,
    r1_penalty,
    reading_loss,
    total_variation,
)


def close(value: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(value, torch.tensor(expected))


def test_hinge_by_hand():
    real, edited = [torch.tensor([[2.0, 0.5]])], [torch.tensor([[-3.0, 0.0]])]
    close(hinge_discriminator(real, edited), (0 + 0.5) / 2 + (0 + 1) / 2)
    close(hinge_generator(edited), 1.5)


def test_hinge_counts_every_scale_the_same():
    fine, coarse = torch.zeros(1, 100), torch.full((1, 1), 2.0)
    close(hinge_generator([fine, coarse]), -1.0)


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
    close(reading_loss(logits, target, weight, 0.0), (mixed + math.log(2)) / 2)
    # The mixed row is nearer to its target than asked: it adds nothing.
    close(reading_loss(logits, target, weight, 0.5), (math.log(2) - 0.5) / 2)


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
    for augment in (realism_augmentation, expression_augmentation):
        images = torch.rand(4, 3, 32, 32, requires_grad=True)
        result = augment(images, 0.5)
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
