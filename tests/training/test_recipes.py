"""Recipes: what ships, what a file may say, and the one line about what it may not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sargan_cli.app import main
from sargan_plugin.errors import SarganError
from sargan_training.recipe_files import load_recipe, recipe_names


def test_released_recipes_are_the_released_settings():
    released = {"sargan_128": (8, 1), "usgan_128": (8, 1), "stargan_128": (16, 10)}
    for name, (batch, cycle) in released.items():
        recipe = load_recipe(name)
        assert (recipe.system, recipe.game) == (name, "wasserstein")
        assert (recipe.steps, recipe.batch) == (200_000, batch)
        losses = recipe.losses
        assert (losses.gradient_penalty, losses.classes, losses.cycle) == (10, 1, cycle)
        assert losses.generator_every == 5
        rates = recipe.optimizer
        assert (rates.generator, rates.discriminator, rates.betas) == (1e-4, 1e-4, (0.5, 0.999))
        assert rates.falling * recipe.steps == 100_000
        assert set(vars(recipe.jitter).values()) == {0}


def test_every_recipe_is_sound_and_listed_without_torch():
    assert set(recipe_names()) >= {"sargan_flow_128", "smoke"}
    code = "import sys; from sargan_cli import main; main(['train', 'recipes', '--json']); "
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    listed = json.loads(done.stdout)["recipes"]
    assert {name: recipe["steps"] for name, recipe in listed.items()} == {
        name: load_recipe(name).steps for name in recipe_names()
    }


def test_fields_are_changed_on_the_command_line():
    changes = ["losses.mask=4", "optimizer.betas=[0.1, 0.9]", "balanced=true", "system=usgan_128"]
    recipe = load_recipe("sargan_flow_128", changes)
    assert recipe.losses.mask == 4 and isinstance(recipe.losses.mask, float)
    assert recipe.optimizer.betas == (0.1, 0.9)
    assert recipe.balanced is True and recipe.system == "usgan_128"
    shape = {"channels": 8, "blocks": 1, "max_colour": 0.6}
    assert load_recipe("smoke", ["generator.channels=8"]).generator == shape


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("losses.msk=4", "unknown field 'losses.msk'. Did you mean 'losses.mask'?"),
        ("stps=4", "unknown field 'stps'. Did you mean 'steps'?"),
        ("losses.mask=much", "losses.mask must be a number, not 'much'."),
        ("steps=1.5", "steps must be a whole number, not 1.5."),
        ("steps=true", "steps must be a whole number, not True."),
        ("steps=0", "steps must lie between 1 and 1e+08, not be 0."),
        ("jitter.scale=nan", "jitter.scale must lie between 0 and 0.2, not be nan."),
        ("balanced=1", "balanced must be true or false, not 1."),
        ("losses=3", "losses must be a table of fields, not 3."),
        ("optimizer.betas=[0.5]", "optimizer.betas must be a list of 2 numbers, not of 1."),
        ("targets.odds=[1, 1]", "targets.odds must be 7 numbers, not all zero."),
        ("targets.emphasis=[0]", "targets.emphasis must be 7 numbers, not all zero."),
        ("game=hing", "game must be one of wasserstein, hinge, not 'hing'. Did you mean 'hinge'?"),
        ("mask", "write FIELD=VALUE, such as losses.mask=4."),
    ],
)
def test_a_wrong_change_is_one_line_that_names_it(change, line):
    with pytest.raises(SarganError) as caught:
        load_recipe("smoke", [change])
    assert str(caught.value) == f"--set {change}: {line}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps = ", "is no TOML file: "),
        ('base = "smoke"\nstep = 3', "unknown field 'step'. Did you mean 'steps'?"),
        ('game = "hinge"', "misses the field 'description'."),
        ('base = "mine.toml"', "is its own base."),
        ('base = "smoke"\n[targets.read_as]\nsad = "angri"', "targets.read_as.sad: Unknown"),
        ('base = "smoke"\n[targets.read_as]\nsadd = "sad"', "unknown field 'targets.read_as.sadd'"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, text, line):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SarganError) as caught:
        load_recipe(str(path))
    assert str(caught.value).startswith(f"{path}: {line}")
    assert "\n" not in str(caught.value)


def test_a_file_of_ones_own_says_only_what_differs(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "stargan_128"\n[losses]\ncycle = 5\n')
    recipe = load_recipe(str(path))
    assert recipe.losses.cycle == 5 and recipe.losses.classes == 1
    assert recipe.system == "stargan_128"


def test_unknown_recipe_names_the_closest(capsys, tmp_path):
    command = ["train", "run", "sargan_12", "--data", str(tmp_path), "--run", str(tmp_path)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: No recipe named 'sargan_12'; known are ")
    assert said.endswith("Did you mean 'sargan_128'?\n")
    assert main([*command[:2], "none.toml", *command[3:]]) == 2
    assert (
        capsys.readouterr().err == "error: none.toml: cannot be read: No such file or directory\n"
    )
