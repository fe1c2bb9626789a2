"""What a question about energy returns: figures to compute with, a sentence, a table, a figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any, ClassVar

import pandas as pd

from analyzer.inert import printable
from analyzer.tabular import align_of, to_html, to_markdown, to_rich, to_text
from analyzer.units import MJ_PER_PJ

__all__ = ["Answer", "Told", "each_once", "largest_first"]


def each_once(*lists: Iterable[str]) -> list[str]:
    """The sentences of several lists, each where it stands first."""
    return list(dict.fromkeys(chain(*lists)))


def largest_first(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows by the size of a figure, whatever its sign, numbered anew."""
    return rows.sort_values(column, key=abs, ascending=False, kind="stable", ignore_index=True)


class Told(ABC):
    """Figures, a sentence and a table; it shows itself in a terminal and in a notebook.

    Attributes:
        stem: What its files are called; empty where that is the name of its figure.
        words: Headings of the columns that hold words; the others hold numbers.
        rows: The answer as a table, energies in picojoules per sample.
    """

    stem: ClassVar[str] = ""
    words: ClassVar[frozenset[str]] = frozenset()
    rows: pd.DataFrame

    @property
    @abstractmethod
    def summary(self) -> str:
        """The answer in words."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """What limits the answer, one sentence each."""

    @abstractmethod
    def shown(self) -> pd.DataFrame:
        """The answer as a table of text, figures in the units that read best."""

    @property
    def frame(self) -> pd.DataFrame:
        """The answer as a table, energies in millijoules per sample: ``energy_mj`` and the like."""
        names = {str(column): _in_millijoules(str(column)) for column in self.rows}
        scaled = {c: self.rows[c] * MJ_PER_PJ for c, name in names.items() if name != c}
        return self.rows.assign(**scaled).rename(columns=names)

    def to_markdown(self) -> str:
        """:meth:`shown` as a GitHub table."""
        shown = self.shown()
        return to_markdown(shown, align=self._align(shown))

    def __repr__(self) -> str:
        shown = self.shown()
        text = [self.summary, "", to_text(shown, self._align(shown)), *self._below]
        return printable("\n".join(text))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        shown = self.shown()
        yield to_rich(shown, self._align(shown), title=self.summary, below=self.notes)

    def _repr_html_(self) -> str:
        shown = self.shown()
        return to_html(shown, self.summary, align=self._align(shown), notes=self.notes)

    @property
    def _below(self) -> list[str]:
        return ["", *self.notes] if self.notes else []

    def _align(self, shown: pd.DataFrame) -> str:
        return align_of(shown, self.words)


class Answer(Told):
    """What all answers have in common that a figure shows, too.

    Attributes:
        figure: Name of the function of ``analyzer.plot`` that draws it.
    """

    figure: ClassVar[str]

    def plot(self, ax: Any = None) -> Any:
        """Draws the answer with :mod:`analyzer.plot`, which needs the extra ``report``.

        Args:
            ax: Axes of matplotlib to draw on; a new figure by default.

        Returns:
            The axes.
        """
        # By name: what prices must load without what draws.
        return getattr(import_module("analyzer.plot"), self.figure)(self, ax=ax)


def _in_millijoules(column: str) -> str:
    return "_".join("mj" if part == "pj" else part for part in column.split("_"))
