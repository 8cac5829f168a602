"""Building blocks that the generators share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def tiled(condition: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Concatenate a ``(B, K)`` condition, spread over the plane, to a ``(B, C, H, W)`` image."""
    planes = condition.to(image)[:, :, None, None].expand(-1, -1, *image.shape[-2:])
    return torch.cat([image, planes], dim=1)


# From this many pixels on, PyTorch's group norm of channels-last planes reads them in order (2.14).
READ_IN_ORDER = 1024


class InstanceNorm(nn.GroupNorm):
    """Affine instance norm: group norm with a group for each channel.

    The same numbers and parameters as ``nn.InstanceNorm2d(channels, affine=True)``; on a CPU it is
    two to five times as fast.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        last = features.is_contiguous(memory_format=torch.channels_last)
        if not last or features.device.type != "cpu":
            return super().forward(features)
        if features.shape[2:].numel() < READ_IN_ORDER:
            # Four to twenty times as fast as the strides of small channels-last planes.
            normed = super().forward(features.contiguous())
            return normed.contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled():
            return ChannelsLastNorm.apply(features, self.weight, self.bias, self.eps)
        return super().forward(features)


class ChannelsLastNorm(torch.autograd.Function):
    """Instance norm of channels-last features, with gradients of the first order.

    PyTorch's own gradient of group norm takes seventeen times as long in this layout on a CPU
    (torch 2.14), more than all the convolutions that the layout makes twice as fast.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, eps):
        count, channels, height, width = features.shape
        result, mean, scale = torch.native_group_norm(
            features, weight, bias, count, channels, height * width, channels, eps
        )
        ctx.save_for_backward(features, weight, mean, scale)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        features, weight, mean, scale = ctx.saved_tensors
        pixels = features.shape[2] * features.shape[3]
        # As (B, H * W, C), where sums over the plane are products with a row of ones. In bfloat16
        # that leaves the weight's gradient 2 % off where the mean is ten standard deviations.
        x, g = (each.permute(0, 2, 3, 1).flatten(1, 2) for each in (features, gradient))
        ones = x.new_ones(1, 1, 1).expand(len(x), 1, pixels)
        total, weighted = ((ones @ each)[:, 0].to(scale) for each in (g, g * x))
        # Of the normalised features: sum of gradient * (features - mean) * scale.
        by_weight = (weighted - mean * total) * scale
        slope = weight * scale
        by_feature = -slope * scale * by_weight / pixels
        constant = -slope * total / pixels - by_feature * mean
        slope, by_feature, constant = (
            each.to(x)[:, None] for each in (slope, by_feature, constant)
        )
        change = torch.addcmul(torch.addcmul(constant, g, slope), x, by_feature)
        change = change.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)
        return change, by_weight.sum(0), total.sum(0), None


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int, padding: int
) -> nn.Sequential:
    """Convolution without bias, affine instance norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        InstanceNorm(out_channels),
        nn.ReLU(inplace=True),
    )


def upconv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """4x4 transposed convolution that doubles the size, affine instance norm, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False),
        InstanceNorm(out_channels),
        nn.ReLU(inplace=True),
    )


def reflected_conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution with reflection padding, affine instance norm, ReLU."""
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(in_channels, out_channels, 3, stride, bias=False),
        InstanceNorm(out_channels),
        nn.ReLU(inplace=True),
    )


class Hourglass(nn.Module):
    """Looks at features at several sizes: down by a strided convolution, up by nearest and a
    convolution, merged by addition with a convolution of what came in. H and W must be multiples
    of ``2 ** depth`` and at least ``2 ** (depth + 1)``.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.skip = reflected_conv(channels, channels)
        self.down = reflected_conv(channels, channels, stride=2)
        self.enter = reflected_conv(channels, channels)
        self.inner = (
            Hourglass(channels, depth - 1) if depth > 1 else reflected_conv(channels, channels)
        )
        self.up = reflected_conv(channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inner = self.inner(self.enter(self.down(features)))
        return self.skip(features) + self.up(F.interpolate(inner, scale_factor=2.0))


class SpatialAttention(nn.Sequential):
    """The paper's SEDN: an hourglass of depth 2 that ends in a ``(B, 1, H, W)`` map in (0, 1)."""

    def __init__(self, in_channels: int, channels: int = 64) -> None:
        super().__init__(
            reflected_conv(in_channels, channels),
            Hourglass(channels, depth=2),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, 1, 3),
            nn.Sigmoid(),
        )


class ResidualBlock(nn.Module):
    """conv3-IN-ReLU, conv3-IN, added to the input; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm_relu(channels, channels, 3, 1, 1),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            InstanceNorm(channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features)


class SpatialAttentionResidualBlock(ResidualBlock):
    """The paper's SARB: the residual is multiplied by a spatial attention map before the sum."""

    def __init__(self, channels: int, attention_channels: int = 64) -> None:
        super().__init__(channels)
        self.attention = SpatialAttention(channels, attention_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        residual = self.body(features)
        return features + residual * self.attention(residual)
