"""What a generator says about a face: an :class:`Edit`, and how it applies at crop size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

# The feather of an edit, as shares of the crop's side: zero up to BORDER, whole from FULL inwards.
BORDER, FULL = 1 / 40, 1 / 10


@dataclass(frozen=True)
class Edit:
    """A change of expression, in the canonical crop.

    Attributes:
        delta: ``(B, 3, S, S)`` colour change in the generators' range (black to white is 2).
        replace: ``(B, 1, S, S)`` in [0, 1]: where texture finer than the crop must go.
        flow: ``(B, 2, S, S)`` in crop pixels, or None where nothing moves. The moved picture at
            ``p`` is the picture at ``p + flow(p)``.
    """

    delta: torch.Tensor
    replace: torch.Tensor
    flow: torch.Tensor | None = None

    def to(self, like: torch.Tensor) -> Edit:
        """The same edit in the dtype and on the device of ``like``."""
        flow = None if self.flow is None else self.flow.to(like)
        return Edit(self.delta.to(like), self.replace.to(like), flow)

    def split(self) -> list[Edit]:
        """One edit of batch size 1 for each row."""
        flows = [None] * len(self.delta) if self.flow is None else self.flow.split(1)
        return [
            Edit(delta, cover, flow)
            for delta, cover, flow in zip(
                self.delta.split(1), self.replace.split(1), flows, strict=True
            )
        ]

    def then(self, second: Edit) -> Edit:
        """The one edit that does this edit and then ``second``, so that pixels move only once.

        Exact where the crops are smooth; ``second`` was made from the picture after this edit.
        """
        painted = torch.cat([self.delta, self.replace], dim=1)
        if second.flow is not None:
            painted = warp_by_flow(painted, second.flow)
        delta, cover = painted[:, :3] + second.delta, painted[:, 3:]
        cover = 1 - (1 - cover) * (1 - second.replace)
        if self.flow is None or second.flow is None:
            return Edit(delta, cover, second.flow if self.flow is None else self.flow)
        return Edit(delta, cover, second.flow + warp_by_flow(self.flow, second.flow))

    def within(self, window: torch.Tensor) -> Edit:
        """The edit in the light of a window ``(1 or B, 1, S, S)``: whole at 1, nothing at 0."""
        flow = None if self.flow is None else self.flow * window
        return Edit(self.delta * window, self.replace * window, flow)

    def feathered(self) -> Edit:
        """The edit faded out towards the crop's border, and exactly zero on the border."""
        return self.within(feather(self.delta.shape[-1]).to(self.delta))

    def at_intensity(self, intensity: torch.Tensor) -> Edit:
        """The edit weakened (below 1) or exaggerated (above 1).

        The flow is scaled. What is painted on top travels along the shortened flow, so that half
        a smile has a half-opened mouth rather than half-transparent teeth, and its opacity rises
        faster than the movement: a half-way edit is mostly opaque where it is small. Above one
        only the movement grows; an edit without flow has nothing else and is painted stronger.

        Args:
            intensity: ``(B,)``, zero or more. One returns the same values.
        """
        amount = intensity.to(self.delta).view(-1, 1, 1, 1)
        opacity = torch.where(amount < 1, amount * (2 - amount), amount)
        if self.flow is None:
            cover = (self.replace * opacity).clamp(max=1)
            return replace(self, delta=self.delta * opacity, replace=cover)
        # Painted content belongs to the fully moved geometry; walk back the missing part of it.
        missing = (amount - 1) * self.flow
        painted = warp_by_flow(torch.cat([self.delta, self.replace], dim=1), missing)
        # Generators keep teeth and lips within the colours of a face; a multiple would leave them.
        painted = painted * opacity.clamp(max=1)
        return Edit(painted[:, :3], painted[:, 3:], self.flow * amount)


def feather(size: int) -> torch.Tensor:
    """``(1, 1, size, size)`` window: 0 on the outer fortieth of a crop, 1 from a tenth inwards."""
    position = torch.arange(size) + 0.5
    depth = torch.minimum(position, size - position) / size
    ramp = ((depth - BORDER) / (FULL - BORDER)).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return (ramp[:, None] * ramp[None, :])[None, None]


def warp_by_flow(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Sample ``image`` ``(B, C, H, W)`` at each pixel's position plus ``flow`` ``(B, 2, H, W)``.

    Flow is in pixels, x first. Positions outside the image repeat its edge.
    """
    height, width = image.shape[-2:]
    ys = torch.arange(height, dtype=flow.dtype, device=flow.device).view(1, height, 1)
    xs = torch.arange(width, dtype=flow.dtype, device=flow.device).view(1, 1, width)
    x = (flow[:, 0] + xs + 0.5) * (2 / width) - 1
    y = (flow[:, 1] + ys + 0.5) * (2 / height) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def apply_edit(image: torch.Tensor, edit: Edit) -> torch.Tensor:
    """Apply an edit at crop size: move, then add the change. ``image`` is ``(B, 3, S, S)``.

    ``replace`` plays no part here: a crop holds no texture finer than itself.
    """
    moved = image if edit.flow is None else warp_by_flow(image, edit.flow)
    return moved + edit.delta


def replace_from_delta(delta: torch.Tensor) -> torch.Tensor:
    """Derive where old texture must go from how strongly the colour changes.

    For generators that predict no mask: changes below about 6 grey levels keep the texture under
    them, changes above about 40 replace it. ``(B, 3, S, S)`` to ``(B, 1, S, S)``.
    """
    strength = F.avg_pool2d(delta.abs().amax(dim=1, keepdim=True), 5, 1, 2)
    amount = ((strength - 0.05) / 0.27).clamp(0, 1)
    return amount * amount * (3 - 2 * amount)


class Generator(nn.Module):
    """Base of every system: a subclass says how to :meth:`edit`, the rest follows.

    Attributes:
        crop_size: side of the canonical crop the generator was made for.
    """

    crop_size: int = 128

    def edit(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        """Predict the edit of ``(B, 3, S, S)`` crops in [-1, 1] towards ``(B, 7)`` conditions."""
        raise NotImplementedError

    def forward(self, image: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Return the edited crops; values may leave [-1, 1] slightly and are not clamped."""
        edit = self.edit(image, condition)
        with torch.autocast(image.device.type, enabled=False):
            return apply_edit(image, edit.to(image).feathered())
