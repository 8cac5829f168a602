"""What may be painted on a face: colours of its own skin, and away from the features only shade.

A generator that may paint any colour fools its judges with blotches first: turquoise teeth, blue
lips, pink patches on a cheek. Faces have few colours. Skin, lips, teeth and the dark of a mouth
have one hue under one light, more or less saturated; and what a change of expression does to a
forehead or the outer cheeks is a wrinkle's shade.
"""

from __future__ import annotations

import torch
from kornia.filters import gaussian_blur2d

from sargan_plugin.align import TEMPLATE, TEMPLATE_SIZE

# Centre and half axes in the template's pixels. The mouth has room for a dropped jaw.
EYES = tuple((x, y, 12, 8) for x, y in TEMPLATE[:2])
MOUTH = (63.5, 86, 27, 22)
CHEEKS = ((40, 68, 9, 9), (87, 68, 9, 9))
SOFT = 0.35  # how far beyond its half axes an ellipse fades out, as a share of them

DARKEST_SHADE, LIGHTEST_SHADE = 0.4, 0.15
"""Away from the features: light taken away or added, as a share of what is there."""
WRINKLE = 5.0
"""Pixels of a template's crop: standard deviation of the blur that tells wrinkles from patches."""

BRIGHTER_EYE = 1.35
"""Light of an opened eye in shares of the lid's that was there; an iris stays dark."""
EYE_PALEST = 0.3
"""Saturation of the white of an eye, as a share of the skin's."""
OTHER_HUE = 0.3
"""How far a painted colour may lie off the skin's hue, as a share of its own saturation."""
BRIGHTEST = 0.25
"""Of a mouth: from the cheeks' light this far on to white. Some teeth are brighter."""
REPAINTED = 0.4
"""Change of a mouth's light, as a share, from which on the colour that was there has no say."""

HUELESS = 0.02  # light below which a colour has no hue


def mouth_palest(brightness: torch.Tensor) -> torch.Tensor:
    """Saturation of mouths, given their light; both as shares of the cheeks'.

    A line through the lower quartiles of the mouths of 900 people of Labeled Faces in the Wild:
    teeth are pale, lips about as saturated as skin, the dark behind them more.
    """
    return (1.6 - 0.85 * brightness).clamp(min=0.2)


def mouth_richest(brightness: torch.Tensor) -> torch.Tensor:
    """As :func:`mouth_palest`, a curve a little above the upper quartiles."""
    return 1.2 * brightness.clamp(min=0.1) ** -0.67


def natural_change(image: torch.Tensor, moved: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """A change of colour as far as it is believable on this face; no change stays none.

    Args:
        image: canonical crops ``(B, 3, S, S)`` in [-1, 1], from which the skin's colour is taken.
        moved: the same after the flow, where the change is added.
        change: ``(B, 3, S, S)`` in the same range (black to white is 2).

    Returns:
        ``(B, 3, S, S)``. Colours that ``moved`` has and the skin has not (a blue iris) may stay,
        except where a mouth is repainted; grey photos stay grey.
    """
    # Quotients of dark colours are not finite in float16.
    working = torch.promote_types(change.dtype, torch.float32)
    image, here, added = image.to(working), (moved.to(working) + 1) / 2, change.to(working) / 2
    mouth = ellipses((MOUTH,), image)
    free = torch.maximum(mouth, ellipses(EYES, image))
    shade = light(added) / light(here).clamp(min=0.05)
    # Not of the features either, or their edges would cast halos.
    shade = (1 - free) * _wrinkles((1 - free) * shade)
    wanted = here + free * added + shade * here
    natural = _coloured_like(cheek_colour(image), here, wanted, mouth)
    return (2 * (natural - here)).to(change)


def _wrinkles(shade: torch.Tensor) -> torch.Tensor:
    """The narrow part of a shade, within limits; broad patches look like dirt."""
    width = WRINKLE * shade.shape[-1] / TEMPLATE_SIZE
    kernel = 2 * round(2 * width) + 1
    shade = shade - gaussian_blur2d(shade, (kernel, kernel), (width, width))
    lighter, darker = shade.clamp(min=0), shade.clamp(max=0)
    lighter = LIGHTEST_SHADE * torch.tanh(lighter / LIGHTEST_SHADE)
    return lighter + DARKEST_SHADE * torch.tanh(darker / DARKEST_SHADE)


def _coloured_like(
    cheek: torch.Tensor, here: torch.Tensor, wanted: torch.Tensor, mouth: torch.Tensor
) -> torch.Tensor:
    """What is wanted, its light and hue drawn to the cheek's, but not past what is here."""
    old = light(here)
    cheek_light = light(cheek)
    teeth = cheek_light + BRIGHTEST * (1 - cheek_light)
    brightest = torch.lerp(BRIGHTER_EYE * old, torch.maximum(old, teeth), mouth)
    new = torch.minimum(light(wanted), brightest)
    relative = new / cheek_light.clamp(min=HUELESS)

    skin = chroma(cheek)
    before, before_other = _along(chroma(here), skin)
    share, other = _along(chroma(wanted), skin)
    palest = torch.lerp(torch.full_like(relative, EYE_PALEST), mouth_palest(relative), mouth)
    repainted = (new - old).abs() / torch.maximum(new, old).clamp(min=HUELESS)
    repainted = mouth * (repainted / REPAINTED).clamp(max=1)
    lowest = torch.lerp(torch.minimum(before, palest), palest, repainted)
    share = torch.maximum(share, lowest)
    share = torch.minimum(share, torch.maximum(before, mouth_richest(relative)))
    # A hue is an angle: a paler lip is less pink as well.
    paler = ((share.clamp(min=0) + 0.5) / (before.clamp(min=0) + 0.5)).clamp(max=1)
    most = OTHER_HUE * share.clamp(min=0) * _length(skin)
    most = torch.maximum(most, _length(before_other) * paler)
    other = other * (most / _length(other)).clamp(max=1)
    return new + new.clamp(min=HUELESS) * (share * skin + other)


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
    return (colour - brightness) / brightness.clamp(min=HUELESS)


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
