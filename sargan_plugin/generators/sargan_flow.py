"""SARGAN with flow: moves what can be moved, paints only what cannot.

Our own member of the family; the model that ships is two of it. A smile is first of all a movement:
lips, cheeks and lids keep their texture and travel. So the generator predicts a smooth flow, and on
top of it SARGAN's colour change, limited by a mask to where something has to appear or vanish
(teeth, wrinkles, the white of an eye), and to colours that this face can have (``skin.py``).

In use, faces are edited together with their mirror image, which the second of a pair sees, and
mouths that are to be at rest are looked at twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators.blocks import (
    SpatialAttentionResidualBlock,
    conv_norm_relu,
    tiled,
)
from sargan_plugin.generators.edit import Edit, Generator, apply_edit, warp_by_flow
from sargan_plugin.generators.registry import register_generator
from sargan_plugin.generators.skin import MOUTH, ellipses, natural_change, with_soft_colour

# Flow, mask and a change of colour that is not limited yet.
Proposal = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class ConditionalSARB(SpatialAttentionResidualBlock):
    """A SARB whose features are first scaled and shifted, channel by channel, by the condition.

    Instance norm removes whatever is constant over the plane, tiled conditions included; a
    modulation of the features is what reliably reaches the depth of the network.
    """

    def __init__(self, channels: int, attention_channels: int, conditions: int) -> None:
        super().__init__(channels, attention_channels)
        self.modulation = nn.Linear(conditions, 2 * channels)
        nn.init.normal_(self.modulation.weight, std=0.2)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, features: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        residual = self.body(features * (1 + scale) + shift)
        return features + residual * self.attention(residual)


class SourceReader(nn.Sequential):
    """What a face shows already: ``(B, 3, S, S)`` to logits ``(B, conditions)``."""

    def __init__(self, conditions: int, crop_size: int) -> None:
        widths = [3, 16, 32, 64, 96, 96]
        convolutions = [nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths)]
        layers = [layer for each in convolutions for layer in (each, nn.LeakyReLU(0.1))]
        last = nn.Linear(widths[-1] * (crop_size // 32) ** 2, conditions)
        super().__init__(*layers, nn.Flatten(), last)


class SARGANFlow(Generator):
    """Pixel-unshuffle stem, SARBs at a quarter of the size, heads for flow, mask and change.

    Args:
        channels: width at half the crop's size; twice as wide at a quarter.
        blocks: number of SARBs.
        conditions: length of the condition.
        max_flow: largest displacement, where reach is 1, as a share of half the crop's side.
        max_colour: largest change of a colour besides its light. What appears in a face is lighter
            or darker than what was there, and little else (teeth, the dark of a mouth, a wrinkle;
            lips over teeth need most), and free colours are what a generator fools its judges with
            first.
        reach: of each expression, how far it moves a face, as a share of what the network says. An
            edit learnt with little paint looks real and weak; moved farther it is read as meant.
        relative: take away from the condition what the face shows already, as a small network of
            the generator's own reads it.

    Attributes:
        source: that network, or None.

    Shape:
        image ``(B, 3, S, S)`` in [-1, 1] with S a multiple of 16, condition ``(B, conditions)``.
    """

    def __init__(
        self,
        channels: int = 48,
        blocks: int = 3,
        conditions: int = len(EXPRESSIONS),
        max_flow: float = 0.25,
        max_colour: float = 0.35,
        reach: Sequence[float] = (1.0,) * len(EXPRESSIONS),
        relative: bool = False,
        crop_size: int = 128,
    ) -> None:
        super().__init__()
        self.crop_size = crop_size
        self.max_flow = max_flow
        self.max_colour = max_colour
        if len(reach) != conditions:
            raise ValueError(f"reach has {len(reach)} values for {conditions} conditions")
        if not all(0 <= share < float("inf") for share in reach):
            raise ValueError("reach is of finite shares that are not negative")
        self.reach = tuple(reach)
        wide = 2 * channels
        # No norm in the stem: the picture's own brightness and the condition must both survive it.
        self.stem = nn.Sequential(
            nn.Conv2d(12 + conditions, channels, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.down = conv_norm_relu(channels, wide, 4, 2, 1)
        self.blocks = nn.ModuleList(
            [ConditionalSARB(wide, channels, conditions) for _ in range(blocks)]
        )
        self.reduce = conv_norm_relu(wide, channels, 3, 1, 1)
        self.merge = conv_norm_relu(2 * channels, channels, 3, 1, 1)
        self.to_flow = nn.Conv2d(channels, 2, 3, padding=1)
        self.refine = nn.Sequential(
            nn.Conv2d(channels + 3, channels // 2, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.to_paint = nn.Conv2d(channels // 2, 5, 3, padding=1)  # light, 3 colours, mask
        nn.init.zeros_(self.to_flow.weight)
        nn.init.zeros_(self.to_flow.bias)
        self.source = SourceReader(conditions, crop_size) if relative else None
        with torch.no_grad():
            self.to_paint.bias[4] = -2.0  # the mask starts nearly closed

    def edit(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        """What is proposed for a picture.

        In evaluation mode a mouth is edited once more, after the first edit, as far as the face is
        to be neutral: one edit leaves the lips of a broad smile half open.
        """
        edit = self._look(image, condition)
        at_rest = condition[:, EXPRESSIONS.index("neutral")]
        if self.training or idle(at_rest):
            return edit
        with torch.autocast(image.device.type, enabled=False):
            edited = apply_edit(image, edit.feathered()).clamp(-1, 1)
        again = self._look(edited, condition)
        return edit.then(again.within(ellipses(MOUTH, image) * at_rest.view(-1, 1, 1, 1)))

    def _look(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        flow, mask, change = self._proposal(image, condition)
        with torch.autocast(image.device.type, enabled=False):
            change = natural_change(image, warp_by_flow(image, flow), change)
            return Edit(with_soft_colour(change), mask, flow)

    def _proposal(self, image: torch.Tensor, condition: torch.Tensor) -> Proposal:
        """In evaluation mode the mean of what is proposed for a picture and its mirror image.

        What a generator paints on one side alone to fool its judges is halved, and a mirrored
        picture gets the mirrored edit.
        """
        if self.training:
            return self._propose(image, condition)
        return seen_both_ways(self, self, image, condition)

    def _propose(self, image: torch.Tensor, condition: torch.Tensor) -> Proposal:
        reach = 1 + (condition * (condition.new_tensor(self.reach) - 1)).sum(dim=1)
        if self.source is not None:
            with torch.no_grad():  # it learns from labels alone
                condition = condition - self.source(image).softmax(dim=1).to(condition)
        half = self.stem(tiled(condition, F.pixel_unshuffle(image, 2)))
        quarter = self.down(half)
        for block in self.blocks:
            quarter = block(quarter, condition)
        features = self.merge(torch.cat([half, enlarged(self.reduce(quarter))], dim=1))
        paint = self.to_paint(self.refine(torch.cat([enlarged(features), image], dim=1)))
        with torch.autocast(image.device.type, enabled=False):
            paint = paint.to(image.dtype)
            light, colour = torch.tanh(paint[:, :4]).split([1, 3], dim=1)
            mask = torch.sigmoid(paint[:, 4:])
            flow = self._flow(features, image) * reach.to(image.dtype).view(-1, 1, 1, 1)
            return flow, mask, mask * (2 * light + self.max_colour * colour)

    def _flow(self, features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Displacements in crop pixels, predicted coarsely so that they stay smooth."""
        size = image.shape[-1]
        flow = self.to_flow(F.avg_pool2d(features.to(self.to_flow.weight.dtype), 2))
        flow = torch.tanh(flow.to(image.dtype)) * (self.max_flow * size / 2)
        return F.interpolate(flow, size=(size, size), mode="bicubic", align_corners=False)


class SARGANFlowPair(SARGANFlow):
    """Two generators that learnt apart: one sees the face, the other its mirror image.

    A movement that the expression asks for is proposed by both. What one of them paints only to
    fool the judges it learnt from is its own habit, and is halved. Habits of one side are what
    angry mouths show most: as far as a face is to be angry, each of the two sees both images.

    Both are asked in training mode, too, and a mirrored picture gets nearly, not exactly, the
    mirrored edit. Takes the options of :class:`SARGANFlow`, for both. ``training/bundle.py`` makes
    a pair of two trained generators.
    """

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.other = SARGANFlow(**options)

    def _proposal(self, image: torch.Tensor, condition: torch.Tensor) -> Proposal:
        proposal = seen_both_ways(self, self.other, image, condition)
        angry = condition[:, EXPRESSIONS.index("angry")].view(-1, 1, 1, 1)
        if idle(angry):
            return proposal
        exchanged = seen_both_ways(self.other, self, image, condition)
        flow, mask, change = (
            one + (other - one) * (angry / 2)
            for one, other in zip(proposal, exchanged, strict=True)
        )
        return flow, mask, change


def seen_both_ways(
    first: SARGANFlow, second: SARGANFlow, image: torch.Tensor, condition: torch.Tensor
) -> Proposal:
    """The mean of what ``first`` proposes for a picture and ``second`` for its mirror image."""
    flow, mask, change = first._propose(image, condition)
    mirrored = second._propose(image.flip(-1), condition)
    other_flow, other_mask, other_change = (each.flip(-1) for each in mirrored)
    other_way = flow.new_tensor([-1, 1]).view(1, 2, 1, 1)
    flow = (flow + other_way * other_flow) / 2
    return flow, (mask + other_mask) / 2, (change + other_change) / 2


def idle(share: torch.Tensor) -> bool:
    """Whether what is done by this share changes nothing, not even a gradient."""
    return not share.any() and not (share.requires_grad and torch.is_grad_enabled())


def enlarged(features: torch.Tensor) -> torch.Tensor:
    """Double the size bilinearly: transposed convolutions and pixel shuffles leave a halftone."""
    return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


@register_generator
def sargan_flow_128(**options) -> SARGANFlow:
    """128-pixel crops, 48 channels, 3 SARBs, 1.4 M parameters."""
    return SARGANFlow(**options)


@register_generator
def sargan_flow_pair_128(**options) -> SARGANFlowPair:
    """The model that ships: two of ``sargan_flow_128``, 2.7 M parameters."""
    return SARGANFlowPair(**options)
