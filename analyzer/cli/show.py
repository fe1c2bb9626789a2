"""Printing for the commands: results on standard output, all else on standard error.

This is the only way out: no other file of the command line prints, so that no name of a profile,
a layer or a file sends a terminal more than letters.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from analyzer.energy.declared.constants import text_of
from analyzer.inert import one_line, printable
from analyzer.terminal import console_of

if TYPE_CHECKING:
    from analyzer.cards.check import CheckedCards
    from analyzer.report.compared import Checked
    from analyzer.verification.comparison import Row

__all__ = [
    "file_of",
    "print_checked",
    "print_counts",
    "print_table",
    "put",
    "say",
    "spelled_out",
    "tell",
    "terminal_width",
]


_SPELLED = MappingProxyType(
    {
        "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "…": "...", "≥": ">=", "≤": "<=",
        "µ": "u", "²": "^2", "⁻": "^-", "±": "+/-", "→": "->", "│": "|", "├": "|", "└": "`",
        "─": "-", "━": "-", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "\N{NO-BREAK SPACE}": " ",
        "⌈": "ceil(", "⌉": ")", "’": "'", "“": '"', "”": '"', "•": "*",
    }
)  # fmt: skip
"""Signs that this package prints, for terminals whose encoding lacks them."""


@contextmanager
def spelled_out() -> Iterator[None]:
    """In the block, what a terminal's encoding lacks is printed in letters that it has.

    Under ``LC_ALL=C`` or ``PYTHONIOENCODING=latin-1`` a dash would end the program else.
    """
    codecs.register_error("analyzer-spelled", _spell)
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        if stream.errors in ("strict", "backslashreplace", "surrogateescape"):
            stream.reconfigure(errors="analyzer-spelled")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with suppress(OSError, ValueError):  # closed, or what it held can not be written
                stream.reconfigure(errors=errors)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    letters = (
        _SPELLED.get(char) or char.encode("ascii", "backslashreplace").decode() for char in part
    )
    return "".join(letters), error.end


def put(text: str, *, end: str = "\n") -> None:
    """Prints the result of a command, or a part of it."""
    typer.echo(printable(text) + end, nl=False, file=sys.stdout)  # as is, else click picks UTF-8


def tell(text: str) -> None:
    """Prints on standard error what is not the result."""
    typer.echo(printable(text), file=sys.stderr)


def say(kind: str, sentence: str, style: str) -> None:
    """Prints ``kind: sentence`` on standard error in a colour of rich, such as ``red``."""
    console_of(stderr=True).print(
        printable(f"{kind}: {sentence}"), style=style, markup=False, highlight=False, soft_wrap=True
    )


def terminal_width() -> int | None:
    """Letters in a line of the terminal, None where standard output is none."""
    terminal = console_of()
    return terminal.width if terminal.is_terminal else None


def print_counts(rows: Iterable[Row]) -> None:
    """Prints what each independent counter found, row by row; a dash where it found nothing."""
    headings = (
        "Module", "Operation", "Dense MACs", "fvcore", "torch", "Brute force", "Events",
        "Brute force", "Unary events", "Brute force", "Timesteps", "Verdict", "Why",
    )  # fmt: skip
    cells = [
        [
            "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
            for value in astuple(row)
        ]
        for row in rows
    ]
    print_table(headings, cells, frozenset({"Module", "Operation", "Verdict", "Why"}))


def print_table(columns: Any, rows: list[list[str]], words: frozenset[str] | None = None) -> None:
    """Prints a table on standard output.

    A table of numbers, and any table in a pipe, is as wide as it needs to be. Other tables fold
    their text to the width of the terminal.

    Args:
        columns: The headings.
        rows: The cells.
        words: The headings of columns that hold words, if the others hold numbers, which are
            aligned right; None if all columns hold words.
    """
    terminal = console_of()
    table = Table(box=SIMPLE_HEAD if terminal.is_terminal else None, pad_edge=False)
    for column in columns:
        figures = words is not None and column not in words
        table.add_column(
            escape(one_line(str(column))), justify="right" if figures else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(escape(one_line(cell)) for cell in row))
    wide = words is not None or not terminal.is_terminal
    console = console_of(width=10_000) if wide else terminal
    for line in console.render_lines(table, pad=False):
        put("".join(segment.text for segment in line).rstrip())


def print_checked(found: Checked | CheckedCards) -> None:
    """Prints what a check of written files found, and ends with code 1 where they differ."""
    put("\n".join(found.sentences))
    if not found.passed:
        raise typer.Exit(1)


def file_of(folder: str, what: str) -> Any:
    """The option that prints a data file of the package, and nothing else, to start one's own."""

    def show(name: str) -> None:
        if name:
            put(text_of(folder, name, what), end="")
            raise typer.Exit

    return typer.Option(
        "--toml",
        metavar="NAME",
        help="Print the file of one, to start your own.",
        callback=show,
        is_eager=True,
    )
