"""What the games make of a recipe: targets, sums of losses, updates."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch

from sargan_plugin.zoo import create_generator
from sargan_training.data import load_faces
from sargan_training.draws import Rows
from sargan_training.games import GAMES, Turn, hinge
from sargan_training.recipe_files import load_recipe

pytest_plugins = ["lfw_stage"]

TINY = {
    "sargan_flow_128": ["generator.channels=4", "generator.blocks=1", "discriminator.channels=4"],
    "usgan_128": ["generator.channels=4", "discriminator.channels=2"],
}


@pytest.fixture
def play(data):
    """Makes a game of a small recipe, the same networks every time."""
    faces = load_faces(data, data.parent / f"{data.name}_games", 64)

    def make(system, *changes, faces=faces):
        small = [*TINY[system], "generator.crop_size=64", "batch=8"]
        recipe = load_recipe(system, [*small, *changes])
        torch.manual_seed(0)
        generator = create_generator(recipe.system, pretrained=False, **recipe.generator)
        if hasattr(generator, "to_flow"):
            torch.nn.init.normal_(generator.to_flow.weight, std=0.02)
        return GAMES[recipe.game](recipe, generator, faces, contextlib.nullcontext)

    make.faces = faces
    return make


def test_so_many_targets_are_mixed_and_weakened_as_the_recipe_says(play):
    game = play("sargan_flow_128", "targets.mixed=0.3", "targets.weakened=0.4")
    labels = torch.zeros(4000, dtype=torch.long)
    asked = game.asked(0, labels)
    torch.testing.assert_close(asked.condition.sum(dim=1), torch.ones(4000))
    # Of seven expressions, one alone now and then happens to be mixed with itself.
    pure = asked.condition.amax(dim=1) == 1
    assert 0.2 < (~pure).float().mean() < 0.3
    weak = asked.intensity < 1
    assert weak.float().mean().item() == pytest.approx(0.7 * 0.4, abs=0.03)
    assert not (weak & ~pure).any()
    assert 0.25 <= asked.intensity[weak].min() < 0.3 and asked.intensity[weak].max() > 0.95
    # Nobody has to recognise a weakened edit; the others count the more.
    assert not asked.reading[weak].any()
    assert asked.reading.mean().item() == pytest.approx(1)
    assert (asked.same == (pure & (asked.condition.argmax(dim=1) == 0)))[pure].float().mean() > 0.9
    odds = torch.tensor(game.recipe.targets.odds)
    shares = torch.bincount(asked.condition[pure].argmax(dim=1), minlength=7) / pure.sum()
    torch.testing.assert_close(shares, odds / odds.sum(), atol=0.05, rtol=0)


def test_readings_count_as_much_as_the_recipe_says_of_their_expressions(play):
    def asked(*changes):
        return play("sargan_flow_128", "targets.mixed=0.5", *changes).asked(0, torch.zeros(100))

    even = asked("targets.emphasis=[1, 1, 1, 1, 1, 1, 1]")
    sad = asked("targets.emphasis=[1, 1, 1, 1, 3, 1, 1]")
    torch.testing.assert_close(sad.reading, even.reading * (1 + 2 * sad.condition[:, 4]))
    assert (sad.reading > even.reading).any() and (sad.reading == even.reading).any()


def test_rare_expressions_are_read_as_the_mixes_that_the_recipe_names(play):
    game = play("sargan_flow_128", 'targets.read_as.fearful="surprised:0.75,sad:0.25"')
    assert game.read_as[6].tolist() == [0, 0, 0.75, 0, 0.25, 0, 0]
    assert game.read_as[1].tolist() == [0, 1, 0, 0, 0, 0, 0]


def loss_of(game, network, step=0):
    return game.loss(Turn(network), step, Rows.part(game.recipe.batch, 0, 1))


@pytest.mark.parametrize(
    ("weight", "figure"),
    [("game", "game"), ("same", "same"), ("mask", "mask"), ("flow", "rough")],
)
def test_the_generators_loss_is_the_weighted_sum_of_its_parts(weight, figure, play):
    plain = ["losses.paint_from=0", "targets.mixed=0", "batch=32"]
    less, more = (play("sargan_flow_128", *plain, f"losses.{weight}={value}") for value in (1, 3))
    (small, values), (large, _) = (loss_of(game, "generator") for game in (less, more))
    assert values[figure] != 0
    torch.testing.assert_close(large - small, 2 * values[figure], rtol=1e-3, atol=1e-6)


def test_a_rugged_mask_costs_and_painting_may_be_put_off(play):
    def total(*changes):
        return loss_of(play("sargan_flow_128", *changes), "generator")

    (smooth, values), (rugged, _) = (
        total("losses.paint_from=0", f"losses.mask_variation={value}") for value in (0, 10)
    )
    assert rugged > smooth and values["mask"] > 0
    assert total("losses.paint_from=1")[1]["mask"] == 0


def test_the_lazy_penalty_counts_as_often_as_it_is_left_out(play):
    game = play("sargan_flow_128", "losses.r1=3", "losses.r1_every=4")
    loss, values = loss_of(game, "critic")
    assert values["r1"] > 0
    torch.testing.assert_close(loss.detach(), values["critic"] + 4 * 3 * values["r1"])
    loss, values = loss_of(game, "critic", step=1)
    assert "r1" not in values and loss.detach() == values["critic"]


def test_augmentation_grows_while_the_critic_is_too_sure(play):
    way = ["first=0.3", "change=0.1", "target=0.5", "least=0.1", "most=0.5"]
    game = play("sargan_flow_128", *(f"augmentation.{each}" for each in way))
    amounts = []
    for sign in (0.9, 0.9, 0.9, 0.2, 0.2, 0.2, 0.2, 0.2):
        game.adapt({"real_sign": sign})
        amounts.append(round(game.amount, 6))
    assert amounts == [0.4, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]


def test_the_critic_may_be_updated_more_often_and_flow_more_slowly(play):
    game = play(
        "sargan_flow_128",
        "losses.critic_updates=3",
        "optimizer.generator=1e-3",
        "optimizer.flow_head=0.25",
    )
    assert [turn.network for turn in game.turns(0)] == [*["critic"] * 3, "reader", "generator"]
    rest, head = game.optimizers["generator"].param_groups
    assert (rest["lr"], head["lr"]) == (1e-3, 0.25e-3)
    assert {id(each) for each in head["params"]} == {
        id(each) for each in game.generator.to_flow.parameters()
    }


def test_the_reader_learns_from_every_expression_alike_and_is_never_quite_sure(play, monkeypatch):
    faces = replace(play.faces, shares=torch.eye(7)[torch.tensor([0] * 30 + [1] * 8 + [2] * 2)])
    seen = []

    def watched(logits, shares, smoothing=0):
        seen.append((shares, smoothing))
        return logits.sum()

    monkeypatch.setattr(hinge, "class_loss", watched)
    game = play("sargan_flow_128", "batch=300", "pretraining.smoothing=0.2", faces=faces)
    game.loss(Turn("reader"), 0, Rows.part(300, 0, 1))
    ((shares, smoothing),) = seen
    assert smoothing == 0.2
    assert shares.mean(dim=0)[:3].tolist() == pytest.approx([1 / 3] * 3, abs=0.08)


def test_the_released_game_shuffles_labels_and_goes_back_to_where_it_came_from(play):
    game, conditions = play("usgan_128", "losses.generator_every=1", "batch=40"), []
    game.generator.register_forward_pre_hook(lambda _, inputs: conditions.append(inputs[1]))
    game.loss(Turn("generator"), 0, Rows.part(40, 0, 1))
    targets, sources = conditions
    shown = game.faces.shares[game.drawn_faces(0, "photos")]
    assert torch.equal(sources, shown)
    assert not torch.equal(targets, shown)
    assert torch.equal(targets.sum(dim=0), shown.sum(dim=0))
