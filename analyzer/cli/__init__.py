"""The command line, ``analyzer`` or ``python -m analyzer``: :func:`main` runs one command.

The commands are in ``measuring`` (they build a model), ``reading`` and ``questions`` (they read
saved profiles). This module joins them and turns errors and warnings into one sentence each.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from analyzer.cli.measuring import app as measuring
from analyzer.cli.questions import app as questions
from analyzer.cli.reading import app as reading
from analyzer.cli.show import say
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.version import __version__

__all__ = ["main"]

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Counts the operations of spiking and dense PyTorch models, and prices them.",
)
app.add_typer(measuring)
app.add_typer(reading)
app.add_typer(questions)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"analyzer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback where something fails.")
    ] = False,
) -> None:
    """Counts the operations of spiking and dense PyTorch models, and prices them."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends with SystemExit.

    The exit code is 0 on success, 1 if the work failed and 2 if the arguments were wrong.

    Args:
        arguments: The words after ``analyzer``; by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        with _plain_warnings():
            app([a for a in given if a != "--debug"])
    except AnalyzerError as error:
        if debug:
            raise
        _fail(_with_options(str(error)))
    except Exception as error:
        if debug:
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        _fail(
            f"{type(error).__name__}: {error}{_with_options(notes)}; --debug shows the traceback."
        )


def _with_options(sentence: str) -> str:
    """What Python calls ``layouts`` and ``loop``, as the command line does."""
    spelled = re.sub(r'layouts=\{"": "([^"]*)"\}', r"--layout '\1'", sentence)
    spelled = re.sub(r"give timesteps=(\d+)", r"give --timesteps \1", spelled)
    return spelled.replace("loop=True", "--loop").replace("give timesteps=", "give --timesteps")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Prints warnings of this package as one line each; other warnings appear as usual."""
    with warnings.catch_warnings():
        python = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, AnalyzerWarning):
                say("warning", str(message), "yellow")
            else:
                python(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _fail(sentence: str) -> None:
    say("error", sentence, "red")
    raise SystemExit(1)
