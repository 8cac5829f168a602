"""``sargan-cli train detector``: a face detector of one's own, in InsightFace's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sargan_cli import hardware_options, options
from sargan_cli.console import Output, Report, json_path
from sargan_cli.usage import UsageError

app = typer.Typer(
    help="A face detector of your own, in InsightFace's SCRFD format.", rich_markup_mode="rich"
)


@app.command("prepare")
def prepare(
    store: Annotated[
        Path, typer.Argument(metavar="DST", readable=False, help="Folder for the pictures.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Photographs with faces.csv beside them; repeatable."),
    ] = None,
    wider: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A copy of WIDER FACE; repeatable.")
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Pictures without any face; repeatable."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Gather pictures with and without faces into one store.

    People and scenes that are kept for tests are left out.
    """
    if not (data or wider):
        raise UsageError("Name photographs with faces: --data, --wider, or both.")
    from sargan_training.detector.prepare import prepare_pictures

    count = prepare_pictures(store, data=data or (), wider=wider or (), negatives=negatives or ())
    Output(quiet).say(f"{count} pictures in {store}")
    return Report({"pictures": count, "store": json_path(store)})


@app.command("run")
def run(
    pictures: Annotated[
        Path, typer.Argument(metavar="PICTURES", readable=False, help="What 'prepare' wrote.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", readable=False, help="Folder of the checkpoint.")
    ],
    steps: Annotated[int, typer.Option(min=1, metavar="N")] = 40_000,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Collages a step.")] = 16,
    side: Annotated[
        int, typer.Option(min=64, metavar="PIXELS", help="Of the collages, a multiple of 32.")
    ] = 320,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 2e-3,
    save_every: Annotated[int, typer.Option(min=1, metavar="STEPS")] = 250,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Processes that make collages.")
    ] = 1,
    in_memory: Annotated[
        bool, typer.Option(help="Read all pictures at the start, for slow disks.")
    ] = False,
    accelerator: hardware_options.AcceleratorOption = hardware_options.Accelerator.auto,
    devices: hardware_options.Devices = 1,
    strategy: hardware_options.StrategyOption = hardware_options.Strategy.auto,
    precision: hardware_options.PrecisionOption = hardware_options.Precision.auto,
    compile_network: hardware_options.Compile = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Train a detector. Ctrl-C saves; the same command goes on from there."""
    if side % 32:
        raise UsageError(f"--side must be a multiple of 32, not {side}.")
    from sargan_cli.training_progress import TrainingProgress
    from sargan_training.detector.train import DetectorTraining, train_detector
    from sargan_training.hardware import Hardware

    setting = DetectorTraining(
        pictures, folder, steps, batch, side, rate, save_every, workers, in_memory
    )
    hardware = Hardware(
        accelerator.value, devices, strategy.value, precision.value, compile=compile_network
    )
    with TrainingProgress(steps, batch, quiet=quiet) as progress:
        train_detector(setting, hardware, say=progress.say, report=progress.report)
    Output(quiet).say(f"{json_path(setting.checkpoint)}: step {steps}")
    return Report({"steps": steps, "checkpoint": json_path(setting.checkpoint)})


@app.command("export")
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", readable=False)],
    onnx: Annotated[
        Path, typer.Argument(metavar="ONNX", readable=False, help="The file to write.")
    ],
    threshold: Annotated[
        float,
        typer.Option(min=0.01, max=0.99, help="The network's score that becomes 0.5 in the file."),
    ] = 0.5,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> Report:
    """Write the averaged network of a checkpoint as an ONNX file that --detector takes."""
    from sargan_plugin.manifest import checksum
    from sargan_training.detector.export import export_onnx, load_network, multiply_adds

    network = load_network(checkpoint)
    export_onnx(network, onnx, threshold)
    data = {
        "file": json_path(onnx),
        "sha256": checksum(onnx),
        "bytes": onnx.stat().st_size,
        "multiply_adds": multiply_adds(network),
    }
    output = Output(quiet)
    output.say(f'file = "{onnx.name}"\nsha256 = "{data["sha256"]}"')
    output.say(
        f"# {data['bytes'] / 1e6:.2f} MB; {data['multiply_adds'] / 1e9:.2f} GFLOP at 640 x 640"
    )
    return Report(data)
