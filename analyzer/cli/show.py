"""Printing for the commands: tables on standard output, sentences on standard error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from analyzer.verification.comparison import Row

__all__ = ["print_counts", "print_table", "say", "stderr", "terminal_width"]


def say(kind: str, sentence: str, style: str) -> None:
    """Prints ``kind: sentence`` on standard error in a colour of rich, such as ``red``."""
    stderr().print(
        f"{kind}: {sentence}", style=style, markup=False, highlight=False, soft_wrap=True
    )


def stderr() -> Console:
    """A console on standard error, for everything that is not the result of a command."""
    return Console(stderr=True)


def terminal_width() -> int | None:
    """Letters in a line of the terminal, None where standard output is none."""
    terminal = Console()
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
    terminal = Console()
    table = Table(box=SIMPLE_HEAD if terminal.is_terminal else None, pad_edge=False)
    for column in columns:
        figures = words is not None and column not in words
        table.add_column(str(column), justify="right" if figures else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    wide = words is not None or not terminal.is_terminal
    console = Console(width=10_000) if wide else terminal
    for line in console.render_lines(table, pad=False):
        typer.echo("".join(segment.text for segment in line).rstrip())
