"""``sargan-cli models``: which weights there are, what is known of them, whether they are sound."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.usage import usage
from sargan_plugin.errors import SarganError

if TYPE_CHECKING:
    from sargan_plugin.zoo import Manifest, Weights

app = typer.Typer(
    help="Weights: which there are, what is known of them, whether they are sound.",
    rich_markup_mode="rich",
)


@app.command("list")
def list_models(
    json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> Report:
    """List the weights that --model takes."""
    from rich.table import Table

    from sargan_plugin.zoo import Manifest

    manifest = Manifest()
    table = Table("name", "default", "architecture", "size", "licence", "experimental")
    models = [_summary(manifest, weights) for weights in manifest.weights.values()]
    for model in models:
        table.add_row(
            model["name"],
            "yes" if model["default"] else "",
            model["architecture"],
            _megabytes(model["bytes"]),
            model["licence"],
            ", ".join(model["experimental"]),
        )
    Output(quiet).show(table)
    return Report({"default": manifest.default, "models": models})


@app.command("info")
def info(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default="the default weights")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Tell all that is known of some weights, the model card included."""
    from sargan_plugin.zoo import Manifest

    manifest = Manifest()
    with usage():
        weights = manifest.find(name)
    known = _summary(manifest, weights) | dataclasses.asdict(weights)
    card = manifest.folder / weights.card if weights.card else None
    known["card"] = json_path(card) if card else None
    known["card_text"] = card.read_text(encoding="utf-8") if card and card.is_file() else None
    output = Output(quiet)
    for key, value in known.items():
        if key not in ("metrics", "card_text") and value not in (None, "", ()):
            output.say(f"{key:13} {_as_text(key, value)}")
    for metric, value in weights.metrics.items():
        output.say(f"{metric:13} {value}")
    if known["card_text"]:
        output.say(f"\n{known['card_text'].rstrip()}")
    return Report(known)


@app.command("verify")
def verify(
    json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> Report:
    """Check all weights against their checksums."""
    from sargan_plugin import zoo

    manifest = zoo.Manifest()
    output = Output(quiet)
    states = {}
    failed = 0
    for name, weights in manifest.weights.items():
        path = _file_of(manifest, weights)
        if path is None and weights.url:
            states[name] = "not fetched"
        else:
            try:
                zoo.verify(path or manifest.folder / weights.file, weights.sha256)
                states[name] = "ok"
            except SarganError as error:
                failed += 1
                states[name] = str(error)
                output.fail(f"{name}: {error}")
                continue
        output.say(f"{name}: {states[name]}")
    data: dict[str, Any] = {"models": states}
    if failed:
        data["error"] = f"{failed} of {len(states)} damaged or missing"
    return Report(data, 1 if failed else 0)


def _summary(manifest: Manifest, weights: Weights) -> dict[str, Any]:
    path = _file_of(manifest, weights)
    return {
        "name": weights.name,
        "default": weights.name == manifest.default,
        "architecture": weights.architecture,
        "bytes": path.stat().st_size if path else None,
        "licence": weights.licence,
        "experimental": list(weights.experimental),
    }


def _file_of(manifest: Manifest, weights: Weights) -> Path | None:
    """Where the file lies, or None when it has not been fetched."""
    from sargan_plugin.zoo import cache_folder

    for folder in (manifest.folder, cache_folder()):
        if (folder / weights.file).is_file():
            return folder / weights.file
    return None


def _megabytes(size: int | None) -> str:
    return "not fetched" if size is None else f"{size / 1e6:.1f} MB"


def _as_text(key: str, value: object) -> str:
    if key == "bytes":
        return _megabytes(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)
