"""Recipes as files: a ``.toml`` becomes a checked dataclass of :mod:`sargan_training.recipe`.

A file may start from another with ``base = "NAME"`` (or a path beside it) and then says only what
differs. Imports no torch.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from sargan_plugin.errors import SarganError, closest_match_hint
from sargan_plugin.expressions import EXPRESSIONS, parse_expression
from sargan_training.fields import FieldError, checked
from sargan_training.recipe import HingeRecipe, Recipe, Targets, WassersteinRecipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(str(files("sargan_training"))) / "recipes"
RECIPES_BY_GAME: dict[str, type[Recipe]] = {"wasserstein": WassersteinRecipe, "hinge": HingeRecipe}


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """A recipe by its name or the path of a ``.toml`` file, with some fields changed.

    Args:
        name: as :func:`recipe_names` lists it, or a path that ends in ``.toml``.
        overrides: ``"losses.mask=4"`` and the like; the value is TOML, or else a string.

    Raises:
        SarganError: in one line, naming the file or the override and the field.
    """
    table = _table(name, seen=())
    recipe = _checked(table, str(_path_of(name)))
    for override in overrides or []:
        table = _merged(table, _override(override))
        recipe = _checked(table, f"--set {override}")
    return recipe


def _path_of(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    if name not in recipe_names():
        known, hint = ", ".join(recipe_names()), closest_match_hint(name, recipe_names())
        raise SarganError(f"No recipe named {name!r}; known are {known}.{hint}")
    return RECIPES / f"{name}.toml"


def _table(name: str, seen: tuple[Path, ...]) -> dict[str, Any]:
    """A file's fields on top of those of its base."""
    path = _path_of(name)
    if path.resolve() in seen:
        raise SarganError(f"{path}: is its own base.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SarganError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise SarganError(f"{path}: is no TOML file: {error}") from error
    base = table.pop("base", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise SarganError(f"{path}: base must be text, not {base!r}.")
    if base.endswith(".toml"):
        base = str(path.parent / base)
    return _merged(_table(base, (*seen, path.resolve())), table)


def _merged(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(table)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both else value
    return result


def _override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SarganError(f"--set {text}: write FIELD=VALUE, such as losses.mask=4.")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for key in reversed(name.strip().split(".")):
        parsed = {key: parsed}
    return parsed


def _checked(table: dict[str, Any], where: str) -> Recipe:
    game = table.get("game")
    if not isinstance(game, str) or game not in RECIPES_BY_GAME:
        hint = closest_match_hint(str(game), RECIPES_BY_GAME)
        raise SarganError(
            f"{where}: game must be one of {', '.join(RECIPES_BY_GAME)}, not {game!r}.{hint}"
        )
    try:
        recipe = checked(RECIPES_BY_GAME[game], table)
        if isinstance(recipe, HingeRecipe):
            _check_targets(recipe.targets)
    except FieldError as error:
        raise SarganError(f"{where}: {error}") from error
    return recipe


def _check_targets(targets: Targets) -> None:
    for name in ("odds", "emphasis"):
        numbers = getattr(targets, name)
        if len(numbers) != len(EXPRESSIONS) or not sum(numbers) > 0:
            raise FieldError(f"targets.{name} must be {len(EXPRESSIONS)} numbers, not all zero.")
    for name, mix in targets.read_as.items():
        try:
            parse_expression(mix)
        except SarganError as error:
            raise FieldError(f"targets.read_as.{name}: {error}") from error
