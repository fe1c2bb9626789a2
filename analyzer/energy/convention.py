"""Conventions: named readings of the facts as accumulates and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pandas as pd

from analyzer.energy.data import available, read_toml

__all__ = ["Convention", "convention", "conventions", "read"]


@dataclass(frozen=True, slots=True)
class Convention:
    """A reading of a profile.

    Attributes:
        name: How it is called.
        title: One line for tables.
        source: Where its rules come from.
        summary: The rules in words.
        driving: Value classes whose non-zeros drive an operation.
    """

    name: str
    title: str
    source: str
    summary: str
    driving: tuple[str, ...]


@cache
def convention(name: str) -> Convention:
    """Reads a convention by name."""
    data = read_toml("conventions", name, "convention")
    return Convention(**data | {"driving": tuple(data["driving"])})


def conventions() -> dict[str, str]:
    """Names of all conventions with their sources."""
    return {name: convention(name).source for name in available("conventions")}


def read(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Adds the columns ``ac``, ``mac`` and ``mac_events`` to rows of facts.

    Args:
        rows: Contractions with ``input_class``, ``events`` and ``dense_macs``.
        name: Name of the convention.
    """
    driving = set(convention(name).driving)
    driven = rows["input_class"].map(lambda kinds: bool(driving & set(kinds.split("*"))))
    driven = driven.astype(bool)
    return rows.assign(
        ac=rows["events"].where(driven, 0),
        mac=rows["dense_macs"].mask(driven, 0),
        mac_events=rows["events"].mask(driven, 0),
    )
