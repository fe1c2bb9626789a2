r"""Makes text of others inert: names of models, layers, technologies and files may hold anything.

A terminal obeys control characters, a spreadsheet computes cells that begin with ``=``, and a page
of Markdown shows raw HTML. What this package prints and writes passes one of these functions on its
way out: :func:`printable` for a terminal, :func:`one_line` for the cell of a table, :func:`csv_of`
for CSV, and :func:`in_markdown` for Markdown. They leave ordinary text as it is.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cell_of", "csv_of", "in_csv", "in_markdown", "one_line", "printable"]

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode that move the cursor, turn the direction of writing or have no letter."""

_FORMULA = re.compile(r"'*\s*[=+\-@\t\r＝＋－＠]")
"""How a cell begins that a spreadsheet computes, perhaps behind apostrophes."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]")
"""A number, or a sign alone, which no spreadsheet computes."""

_TAG = re.compile(r"(?<!\\)((?:\\\\)*)<(?=[A-Za-z/!?])")
"""Where HTML begins in Markdown: a bracket behind an even number of backslashes."""


def printable(text: str) -> str:
    r"""A text whose control characters are spelled out, such as ``\x1b``; lines and tabs stay.

    Example:
        >>> print(printable("a\x1b[31m"))
        a\x1b[31m
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if char not in "\n\t" and unicodedata.category(char) in _UNPRINTABLE
        else char
        for char in text
    )


def one_line(text: str) -> str:
    r"""The same with lines and tabs spelled out too, for the cell of a table.

    Example:
        >>> print(one_line("a\nb"))
        a\nb
    """
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def in_csv(text: str) -> str:
    """A text as the cell of a CSV file: behind an apostrophe where a spreadsheet would compute it.

    These are texts that begin with ``=``, ``+``, ``-`` or ``@``, also behind blanks or apostrophes.
    Numbers stay numbers. Spreadsheets do not show the apostrophe; :func:`cell_of` takes it away.

    Example:
        >>> [in_csv(text) for text in ("conv", "=1+1", "-2.5", "@x", "'+x")]
        ['conv', "'=1+1", '-2.5', "'@x", "''+x"]
    """
    text = one_line(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def cell_of(text: str) -> str:
    """The text that :func:`in_csv` put behind an apostrophe, or any other as it is.

    Example:
        >>> [cell_of(text) for text in ("conv", "'=1+1", "-2.5", "''+x")]
        ['conv', '=1+1', '-2.5', "'+x"]
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_of(frame: pd.DataFrame) -> str:
    """A table as CSV without its index, headings and texts as :func:`in_csv` writes them.

    Args:
        frame: The table. Numbers are written with all digits; what is missing is empty.
    """
    from pandas.api.types import is_numeric_dtype  # the command line starts without pandas

    clean = {
        column: frame[column].map(lambda cell: in_csv(cell) if isinstance(cell, str) else cell)
        for column in frame
        if not is_numeric_dtype(frame[column])
    }
    found = frame.copy(deep=False)
    for column, cells in clean.items():
        found[column] = cells
    found = found.rename(columns=lambda name: in_csv(str(name)))
    text: str = found.to_csv(index=False, lineterminator="\n")
    return text


def in_markdown(text: str) -> str:
    r"""A text on one line of Markdown without HTML, links or images; other signs stay.

    Example:
        >>> print(in_markdown("<b>x</b> [a](b) 1 < 2"))
        &lt;b>x&lt;/b> [a]\(b) 1 < 2
    """
    return _TAG.sub(r"\1&lt;", one_line(text)).replace("](", r"]\(")
