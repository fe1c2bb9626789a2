"""Conventions: named readings of the facts as accumulates and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import pandas as pd

from analyzer.energy.data import available, read_toml
from analyzer.errors import AnalyzerError

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
        work: What a driven operation does: its exact ``events``, or its dense work times the firing
            ``rate`` of what it reads.
    """

    name: str
    title: str
    source: str
    summary: str
    driving: tuple[str, ...]
    work: Literal["events", "rate"] = "events"


@cache
def convention(name: str) -> Convention:
    """Reads a convention by name."""
    data = read_toml("conventions", name, "convention")
    return Convention(**data | {"driving": tuple(data["driving"])})


def conventions() -> dict[str, str]:
    """Names of all conventions with their sources."""
    return {name: convention(name).source for name in available("conventions")}


def read(rows: pd.DataFrame, name: str, profile: str) -> pd.DataFrame:
    """Adds the columns ``ac``, ``mac`` and ``mac_events`` to rows of facts.

    Args:
        rows: Contractions with ``input_class``, ``events`` and ``dense_macs``; ``rate`` and
            ``driven`` are NaN but where they were published.
        name: Name of the convention.
        profile: Whose rows they are, for messages.

    Raises:
        AnalyzerError: Where the convention needs more than the facts tell.
    """
    chosen = convention(name)
    driving = set(chosen.driving)
    driven = rows["input_class"].map(lambda kinds: bool(driving & set(kinds.split("*"))))
    driven = driven.astype(bool).mask(rows["driven"].notna(), rows["driven"] == 1)
    events = _rated(rows) if chosen.work == "rate" else rows["events"]
    unknown = rows.loc[events.isna(), "module"]
    if len(unknown):
        rated = rows["rate"].notna().any()
        what = "only firing rates" if rated else "only shapes"
        do = 'convention="rate"' if rated else "firing rates, or measure it on data"
        raise AnalyzerError(
            f"{profile!r} holds {what} of {unknown.iloc[0]!r}, which convention {name!r} can not "
            f"read: use {do}."
        )
    return rows.assign(
        ac=events.where(driven, 0),
        mac=rows["dense_macs"].mask(driven, 0),
        mac_events=events.mask(driven, 0),
    )


def _rated(rows: pd.DataFrame) -> pd.Series[float]:
    """Dense work times the firing rate: published, or the share of non-zeros that was read."""
    elements = rows["input_elements"].where(rows["input_elements"] > 0).astype("float64")
    measured = (rows["input_nonzeros"].astype("float64") / elements).fillna(0)
    rate = measured.where(rows["input_nonzeros"].notna(), rows["rate"])
    return rows["dense_macs"] * rate
