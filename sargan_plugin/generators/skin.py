"""What may be painted on a face: colours of its own skin, and away from the features only shade.

A generator that may paint any colour fools its judges with blotches first: turquoise teeth, blue
lips, pink patches on a cheek. Faces have few colours. Skin, lips, teeth and the dark of a mouth
have one hue under one light, more or less saturated; and what a change of expression does to a
cheek, a forehead or a nose is a wrinkle's shade.
"""

from __future__ import annotations

import torch
from kornia.filters import gaussian_blur2d

from sargan_plugin.align import TEMPLATE, TEMPLATE_SIZE

# Centre and half axes in the template's pixels: from under the nose down to a dropped jaw.
EYES = tuple((x, y, 12, 8) for x, y in TEMPLATE[:2])
LIPS, JAW = (63.5, 82, 24, 12), (63.5, 94, 20, 14)
MOUTH = (LIPS, JAW)
SOFT = 0.35  # how far beyond its half axes an ellipse fades out, as a share of them

# Left, top, right, bottom: skin that few beards, fringes and frames cover.
CHEEKS_AND_NOSE = ((32, 60, 48, 76), (56, 52, 72, 68), (80, 60, 96, 76))
CHIN = (48, 98, 80, 112)

DARKEST_SHADE, LIGHTEST_SHADE = 0.4, 0.15
"""Away from the features: light taken away or added, as a share of what is there."""
WRINKLE = 5.0
"""Pixels of a template's crop: standard deviation of the blur that tells wrinkles from patches."""

BRIGHTER_EYE = 1.35
"""Light of an opened eye in shares of the lid's that was there; an iris stays dark."""
EYE_PALEST = 0.3
"""Saturation of the white of an eye, as a share of the skin's."""
OTHER_HUE, PINKER, GREENER = 0.12, 0.2, 0.1
"""How far a painted colour may lie off the skin's hue, as a share of its own saturation: away from
the mouth, and in it to either side. Lips are pinker than skin, a third of them more than this;
beside them more looks like a bruise."""
REPAINTED = 0.4
"""Change of a mouth's light, as a share, from which on the colour that was there has no say."""
GREY_BEARD = 0.6
"""Saturation of a chin, as a share of the skin's, below which it is taken for a greying beard: that
of 4 in 100 photos is."""

COLOUR_BLUR = 2.0
"""Pixels of a template's crop: standard deviation of the blur of what is painted besides its light.
Cameras and JPEG record colour more coarsely than light, and painted colours with outlines as sharp
as their light's give an edit away."""

HUELESS = 0.02  # light below which a colour has no hue


def mouth_palest(brightness: torch.Tensor) -> torch.Tensor:
    """Saturation of mouths, given their light; both as shares of the skin's.

    A line through the lower quartiles of mouths in the training photos, which ``python -m
    sargan_training.mouth_colours`` prints: teeth are pale, lips about as saturated as skin, the
    dark behind them more.
    """
    return (1.6 - 0.85 * brightness).clamp(min=0.2)


def mouth_richest(brightness: torch.Tensor) -> torch.Tensor:
    """As :func:`mouth_palest`, a curve a little above the upper quartiles."""
    return 1.2 * brightness.clamp(min=0.1) ** -0.67


def brightest_mouth(skin: torch.Tensor) -> torch.Tensor:
    """Light of a mouth in [0, 1], given the skin's: about the median of the teeth of smiles."""
    return skin + 0.25 * (1 - skin)


def natural_change(image: torch.Tensor, moved: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """A change of colour as far as it is believable on this face; no change stays none.

    Args:
        image: canonical crops ``(B, 3, S, S)`` in [-1, 1], from which the skin's colour is taken.
        moved: the same after the flow, where the change is added.
        change: ``(B, 3, S, S)`` in the same range (black to white is 2).

    Returns:
        ``(B, 3, S, S)``. Colours that ``moved`` has and the skin has not (a blue iris) may stay,
        except where a mouth is repainted; grey photos and grey beards stay grey.
    """
    # Quotients of dark colours are not finite in float16.
    working = torch.promote_types(change.dtype, torch.float32)
    image, here, added = image.to(working), (moved.to(working) + 1) / 2, change.to(working) / 2
    mouth = ellipses(MOUTH, image)
    features = torch.maximum(mouth, ellipses(EYES, image))
    # Not the features' shade: their edges would count as wrinkles.
    shade = _wrinkles((1 - features) * light(added) / light(here).clamp(min=0.05))
    wanted = here + features * added + shade * here
    skin = skin_colour(image)
    natural = _coloured_like(skin, here, wanted, mouth, beardless(image, skin))
    return (2 * (natural - here)).to(change)


def with_soft_colour(change: torch.Tensor) -> torch.Tensor:
    """A change ``(B, 3, S, S)`` whose light is as sharp as before and whose colour is blurred.

    Of a :func:`natural_change` it is the last step, so that within two widths of the blur of an
    outline the limits to colours hold only about.
    """
    working = change.to(torch.promote_types(change.dtype, torch.float32))
    lighter = light(working)
    return (lighter + _blurred(working - lighter, COLOUR_BLUR)).to(change)


def _wrinkles(shade: torch.Tensor) -> torch.Tensor:
    """The narrow part of a shade, within limits; broad patches look like dirt.

    A soft outline inside a patch's edge is left of it.
    """
    lighter, darker = shade.clamp(min=0), shade.clamp(max=0)
    lighter = LIGHTEST_SHADE * torch.tanh(lighter / LIGHTEST_SHADE)
    darker = DARKEST_SHADE * torch.tanh(darker / DARKEST_SHADE)
    shade = lighter + darker
    narrow = shade - _blurred(shade, WRINKLE)
    # What is taken away around a wrinkle would be its halo.
    return torch.maximum(torch.minimum(narrow, lighter), darker)


def _blurred(image: torch.Tensor, width: float) -> torch.Tensor:
    """Blurred by a Gaussian, whose standard deviation is given in a template's pixels."""
    width *= image.shape[-1] / TEMPLATE_SIZE
    kernel = 2 * round(2 * width) + 1
    return gaussian_blur2d(image, (kernel, kernel), (width, width))


def _coloured_like(
    skin: torch.Tensor,
    here: torch.Tensor,
    wanted: torch.Tensor,
    mouth: torch.Tensor,
    bare: torch.Tensor,
) -> torch.Tensor:
    """What is wanted, its light and colour drawn to the skin's, but not past what is here."""
    light_before, light_of_skin = light(here), light(skin)
    brightness = torch.minimum(light(wanted), _brightest(light_before, light_of_skin, mouth))

    hue = chroma(skin)
    saturation_before, rest_before = along(chroma(here), hue)
    saturation, rest = along(chroma(wanted), hue)
    relative = brightness / light_of_skin.clamp(min=HUELESS)
    repainted = mouth * _repainted(light_before, brightness)
    palest = torch.lerp(torch.full_like(relative, EYE_PALEST), bare * mouth_palest(relative), mouth)
    richest = mouth_richest(relative)
    saturation = _saturation(saturation, saturation_before, palest, richest, repainted)
    rest = _rest(rest, rest_before, saturation, saturation_before, hue, mouth)
    return brightness + brightness.clamp(min=HUELESS) * (saturation * hue + rest)


def _brightest(before: torch.Tensor, skin: torch.Tensor, mouth: torch.Tensor) -> torch.Tensor:
    """The most light a place may have, given its own and the skin's."""
    teeth = torch.maximum(before, brightest_mouth(skin))
    return torch.lerp(BRIGHTER_EYE * before, teeth, mouth)


def _repainted(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """How far something else is here now, in [0, 1], given the light."""
    change = (after - before).abs() / torch.maximum(after, before).clamp(min=HUELESS)
    return (change / REPAINTED).clamp(max=1)


def _saturation(
    wanted: torch.Tensor,
    before: torch.Tensor,
    palest: torch.Tensor,
    richest: torch.Tensor,
    repainted: torch.Tensor,
) -> torch.Tensor:
    """Saturations, as shares of the skin's, within those of a face of this light."""
    lowest = torch.lerp(torch.minimum(before, palest), palest, repainted)
    highest = torch.maximum(before, richest)
    return torch.minimum(torch.maximum(wanted, lowest), highest)


def _rest(
    wanted: torch.Tensor,
    before: torch.Tensor,
    saturation: torch.Tensor,
    saturation_before: torch.Tensor,
    skin: torch.Tensor,
    mouth: torch.Tensor,
) -> torch.Tensor:
    """What a colour has beside the skin's hue: no more than was there on that side, or little."""
    # A hue is an angle: a paler lip is less pink as well.
    paler = (saturation.clamp(min=0) + 0.5) / (saturation_before.clamp(min=0) + 0.5)
    room = OTHER_HUE + mouth * (torch.where(wanted[:, 1:2] > 0, GREENER, PINKER) - OTHER_HUE)
    most = room * saturation.clamp(min=0) * _length(skin)
    same_side = (wanted * before).sum(dim=1, keepdim=True) > 0
    most = torch.maximum(most, same_side * _length(before) * paler.clamp(max=1))
    return wanted * (most / _length(wanted)).clamp(max=1)


def along(colour: torch.Tensor, skin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A chroma ``(B, 3, ...)`` as a share of the skin's ``(B, 1, ...)``, and what is left of it.

    The first is its saturation, the second lies off the skin's hue.
    """
    squared = skin.square().sum(dim=1, keepdim=True).clamp(min=1e-4)
    share = (colour * skin).sum(dim=1, keepdim=True) / squared
    return share, colour - share * skin


def _length(colour: torch.Tensor) -> torch.Tensor:
    return (colour.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()


def skin_colour(image: torch.Tensor) -> torch.Tensor:
    """The skin's colour in [0, 1], ``(B, 3, 1, 1)``, of crops in [-1, 1].

    The median of cheeks and nose, of which one may be covered.
    """
    return _median_colour(image, CHEEKS_AND_NOSE)


def beardless(image: torch.Tensor, skin: torch.Tensor) -> torch.Tensor:
    """``(B, 1, 1, 1)``: 1 where a chin is about as saturated as skin, 0 where it is of grey hair.

    Such hair grows around the mouth, too, and must not get the colour of lips.
    """
    saturation, _ = along(chroma(_median_colour(image, (CHIN,))), chroma(skin))
    return (saturation / GREY_BEARD).clamp(0, 1)


def _median_colour(image: torch.Tensor, patches: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    scale = image.shape[-1] / TEMPLATE_SIZE
    corners = [[round(scale * each) for each in patch] for patch in patches]
    pixels = [image[:, :, y1:y2, x1:x2].flatten(2) for x1, y1, x2, y2 in corners]
    return (torch.cat(pixels, dim=2).median(dim=2).values[:, :, None, None] + 1) / 2


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
