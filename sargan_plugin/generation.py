"""Running a generator on many crops within a memory limit."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sargan_plugin.expressions import condition_of
from sargan_plugin.generators import Edit, Generator, apply_edit

# Peak memory of a generator for one pixel of a crop: 1280 measured with StarGAN in float32.
BYTES_PER_CROP_PIXEL = 1500


def edits_of_crops(
    generator: Generator,
    crops: Sequence[torch.Tensor],
    conditions: Sequence[torch.Tensor],
    intensities: Sequence[torch.Tensor],
    *,
    neutralise_first: bool,
    autocast_dtype: torch.dtype | None,
    memory_limit_mb: float,
) -> list[Edit]:
    """The edits of canonical crops, in as few generator calls as fit into the memory limit.

    Args:
        generator: makes the edits.
        crops: ``(3, S, S)`` each, in [0, 1].
        conditions: ``(7,)`` for each crop.
        intensities: ``()`` for each crop; above 0.
        neutralise_first: whether to go by way of a neutral face.
        autocast_dtype: of the generator's networks; None for no autocast.
        memory_limit_mb: of the generator at work.

    Returns:
        An edit of batch size 1 for each crop, feathered and at its intensity.
    """
    size = generator.crop_size
    limit = max(1, int(memory_limit_mb * 2**20 / (BYTES_PER_CROP_PIXEL * size * size)))
    # Pictures of one call may differ in dtype and device; the generator's decide.
    working = next(generator.parameters(), crops[0] if crops else torch.empty(0))
    edits: list[Edit] = []
    for start in range(0, len(crops), limit):
        part = slice(start, start + limit)
        images = torch.stack([crop.to(working) for crop in crops[part]]) * 2 - 1
        wanted = torch.stack([condition.to(images) for condition in conditions[part]])
        amounts = torch.stack([intensity.to(images) for intensity in intensities[part]])
        if neutralise_first:
            neutral = condition_of("neutral").to(wanted).expand_as(wanted)
            first = _generate(generator, images, neutral, autocast_dtype)
            second = _generate(generator, apply_edit(images, first), wanted, autocast_dtype)
            first = first.at_intensity(amounts.clamp(max=1))
            edit = first.then(second.at_intensity(amounts))
        else:
            edit = _generate(generator, images, wanted, autocast_dtype).at_intensity(amounts)
        edits.extend(edit.split())
    return edits


def _generate(
    generator: Generator,
    images: torch.Tensor,
    conditions: torch.Tensor,
    autocast_dtype: torch.dtype | None,
) -> Edit:
    """Run the generator, autocast where that is fast; the edit is in the images' dtype."""
    with torch.autocast(images.device.type, autocast_dtype, enabled=autocast_dtype is not None):
        edit = generator.edit(images, conditions)
    return edit.to(images).feathered()
