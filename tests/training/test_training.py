"""Training and what surrounds it, for a moment on a tiny synthetic data set in LFW's layout."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.precision import MixedPrecision, Precision
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sargan_cli.app import main
from sargan_cli.training_progress import TrainingProgress
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import condition_of
from sargan_plugin.manifest import checksum
from sargan_plugin.zoo import architecture_in, create_generator
from sargan_training import benchmark, bundle, contact_sheet, hardware, logbook
from sargan_training.checkpoints import read_state, save_generator, save_state, set_state
from sargan_training.command import run_script
from sargan_training.data import (
    Crops,
    FaceRow,
    FaceSet,
    half_of,
    held_out_people,
    is_held_out,
    load_faces,
    read_rows,
)
from sargan_training.files import replace_with
from sargan_training.games import GAMES, HingeGame
from sargan_training.hardware import Hardware, LossScale
from sargan_training.held_out import HeldOut
from sargan_training.recipe_files import load_recipe
from sargan_training.train import share_of_rate, train

pytest_plugins = ["lfw_stage"]

CPU = Hardware("cpu", precision="fp32")
SMALL = ["batch=4", "save_every=2", "report_every=1", "generator.crop_size=64"]
TINY = {
    "sargan_flow_128": ["generator.channels=4", "generator.blocks=1", "discriminator.channels=4"],
    "sargan_128": ["generator.channels=4", "discriminator.channels=2"],
    "usgan_128": ["generator.channels=4", "discriminator.channels=2"],
    "stargan_128": ["generator.channels=4", "discriminator.channels=2"],
}
TINY["sargan_flow_128"] += ["pretraining.steps=0", "losses.paint_from=1"]
for _name in ("sargan_128", "usgan_128", "stargan_128"):
    TINY[_name] += ["losses.generator_every=2"]


@pytest.fixture
def place(data, request):
    """Names of run folders for this test, all in one folder: crops are cut once for all."""
    test = request.node.name.translate({ord("["): "-", ord("]"): None})
    return lambda name="run": data.parent / f"{data.name}_runs" / f"{test}-{name}"


def tiny(system, *changes):
    return load_recipe(system, [*SMALL, *TINY[system], *changes])


def state(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def same(first, second):
    """Whether two checkpoints hold the same numbers, bit for bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_rows_are_read_and_cut_along_the_template(data, tmp_path):
    rows = read_rows(data)
    assert len(rows) == 40
    faces = load_faces(data, tmp_path)
    assert len(faces.crops) == 40
    photo = np.array(Image.open(data / faces.paths[3]))
    # The landmarks stand 40 px off the template's, so the crop with its margin of 16 is a cut.
    difference = faces.crops[[3]][0].permute(1, 2, 0).numpy().astype(int) - photo[24:184, 24:184]
    assert np.abs(difference).mean() < 2


def test_annotations_that_cannot_be_used_are_one_clear_line(data, tmp_path):
    text = (data / "faces.csv").read_text().splitlines()
    columns, fields = text[0].split(","), text[1].split(",")
    moved = [
        str(float(value) + 900) if "_x_" in name or "_y_" in name else value
        for name, value in zip(columns, fields, strict=True)
    ]
    root = tmp_path / "data"
    shutil.copytree(data, root)
    (root / "faces.csv").write_text("\n".join([text[0], ",".join(moved), *text[2:]]))
    with pytest.raises(SarganError, match=rf"{fields[0]}: The face lies outside the picture"):
        load_faces(root, tmp_path)
    (root / "faces.csv").unlink()
    (root / "faces.csv").mkdir()
    with pytest.raises(SarganError, match=r"faces\.csv: cannot be read: Is a directory"):
        read_rows(root)


def test_two_runs_may_write_what_they_share_at_once(tmp_path):
    shared = tmp_path / "shared.npy"

    def write(partial):
        replace_with(shared, lambda other: other.write_text("another run's"))
        assert shared.read_text() == "another run's"
        partial.write_text("this run's")

    replace_with(shared, write)
    assert shared.read_text() == "this run's" and list(tmp_path.iterdir()) == [shared]


@pytest.mark.parametrize(
    ("script", "arguments", "reason"),
    [
        (benchmark, ["{folder}/nowhere"], "No such file or directory"),
        (contact_sheet, ["sheet.jpg", "--data", "{folder}"], r"expressions\.csv: cannot be read"),
    ],
)
def test_a_script_that_fails_ends_in_one_line(script, arguments, reason, tmp_path, monkeypatch):
    arguments = [each.format(folder=tmp_path) for each in arguments]
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    with pytest.raises(SystemExit, match=f"^error: .*{reason}"):
        run_script(script.main)


def test_progress_on_a_terminal_shows_speed_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with TrainingProgress(10, batch=4) as progress:
        for step in (1, 2, 3):
            progress.report(step, {"generator": 1.25, "mask": 0.5})
        progress.say("a line")
    told = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert re.search(r"3/10 \d+\.\d images/s, 0:00:00 left generator 1\.25", told), told
    assert "a line\n" in told


def test_disagreeing_annotators_drop_a_face(data, tmp_path):
    text = (data / "faces.csv").read_text().splitlines()
    fields = text[1].split(",")
    fields[2] = "100"
    (tmp_path / "faces.csv").write_text("\n".join([text[0], ",".join(fields), *text[2:]]))
    (tmp_path / "expressions.csv").write_text((data / "expressions.csv").read_text())
    assert len(read_rows(tmp_path)) == 39


def test_split_is_by_person_and_stable():
    people = [f"person{number}" for number in range(2000)]
    held_out = [person for person in people if is_held_out(person)]
    assert 0.09 < len(held_out) / 2000 < 0.15
    # Published figures and pictures rest on who was held out.
    assert is_held_out("Tiger_Woods") and not is_held_out("Tony_Blair")
    reported = sum(half_of(person) == "report" for person in held_out)
    assert 0.35 < reported / len(held_out) < 0.65
    assert half_of("Tiger_Woods") == "choose"


def test_nobody_is_held_out_under_a_name_turned_round():
    # By name alone Wang_Nan is trained on and Nan_Wang held out; 3/17.jpg and 17/3.jpg are others.
    paths = [f"{a}/{b}.jpg" for a in range(30) for b in range(30)]
    people = ["Nan_Wang", "Wang_Nan", "Tiger_Woods", "Tony_Blair", *paths]
    assert is_held_out("Nan_Wang") and not is_held_out("Wang_Nan")
    held_out = held_out_people(people)
    assert "Nan_Wang" not in held_out and "Tiger_Woods" in held_out
    assert {each for each in paths if is_held_out(each)} <= held_out
    assert held_out_people(["Nan_Wang"]) == {"Nan_Wang"}


@pytest.mark.parametrize("system", TINY)
def test_every_system_trains_goes_on_and_leaves_weights(system, data, place):
    folder, told = place("run"), []
    done = train(tiny(system, "steps=2"), data, folder, CPU, say=told.append)
    assert (done.step, done.average) == (2, folder / "average_000002.safetensors")
    again = train(tiny(system, "steps=4"), data, folder, CPU, say=told.append)
    seen = [
        person for person in load_faces(data, folder.parent, 64).people if not is_held_out(person)
    ]
    assert told[0] == f"1 cpu process, fp32, {len(seen)} photos of {len(set(seen))} people"
    assert told[-1] == "resumed at step 2; steps was 2, now 4"
    assert again.step == 4
    architecture, options = architecture_in(again.average)
    assert (architecture, options["crop_size"]) == (system, 64)
    generator = create_generator(again.average)
    assert generator.crop_size == 64
    saved = state(folder)["average"]
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(value, saved[f"module.{name}"])
    assert again.best is not None and (folder / "best.safetensors").exists()
    assert Image.open(folder / "sheet_000004.png").size[1] > 8 * 64
    figures = EventAccumulator(str(folder / "tensorboard")).Reload()
    # The discriminator's losses of every step; the edits every two.
    name = "critic" if system == "sargan_flow_128" else "discriminator"
    assert [each.step for each in figures.Scalars(name)] == [1, 2, 3, 4]
    assert [each.step for each in figures.Scalars("read_as_target")] == [2, 4]
    assert [each.step for each in figures.Images("edits")] == [2, 4]


def test_a_relative_generator_is_taught_what_a_face_shows(data, place):
    folder, weights = place("run"), []
    for steps in (1, 2):
        recipe = tiny("sargan_flow_128", "generator.relative=true", f"steps={steps}")
        train(recipe, data, folder, CPU, say=lambda line: None)
        weights.append(state(folder)["generator"]["source.0.weight"])
    assert not torch.equal(*weights)
    figures = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert 1 < figures.Scalars("source")[0].value < 3  # near that of a guess, log(7)
    assert create_generator(folder / "best.safetensors").source is not None


def test_a_run_starts_from_weights_of_the_same_generator(data, place):
    first = train(tiny("sargan_flow_128", "steps=1"), data, place("first"), CPU).average
    start = f"start='{first}'"
    still = ["optimizer.generator=0", "steps=1", "seed=5"]
    again = train(tiny("sargan_flow_128", start, *still), data, place("again"), CPU).average
    assert same(create_generator(first).state_dict(), create_generator(again).state_dict())
    wider = tiny("sargan_flow_128", start, "generator.channels=8")
    with pytest.raises(SarganError, match=r"average_000001.safetensors: its weights do not fit"):
        train(wider, data, place("wider"), CPU)
    first.unlink()  # a run that goes on needs its checkpoint alone
    assert train(tiny("sargan_flow_128", start, "steps=2"), data, place("again"), CPU).step == 2


def test_the_critic_compares_photos_with_their_own_edits(data, place):
    # At step 0 nothing moves yet and nothing may be painted: the edits are the photos.
    train(tiny("sargan_flow_128", "steps=1", "losses.paint_from=1"), data, place(), CPU)
    figures = EventAccumulator(str(place() / "tensorboard")).Reload()
    assert figures.Scalars("real_sign")[0].value == figures.Scalars("edited_sign")[0].value


def first_gradients(folder):
    """The gradients of the first update of every network, as Adam's first moments keep them."""
    saved = state(folder)
    return {
        name: torch.cat([each["exp_avg"].flatten() for each in part["state"].values()])
        for name, part in saved.items()
        if name.endswith(" optimizer")
    }


def assert_same_gradients(folder, reference):
    expected = first_gradients(reference)
    for name, gradients in first_gradients(folder).items():
        difference = (gradients - expected[name]).norm() / expected[name].norm()
        assert expected[name].norm() > 0
        assert difference < 1e-3, name


ONE_STEP = ["steps=1", "losses.paint_from=0", "losses.critic_updates=1"]
RELEASED_STEP = ["steps=1", "losses.generator_every=1"]


@pytest.mark.parametrize(
    ("system", "step"), [("sargan_flow_128", ONE_STEP), ("sargan_128", RELEASED_STEP)]
)
def test_accumulated_gradients_are_those_of_the_whole_batch(system, step, data, place):
    for parts in (1, 2, 4):
        parted = Hardware("cpu", precision="fp32", accumulate=parts)
        train(tiny(system, *step), data, place(str(parts)), parted)
    assert_same_gradients(place("2"), place("1"))
    assert_same_gradients(place("4"), place("1"))


def command(recipe, data, folder, *more):
    changes = [part for change in (*SMALL, *TINY[recipe]) for part in ("--set", change)]
    places = ["--data", data, "--run", folder, "--accelerator", "cpu", "--precision", "fp32"]
    return [str(part) for part in ("train", "run", recipe, *places, *changes, *more)]


@pytest.mark.parametrize(
    ("system", "step"), [("sargan_flow_128", ONE_STEP), ("sargan_128", RELEASED_STEP)]
)
def test_two_processes_compute_the_gradients_of_one(system, step, data, place):
    changes = [part for change in step for part in ("--set", change)]
    arguments = command(system, data, place("two"), *changes)
    program = [sys.executable, "-m", "sargan_cli", *arguments, "--devices", "2"]
    done = subprocess.run([*program, "--strategy", "ddp"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("average_000001.safetensors") == 1  # one of them tells
    train(tiny(system, *step), data, place("one"), CPU)
    assert_same_gradients(place("two"), place("one"))


def test_what_fails_for_two_processes_is_one_line(data, place, tmp_path):
    (tmp_path / "empty").mkdir()
    lessons = ["pretraining.steps=30", "pretraining.rate=1", "pretraining.batch=4", "steps=1"]
    changes = [part for change in lessons for part in ("--set", change)]
    for photos, reason in (
        (tmp_path / "empty", f"{tmp_path / 'empty'}: holds neither"),
        (data, "Learning to read expressions diverged: the loss of step 30 is"),
    ):
        several = [*changes, "--devices", "2", "--quiet"]
        arguments = command("sargan_flow_128", photos, place("run"), *several)
        done = subprocess.run(
            [sys.executable, "-m", "sargan_cli", *arguments], capture_output=True, text=True
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: {reason}")


def test_gradients_of_networks_in_either_layout_are_averaged():
    class TwoProcesses:
        world_size = 2

        def all_reduce(self, values, reduce_op):
            return (values + 1) / 2  # the other one has a gradient of 1 everywhere

    for layout in (torch.contiguous_format, torch.channels_last):
        network = torch.nn.Conv2d(3, 4, 5).to(memory_format=layout)
        network(torch.rand(1, 3, 8, 8)).square().sum().backward()
        before = {name: each.grad.clone() for name, each in network.named_parameters()}
        assert network.weight.grad.is_contiguous(memory_format=layout)
        hardware.average_gradients(TwoProcesses(), network)
        for name, each in network.named_parameters():
            torch.testing.assert_close(each.grad, (before[name] + 1) / 2)


KILLED = """
import sys
from pathlib import Path
from sargan_training.hardware import Hardware
from sargan_training.recipe_files import load_recipe
from sargan_training.train import train
_, data, run, *changes = sys.argv
train(load_recipe("sargan_flow_128", changes), Path(data), Path(run),
      Hardware("cpu", precision="fp32"), report=lambda step, values: print(step, flush=True))
"""


def test_a_killed_run_loses_one_interval_at_most_and_ends_as_if_it_had_not(data, place):
    changes = [*SMALL, *TINY["sargan_flow_128"], "steps=40", "save_every=5"]
    arguments = [str(data), str(place("killed")), *changes]
    job = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True
    )
    for line in job.stdout:
        if line == "6\n":
            break
    time.sleep(random.uniform(0, 0.5))
    job.kill()
    reached = max([6, *map(int, job.stdout.read().split())])
    job.wait()
    kept = state(place("killed"))["step"]
    assert kept % 5 == 0 and 0 <= reached - kept <= 5
    recipe = load_recipe("sargan_flow_128", changes)
    train(recipe, data, place("killed"), CPU)
    train(recipe, data, place("whole"), CPU)
    assert same(state(place("killed")), state(place("whole")))


def test_a_resumed_run_goes_by_the_recipe_of_now(data, place):
    told = []
    train(tiny("sargan_128", "steps=1"), data, place("run"), CPU)
    changes = ["steps=2", "optimizer.betas=[0.3, 0.9]", "pretraining.steps=1"]
    train(tiny("sargan_128", *changes), data, place("run"), CPU, say=told.append)
    assert "optimizer.betas was " in told[-1] and told[-1].endswith("now 1, too late to matter")
    (group,) = state(place("run"))["generator optimizer"]["param_groups"]
    assert tuple(group["betas"]) == (0.3, 0.9)


def test_a_resumed_run_says_what_comes_too_late(data, place):
    told = []
    train(tiny("sargan_flow_128", "steps=1"), data, place("run"), CPU)
    changes = ["steps=2", "pretraining.smoothing=0.2", "pretraining.rate=2e-3"]
    changes += ['start="sargan_flow_128.lfw"']
    train(tiny("sargan_flow_128", *changes), data, place("run"), CPU, say=told.append)
    _, smoothing, _, rate, start = told[-1].split("; ")
    assert smoothing == "pretraining.smoothing was 0.1, now 0.2"  # the reader goes on by it
    assert rate.startswith("pretraining.rate was") and rate.endswith(", too late to matter")
    assert start == "start was , now sargan_flow_128.lfw, too late to matter"


@pytest.mark.parametrize("system", ["sargan_flow_128", "sargan_128"])
def test_ctrl_c_saves_ends_with_130_and_loses_nothing(system, data, place, capsys, monkeypatch):
    arguments = command(system, data, place("run"), "--steps", "5")
    report = TrainingProgress.report

    def interrupted_at_step_3(self, step, values):
        report(self, step, values)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "report", interrupted_at_step_3)
        assert main(arguments) == 130
    # Noted during the third step's report, obeyed at the end of the fourth.
    assert state(place("run"))["step"] == 4
    told = capsys.readouterr().err.splitlines()
    assert told[-2:] == [
        "stopped at step 4; the same command goes on from there",
        "error: interrupted",
    ]
    assert main(arguments) == 0
    assert "resumed at step 4\n" in capsys.readouterr().err
    assert main(command(system, data, place("whole"), "--steps", "5")) == 0
    assert same(state(place("run")), state(place("whole")))


def test_divergence_is_one_line_and_leaves_the_last_good_checkpoint(
    data, place, capsys, monkeypatch
):
    loss = HingeGame.loss

    def broken_at_step_3(self, turn, step, rows):
        value, figures = loss(self, turn, step, rows)
        if step == 3 and turn.network == "generator":
            figures["generator"] = value = value * float("nan")
        return value, figures

    monkeypatch.setattr(HingeGame, "loss", broken_at_step_3)
    arguments = command("sargan_flow_128", data, place("run"), "--steps", "6", "--quiet")
    assert main(arguments) == 1
    checkpoint = place("run") / "checkpoint.pt"
    assert capsys.readouterr().err == (
        f"error: Training diverged at step 4: generator is nan. {checkpoint} is from before, and "
        "the same command would go on from it and get here again: lower the rates (--set "
        "optimizer.generator=...), or start another run from one of this run's averages (--set "
        "start=FILE).\n"
    )
    saved = state(place("run"))
    assert saved["step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["generator"].values())
    # What the line advises works: with another rate, here without what broke it.
    monkeypatch.setattr(HingeGame, "loss", loss)
    rate = ["--set", "optimizer.generator=1e-5"]
    assert main([*command("sargan_flow_128", data, place("run"), "--steps", "4"), *rate]) == 0
    assert "resumed at step 2; optimizer.generator" in capsys.readouterr().err


def test_a_rate_that_is_far_too_high_is_noticed(data, place):
    rates = ["optimizer.discriminator=1", "optimizer.generator=1", "steps=20", "save_every=20"]
    with pytest.raises(SarganError, match=r"diverged at step \d+: .* No checkpoint had been saved"):
        train(tiny("sargan_128", *rates), data, place("run"), CPU)
    assert not (place("run") / "checkpoint.pt").exists()


def test_a_network_that_learns_to_read_nothing_is_not_kept(data, place):
    lessons = ["pretraining.steps=30", "pretraining.rate=1", "pretraining.batch=4", "steps=1"]
    with pytest.raises(SarganError, match=r"read expressions diverged: .*step 30.* than 1\."):
        train(tiny("sargan_flow_128", *lessons), data, place("far/run"), CPU)
    assert not list(place("far").glob("taught_*"))


def test_a_full_disk_is_one_line_that_names_the_file(data, place, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    arguments = command("usgan_128", data, place(), "--steps", "2", "--quiet")
    monkeypatch.setattr(logbook, "save_image", full)
    assert main(arguments) == 1
    sheet = place() / "sheet_000002.png"
    assert capsys.readouterr().err == (
        f"error: {sheet}: cannot be written: [Errno 28] No space left on device\n"
    )
    assert not [file for file in place().iterdir() if file.name.startswith(".")]


def test_a_compiled_generator_learns_the_same(data, place, monkeypatch):
    recipe, compiled_once = tiny("sargan_flow_128", "steps=2"), []
    compile_now = torch.compile

    def traced(function):  # with its gradients, but without minutes of a C++ compiler
        compiled_once.append(function)
        return compile_now(function, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", traced)
    for name, compiled in (("plain", False), ("compiled", True)):
        train(recipe, data, place(name), Hardware("cpu", precision="fp32", compile=compiled))
    plain, compiled = (
        load_file(place(name) / "average_000002.safetensors") for name in ("plain", "compiled")
    )
    assert len(compiled_once) == 1 and plain.keys() == compiled.keys()
    for name, weights in plain.items():
        torch.testing.assert_close(compiled[name], weights, rtol=1e-3, atol=1e-4)


def test_runs_that_cannot_be_say_why(data, place):
    recipe, folder = tiny("usgan_128", "steps=1"), place("run")
    with pytest.raises(SarganError, match="A batch of 4 does not fall into 3 equal parts"):
        train(recipe, data, folder, Hardware("cpu", accumulate=3))
    with pytest.raises(SarganError, match="fp16-mixed needs a CUDA device"):
        train(recipe, data, folder, Hardware("cpu", precision="fp16-mixed"))
    with pytest.raises(SarganError, match="take --precision fp32"):
        train(recipe, data, folder, Hardware("cpu", precision="bf16-mixed", compile=True))
    for change, reason in (
        ("generator.chanels=4", r"usgan_128 cannot be built with .*chanels"),
        ("generator.channels=0", r"usgan_128 cannot be built with .*'channels': 0"),
        ("generator.pretrained=true", r"usgan_128 cannot be built with .*pretrained"),
        ("generator.conditions=3", r"usgan_128 cannot be built with .*'conditions': 3"),
        ("generator.crop_size=100", "crop_size must be a multiple of 16 from 64 on, not 100"),
        ("generator.crop_size=32", "crop_size must be a multiple of 16 from 64 on, not 32"),
        ('generator.crop_size="big"', r"usgan_128 cannot be built with .*'crop_size': 'big'"),
        ('system="sargan_flow_128.lfw"', "not 'sargan_flow_128.lfw'; weights to go on from"),
        ('system="sargan_flow_pair_128"', "train sargan_flow_128 twice"),
        ('system="mine.safetensors"', "not 'mine.safetensors'; weights to go on from"),
    ):
        with pytest.raises(SarganError, match=reason):
            train(tiny("usgan_128", change), data, folder, CPU)
    train(recipe, data, folder, CPU)
    with pytest.raises(SarganError, match="of a run with system usgan_128, now sargan_128"):
        train(tiny("sargan_128", "steps=1"), data, folder, CPU)
    (folder / "checkpoint.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(SarganError, match=r"checkpoint\.pt: cannot be resumed from: "):
        train(recipe, data, folder, CPU)


def test_bfloat16_only_where_it_is_fast(monkeypatch):
    for fast, precision in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(hardware, "has_fast_bfloat16", lambda device, fast=fast: fast)
        assert Hardware("cpu").launch().strategy.precision.precision == precision


@pytest.mark.parametrize("system", ["sargan_flow_128", "sargan_128"])
def test_bfloat16_computes_nearly_the_same_losses(system, data, place):
    def losses(precision):
        told, used = {}, Hardware("cpu", precision=precision)
        train(
            tiny(system, "steps=1"),
            data,
            place(precision),
            used,
            report=lambda step, values: told.update(values),
        )
        return told

    whole, half = losses("fp32"), losses("bf16-mixed")
    assert half != whole
    assert half == pytest.approx(whole, rel=0.1, abs=0.05)


def test_an_average_follows_the_generator(data, place):
    for decay, at_once in ((0, True), (0.999, False)):
        folder = place(str(decay))
        changes = ["steps=2", "losses.generator_every=1", f"average={decay}"]
        train(tiny("usgan_128", *changes), data, folder, CPU)
        saved = state(folder)
        average = {key.removeprefix("module."): value for key, value in saved["average"].items()}
        assert same(average, saved["generator"]) == at_once


def test_the_best_average_stays_until_one_is_as_good(data, place, monkeypatch):
    shares = iter([0.5, 0.4, 0.5])
    monkeypatch.setattr(HeldOut, "share_read", lambda *_: next(shares))
    shown = []
    for steps in (1, 2, 3):
        done = train(tiny("usgan_128", f"steps={steps}", "save_every=1"), data, place(), CPU)
        with safe_open(place() / "best.safetensors", "pt") as best:
            shown.append((done.best, best.metadata()["step"]))
    assert shown == [((0.5, 1), "1"), ((0.5, 1), "1"), ((0.5, 3), "3")]


def test_checkpoints_are_chosen_by_people_of_whom_nothing_is_reported(data, place, monkeypatch):
    people = []
    begin = HeldOut.__init__

    def watched(self, faces, device):
        people.extend(faces.people)
        begin(self, faces, device)

    monkeypatch.setattr(HeldOut, "__init__", watched)
    train(tiny("usgan_128", "steps=1"), data, place(), CPU)
    assert people and all(is_held_out(each) and half_of(each) == "choose" for each in people)


def test_checkpoints_are_chosen_by_few_photos_of_each_person():
    people = ["often"] * 300 + [f"p{number}" for number in range(40)]
    pixels = np.zeros((340, 160, 160, 3), np.uint8)
    pixels[300:] = 255
    rows = [FaceRow("", person, 0, np.zeros((5, 2))) for person in people]
    held_out = HeldOut(FaceSet.labelled(Crops([pixels]), rows), torch.device("cpu"))
    shown = held_out.images.mean(dim=(1, 2, 3))
    assert (len(shown), int((shown == -1).sum())) == (43, 3)


def test_rates_fall_while_a_run_goes_on(data, place):
    recipe = tiny("usgan_128", "steps=4", "optimizer.falling=0.5", "optimizer.discriminator=8e-4")
    train(recipe, data, place(), CPU)
    (group,) = state(place())["discriminator optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(8e-4 * share_of_rate(3, recipe)) == pytest.approx(4e-4)


def test_rates_stay_and_then_fall_to_nothing():
    released, flow = load_recipe("sargan_128"), load_recipe("sargan_flow_128")
    assert [share_of_rate(k * 50_000, released) for k in range(5)] == [1, 1, 1, 0.5, 0]
    assert share_of_rate(1000, flow) == 1
    assert share_of_rate(3000, flow) == pytest.approx(1.5 * (1 - 3000 / 4000))


def test_figures_that_not_every_step_has_are_told_too(data, place):
    rare = ["losses.r1_every=4", "report_every=3", "steps=6", "save_every=6"]
    train(tiny("sargan_flow_128", *rare), data, place("run"), CPU)
    figures = EventAccumulator(str(place("run") / "tensorboard")).Reload()
    # R1 is computed in the first and the fifth step.
    assert [each.step for each in figures.Scalars("r1")] == [3, 6]


def test_balanced_photos_show_every_expression_equally_often(data, place):
    faces = load_faces(data, place().parent, 64)
    shares = torch.eye(7)[torch.tensor([0] * 30 + [1] * 8 + [2] * 2)]
    faces = replace(faces, shares=shares)
    for balanced, expected in (("false", 30 / 40), ("true", 1 / 3)):
        recipe = tiny("usgan_128", f"balanced={balanced}", "batch=2000")
        generator = create_generator("usgan_128", pretrained=False, **recipe.generator)
        game = GAMES[recipe.game](recipe, generator, faces, autocast=None)
        drawn = faces.labels[game.drawn_faces(0, "photos")]
        assert (drawn == 0).float().mean().item() == pytest.approx(expected, abs=0.04)


def test_a_discriminator_that_was_taught_starts_every_run_beside_it_as_it_was(data, place):
    taught = ["pretraining.steps=3", "pretraining.batch=4", "optimizer.discriminator=0", "steps=1"]
    told = []
    for system in ("usgan_128", "stargan_128"):
        train(tiny(system, *taught), data, place(f"{system}/run"), CPU, say=told.append)
        (kept,) = place(system).glob("taught_*.safetensors")
        kept = load_file(kept)
        kept = {name.removeprefix("discriminator."): weight for name, weight in kept.items()}
        assert same(state(place(f"{system}/run"))["discriminator"], kept)
        place("stargan_128").mkdir(parents=True, exist_ok=True)
        for file in place("usgan_128").glob("*.*"):
            if system == "usgan_128":
                shutil.copy(file, place("stargan_128"))
    assert sum(line.startswith("teaching") for line in told) == 1


def test_an_interrupted_pretraining_is_gone_on_with_as_if_it_had_not_been(data, place):
    taught = ["pretraining.steps=4", "pretraining.batch=4", "steps=1"]
    recipe = tiny("sargan_flow_128", *taught)
    folder = place("broken/run")
    told = []

    def interrupt(line):
        told.append(line)
        if line.startswith("teaching"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, folder, CPU, say=interrupt)
    assert told[-1].startswith("stopped before the first step")
    (unfinished,) = folder.glob("taught_*.unfinished")
    assert torch.load(unfinished, weights_only=True)["step"] == 1
    assert not list(folder.parent.glob("taught_*.safetensors"))
    train(recipe, data, folder, CPU)
    assert not unfinished.exists()
    train(recipe, data, place("whole/run"), CPU)
    assert same(state(folder), state(place("whole/run")))


def test_a_run_goes_on_with_the_photos_and_labels_it_began_with(data, place):
    recipe, folder = tiny("stargan_128", "steps=1"), place("run")
    train(recipe, data, folder, CPU)
    rows = (data / "expressions.csv").read_text()
    try:
        (data / "expressions.csv").write_text(rows.replace(",sad", ",angry"))
        with pytest.raises(SarganError, match="is of a run on other photos or labels"):
            train(recipe, data, folder, CPU)
    finally:
        (data / "expressions.csv").write_text(rows)
    faces = (data / "faces.csv").read_text()
    first = faces.splitlines()[1]
    where = first.split(",")
    moved = [where[0], where[1], *(str(float(each) + 3) for each in where[2:])]
    try:
        (data / "faces.csv").write_text(faces.replace(first, ",".join(moved)))
        with pytest.raises(SarganError, match="is of a run on other photos or labels"):
            train(recipe, data, folder, CPU)
    finally:
        (data / "faces.csv").write_text(faces)


def test_crops_are_cut_anew_for_other_landmarks(data, tmp_path):
    first = load_faces(data, tmp_path).crops[:]
    rows = (data / "faces.csv").read_text()
    try:
        (data / "faces.csv").write_text(rows.replace("person0/person0_0001.jpg,0,", "x.jpg,0,"))
        assert len(load_faces(data, tmp_path).crops) == 39
    finally:
        (data / "faces.csv").write_text(rows)
    assert torch.equal(load_faces(data, tmp_path).crops[:], first)
    assert len(list(tmp_path.glob("crops_128_*.npy"))) == 2


def test_a_run_goes_on_in_float16_which_has_a_scale_that_others_have_not(tmp_path):
    path = tmp_path / "checkpoint.pt"

    def precisions(scale: float) -> tuple[Precision, MixedPrecision]:
        return Precision(), MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", scale))

    for before, scale in zip(precisions(512), (64, 512), strict=True):
        save_state(path, {"precision": LossScale(before)})
        for after in precisions(64):
            set_state(path, read_state(path), {"precision": LossScale(after)})
        assert after.scaler.get_scale() == scale
    parts = {"precision": LossScale(Precision()), "generator": torch.nn.Linear(1, 1)}
    for saved in (
        {"generator": parts["generator"].state_dict()},
        {"precision": {}, "generator": {}},
    ):
        with pytest.raises(SarganError, match="cannot be resumed from"):
            set_state(path, saved, parts)


def test_annotated_photos_that_are_not_as_they_should_be_are_one_clear_line(data, tmp_path):
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    (copied / "person7" / "person7_0001.jpg").unlink()
    with pytest.raises(SarganError, match=r"^\S*person7_0001\.jpg: [^\n]*$"):
        load_faces(copied, tmp_path)
    rows = (copied / "expressions.csv").read_text()
    (copied / "expressions.csv").write_text(rows.replace(",happy", ",happiness"))
    assert [row.label for row in read_rows(copied)] == [row.label for row in read_rows(data)]
    (copied / "expressions.csv").write_text(rows.replace(",happy", ",bored"))
    with pytest.raises(SarganError, match=r"expressions\.csv: .*bored"):
        read_rows(copied)
    (copied / "expressions.csv").write_text(rows.replace("path", "file"))
    with pytest.raises(SarganError, match="are not as training reads them"):
        read_rows(copied)
    for row in ("person3/person3_0001.jpg,ann", "person3/person3_0001.jpg,,happy"):
        (copied / "expressions.csv").write_text(f"path,person,expression\n{row}\n")
        with pytest.raises(SarganError, match=r"person3_0001\.jpg has no person or no expression"):
            read_rows(copied)
    (copied / "expressions.csv").write_text("path,person,expression\n")
    with pytest.raises(SarganError, match=r"data: no row of faces\.csv can be trained on"):
        load_faces(copied, tmp_path)


@pytest.fixture
def umask_027():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_bundled_weights_are_the_mean_in_half_precision(data, place, capsys, umask_027):
    train(tiny("stargan_128", "steps=2", "save_every=1"), data, place("run"), CPU)
    both = [place("run") / f"average_00000{step}.safetensors" for step in (1, 2)]
    one = bundle.bundle(both[1:], "stargan_128.one", place().parent)
    assert checksum(one) in capsys.readouterr().out
    assert [stat.S_IMODE(path.stat().st_mode) for path in (both[0], one)] == [0o640, 0o640]
    second = create_generator(both[1]).state_dict()
    rounded = {key: value.half().float() for key, value in second.items()}
    torch.testing.assert_close(create_generator(one).state_dict(), rounded)
    mean = create_generator(bundle.bundle(both, "stargan_128.mean", place().parent)).state_dict()
    for key, first in create_generator(both[0]).state_dict().items():
        torch.testing.assert_close(mean[key], (first + second[key]) / 2, atol=1e-3, rtol=1e-2)
    with pytest.raises(SarganError, match="is there already"):
        bundle.bundle(both, "stargan_128.one", place().parent)
    with pytest.raises(SarganError, match="is no usgan_128 like the others"):
        bundle.bundle(both, "usgan_128.mean", place().parent)


def test_two_that_learnt_apart_are_bundled_side_by_side(tmp_path):
    def weights(name: str, **options: object):
        generator = create_generator("sargan_flow_128", pretrained=False, channels=4, **options)
        torch.nn.init.normal_(generator.to_flow.weight)
        state = generator.state_dict()
        save_generator(tmp_path / name, state, "sargan_flow_128", {"channels": 4, **options})
        return tmp_path / name

    both = [weights("one.safetensors"), weights("two.safetensors")]
    pair = create_generator(bundle.bundle(both, "sargan_flow_pair_128.ours", tmp_path))
    for member, path in ((pair.other, both[1]), (pair, both[0])):
        torch.testing.assert_close(
            member.to_paint.weight, create_generator(path).to_paint.weight, atol=1e-3, rtol=1e-2
        )
    reach = [1, 1, 1, 1.3, 1, 1, 1]
    farther = create_generator(bundle.bundle(both, "sargan_flow_pair_128.far", tmp_path, reach))
    mixes = torch.stack([condition_of(mix) for mix in ("angry", "angry:1,happy:1")])
    images = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        near, far = (each.edit(images, mixes).flow for each in (pair, farther))
    assert near.abs().max() > 0
    torch.testing.assert_close(far, near * torch.tensor([1.3, 1.15]).view(2, 1, 1, 1))
    for wrong, reason in (
        ([1, 2], "has 2 values for 7"),
        ([1] * 6 + [float("nan")], "is of finite"),
    ):
        with pytest.raises(SarganError, match=f"reach {reason}"):
            bundle.bundle(both, "sargan_flow_pair_128.wrong", tmp_path, wrong)
    with pytest.raises(SarganError, match="is made of two sargan_flow_128, not of 1"):
        bundle.bundle(both[:1], "sargan_flow_pair_128.half", tmp_path)
    with pytest.raises(SarganError, match=r"is no sargan_flow_128 like the others"):
        shallow = weights("three.safetensors", blocks=1)
        bundle.bundle([both[0], shallow], "sargan_flow_pair_128.odd", tmp_path)
