"""Sums of element-wise work in one pass, by module and operation."""

from __future__ import annotations

from analyzer.facts.records import Tally
from analyzer.measure.rules.work import Work

__all__ = ["Tallies"]


class Tallies:
    """Adds up what each module does by each operation on single elements."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, bool], list[int]] = {}

    def add(
        self,
        key: tuple[str, str, bool],
        elements: int,
        work: Work,
        states: tuple[int, int] = (0, 0),
    ) -> None:
        """Adds one execution.

        Args:
            key: The module, the operation, and whether it folds into the layer before it.
            elements: How many it made.
            work: What it took.
            states: How many elements of state a neuron accessed, and how many it keeps a sample.
        """
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = [0] * 8
        row[0] += 1
        row[1] += elements
        row[2] += work.adds
        row[3] += work.multiplies
        row[4] += work.compares
        row[5] += work.specials
        row[6] += states[0]
        row[7] = max(row[7], states[1])

    def facts(self, samples: int) -> list[Tally]:
        """What was added up, in a pass of so many samples."""
        facts = []
        for (module, op, folds), (calls, *work, states, kept) in self._rows.items():
            size, adds, multiplies, compares, specials = work
            done = (calls * samples, size, adds, multiplies, compares, specials)
            facts.append(Tally(module, op, *done, folds, states, kept))
        return facts
