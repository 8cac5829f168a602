from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin.expressions import EXPRESSIONS, condition_of
from sargan_plugin.generators import sargan_flow
from sargan_plugin.generators.blocks import ChannelsLastNorm, InstanceNorm, SpatialAttention
from sargan_plugin.generators.edit import (
    Edit,
    apply_edit,
    feather,
    replace_from_delta,
    warp_by_flow,
)
from sargan_plugin.generators.skin import MOUTH, ellipses, with_soft_colour
from sargan_plugin.zoo import create_generator, parameter_count
from sargan_training.bundle import pair_of

NAMES = ("sargan_128", "usgan_128", "stargan_128", "sargan_flow_128", "sargan_flow_pair_128")
SMALL = {"channels": 8}


def inputs(count: int = 2, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    images = torch.rand(count, 3, size, size) * 2 - 1
    return images, torch.eye(len(EXPRESSIONS))[torch.arange(count) + 1]


@pytest.mark.parametrize("name", NAMES)
def test_edit_keeps_the_contract(name):
    images, conditions = inputs()
    edit = create_generator(name, pretrained=False, **SMALL).edit(images, conditions)
    assert edit.delta.shape == images.shape
    assert edit.replace.shape == (2, 1, 64, 64)
    assert 0 <= edit.replace.min() <= edit.replace.max() <= 1
    assert (edit.flow is not None) == name.startswith("sargan_flow")
    if edit.flow is not None:
        assert edit.flow.shape == (2, 2, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_forward_applies_the_edit_and_reaches_every_parameter(name):
    images, conditions = inputs()
    generator = create_generator(name, pretrained=False, **SMALL)
    result = generator(images, conditions)
    assert result.shape == images.shape
    # The flow head starts at zero, which keeps the first step's gradient from what lies above it.
    edit = generator.edit(images, conditions)
    flow = 0 if edit.flow is None else edit.flow.square().sum() + edit.flow.sum()
    (result.square().sum() + edit.replace.sum() + flow).backward()
    for key, parameter in generator.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


def test_a_relative_generator_is_told_what_is_still_missing():
    images, conditions = inputs()
    options = {"pretrained": False, "crop_size": 64, **SMALL}
    relative = create_generator("sargan_flow_128", relative=True, **options)
    with torch.no_grad():  # it reads every face as neutral
        relative.source[-1].weight.zero_()
        relative.source[-1].bias.copy_(100 * condition_of("neutral"))
    absolute = create_generator("sargan_flow_128", **options)
    absolute.load_state_dict(relative.state_dict(), strict=False)
    missing = conditions - condition_of("neutral")
    expected = absolute.edit(images, missing).delta
    torch.testing.assert_close(relative.edit(images, conditions).delta, expected)


@pytest.mark.parametrize(
    ("name", "millions"), [("sargan_128", 3.01), ("usgan_128", 2.53), ("stargan_128", 8.44)]
)
def test_released_shapes_have_the_published_size(name, millions):
    generator = create_generator(name, pretrained=False)
    assert round(parameter_count(generator) / 1e6, 2) == millions


def test_stargan_has_no_skip():
    """Without the ultimate skip the output cannot leave tanh's range, whatever the input is."""
    images, conditions = inputs()
    generator = create_generator("stargan_128", pretrained=False, **SMALL)
    edit = generator.edit(images * 5, conditions)
    assert (images * 5 + edit.delta).abs().max() <= 1 + 1e-5


def test_new_flow_generator_moves_nothing():
    images, conditions = inputs()
    edit = create_generator("sargan_flow_128", pretrained=False).edit(images, conditions)
    assert torch.count_nonzero(edit.flow) == 0


@pytest.mark.parametrize("training", [True, False])
def test_what_the_flow_generator_paints_has_soft_colours(training, monkeypatch):
    images, conditions = inputs()
    sharp = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(sargan_flow, "natural_change", lambda *_: sharp)
    generator = create_generator("sargan_flow_128", pretrained=False).train(training)
    assert torch.equal(generator.edit(images, conditions).delta, with_soft_colour(sharp))


def test_condition_reaches_the_output_of_the_flow_generator():
    images, _ = inputs(1)
    generator = create_generator("sargan_flow_128", pretrained=False).eval()
    happy, sad = (generator.edit(images, condition_of(word)[None]) for word in ("happy", "sad"))
    assert (happy.delta - sad.delta).abs().max() > 1e-3


@pytest.mark.parametrize("relative", [False, True])
def test_a_mirrored_picture_gets_the_mirrored_edit(relative):
    images, conditions = inputs()
    options = {"pretrained": False, "crop_size": 64, **SMALL}
    generator = create_generator("sargan_flow_128", relative=relative, **options).eval()
    torch.nn.init.normal_(generator.to_flow.weight, std=0.1)
    edit, mirrored = (generator.edit(each, conditions) for each in (images, images.flip(-1)))
    other_way = torch.tensor([-1, 1]).view(1, 2, 1, 1)
    torch.testing.assert_close(mirrored.flow.flip(-1) * other_way, edit.flow)
    torch.testing.assert_close(mirrored.delta.flip(-1), edit.delta, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mirrored.replace.flip(-1), edit.replace)
    assert edit.flow.abs().max() > 0.1


@pytest.mark.parametrize("relative", [False, True])
def test_of_a_pair_one_sees_the_face_and_one_the_mirror_image_or_each_both(relative):
    images, conditions = inputs(3)
    conditions[2] = condition_of("angry:0.6,sad:0.4")
    options = {"pretrained": False, "crop_size": 64, "relative": relative, **SMALL}
    pair = create_generator("sargan_flow_pair_128", **options)
    both = [create_generator("sargan_flow_128", **options) for _ in range(2)]
    for generator in both:
        torch.nn.init.normal_(generator.to_flow.weight, std=0.1)
    pair.load_state_dict(pair_of(*both))

    def proposals(first, second):
        mine = first._propose(images, conditions)
        flow, *paint = [each.flip(-1) for each in second._propose(images.flip(-1), conditions)]
        return list(zip(mine, (flow * torch.tensor([-1, 1]).view(1, 2, 1, 1), *paint), strict=True))

    one_each, exchanged = proposals(*both), proposals(*both[::-1])
    assert all((first - second).abs().max() > 0.01 for first, second in one_each)
    angry = conditions[:, EXPRESSIONS.index("angry")].view(-1, 1, 1, 1)
    assert angry.any() and not angry.all()
    for training in (True, False):
        proposal = pair.train(training)._proposal(images, conditions)
        for mine, ones, others in zip(proposal, one_each, exchanged, strict=True):
            ones, others = sum(ones) / 2, sum(others) / 2
            torch.testing.assert_close(mine, ones * (1 - angry / 2) + others * angry / 2)

    pair.load_state_dict(pair_of(both[0], both[0]))
    alike, alone = (each.eval()(images, conditions) for each in (pair, both[0]))
    torch.testing.assert_close(alike, alone)


@pytest.mark.parametrize("name", ["neutral", "angry"])
def test_gradients_of_conditions_do_not_jump_where_an_expression_begins(name):
    images, _ = inputs(1)
    pair = create_generator("sargan_flow_pair_128", pretrained=False, crop_size=64, **SMALL)
    pair = pair.double().eval().requires_grad_(False)
    for each in (pair, pair.other):
        torch.nn.init.normal_(each.to_flow.weight, std=0.1)
    gradients = []
    for share in (0, 1e-7):
        condition = condition_of("happy")[None].double()
        condition[:, EXPRESSIONS.index(name)] = share
        condition.requires_grad_()
        pair(images.double(), condition).square().sum().backward()
        gradients.append(condition.grad)
    # Bilinear samples have a corner where nothing moves yet, so not exactly.
    torch.testing.assert_close(*gradients, rtol=0.05, atol=1e-3)


def test_training_costs_one_pass():
    images, conditions = inputs()
    generator = create_generator("sargan_flow_128", pretrained=False, **SMALL)
    passes = []
    generator.stem.register_forward_hook(lambda *_: passes.append(1))
    generator.train().edit(images, conditions)
    assert len(passes) == 1
    expressive = condition_of("happy:0.5,sad:0.5").expand_as(conditions)
    generator.eval().edit(images, expressive)
    assert len(passes) == 3


def test_mouths_are_looked_at_twice_as_far_as_a_face_is_to_be_neutral():
    images, _ = inputs(1)
    options = {"pretrained": False, "crop_size": 64, **SMALL}
    generator = create_generator("sargan_flow_128", **options).eval()
    torch.nn.init.normal_(generator.to_flow.weight, std=0.1)
    mouth = ellipses(MOUTH, images)
    differences = []
    for words, share in (("neutral", 1), ("neutral:0.5,sad:0.5", 0.5), ("sad", 0)):
        condition = condition_of(words)[None]
        once, twice = generator._look(images, condition), generator.edit(images, condition)
        seen = apply_edit(images, once.feathered()).clamp(-1, 1)
        again = generator._look(seen, condition).within(share * mouth)
        torch.testing.assert_close(apply_edit(images, twice), apply_edit(images, once.then(again)))
        change = (twice.flow - once.flow).abs()
        assert change[(mouth == 0).expand_as(change)].max() < 1e-4
        differences.append(change.max().item())
    assert differences[0] > differences[1] > 0.01 and differences[2] == 0


def test_attention_is_a_map_in_0_1():
    attention = SpatialAttention(8, 4)(torch.randn(2, 8, 16, 16))
    assert attention.shape == (2, 1, 16, 16)
    assert 0 < attention.min() < attention.max() < 1


def test_feather_is_zero_on_the_border_and_one_inside():
    window = feather(128)[0, 0]
    assert torch.count_nonzero(window[:3]) == torch.count_nonzero(window[:, -3:]) == 0
    assert torch.all(window[13:-13, 13:-13] == 1)
    assert torch.equal(window, window.flip(0)) and torch.equal(window, window.mT)


def test_warp_by_whole_pixels_copies():
    image = torch.rand(1, 3, 12, 12)
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 12, 12)
    moved = warp_by_flow(image, flow)
    torch.testing.assert_close(moved[..., 1:, :10], image[..., :11, 2:])


def some_edit(seed: int = 0) -> Edit:
    random = torch.Generator().manual_seed(seed)

    def smooth(channels: int) -> torch.Tensor:
        coarse = torch.randn(1, channels, 4, 4, generator=random)
        return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")

    return Edit(0.3 * smooth(3), torch.sigmoid(smooth(1)), 1.5 * smooth(2)).feathered()


def test_full_intensity_is_the_edit_itself():
    edit = some_edit()
    full = edit.at_intensity(torch.ones(1))
    torch.testing.assert_close(full.delta, edit.delta, atol=1e-5, rtol=0)
    torch.testing.assert_close(full.replace, edit.replace, atol=1e-5, rtol=0)
    torch.testing.assert_close(full.flow, edit.flow)


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.05))
def test_more_intensity_changes_more(low, step):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    edit = some_edit()
    weak, strong = (
        (edit.at_intensity(torch.tensor([value])).delta.abs().sum()) for value in (low, low + step)
    )
    assert weak < strong
    nothing = apply_edit(image, edit.at_intensity(torch.zeros(1)))
    torch.testing.assert_close(nothing, image, atol=1e-5, rtol=0)


@given(st.floats(1.05, 1.5))
def test_an_exaggerated_edit_moves_farther_and_paints_no_stronger(intensity):
    edit = some_edit()
    strong = edit.at_intensity(torch.tensor([intensity]))
    torch.testing.assert_close(strong.flow, intensity * edit.flow)
    assert strong.delta.amax() <= edit.delta.amax() + 1e-6
    assert strong.delta.amin() >= edit.delta.amin() - 1e-6
    painted = Edit(edit.delta, edit.replace).at_intensity(torch.tensor([intensity]))
    torch.testing.assert_close(painted.delta, intensity * edit.delta)


def test_then_does_one_edit_after_the_other():
    coarse = torch.rand(1, 3, 4, 4)
    image = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    first, second = some_edit(1), some_edit(2)
    one_by_one = apply_edit(apply_edit(image, first), second)
    together = apply_edit(image, first.then(second))
    assert (together - one_by_one).abs().mean() < 0.004
    still = Edit(second.delta, second.replace)
    torch.testing.assert_close(
        apply_edit(image, first.then(still)), apply_edit(apply_edit(image, first), still)
    )


def test_replace_from_delta_keeps_texture_under_small_changes():
    small = replace_from_delta(torch.full((1, 3, 16, 16), 0.04))
    large = replace_from_delta(torch.full((1, 3, 16, 16), 0.5))
    assert small[..., 4:-4, 4:-4].max() == 0
    assert large[..., 4:-4, 4:-4].min() == 1


def test_instance_norm_is_pytorch_s_own():
    ours, theirs = InstanceNorm(6), torch.nn.InstanceNorm2d(6, affine=True)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    features = 3 * torch.randn(2, 6, 9, 7) + 1
    torch.testing.assert_close(ours(features), theirs(features))


def test_instance_norm_has_exact_gradients_in_channels_last():
    norm = InstanceNorm(6).double()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    features = 3 * torch.randn(2, 6, 5, 4, dtype=torch.float64) + 1
    features = features.to(memory_format=torch.channels_last).requires_grad_()
    arguments = (features, norm.weight, norm.bias, norm.eps)
    assert torch.autograd.gradcheck(ChannelsLastNorm.apply, arguments)


@pytest.mark.parametrize("mean", [0, 10])
def test_instance_norm_has_gradients_as_exact_as_bfloat16_allows(mean):
    torch.manual_seed(0)
    features = (mean + torch.randn(2, 6, 64, 64)).bfloat16()
    features = features.to(memory_format=torch.channels_last)
    gradient = torch.randn(2, 6, 64, 64).bfloat16().to(memory_format=torch.channels_last)
    found = []
    for kind in (torch.bfloat16, torch.float64):
        norm = InstanceNorm(6).to(torch.float64 if kind == torch.float64 else torch.float32)
        leaf = features.detach().to(kind, copy=True).requires_grad_()
        ChannelsLastNorm.apply(leaf, norm.weight, norm.bias, norm.eps).backward(gradient.to(kind))
        found.append([each.double() for each in (leaf.grad, norm.weight.grad, norm.bias.grad)])
    for rounded, exact in zip(*found, strict=True):
        assert (rounded - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("size", [8, 32], ids=["small", "large"])
def test_instance_norm_keeps_channels_last_and_its_numbers(size):
    norm = InstanceNorm(6)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    features = 3 * torch.randn(2, 6, size, size) + 1
    last = features.to(memory_format=torch.channels_last)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            normed = norm(last)
        assert normed.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(normed, norm(features))


def test_instance_norm_of_no_picture():
    assert InstanceNorm(6)(torch.empty(0, 6, 8, 8)).shape == (0, 6, 8, 8)


def test_instance_norm_takes_its_own_gradient_of_large_channels_last_planes():
    features = torch.randn(2, 6, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    assert type(InstanceNorm(6)(features).grad_fn).__name__ == "ChannelsLastNormBackward"


@pytest.mark.parametrize("system", ["sargan_128", "sargan_flow_128"])
def test_the_memory_layout_changes_no_gradient(system):
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = create_generator(system, pretrained=False, crop_size=64)
        model = model.double().to(memory_format=layout)
        images = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
        model(images, torch.eye(7, dtype=torch.float64)[:2]).square().mean().backward()
        gradients.append(torch.cat([each.grad.flatten() for each in model.parameters()]))
    torch.testing.assert_close(*gradients)
