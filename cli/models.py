"""``sargan-cli models``: which weights there are, what is known of them, whether they are sound."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.usage import usage
from sargan_plugin.errors import SarganError

if TYPE_CHECKING:
    from sargan_plugin.manifest import Manifest, Weights

app = typer.Typer(
    help="Weights: which there are, what is known of them, whether they are sound.",
    rich_markup_mode="rich",
)


@app.command("list")
def list_models(
    json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> Report:
    """List the generators that --model takes and the detectors that --detector takes."""
    from rich.table import Table

    from sargan_plugin.manifest import Manifest

    manifest = Manifest()
    table = Table("name", "kind", "default", "size", "licence", "experimental")
    models = [_summary(manifest, weights) for weights in manifest.everything.values()]
    for model in models:
        table.add_row(
            model["name"],
            model["kind"],
            "yes" if model["default"] else "",
            _megabytes(model["bytes"]),
            model["licence"],
            ", ".join(model["experimental"]),
        )
    Output(quiet).show(table)
    defaults = {"default": manifest.default, "default_detector": manifest.default_detector}
    return Report(defaults | {"models": models})


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
    from sargan_plugin.manifest import Manifest

    manifest = Manifest()
    with usage():
        weights = manifest.detectors.get(name or "") or manifest.find(name)
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
    from sargan_plugin.manifest import Manifest
    from sargan_plugin.manifest import verify as check

    manifest = Manifest()
    output = Output(quiet)
    states = {}
    failed = 0
    for name, weights in manifest.everything.items():
        path = manifest.local_file(weights)
        if path is None and weights.url:
            states[name] = "not fetched"
        else:
            try:
                check(path or manifest.folder / weights.file, weights.sha256)
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
    path = manifest.local_file(weights)
    return {
        "name": weights.name,
        "kind": "detector" if weights.name in manifest.detectors else "generator",
        "default": weights.name in (manifest.default, manifest.default_detector),
        "architecture": weights.architecture,
        "bytes": path.stat().st_size if path else None,
        "licence": weights.licence,
        "experimental": list(weights.experimental),
    }


def _megabytes(size: int | None) -> str:
    return "not fetched" if size is None else f"{size / 1e6:.1f} MB"


def _as_text(key: str, value: object) -> str:
    if key == "bytes":
        return _megabytes(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)
