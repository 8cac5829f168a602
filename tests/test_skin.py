from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.generators.skin import (
    BRIGHTER_EYE,
    DARKEST_SHADE,
    EYES,
    GREENER,
    LIGHTEST_SHADE,
    MOUTH,
    OTHER_HUE,
    PINKER,
    beardless,
    brightest_mouth,
    chroma,
    ellipses,
    light,
    mouth_palest,
    mouth_richest,
    natural_change,
    skin_colour,
    with_soft_colour,
)

SKIN = torch.tensor([0.8, 0.55, 0.45])
PALE, DEEP = torch.tensor([0.95, 0.78, 0.7]), torch.tensor([0.3, 0.19, 0.14])
TONES = [SKIN, PALE, DEEP]
BLUE = torch.tensor([-0.6, -0.2, 0.6])
FOREHEAD, MIDDLE_OF_MOUTH = (15, 64), (86, 64)


def face(colour: torch.Tensor = SKIN, size: int = 128) -> torch.Tensor:
    """A face of one colour in [0, 1], as a crop in [-1, 1]."""
    return (colour * 2 - 1).view(1, 3, 1, 1).expand(1, 3, size, size).clone()


def painted(image: torch.Tensor, colour: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
    """What becomes of a colour change everywhere, at one place, in [0, 1]."""
    change = 2 * colour.view(1, 3, 1, 1).expand_as(image)
    return ((image + natural_change(image, image, change) + 1) / 2)[0, :, place[0], place[1]]


@given(seed=st.integers(0, 99), size=st.sampled_from([64, 128]))
def test_no_change_stays_none_on_any_colours(seed, size):
    draws = torch.Generator().manual_seed(seed)
    image, moved = torch.rand(2, 2, 3, size, size, generator=draws) * 2 - 1
    nothing = natural_change(image, moved, torch.zeros_like(moved))
    torch.testing.assert_close(nothing, torch.zeros_like(moved), atol=1e-5, rtol=0)


@given(seed=st.integers(0, 99))
def test_grey_faces_stay_grey(seed):
    draws = torch.Generator().manual_seed(seed)
    grey = (torch.rand(1, 1, 64, 64, generator=draws) * 2 - 1).expand(1, 3, 64, 64)
    result = grey + natural_change(grey, grey, torch.randn(1, 3, 64, 64, generator=draws))
    torch.testing.assert_close(
        result, result.mean(dim=1, keepdim=True).expand_as(result), atol=1e-3, rtol=0
    )


@given(factor=st.floats(0.4, 1.0), seed=st.integers(0, 99))
def test_half_the_light_gives_half_the_change(factor, seed):
    draws = torch.Generator().manual_seed(seed)
    image = (face(size=64) + 1) / 2 - 0.1 - 0.2 * torch.rand(1, 3, 64, 64, generator=draws)
    change = -torch.rand(1, 3, 64, 64, generator=draws) * 0.2
    whole = natural_change(image * 2 - 1, image * 2 - 1, change)
    dim = image * factor * 2 - 1
    torch.testing.assert_close(
        natural_change(dim, dim, change * factor), whole * factor, atol=1e-5, rtol=1e-4
    )


def crease(image: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """The change that draws a line of a colour change across the forehead."""
    change = torch.zeros_like(image)
    change[:, :, FOREHEAD[0] - 1 : FOREHEAD[0] + 2] = 2 * colour.view(3, 1, 1)
    return change


def test_away_from_the_features_there_is_only_shade_and_little_of_it():
    image = face()
    for colour in (BLUE, -BLUE, torch.full((3,), 0.2), torch.full((3,), -0.9)):
        result = image + natural_change(image, image, crease(image, colour))
        shade = ((result + 1) / 2)[0, :, FOREHEAD[0], FOREHEAD[1]] / SKIN
        torch.testing.assert_close(shade, shade.mean().expand(3), atol=1e-4, rtol=0)
        assert 1 - DARKEST_SHADE <= float(shade.mean()) <= 1 + LIGHTEST_SHADE
        assert abs(float(shade.mean()) - 1) > 0.02


def test_wrinkles_are_drawn_and_patches_are_not():
    image, dark = face(), torch.full((3,), -0.1)
    patch = torch.zeros_like(image)
    patch[:, :, 45:85, 20:45] = -0.2  # a cheek
    assert natural_change(image, image, patch)[0, 0, 65, 32].abs() < 0.02
    for row, column in (FOREHEAD, (68, 36), (62, 64)):  # a cheek's, a wrinkled nose
        change = torch.zeros_like(image)
        change[:, :, row - 1 : row + 2, column - 8 : column + 8] = 2 * dark.view(3, 1, 1)
        wrinkle = natural_change(image, image, change)
        assert wrinkle[0, 0, row, column] < -0.1


@given(seed=st.integers(0, 99))
def test_nothing_happens_where_nothing_was_asked_and_no_shade_turns_into_its_opposite(seed):
    draws = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, 16, 16, generator=draws) * 2 - 1  # dark hair and light skin
    image = torch.nn.functional.interpolate(image, 128)
    change = torch.randn(1, 1, 128, 128, generator=draws).expand_as(image).clone()
    asked = (
        torch.rand(1, 1, 16, 16, generator=draws).repeat_interleave(8, 2).repeat_interleave(8, 3)
    )
    change *= asked > 0.5
    got, asked = (light(each) for each in (natural_change(image, image, change), change))
    away = ellipses((*MOUTH, *EYES), image) == 0
    assert got[away & (asked == 0)].abs().max() < 1e-5
    assert (got * asked)[away].min() > -1e-5
    assert (got.abs() - asked.abs())[away].max() < 1e-4


@given(seed=st.integers(0, 99))
def test_the_colour_of_a_change_is_soft_and_its_light_as_sharp_as_it_was(seed):
    change = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    soft = with_soft_colour(change)
    torch.testing.assert_close(light(soft), light(change), atol=1e-5, rtol=0)
    colour, before = soft - light(soft), change - light(change)
    assert colour.diff(dim=-1).abs().mean() < 0.2 * before.diff(dim=-1).abs().mean()


def test_what_is_painted_alike_everywhere_keeps_its_colour():
    change = torch.tensor([0.3, -0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    torch.testing.assert_close(with_soft_colour(change), change)
    assert not with_soft_colour(torch.zeros(1, 3, 64, 64)).any()


def test_a_covered_cheek_does_not_tint_the_face():
    image = face()
    image[..., :50] = -0.5 * image[..., :50].flip(1)
    torch.testing.assert_close(skin_colour(image).flatten(), SKIN)


def share_and_rest(colour: torch.Tensor, of: torch.Tensor) -> tuple[float, float, float]:
    """A colour's light and saturation as shares of a skin's; how far off its hue it lies."""
    skin, here = (chroma(each.view(1, 3, 1, 1)).flatten() for each in (of, colour))
    share = float(here @ skin / (skin @ skin))
    brightness = light(colour.view(1, 3, 1, 1)) / light(of.view(1, 3, 1, 1))
    return float(brightness), share, float((here - share * skin).norm() / skin.norm())


@pytest.mark.parametrize("tone", TONES)
def test_a_mouth_is_painted_in_the_hue_of_its_face(tone):
    for colour in (BLUE, torch.tensor([-0.7, 0.1, -0.1]), torch.tensor([0.1, -0.5, 0.1])):
        brightness, share, rest = share_and_rest(painted(face(tone), colour, MIDDLE_OF_MOUTH), tone)
        palest, richest = (
            float(bound(torch.tensor(brightness))) for bound in (mouth_palest, mouth_richest)
        )
        # Skin that is only tinted may stay as pale as it is.
        assert min(palest, 1) - 1e-3 <= share <= max(richest, 1) + 1e-3
        assert rest <= PINKER * share + 1e-3


@pytest.mark.parametrize("tone", TONES)
def test_lips_are_painted_pinker_than_skin_and_nothing_much_greener(tone):
    room = {}
    for name, colour in (("pink", [0, -0.05, 0.05]), ("green", [0, 0.05, -0.05])):
        wanted = 0.7 * tone + torch.tensor(colour)
        for place in (MIDDLE_OF_MOUTH, (44, 45)):
            _, share, rest = share_and_rest(painted(face(tone), wanted - tone, place), tone)
            room[name, place] = rest / share
    eye = (44, 45)
    assert room["pink", MIDDLE_OF_MOUTH] == pytest.approx(PINKER, abs=1e-3)
    assert room["green", MIDDLE_OF_MOUTH] == pytest.approx(GREENER, abs=1e-3)
    assert room["pink", eye] == pytest.approx(OTHER_HUE, abs=1e-3)
    assert room["green", eye] == pytest.approx(OTHER_HUE, abs=1e-3)


def test_pink_lips_are_not_painted_as_green_as_they_are_pink():
    lips = face()
    lip = torch.tensor([0.66, 0.36, 0.4])
    lips[0, :, 80:92, 58:70] = (2 * lip - 1).view(3, 1, 1)
    green = painted(lips, torch.tensor([-0.2, 0.15, -0.2]), MIDDLE_OF_MOUTH)
    _, share, rest = share_and_rest(green, SKIN)
    assert rest <= GREENER * share + 1e-3


@pytest.mark.parametrize(
    ("tone", "teeth"), [(SKIN, (1.1, 0.7)), (DEEP, (1.1, 0.7)), (PALE, (1.05, 0.8))]
)
def test_the_dark_of_a_mouth_lips_and_teeth_are_painted_as_they_are_wanted(tone, teeth):
    skin = tone.view(1, 3, 1, 1)
    for brightness, saturation in ((0.25, 1.6), (0.7, 1.2), teeth):
        wanted = (brightness * light(skin) * (1 + saturation * chroma(skin))).flatten()
        torch.testing.assert_close(painted(face(tone), wanted - tone, MIDDLE_OF_MOUTH), wanted)


def test_teeth_painted_dark_are_no_grey_teeth():
    image = face()
    image[..., 80:90, 54:74] = 0.8
    result = painted(image, torch.tensor([-0.6, -0.6, -0.6]), MIDDLE_OF_MOUTH)
    brightness, share, _ = share_and_rest(result, SKIN)
    assert share == pytest.approx(float(mouth_palest(torch.tensor(brightness))), abs=1e-3)


@pytest.mark.parametrize("tone", TONES)
def test_a_grey_beard_painted_darker_stays_grey(tone):
    image = face(tone)
    image[..., 76:128, 40:88] = float(2 * light(tone.view(1, 3, 1, 1)) - 1)
    result = painted(image, -0.5 * light(tone.view(1, 3, 1, 1)).expand(1, 3, 1, 1), MIDDLE_OF_MOUTH)
    assert share_and_rest(result, tone)[1] == pytest.approx(0, abs=1e-3)


def test_beards_are_told_from_bare_chins_on_light_and_dark_skin():
    for tone in TONES:
        image = face(tone)
        assert float(beardless(image, skin_colour(image))) == 1
        image[..., 92:116, 44:84] = (image[..., 92:116, 44:84] + 1) / 2 - 1  # in shade
        assert float(beardless(image, skin_colour(image))) == 1
        image[..., 92:116, 44:84] = -0.1
        assert float(beardless(image, skin_colour(image))) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("tone", TONES)
def test_nothing_is_painted_brighter_than_teeth_are(tone):
    result = painted(face(tone), torch.tensor([0.9, 0.9, 0.9]), MIDDLE_OF_MOUTH)
    brightest = brightest_mouth(light(tone.view(1, 3, 1, 1)))
    assert float(light(result.view(1, 3, 1, 1))) == pytest.approx(float(brightest), abs=1e-3)


def test_colours_that_are_there_may_stay():
    image = face()
    blue = torch.tensor([0.2, 0.4, 0.8]).view(3, 1, 1)
    image[0, :, 40:48, 40:48] = blue * 2 - 1  # an iris
    darker = -0.2 * (image + 1)
    result = ((image + natural_change(image, image, darker) + 1) / 2)[0, :, 44, 44]
    torch.testing.assert_close(result, blue[:, 0, 0] * 0.8)


def test_an_iris_stays_dark_while_a_lid_becomes_the_white_of_an_eye():
    image, white = face(), torch.full((3,), 0.3)
    image[0, :, 40:48, 40:48] = -0.7
    iris, lid = (44, 44), (44, 52)
    assert painted(image, white, iris).max() == pytest.approx(0.15 * BRIGHTER_EYE, abs=1e-3)
    assert light(painted(image, white, lid).view(1, 3, 1, 1)) > 1.2 * light(SKIN.view(1, 3, 1, 1))


def test_gradients_are_finite_also_on_black_and_white():
    image = (
        torch.randint(0, 2, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    )
    change = torch.randn_like(image).requires_grad_()
    moved = image.roll(1, 3).requires_grad_()
    natural_change(image, moved, change).square().sum().backward()
    assert torch.isfinite(change.grad).all() and torch.isfinite(moved.grad).all()
    assert change.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_changes_little(dtype):
    draws = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 64, 64, generator=draws) * 2 - 1
    image[1] = image[1].mean(dim=0)  # a grey photo
    change = torch.randn(2, 3, 64, 64, generator=draws) * 0.2
    halves = natural_change(image.to(dtype), image.to(dtype), change.to(dtype)).float()
    assert torch.isfinite(halves).all()
    assert (halves - natural_change(image, image, change)).abs().mean() < 0.02
    soft = with_soft_colour(change.to(dtype))
    assert soft.dtype == dtype
    assert (soft.float() - with_soft_colour(change)).abs().max() < 0.01


def test_regions_lie_in_the_same_place_at_every_size():
    small, large = (ellipses(MOUTH, face(size=size)) for size in (64, 192))
    assert small.mean().item() == pytest.approx(large.mean().item(), rel=0.02)
    assert large[0, 0, 129, 95] == 1 and large[0, 0, 0, 0] == 0
    assert skin_colour(face(size=192)).flatten().tolist() == pytest.approx(SKIN.tolist())
