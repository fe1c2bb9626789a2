"""The command line, ``analyzer`` or ``python -m analyzer``: :func:`main` runs one command.

The commands are in ``profiling`` and ``measuring`` (they build a model), ``merging``, ``reading``,
``cards``, ``questions``, ``comparing`` and ``fitting`` (they read saved profiles). This module
joins them and turns errors and warnings into one sentence each.
"""

from __future__ import annotations

import errno
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from analyzer.cli.cards import app as cards
from analyzer.cli.comparing import app as comparing
from analyzer.cli.fitting import app as fitting
from analyzer.cli.hosting import said
from analyzer.cli.interruption import INTERRUPTED, EndedBySignal, ended_by_signals, left_by
from analyzer.cli.measuring import app as measuring
from analyzer.cli.merging import app as merging
from analyzer.cli.options import examples
from analyzer.cli.profiling import app as profiling
from analyzer.cli.questions import app as questions
from analyzer.cli.reading import app as reading
from analyzer.cli.show import put, say, spelled_out, tell
from analyzer.cli.studies import app as studies
from analyzer.cli.sweeping import app as sweeping
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.inert import printable
from analyzer.version import __version__

__all__ = ["main"]


class _Commands(TyperGroup):
    """All commands: Ctrl-C and signals end in a sentence, and wrong usage is said in letters."""

    def make_context(self, *given: Any, **more: Any) -> Any:
        with _in_letters():
            return super().make_context(*given, **more)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _in_letters():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            say("interrupted", _with_options(left_by(stop)), "yellow")
            raise typer.Exit(INTERRUPTED) from None
        except EndedBySignal as stop:
            name = signal.Signals(int(stop.code or 0) - 128).name
            with suppress(OSError):  # the terminal may be gone
                say(f"ended by {name}", _with_options(left_by(stop)), "yellow")
            raise
        except EOFError as error:  # which Typer takes for the end of what is typed
            raise _EndedError from error


class _EndedError(Exception):
    """Carries an ``EOFError`` past Typer."""


@contextmanager
def _in_letters() -> Iterator[None]:
    """Errors of usage quote what was typed, which Typer prints as it is."""
    try:
        yield
    except Exception as error:
        if isinstance(said := getattr(error, "message", None), str):
            error.message = printable(said)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Counts the operations of spiking and dense PyTorch models, and prices them.",
    epilog=examples(
        "Measure a model of yours, and set it beside others:",
        "analyzer profile nets.py:Net --data images/ -o profiles/mine.json",
        "What it takes, and a page with figures:",
        "analyzer report profiles/ -o reports/mine",
    ),
)
app.add_typer(profiling)
app.add_typer(merging)
app.add_typer(sweeping)
app.add_typer(measuring)
app.add_typer(reading)
app.add_typer(cards)
app.add_typer(questions)
app.add_typer(comparing)
app.add_typer(fitting)
app.add_typer(studies, name="study")


def _show_version(asked: bool) -> None:
    if asked:
        put(f"analyzer {__version__}")
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

    The exit code is 0 on success, 1 if the work failed, 2 if the arguments were wrong, 130 if
    Ctrl-C ended it, and 128 and the number of the signal if another one did.

    Args:
        arguments: The words after ``analyzer``; by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        with _plain_warnings(), spelled_out(), ended_by_signals():
            app([a for a in given if a != "--debug"])
    except Exception as raised:
        cause = raised.__cause__
        error = cause if isinstance(raised, _EndedError) and cause is not None else raised
        if debug:
            tell("".join(traceback.format_exception(error)))
            raise SystemExit(1) from None
        if isinstance(error, OSError) and error.filename is None and error.errno in _OF_OUTPUT:
            _fail(f"cannot print: {error.strerror}.")
        if isinstance(error, AnalyzerError):
            _fail(_with_options(str(error)))
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        _fail(f"{said(error)}{_with_options(notes)}; --debug shows the traceback.")


_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT})
"""Errors of a standard output that takes nothing more; a closed one ends a command silently."""


def _with_options(sentence: str) -> str:
    """What Python calls ``layouts`` and ``loop``, as the command line does."""
    spelled = re.sub(r'layouts=\{"": "([^"]*)"\}', r"--layout '\1'", sentence)
    spelled = re.sub(r"give timesteps=(\d+)", r"give --timesteps \1", spelled)
    for python, option in (
        ("loop=True", "--loop"),
        ("give timesteps=", "give --timesteps"),
        ("timesteps= says", "--timesteps says"),
        (" and timesteps=", " and --timesteps"),
        ("resume=True", "--resume"),
        ("pass anyway=True", "give --anyway"),
    ):
        spelled = spelled.replace(python, option)
    return spelled


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Prints warnings of this package as one line each, and others as Python writes them."""
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, AnalyzerWarning):
                say("warning", str(message), "yellow")
            else:
                tell(warnings.formatwarning(str(message), category, *where[:2]).rstrip())

        warnings.showwarning = show
        yield


def _fail(sentence: str) -> None:
    say("error", sentence, "red")
    raise SystemExit(1)
