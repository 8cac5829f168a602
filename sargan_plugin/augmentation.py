"""``RandomExpression``: a kornia augmentation that gives faces random expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from kornia.augmentation.random_generator import RandomGeneratorBase
from torch.distributions import Uniform

from sargan_plugin.editor import ExpressionEditor
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS, Expression, check_intensity
from sargan_plugin.request import conditions_of


class ExpressionGenerator(RandomGeneratorBase):
    """Draws ``expression`` (an index, long) and ``intensity`` for each picture."""

    def __init__(self, count: int, intensity: tuple[float, float]) -> None:
        super().__init__()
        self.count, self.intensity = count, intensity

    def make_samplers(self, device: torch.device, dtype: torch.dtype) -> None:
        low, high = (torch.tensor(value, device=device, dtype=dtype) for value in self.intensity)
        # Uniform refuses an empty range; the width is applied after the draw instead.
        self.unit = Uniform(torch.zeros_like(low), torch.ones_like(high))
        self.low, self.width = low, high - low

    def forward(
        self, batch_shape: tuple[int, ...], same_on_batch: bool = False
    ) -> dict[str, torch.Tensor]:
        shape = (1,) if same_on_batch else (batch_shape[0],)
        # Not a categorical distribution: that of PyTorch 2.4 cannot draw for no picture at all.
        expression = (self.unit.sample(shape) * self.count).long().clamp(max=self.count - 1)
        expression = expression.expand(batch_shape[0])
        intensity = (self.low + self.width * self.unit.sample(shape)).expand(batch_shape[0])
        return {"expression": expression, "intensity": intensity}


class RandomExpression(IntensityAugmentationBase2D):
    """Give the faces of each picture a random expression, with probability ``p``.

    Args:
        expressions: to choose from, names or mixes.
        intensity: range to draw from.
        editor: does the work; its own expression and intensity are not used. A default one is
            made from ``editor_options`` otherwise.
        same_on_batch: the same expression and intensity for the whole batch.
        p: probability for each picture.
        keepdim: keep ``(3, H, W)`` instead of adding a batch dimension.
        **editor_options: of :class:`ExpressionEditor`.

    Shape:
        ``(3, H, W)`` or ``(B, 3, H, W)`` float in [0, 1]; the same with a batch dimension.

    Convention:
        Masks, boxes and keypoints pass unchanged. Parameters are drawn once and kept in
        ``_params``; ``augmentation(images, params=augmentation._params)`` replays them.
    """

    def __init__(
        self,
        expressions: Sequence[Expression] = EXPRESSIONS[:5],
        intensity: tuple[float, float] = (0.5, 1.0),
        editor: ExpressionEditor | None = None,
        same_on_batch: bool = False,
        p: float = 0.5,
        keepdim: bool = False,
        **editor_options: Any,
    ) -> None:
        super().__init__(p=p, same_on_batch=same_on_batch, keepdim=keepdim)
        low, high = (check_intensity(value) for value in intensity)
        if low > high:
            raise SarganError(f"The intensity range is empty: {low} to {high}.")
        if editor is not None and editor_options:
            raise SarganError("Give an editor or options for one, not both.")
        self.expressions = tuple(expressions)
        self.conditions = conditions_of(list(expressions))
        self.editor = editor or ExpressionEditor(**editor_options)
        self._param_generator = ExpressionGenerator(len(self.expressions), (low, high))

    def apply_transform(
        self,
        input: torch.Tensor,
        params: dict[str, torch.Tensor],
        flags: dict[str, Any],
        transform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        requests = [
            self.editor.request(self.conditions[int(index)], intensity.reshape(1))
            for index, intensity in zip(params["expression"], params["intensity"], strict=True)
        ]
        results = self.editor.edit(list(input), requests)
        return torch.stack([result.image for result in results])
