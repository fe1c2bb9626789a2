"""An energy card as Markdown, for a repository or an issue."""

from __future__ import annotations

import re
from itertools import groupby

import pandas as pd

from analyzer.cards.sections import Card, Section
from analyzer.tabular import to_markdown

__all__ = ["escaped", "markdown"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>~&#$])")


def markdown(card: Card) -> str:
    """The page, as GitHub shows Markdown; names are text, whatever they hold."""
    parts = [f"# {escaped(card.title)}", escaped(card.lead)]
    for section in card.sections:
        parts += [f"## {escaped(section.title)}", *_section(section)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    r"""A text with all that Markdown gives a meaning to inside of a line escaped.

    Example:
        >>> print(escaped("a_b <i>"))
        a\_b \<i\>
    """
    return _SPECIAL.sub(r"\\\1", text)


def _section(section: Section) -> list[str]:
    parts = []
    if section.rows:
        cells = [[escaped(cell) for cell in row] for row in section.rows]
        frame = pd.DataFrame(cells, columns=[escaped(c) for c in section.columns])
        parts.append(to_markdown(frame, align=section.align))
    # A sentence that begins with a number or a sign would be a list.
    parts += [re.sub(r"^(\d*)([-+.)=:])", r"\1\\\2", escaped(note)) for note in section.notes]
    if section.commands:
        fence = "`" * max(3, 1 + max(len(list(g)) for c in section.commands
                                     for k, g in groupby(c + " ")))  # fmt: skip
        parts.append("\n".join([f"{fence}sh", *section.commands, fence]))
    return parts
