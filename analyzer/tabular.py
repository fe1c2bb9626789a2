"""Renders tables of text as Markdown, LaTeX, HTML, plain text and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from html import escape
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from analyzer.inert import in_markdown, one_line, printable

__all__ = [
    "LATEX", "align_of", "distinct", "escape_latex", "text_width", "to_html", "to_latex",
    "to_markdown", "to_rich", "to_text",
]  # fmt: skip

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",
        "·": r"$\cdot$",
        "…": r"\ldots{}",
        "µ": r"\textmu{}",
        "×": r"$\times$",
        "²": r"\textsuperscript{2}",
        "–": "--",
        "≥": r"$\geq$",
    }
)


def distinct(names: Sequence[str]) -> list[str]:
    """The names; of several that are the same, the later ones become ``name (2)`` and on."""
    found: list[str] = []
    for base in names:
        name, copies = base, 1
        while name in found:
            copies += 1
            name = f"{base} ({copies})"
        found.append(name)
    return found


def align_of(columns: Iterable[Any], words: Collection[str]) -> str:
    """A letter for each heading: ``l`` for those of columns of words, ``r`` for the others."""
    return "".join("l" if column in words else "r" for column in columns)


def to_markdown(frame: pd.DataFrame, *, align: str = "") -> str:
    """A GitHub table, columns padded so that the source reads as a table too.

    Args:
        frame: The cells.
        align: A letter a column (``l`` or ``r``); all left without it.
    """
    rows = [[_in_markdown_cell(cell) for cell in row] for row in [_heads(frame), *_cells(frame)]]
    padded = []
    for *cells, side in zip(*rows, align or "l" * len(frame.columns), strict=True):
        width = max(3, *map(len, cells))
        right = side == "r"
        rule = "-" * (width - 1) + (":" if right else "-")
        head, *body = (cell.rjust(width) if right else cell.ljust(width) for cell in cells)
        padded.append([head, rule, *body])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def escape_latex(text: str) -> str:
    """A text with every character escaped that LaTeX gives a meaning to."""
    return printable(text).translate(LATEX)


def to_latex(
    frame: pd.DataFrame,
    caption: str = "",
    *,
    align: str = "",
    long: bool = False,
    label: str | None = None,
    notes: Sequence[str] = (),
    escaped: bool = False,
) -> str:
    """A booktabs table with every special character escaped.

    Args:
        frame: The table.
        caption: Printed above it.
        align: One letter a column (``l``, ``r``, ``c``); all left without it.
        long: Whether it may run over several pages (package ``longtable``).
        label: Of the table, as it is.
        notes: Printed below a table that is not long, a line each.
        escaped: Whether headings and cells are LaTeX already.
    """
    columns = align or "l" * len(frame.columns)
    written = str if escaped else escape_latex
    head = " & ".join(written(c) for c in _heads(frame)) + r" \\"
    body = [" & ".join(written(c) for c in row) + r" \\" for row in _cells(frame)]
    title = [rf"\caption{{{escape_latex(caption)}}}"] if caption else []
    title += [rf"\label{{{label}}}"] if label else []
    below = [rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {escape_latex(note)}}}"
             for note in notes]  # fmt: skip
    if long:
        opening = [rf"\begin{{longtable}}{{{columns}}}", *(rf"{t} \\" for t in title)]
        top = [r"\toprule", head, r"\midrule"]
        lines = [*opening, *top, r"\endhead", *body, r"\bottomrule", r"\end{longtable}"]
    else:
        lines = [
            r"\begin{table}",
            r"\centering",
            *title,
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *below,
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


_SIDES = MappingProxyType(
    {
        "r": ' style="text-align: right"',
        "l": ' style="text-align: left; white-space: pre"',
        " ": "",
    }
)


def to_html(
    frame: pd.DataFrame, caption: str = "", *, align: str = "", notes: Sequence[str] = ()
) -> str:
    """A plain HTML table, escaped."""
    sides = [_SIDES[side] for side in align or " " * len(frame.columns)]
    head = "".join(
        f"<th{side}>{escape(c)}</th>" for c, side in zip(_heads(frame), sides, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{side}>{escape(c)}</td>" for c, side in zip(row, sides, strict=True))
        + "</tr>"
        for row in _cells(frame)
    )
    title = f"<caption>{escape(printable(caption))}</caption>" if caption else ""
    below = "".join(f"<p>{escape(printable(note))}</p>" for note in notes)
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def to_text(frame: pd.DataFrame, align: str) -> str:
    """A table of plain text, two blanks between columns."""
    rows = [_heads(frame), *_cells(frame)]
    padded = []
    for *cells, side in zip(*rows, align, strict=True):
        width = max(map(len, cells))
        padded.append([c.rjust(width) if side == "r" else c.ljust(width) for c in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def text_width(frame: pd.DataFrame) -> int:
    """Letters in a line of a table that is printed with two blanks between columns."""
    rows = [_heads(frame), *_cells(frame)]
    return sum(max(map(len, cells)) + 2 for cells in zip(*rows, strict=True)) - 2


def to_rich(frame: pd.DataFrame, align: str, *, title: str = "", below: Sequence[str] = ()) -> Any:
    """A table as rich draws it in a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column, side in zip(_heads(frame), align, strict=True):
        right = side == "r"
        justify: Literal["left", "right"] = "right" if right else "left"
        table.add_column(Text(column), justify=justify, no_wrap=right, overflow="fold")
    for row in _cells(frame):
        table.add_row(*map(Text, row))
    return Group(
        *map(Text, [printable(title), ""] if title else []),
        table,
        *map(Text, ["", *map(printable, below)]),
    )


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    """The cells as text on one line each, whoever chose the names in them."""
    return [[one_line(str(cell)) for cell in row] for row in frame.itertuples(index=False)]


def _heads(frame: pd.DataFrame) -> list[str]:
    return [one_line(str(column)) for column in frame.columns]


def _in_markdown_cell(text: str) -> str:
    """A cell of Markdown, in which a bar behind any number of backslashes is none of the table."""
    return re.sub(
        r"(\\*)\|",
        lambda found: found[1] + "\\" * (len(found[1]) % 2) + r"\|",
        in_markdown(text),
    )
