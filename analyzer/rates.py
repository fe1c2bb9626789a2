"""Profiles from published figures: dense work and firing rates, row by row, instead of a run."""

from __future__ import annotations

import csv
import io
import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import pandas as pd

from analyzer.errors import AnalyzerError
from analyzer.facts.records import Shape, merge
from analyzer.files import MIB, read_limited, refused
from analyzer.profiles import Profile

__all__ = ["from_rates", "read_rates", "with_rates"]

_LARGEST_BYTES = 32 * MIB
"""What a file of rates may hold at most."""

_MOST_COLUMNS = 1000
"""What it may have of them; three are used."""

_LARGEST = 1e12
"""The largest rate that can be meant."""

_COLUMNS = ("module", "op", "dense_macs", "firing_rate")


def from_rates(table: Any, *, name: str | None = None) -> Profile:
    """A profile from published figures, where there is no model or no data to run.

    It is priced with ``convention="rate"``: accumulates are dense work times firing rate where
    spikes drive an operation, multiply-accumulates are the dense work of all others.

    Args:
        table: A DataFrame, or what makes one. Columns ``module, op, dense_macs, firing_rate``, a
            sample each, with all timesteps in them: the rate is the share of the dense work that
            spikes cause. ``driven``, if there is such a column, says 1 where spikes drive the
            operation and 0 where they do not; where it is empty, a rate of 1 says that they do not.
        name: How tables call the profile.

    Raises:
        AnalyzerError: Where a column is missing or a figure can not be; says which row.

    Example:
        >>> import analyzer
        >>> table = {
        ...     "module": ["conv", "block", "head"],
        ...     "op": ["conv2d", "linear", "linear"],
        ...     "dense_macs": [400, 1000, 100],
        ...     "firing_rate": [1, 0.2, 0.1],
        ... }
        >>> profile = analyzer.from_rates(table, name="paper")
        >>> profile.operations("rate")[["ac", "mac"]].sum().to_dict()  # 1000 x 0.2 + 100 x 0.1, 400
        {'ac': 210.0, 'mac': 400.0}
    """
    try:
        frame = pd.DataFrame(table)
    except (TypeError, ValueError) as error:
        raise AnalyzerError(f"the rates are no table: {error}.") from None
    _need(frame, _COLUMNS)
    driven = frame["driven"] if "driven" in frame else pd.Series(None, index=frame.index)
    facts = []
    columns = [frame[c] for c in _COLUMNS]
    for row, (module, op, dense, rate, drive) in enumerate(zip(*columns, driven, strict=True)):
        place = f"row {row} ({module})"
        facts.append(
            Shape(
                module=str(module),
                op=str(op),
                calls=1,
                dense_macs=_dense(dense, place),
                rate=_rate(rate, place),
                driven=_driven(drive, _rate(rate, place), place),
            )
        )
    if not facts:
        raise AnalyzerError("the table of rates has no row.")
    metadata = {"name": name, "model": name or "published rates", "parameters": None}
    rest = {"input_shape": None, "timesteps": None, "dtype": None, "counted": "rates"}
    return Profile(samples=1, metadata=metadata | rest, shapes=merge(facts))


def with_rates(profile: Profile, rates: Mapping[str, float | None]) -> Profile:
    """A counted profile with firing rates by module path; None where no spikes drive it.

    Raises:
        AnalyzerError: Where the profile has a module without a rate, or there is a rate of none.
    """
    modules = {shape.module for shape in profile.shapes}
    missing = sorted(modules - rates.keys())
    foreign = sorted(rates.keys() - modules)
    for what, found in (("no rate is given for", missing), ("it has no", foreign)):
        if found:
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            raise AnalyzerError(
                f"the rates do not fit {profile.name!r}: {what} {', '.join(found[:4])}{more}."
            )
    rates = {m: None if r is None else _rate(r, f"the rates ({m})") for m, r in rates.items()}
    shapes = [
        replace(s, rate=1.0 if (rate := rates[s.module]) is None else rate, driven=rate is not None)
        for s in profile.shapes
    ]
    return replace(profile, shapes=merge(shapes), metadata={**profile.metadata, "counted": "rates"})


def read_rates(path: str | Path) -> dict[str, float | None]:
    """Firing rates by module from a CSV file: columns ``module, firing_rate`` and maybe ``driven``.

    What they mean is as for :func:`from_rates`.
    """
    with refused(lambda why: f"{path} is no readable CSV file: {why}."):
        content = read_limited(path, _LARGEST_BYTES)
        _refuse_many_columns(content)
        frame = pd.read_csv(io.BytesIO(content), dtype={"module": "str"}, compression=None)
    _need(frame, ("module", "firing_rate"), str(path))
    frame["module"] = frame["module"].fillna("")  # the model itself
    driven = frame["driven"] if "driven" in frame else pd.Series(None, index=frame.index)
    found: dict[str, float | None] = {}
    for row, (module, rate, drive) in enumerate(
        zip(frame["module"], frame["firing_rate"], driven, strict=True)
    ):
        place = f"row {row} ({module}) of {path}"
        if module in found:
            raise AnalyzerError(f"{place} gives a second rate for its module: keep one.")
        figure = _rate(rate, place)
        found[str(module)] = figure if _driven(drive, figure, place) else None
    return found


def _refuse_many_columns(content: bytes) -> None:
    """Refuses a header that pandas would read for minutes."""
    lines = csv.reader(io.StringIO(content.decode("utf-8-sig", "replace"), newline=""))
    try:
        columns = len(next((line for line in lines if line), []))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if columns > _MOST_COLUMNS:
        raise ValueError(f"it has {columns:,} columns, and {_MOST_COLUMNS} are read at most")


def _need(frame: pd.DataFrame, columns: tuple[str, ...], where: str = "the table of rates") -> None:
    missing = [c for c in columns if c not in frame]
    if missing:
        raise AnalyzerError(
            f"{where} lacks the column {missing[0]!r}: it needs {', '.join(columns)}."
        )


def _dense(value: Any, place: str) -> int:
    try:
        whole = operator.index(value)  # of any size, exactly, as numpy's integers too
    except TypeError:
        figure = _figure(value, "dense_macs", place)
        if figure != int(figure):
            raise AnalyzerError(
                f"dense_macs in {place} is {value!r}: it must be a whole number."
            ) from None
        whole = int(figure)
    if not 0 <= whole < 2**63:
        raise AnalyzerError(
            f"dense_macs in {place} is {_short(value)}: it must be a number from 0 below 2^63."
        )
    return whole


def _rate(value: Any, place: str) -> float:
    rate = _figure(value, "firing_rate", place)
    if rate > _LARGEST:
        raise AnalyzerError(f"firing_rate in {place} is {value!r}: it can not be above 10^12.")
    return rate


def _figure(value: Any, column: str, place: str) -> float:
    try:
        figure = float(value)
    except (TypeError, ValueError, OverflowError):
        figure = math.nan
    if not math.isfinite(figure) or figure < 0:
        raise AnalyzerError(f"{column} in {place} is {_short(value)}: it must be a number from 0.")
    return figure


def _short(value: Any) -> str:
    """A value as text; Python writes no integer of more than some thousand digits."""
    return shortened(value) if not isinstance(value, int) or abs(value) < 10**99 else "too large"


def _driven(value: Any, rate: Any, place: str) -> bool:
    if pd.isna(value) or value == "":
        return float(rate) != 1
    if value in (0, 1):
        return bool(value)
    raise AnalyzerError(f"driven in {place} is {value!r}: it must be 1, 0 or empty.")
