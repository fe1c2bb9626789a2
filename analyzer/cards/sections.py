"""The form of a card: a sentence, and sections of rows, of which no format is known."""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.entries import clean

__all__ = ["Card", "Section"]


@dataclass(frozen=True)
class Section:
    """A part of a card: a table, with sentences and commands below it.

    Attributes:
        title: Its heading.
        columns: Headings of the table.
        rows: The cells, as plain text.
        widths: Shares of a printed line that the columns take.
        align: A letter a column: ``r`` for numbers, ``l`` for words.
        notes: Sentences below the table.
        commands: Lines to type in the folder of the archive.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    widths: tuple[float, ...] = (0.27, 0.69)
    align: str = "ll"
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def cleaned(self) -> Section:
        """The same on single lines, without control characters, whoever chose the names in it."""
        return Section(
            clean(self.title),
            tuple(map(clean, self.columns)),
            tuple(tuple(map(clean, row)) for row in self.rows),
            self.widths,
            self.align,
            tuple(map(clean, self.notes)),
            tuple(map(clean, self.commands)),
        )


@dataclass(frozen=True)
class Card:
    """An energy card of one model."""

    name: str
    stem: str
    lead: str
    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        """The heading of the page."""
        return f"Energy card: {self.name}"
