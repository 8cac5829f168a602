"""What may be painted on a face: colours of its own skin, and away from the features only shade.

A generator that may paint any colour fools its judges with blotches first: turquoise teeth, blue
lips, pink patches on a cheek. Faces have few colours. Skin, lips, teeth and the dark of a mouth
have one hue under one light, more or less saturated; and what a change of expression does to a
cheek, a forehead or a nose is a wrinkle's shade.
"""

from __future__ import annotations

import torch

from sargan_plugin.align import TEMPLATE, TEMPLATE_SIZE

# Centre and half axes in the template's pixels. The mouth has room for a dropped jaw.
EYES = tuple((x, y, 12, 8) for x, y in TEMPLATE[:2])
MOUTH = (63.5, 86, 27, 22)
CHEEKS = ((40, 68, 9, 9), (87, 68, 9, 9))
SOFT = 0.35  # how far beyond its half axes an ellipse fades out, as a share of them

STRONGEST_SHADE = 0.4
"""Away from the features: light taken away or added, as a share of what is there."""
SATURATION = (0.4, 2.0)
"""Of what is painted, in shares of the skin's: from teeth to lips."""
OTHER_HUE = 0.25
"""How far from the skin's hue a painted colour may lie, as a share of the skin's saturation."""
BRIGHTEST = 0.5
"""Of what is painted: from the cheeks' light this far on to white, as teeth in a smile are."""

DARKEST = 0.02  # light below which a colour has no hue


def natural_change(image: torch.Tensor, moved: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """A change of colour as far as it is believable on this face; no change stays none.

    Args:
        image: canonical crops ``(B, 3, S, S)`` in [-1, 1], from which the skin's colour is taken.
        moved: the same after the flow, where the change is added.
        change: ``(B, 3, S, S)`` in the same range (black to white is 2).

    Returns:
        ``(B, 3, S, S)``. Colours that ``moved`` has and the skin has not (a blue iris, a beard, a
        microphone) may stay; grey photos stay grey.
    """
    here, added = (moved + 1) / 2, change / 2
    shade = light(added) / light(here).clamp(min=0.05)
    shade = STRONGEST_SHADE * torch.tanh(shade / STRONGEST_SHADE)
    free = ellipses((*EYES, MOUTH), image)
    added = free * added + (1 - free) * shade * here
    return 2 * (_coloured_like(cheek_colour(image), here, here + added) - here)


def _coloured_like(cheek: torch.Tensor, here: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """What is wanted with its light and hue drawn to the cheek's, but not past what is here."""
    skin = chroma(cheek)
    before, before_other = _along(chroma(here), skin)
    share, other = _along(chroma(wanted), skin)
    palest, richest = SATURATION
    share = torch.maximum(share, before.clamp(max=palest))
    share = torch.minimum(share, before.clamp(min=richest))
    most = torch.maximum(_length(before_other), OTHER_HUE * _length(skin))
    other = other * (most / _length(other)).clamp(max=1)
    brightest = torch.lerp(light(cheek), torch.ones_like(light(cheek)), BRIGHTEST)
    brightness = torch.minimum(light(wanted), torch.maximum(light(here), brightest))
    return brightness + brightness.clamp(min=DARKEST) * (share * skin + other)


def _along(colour: torch.Tensor, skin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A chroma as a share of the skin's, and what is left of it."""
    squared = skin.square().sum(dim=1, keepdim=True).clamp(min=1e-4)
    share = (colour * skin).sum(dim=1, keepdim=True) / squared
    return share, colour - share * skin


def _length(colour: torch.Tensor) -> torch.Tensor:
    return (colour.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()


def cheek_colour(image: torch.Tensor) -> torch.Tensor:
    """The cheeks' mean colour in [0, 1], ``(B, 3, 1, 1)``, of crops in [-1, 1]."""
    cheeks = ellipses(CHEEKS, image)
    return ((image + 1) / 2 * cheeks).sum(dim=(2, 3), keepdim=True) / cheeks.sum()


def light(colour: torch.Tensor) -> torch.Tensor:
    """Luma of ``(B, 3, ...)`` colours, ``(B, 1, ...)`` (ITU-R BT.601)."""
    red, green, blue = colour.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def chroma(colour: torch.Tensor) -> torch.Tensor:
    """What a colour has beside its light, relative to it: the same in light and in shade."""
    brightness = light(colour)
    return (colour - brightness) / brightness.clamp(min=DARKEST)


def ellipses(regions: tuple[tuple[float, ...], ...], image: torch.Tensor) -> torch.Tensor:
    """``(1, 1, S, S)``: 1 in the template's ellipses, fading to 0 around them."""
    size = image.shape[-1]
    position = (torch.arange(size) + 0.5) * (TEMPLATE_SIZE / size) - 0.5
    window = torch.zeros(size, size)
    for x, y, half_width, half_height in regions:
        across, down = (position - x) / half_width, (position - y) / half_height
        radius = torch.hypot(across[None], down[:, None])
        window = torch.maximum(window, ((1 + SOFT - radius) / SOFT).clamp(0, 1))
    return window[None, None].to(image)
