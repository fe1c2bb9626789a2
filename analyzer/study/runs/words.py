"""Words that findings and claims of a study of runs share: pairs of rows, points_between, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analyzer.study.runs.collection import OURS, is_rival

__all__ = [
    "Row",
    "Tables",
    "by_name",
    "coding_of",
    "joined",
    "points_between",
    "rivals",
    "tests_of",
]

Tables = Mapping[str, pd.DataFrame]
Row = Mapping[Any, Any]
"""A row of a table by column."""


def by_name(series: pd.DataFrame) -> dict[str, Row]:
    """The rows of the table of series by their names."""
    return {str(row["series"]): row for row in series.to_dict("records")}


def rivals(series: Mapping[str, Row]) -> list[Row]:
    """What Ge²mS-T is set against in the same topology: the ANN, STBP and conversions."""
    return [series[s] for s in series if is_rival(s)]


def tests_of(ours: Row, other: Row, differences: pd.DataFrame) -> dict[str, Row]:
    """What was tested of two series, by figure."""
    pair = differences[
        (differences["ours"] == ours["series"]) & (differences["theirs"] == other["series"])
    ]
    return {str(row["figure"]): row for row in pair.to_dict("records")}


def points_between(ours: Row, theirs: Row) -> str:
    """The difference of two accuracies in points; one that rounds to zero has no minus."""
    return f"{round(100 * (ours['accuracy_mean'] - theirs['accuracy_mean']), 2) + 0.0:+.2f}"


def joined(words: Sequence[str]) -> str:
    """Some words with commas, and an `and` before the last."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def coding_of(row: Row) -> str:
    """Which coding of ExpG-IF a row is of."""
    return str(row["series"]).removeprefix(OURS).strip() or "the default (G=2 K=2)"
