"""``sargan-cli evaluate``: how good models are, on people that none was trained on."""

from __future__ import annotations

import math
from dataclasses import asdict
from enum import Enum
from json import dumps
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report
from sargan_cli.editing import check_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from sargan_training.evaluation.figures import Figures
    from sargan_training.evaluation.intervals import Estimate


class Half(str, Enum):
    """The half of the held-out people to judge on."""

    choose = "choose"
    report = "report"


def _png(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"{str(path)!r} does not end with .png.")
    return path


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Names from 'models list', or files such as a run's average_*.safetensors.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            readable=False,
            help="What 'train prepare' wrote, or annotated photos.",
        ),
    ],
    run: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            readable=False,
            help="Where judges are kept for the next time; the crops of annotated photos are kept "
            "beside it.",
        ),
    ] = Path("runs/evaluation"),
    photos: Annotated[
        int, typer.Option(min=8, help="To edit towards each of the seven expressions.")
    ] = 200,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Also edit the largest face of other pictures, such as paintings.",
        ),
    ] = None,
    half: Annotated[
        Half,
        typer.Option(help="Held-out people to choose a checkpoint by, or to report figures of."),
    ] = Half.report,
    judge_steps: Annotated[
        int,
        typer.Option(
            min=1, help="Of training of each judge, the first time; 3000 take a quarter of an hour."
        ),
    ] = 3000,
    realism_minutes: Annotated[
        float, typer.Option(min=0, help="To train a network that tells edits from photos; 0: none.")
    ] = 3,
    realism_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train it for so many steps instead, however long they take, for figures that "
            "compare with those of other runs and machines.",
        ),
    ] = None,
    brief: Annotated[
        bool,
        typer.Option(
            "--brief",
            help="Measure only what a checkpoint is chosen by: expression and realism.",
        ),
    ] = False,
    identity: Annotated[
        bool, typer.Option(help="Whether to compare face descriptors (extra 'eval'; slow).")
    ] = True,
    recognition: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PACK",
            help="InsightFace recognition network to compare with instead of dlib's; packs such as "
            "buffalo_l are for non-commercial research only.",
        ),
    ] = None,
    face_api: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="npm package of face-api, for a third judge."),
    ] = None,
    second_opinion: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Labels written by sargan_training.relabel, mixed with the photos' own.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            callback=_png,
            help="Where the best, median and worst edits of each model are drawn; sheet_HALF.png "
            "in --run unless named here.",
        ),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Measure how good the edits of models are, all in one run."""
    output = Output(quiet)
    from sargan_plugin.images import make_folder
    from sargan_plugin.zoo import create_generator
    from sargan_training.evaluate import Evaluation, Setting
    from sargan_training.evaluation.figures import unequal_steps
    from sargan_training.evaluation.sheet import write_extremes
    from sargan_training.files import replace_with

    # What cannot work is told before the judges are trained for half an hour.
    for model in models:
        check_model(model)
        create_generator(model)
    sheet = sheet or run / f"sheet_{half.value}.png"
    for folder in (run, sheet.parent):
        make_folder(folder)
    setting = Setting(
        data,
        run,
        photos=photos,
        pictures=pictures,
        half=half.value,
        judge_steps=judge_steps,
        realism_minutes=realism_minutes,
        realism_steps=realism_steps,
        brief=brief,
        identity=identity,
        recognition=recognition,
        face_api=face_api,
        second_opinion=second_opinion,
        device=device,
    )
    evaluation = Evaluation(setting, say=output.say, warn=output.warn)
    ceiling = evaluation.ceiling()
    mixed = "" if second_opinion is None else ", mixed with the second opinion"
    output.show(_share_table(f"real photos, read as labelled{mixed}", ceiling))
    told: dict[str, Any] = {
        "setting": asdict(setting),
        "people": len(set(evaluation.subjects.people)),
        "photos": len(evaluation.subjects.rows),
        "real": {name: [asdict(each) for each in row] for name, row in ceiling.items()},
        "models": [],
    }
    measured = []
    for number, model in enumerate(models):
        figures, edits = evaluation.measure(model)
        measured.append(figures)
        told["models"].append(figures.to_json() | {"sha256": _checksum(model)})
        # What is measured is not lost when another model fails.
        text = dumps(_for_json(told), indent=1)
        replace_with(run / f"figures_{half.value}.json", methodcaller("write_text", text))
        for table in _tables(figures):
            output.show(table)
        path = sheet
        if len(models) > 1:
            path = sheet.with_stem(f"{sheet.stem}_{number}_{_short_name(model)}")
        write_extremes(path, evaluation.subjects, edits, evaluation.judges)
        output.say(f"{path}: best, median and worst edits")
    ranked = sorted(measured, key=lambda figures: figures.rank())
    if len(ranked) > 1:
        output.show(_summary(ranked, half))
        if steps := unequal_steps(ranked):
            output.warn(
                f"the networks that tell edits from photos did {steps[0]} to {steps[1]} steps: "
                "those of fewer steps tell less. Evaluate while the machine does nothing else."
            )
    if half is Half.choose:
        told["chosen"] = ranked[0].model
    return Report(_for_json(told))


def _for_json(value: Any) -> Any:
    """The same with None for what could not be measured (JSON knows no NaN), and paths as text."""
    if isinstance(value, dict):
        return {key: _for_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_for_json(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _checksum(model: str) -> str:
    from sargan_plugin.manifest import Manifest, checksum

    is_file = model.endswith(".safetensors")
    return checksum(Path(model)) if is_file else Manifest().find(model).sha256


def _short_name(model: str) -> str:
    """A name in the manifest as it is; of a file its folder and its name, as runs name alike."""
    path = Path(model)
    return f"{path.parent.name}_{path.stem}" if path.suffix == ".safetensors" else model


def _share_table(title: str, rows: Mapping[str, Sequence[object]]) -> Table:
    from rich.table import Table

    from sargan_plugin.expressions import EXPRESSIONS

    table = Table("", *EXPRESSIONS, title=title, title_justify="left")
    for name, values in rows.items():
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
        table.add_row(name, *cells, *[""] * (len(EXPRESSIONS) - len(cells)))
    return table


def _mix_table(figures: Figures) -> Table:
    """A row for each judge, a column for each mix."""
    from rich.table import Table

    names = list(next(iter(figures.mixes.values())))
    title = f"{figures.model}: halfway between two, read as the one / as the other"
    table = Table("", *names, title=title, title_justify="left")
    for judge, mixes in figures.mixes.items():
        table.add_row(judge, *(" / ".join(f"{each.value:.2f}" for each in mixes[n]) for n in names))
    return table


def _tables(figures: Figures) -> list[Table]:
    """Tables of shares with their intervals, of mixes, of confusions, of the other figures."""
    import numpy as np

    from sargan_plugin.expressions import EXPRESSIONS

    ecs = {f"{way}; mean of 5: {figures.mean_ecs[way]}": v for way, v in figures.ecs.items()}
    other: dict[str, list[object]] = {}
    if figures.verified:
        other["same person (FVS)"] = figures.verified
        other["similarity (FSS)"] = figures.similarity
    if figures.kid:
        other |= {
            "KID (real photos)": [
                f"{each.told(4)} ({photos})"
                for each, photos in zip(figures.kid, figures.kid_photos, strict=True)
            ],
            "skin colour, CIEDE2000": figures.colour,
            "the same, where it changed most": figures.blotches,
            "mouth's sharpness, 1 as before": figures.sharpness,
            "share of clipped pixels": [each.told(4) for each in figures.clipped],
        }
    confusion = np.mean(list(figures.confusion.values()), axis=0)
    tables = [_share_table(f"{figures.model}: read as the target (ECS), 95 % intervals", ecs)]
    if figures.mixes:
        tables.append(_mix_table(figures))
    tables.append(
        _share_table(
            f"{figures.model}: what edits towards the row are read as, mean of the judges",
            dict(zip(EXPRESSIONS, confusion.tolist(), strict=True)),
        )
    )
    if other:
        tables.append(_share_table(f"{figures.model}: everything else", other))
    if (realism := figures.realism) is not None:
        tables[-1].caption = (
            f"told from photos: AUC {realism.auc} on {realism.auc.photos} photos, after "
            f"{realism.steps} steps on as many other people's, where it is {realism.learnt:.2f}; "
            "edits without a flaw would be told by what they show: "
            + ", ".join(f"{judge} {each}" for judge, each in figures.by_expression.items())
        )
    tones = ", ".join(
        f"{tone} {values['ecs']}"
        + (f" and {values['fvs']}" if values["fvs"] is not None else "")
        + f" ({values['photos']} photos)"
        for tone, values in figures.skin_tones.items()
    )
    tables[0].caption = f"by skin tone, ECS and FVS: {tones}"
    return tables


def _summary(ranked: list[Figures], half: Half) -> Table:
    """A row for each model, means of the five frequent expressions; the first is said to be the
    one to choose where that spoils no figures to be reported."""
    from rich.table import Table

    from sargan_training.evaluation.figures import mean_of_frequent

    def mean(estimates: Sequence[Estimate], form: str) -> str:
        return format(mean_of_frequent(estimates), form) if estimates else ""

    first = "the one to choose" if half is Half.choose else "the best"
    judges = list(ranked[0].confusion)
    table = Table(
        "",
        *(f"ECS {judge}" for judge in judges),
        "FVS",
        "told from photos, AUC",
        "KID",
        "CIEDE2000",
        title=f"all models, {first} first; means of the five frequent expressions",
        title_justify="left",
    )
    for figures in ranked:
        realism = figures.realism
        table.add_row(
            _short_name(figures.model),
            *(str(figures.mean_ecs[judge]) for judge in judges),
            mean(figures.verified, ".3f"),
            "" if realism is None else f"{realism.auc} in {realism.steps} steps",
            mean(figures.kid, ".4f"),
            mean(figures.colour, ".1f"),
        )
    return table
