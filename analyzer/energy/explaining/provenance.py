"""What tells two runs apart beside their facts, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts

__all__ = ["differences", "doubts", "refuse_other_data", "worded"]

_DATA = ("data", "split", "input_shape")
"""What must agree for a difference to be one of the models and not of what they saw."""

_ASIDE = frozenset({"name", "passes"})
"""What is shown elsewhere, and how a pass was watched, which changes no figure."""

_MOST = 12
"""Differences that a sentence lists."""


def refuse_other_data(a: Facts, b: Facts) -> None:
    """Refuses two runs that did not see the same data.

    Raises:
        AnalyzerError: Where their data, split or shape of the input differ.
    """
    keys = (*_DATA, "seed") if a.metadata.get("data") == "random" else _DATA
    for key in keys:
        first, second = a.metadata.get(key), b.metadata.get(key)
        if first is not None and second is not None and first != second:
            what = key.replace("_", " ")
            raise AnalyzerError(
                f"{a.name!r} and {b.name!r} are not of the same {what} ({_text(first)} and "
                f"{_text(second)}), so a difference need not be one of the models: measure both "
                "on the same data, or pass anyway=True."
            )


def doubts(a: Facts, b: Facts) -> Iterator[str]:
    """What makes a comparison doubtful, a sentence each."""
    for key in _DATA:
        first, second = a.metadata.get(key), b.metadata.get(key)
        what = key.replace("_", " ")
        if first is not None and second is not None and first != second:
            yield f"Not of the same {what}: {_text(first)} and {_text(second)}."
    named = [each.metadata.get("data") is not None for each in (a, b)]
    if not all(named):
        which = "Neither says" if not any(named) else f"{(a, b)[named[0]].name} does not say"
        yield f"{which} which data it saw, so nothing tells whether both saw the same."
    if a.samples != b.samples:
        yield f"Means over {a.samples:,} and over {b.samples:,} samples."
    first, second = a.metadata.get("model"), b.metadata.get("model")
    if first != second:
        yield f"Two models, {_text(first)} and {_text(second)}: layers are matched by their names."


def differences(a: Facts, b: Facts) -> pd.DataFrame:
    """What differs between two runs beside their facts: ``key``, ``first`` and ``second``.

    Versions, device, dtype, data, timesteps, weights and their digest, and whatever else the
    profiles say of themselves; None where one does not say it.
    """
    sides = [dict(_flat(each.metadata)) for each in (a, b)]
    for side, each in zip(sides, (a, b), strict=True):
        side |= {"samples": each.samples, "accuracy": each.accuracy}
    known = dict.fromkeys((*sides[0], *sides[1]))
    keys = sorted(known, key=lambda key: "." in key and not key.startswith("versions."))
    found = [(key, *(side.get(key) for side in sides)) for key in keys]
    rows = [(key, _text(x), _text(y)) for key, x, y in found if x != y]
    return pd.DataFrame(rows, columns=["key", "first", "second"])


def worded(rows: pd.DataFrame) -> str:
    """The rows of :func:`differences` in a sentence; empty where there is none."""
    if rows.empty:
        return ""
    said = [f"{key} ({x} → {y})" for key, x, y in rows.head(_MOST).itertuples(index=False)]
    more = f" and {len(rows) - _MOST} more" if len(rows) > _MOST else ""
    return f"The runs differ in {', '.join(said)}{more}."


def _flat(given: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if not before and key in _ASIDE:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _text(value: Any) -> str:
    text = "unknown" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
