"""The program: its verbs, and what every ending looks like.

Exit codes: 0 all done, 1 the job or some files failed, 2 the command line cannot be right,
130 interrupted. An error is one line on stderr; ``--debug`` adds the traceback. With ``--json``
exactly one JSON object goes to stdout, also when the job fails, and all other text to stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from sargan_cli import (
    detect,
    doctor,
    edit,
    edit_dir,
    edit_video,
    evaluate,
    models,
    tracks,
    train,
)
from sargan_cli.console import Report
from sargan_cli.usage import UsageError
from sargan_plugin.errors import FaceWarning, SarganError, SarganWarning

# What Typer raises for arguments it cannot take. It has no public name there: newer versions bring
# their own copy of click, older ones use click's.
ParsingError = typer.BadParameter.__base__

INTERRUPTED = 130

app = typer.Typer(add_completion=False, rich_markup_mode="rich")
app.command("edit")(edit.edit)
app.command("edit-dir")(edit_dir.edit_dir)
app.command("edit-video")(edit_video.edit_video)
app.command("tracks")(tracks.tracks)
app.command("detect")(detect.detect)
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate.evaluate)
app.command("doctor")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from sargan_plugin import __version__

        print(f"sargan-cli {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_show_version,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Change the expression of faces in photos and videos and leave everything else alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: the command line without the program's name, ``sys.argv[1:]`` by default.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    # Both must hold for errors in the command line too, so they are not left to the verbs.
    as_json, debug = "--json" in arguments, "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a name must not break the line it is in
    stdout = sys.stdout
    with _clutter_kept_away(debug), contextlib.redirect_stdout(sys.stderr if as_json else stdout):
        report = _run(arguments, debug)
    if as_json and report.data is not None:
        _print_for_a_machine(report.data)
    return report.exit_code


def _run(arguments: list[str], debug: bool) -> Report:
    if "" in arguments:  # as a path it would mean the working folder
        return _failure("An argument is empty; is it a variable that is not set?", 2, debug)
    try:
        result = app(arguments, prog_name="sargan-cli", standalone_mode=False)
        if isinstance(result, Report):
            return result
        if result == INTERRUPTED:  # newer versions of Typer catch it
            raise KeyboardInterrupt
        return Report(None, result or 0)  # --help and --version give no report
    except ParsingError as error:
        verb = error.ctx.command_path if error.ctx else "sargan-cli"
        message = error.format_message().rstrip(".")
        return _failure(f"{message}. Try '{verb} --help'.", 2, debug)
    except UsageError as error:
        return _failure(str(error), 2, debug)
    except SarganError as error:
        return _failure(str(error), 1, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _failure("interrupted", INTERRUPTED, debug)
    except BrokenPipeError:  # as by "| head"
        _forget_who_asked()
        return Report(None, 1)
    except Exception as error:
        more = "" if debug else "; --debug shows where"
        return _failure(f"unexpected {type(error).__name__}: {error}{more}", 1, debug)


def _print_for_a_machine(data: dict[str, Any]) -> None:
    try:
        print(json.dumps(data), flush=True)
    except BrokenPipeError:
        _forget_who_asked()


def _forget_who_asked() -> None:
    """Who reads the output has left; Python would complain once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        os.dup2(nowhere, stream.fileno())


def _failure(message: str, exit_code: int, debug: bool) -> Report:
    if debug:
        traceback.print_exc()
    message = " ".join(message.splitlines())
    print(f"error: {message}", file=sys.stderr)
    return Report({"error": message}, exit_code)


@contextlib.contextmanager
def _clutter_kept_away(debug: bool) -> Iterator[None]:
    """Warnings of this project are one line without file and line number, others are not shown."""
    with warnings.catch_warnings():
        if debug:
            logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
            logging.getLogger("sargan_plugin").setLevel(logging.DEBUG)
        else:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=SarganWarning)
            # told file by file, see Outcome.warnings
            warnings.filterwarnings("ignore", category=FaceWarning)
            warnings.showwarning = _show_warning
        yield


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
