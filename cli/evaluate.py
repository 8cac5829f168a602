"""``sargan-cli evaluate``: how good models are, on people that none was trained on."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sargan_cli import options
from sargan_cli.console import Output, Report
from sargan_cli.editing import check_model

if TYPE_CHECKING:
    from rich.table import Table

    from sargan_training.evaluate import Figures


class Half(str, Enum):
    """The half of the held-out people to judge on."""

    choose = "choose"
    report = "report"


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
    judge_minutes: Annotated[
        float, typer.Option(min=0.001, help="Training time of each judge, the first time.")
    ] = 15,
    realism_minutes: Annotated[
        float, typer.Option(min=0, help="To train a network that tells edits from photos; 0: none.")
    ] = 3,
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
        typer.Option(metavar="CSV", help="Labels written by sargan_training.relabel, for judges."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Write the best, median and worst edits of each model."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Measure how good the edits of models are, all in one run."""
    output = Output(quiet)
    from sargan_plugin.zoo import create_generator
    from sargan_training.checkpoints import make_folder
    from sargan_training.evaluate import Evaluation, Setting
    from sargan_training.evaluation.sheet import write_extremes

    # What cannot work is told before the judges are trained for half an hour.
    for model in models:
        check_model(model)
        create_generator(model)
    for folder in [run] if sheet is None else [run, sheet.parent]:
        make_folder(folder)
    evaluation = Evaluation(
        Setting(
            data,
            run,
            photos=photos,
            pictures=pictures,
            half=half.value,
            judge_minutes=judge_minutes,
            realism_minutes=realism_minutes,
            identity=identity,
            recognition=recognition,
            face_api=face_api,
            second_opinion=second_opinion,
        ),
        say=output.say,
        warn=output.warn,
    )
    ceiling = evaluation.ceiling()
    output.show(_share_table("real photos, read as labelled", ceiling))
    measured = []
    for model in models:
        figures, edits = evaluation.measure(model)
        measured.append(figures)
        for table in _tables(figures):
            output.show(table)
        if sheet is not None:
            several = len(models) > 1
            path = sheet.with_stem(f"{sheet.stem}_{_short_name(model)}") if several else sheet
            write_extremes(path, evaluation.subjects, edits, evaluation.judges)
            output.say(f"{path}: best, median and worst edits")
    if len(measured) > 1:
        output.show(_summary(measured))
    data_out: dict[str, Any] = {
        "people": len(set(evaluation.subjects.people)),
        "photos": len(evaluation.subjects.rows),
        "half": half.value,
        "real": ceiling,
        "models": [figures.to_json() for figures in measured],
    }
    return Report(data_out)


def _short_name(model: str) -> str:
    """A name in the manifest as it is; of a file its folder and its name, as runs name alike."""
    path = Path(model)
    return f"{path.parent.name}_{path.stem}" if path.suffix == ".safetensors" else model


def _number(value: float, digits: int = 2) -> str:
    """A figure, or a dash where there were no photos to measure it on."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _share_table(title: str, rows: dict[str, list[Any]]) -> Table:
    from rich.table import Table

    from sargan_plugin.expressions import EXPRESSIONS

    table = Table("", *EXPRESSIONS, title=title, title_justify="left")
    for name, values in rows.items():
        cells = [_number(value) if isinstance(value, float) else str(value) for value in values]
        table.add_row(name, *cells, *[""] * (len(EXPRESSIONS) - len(cells)))
    return table


def _tables(figures: Figures) -> list[Table]:
    """One table of shares with their intervals, one of confusions, one of the other figures."""
    import numpy as np

    from sargan_plugin.expressions import EXPRESSIONS

    ecs = {f"{way} (mean of 5: {figures.mean_ecs(way):.2f})": v for way, v in figures.ecs.items()}
    other: dict[str, list[Any]] = {}
    if figures.verified:
        other["same person (FVS)"] = figures.verified
        other["similarity (FSS)"] = figures.similarity
    other |= {
        "KID (real photos)": [
            f"{_number(value, 4)} ({photos})"
            for value, photos in zip(figures.kid, figures.kid_photos, strict=True)
        ],
        "skin colour, CIEDE2000": figures.colour,
        "mouth's sharpness, 1 as before": figures.sharpness,
        "share of clipped pixels": [f"{value:.4f}" for value in figures.clipped],
    }
    confusion = np.mean(list(figures.confusion.values()), axis=0)
    tables = [
        _share_table(f"{figures.model}: read as the target (ECS), 95 % intervals", ecs),
        _share_table(
            f"{figures.model}: what edits towards the row are read as, mean of the judges",
            dict(zip(EXPRESSIONS, confusion.tolist(), strict=True)),
        ),
        _share_table(f"{figures.model}: everything else", other),
    ]
    if figures.two_sample_auc is not None:
        tables[-1].caption = f"told from photos: AUC {figures.two_sample_auc:.2f}"
    tones = ", ".join(
        f"{tone} {values['ecs']:.2f}"
        + (f" and {values['fvs']:.2f}" if values["fvs"] is not None else "")
        + f" ({values['photos']} photos)"
        for tone, values in figures.skin_tones.items()
    )
    tables[0].caption = f"by skin tone, ECS and FVS: {tones}"
    return tables


def _summary(measured: list[Figures]) -> Table:
    """A row for each model: what its figures are on average of the five frequent expressions."""
    from rich.table import Table

    from sargan_training.evaluate import mean_of_frequent

    judges = list(measured[0].confusion)
    table = Table(
        "",
        *(f"ECS {judge}" for judge in judges),
        "FVS",
        "told from photos, AUC",
        "KID",
        "CIEDE2000",
        title="all models, means of the five frequent expressions",
        title_justify="left",
    )
    for figures in measured:
        verified = [each.mean for each in figures.verified]
        auc = figures.two_sample_auc
        table.add_row(
            _short_name(figures.model),
            *(f"{figures.mean_ecs(judge):.2f}" for judge in judges),
            f"{mean_of_frequent(verified):.3f}" if verified else "",
            "" if auc is None else f"{auc:.2f}",
            _number(mean_of_frequent(figures.kid), 4),
            f"{mean_of_frequent(figures.colour):.1f}",
        )
    return table
