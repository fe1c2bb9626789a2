"""Conventions: named rules by which counted work is read as accumulates or multiply-accumulates.

Papers count differently: one takes firing rate times dense work for every layer, another calls the
first layer dense, a third leaves attention out. Each such set of rules is a file here, in
``conventions/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

import pandas as pd

from analyzer.energy.declared.constants import available, read_toml
from analyzer.energy.declared.keys import Number, Table, checked
from analyzer.errors import AnalyzerError
from analyzer.facts.table import LEFT
from analyzer.facts.values import DRIVING
from analyzer.specs import named

__all__ = [
    "READING",
    "SPECIAL_MULTIPLIES",
    "Convention",
    "convention",
    "conventions",
    "is_layer",
    "read",
]

READING = ("reason", "is_driven", "left_driven", "right_driven", "omitted", "spikes_each")
"""Columns that a convention adds beside the work; see :func:`read`."""

Kind = Literal["zero", "binary", "ternary", "graded", "real"]


@dataclass(frozen=True, slots=True)
class Convention:
    """Rules by which the rows of a profile are read.

    Attributes:
        name: What ``convention=`` takes.
        title: One line for tables.
        source: Where its rules come from.
        confidence: A where its rules were read in the source itself, B where several copies of it
            agree, C where there is one copy only.
        summary: The rules in words.
        driving: Value classes that count as spikes: an operation that reads them is driven.
        work: What a driven operation does: its exact ``events``; the same in ``unary`` spikes, a
            level of three being three; or its dense work times the firing ``rate`` of what it
            reads, or times that and the mean level, its mean ``value``.
        first: How the first weight layer is read: like the others, as ``mac`` (dense), as
            ``rated-mac`` (dense times the share of non-zeros), or ``omit``.
        head: The same of the last weight layer: like the others, ``mac`` or ``omit``.
        attention: The same of products of activations: like the others; by the ``min`` of the
            rates of two driving operands; or ``omit``.
        additive_weights: Value classes of weights with which a multiply-accumulate is an
            accumulate, for it needs no multiplier: ``binary`` (one size, which folds into what
            follows) and ``ternary`` (the same with a sign). Weights that are all zero need none
            either. A layer's class is that of all its weights together, so a size of its own for
            each channel makes them ``real``.
        undriven: What an operation that no spikes drive costs in MACs: its ``dense`` work, or only
            the ``events`` that remain where zeros are skipped.
        skip_zero_weights: Whether products with a weight that is zero cost nothing, as on hardware
            that stores pruned weights sparsely: then dense work is that of the other weights, and
            events are pairs of a non-zero activation and a non-zero weight.
        elementwise: Whether work that is no product is ``priced``: additions, multiplications,
            compares and special functions of softmax, normalisation, activations, residual sums,
            neurons and pooling. Nearly all of the literature charges ``none`` of it.
        special_multiplies: What a special function costs, in multiplications: exp, division, square
            root and the like. Dongarra (SC97) weighs square root and division as 4 operations and
            a logarithm as 8; a division measured on a Cortex-M4F took 7.1 multiplications.
    """

    name: str
    title: str
    source: str
    summary: str
    driving: tuple[Kind, ...]
    confidence: Literal["A", "B", "C"] = "A"
    work: Literal["events", "unary", "rate", "value"] = "events"
    first: Literal["read", "mac", "rated-mac", "omit"] = "read"
    head: Literal["read", "mac", "omit"] = "read"
    attention: Literal["read", "min", "omit"] = "read"
    undriven: Literal["dense", "events"] = "dense"
    additive_weights: tuple[Kind, ...] = ()
    skip_zero_weights: bool = False
    elementwise: Literal["none", "priced"] = "none"
    special_multiplies: Number = 8.0


SPECIAL_MULTIPLIES = (4.0, 8.0)
"""The least and the most multiplications that sources give for a special function."""

_TEXTS = ("name", "title", "source", "summary", "confidence")


def convention(spec: str) -> Convention:
    """Reads a convention by name, or from a file of the user's that ends in ``.toml``.

    Args:
        spec: The name, perhaps with settings of its own: ``exact(elementwise=priced)``.

    Raises:
        AnalyzerError: Where there is no such convention, or it takes no such setting.
    """
    return _read(spec) if spec.endswith(".toml") else _shipped(spec)


@cache
def _shipped(name: str) -> Convention:
    return _read(name)


def _read(spec: str) -> Convention:
    name, settings = (spec, {}) if spec.endswith(".toml") else named(spec, words=True)
    of = f"convention {name!r}"
    found = Convention(**checked(read_toml("conventions", name, "convention"), _KEYS, of))
    if not settings:
        return found
    unknown = [key for key in settings if key not in _SETTINGS]
    if unknown:
        raise AnalyzerError(f"{of} takes no {unknown[0]!r}: it takes {', '.join(_SETTINGS)}.")
    lists = {key for key in settings if isinstance(getattr(found, key), tuple)}
    settings = {
        key: [value] if key in lists and isinstance(value, str) else value
        for key, value in settings.items()
    }
    shown = f"{found.name}({', '.join(f'{k}={v}' for k, v in settings.items())})"
    changed: dict[str, Any] = checked(settings, _KEYS._replace(needed=()), of)
    return replace(found, **changed, name=shown)


_SETTINGS = tuple(f.name for f in fields(Convention) if f.name not in _TEXTS)
_KEYS = Table(
    get_type_hints(Convention, include_extras=True),
    [f.name for f in fields(Convention) if f.default is MISSING],
)


def conventions() -> dict[str, str]:
    """Names of all conventions that the package ships, each with where its rules come from.

    A convention says which of the counted work is an accumulate and which a multiply-accumulate.
    Each name is what ``convention=`` takes; a path of a ``.toml`` file of one's own does as well.

    Example:
        >>> import analyzer
        >>> sorted(analyzer.conventions())[:4]
        ['dense', 'ecmt', 'exact', 'lmht']
    """
    return {name: convention(name).source for name in available("conventions")}


def read(rows: pd.DataFrame, name: str | Convention, profile: str) -> pd.DataFrame:
    """Reads rows of facts by a convention.

    Adds the columns ``ac``, ``mac``, ``mac_events`` (multiply-accumulates if zeros were skipped)
    and :data:`READING`: the ``reason`` that a row is read so; ``is_driven``, whether spikes drive
    it, and ``left_driven`` and ``right_driven`` of each operand; ``omitted``, whether the
    convention leaves the row out; and ``spikes_each``, how many spikes a non-zero is taken for.

    Args:
        rows: Those of ``analyzer.facts.table`` that are contractions, in order of execution. They
            may be of several profiles, which a column ``profile`` tells apart.
        name: Name of the convention, or the convention itself.
        profile: Name of the profile, for messages.

    Raises:
        AnalyzerError: Where the convention needs facts that the profile does not hold.
    """
    chosen = convention(name) if isinstance(name, str) else name
    driving = set(chosen.driving)
    driven = rows["input_class"].map(lambda kinds: bool(driving & set(kinds.split("*"))))
    if driving:
        driven = driven.astype(bool).mask(rows["driven"].notna(), rows["driven"] == 1)
    is_weighted = is_layer(rows)
    if chosen.first == chosen.head == "read":
        first = head = is_weighted & False
    else:
        first = _ends(rows, is_weighted, 0)
        head = _ends(rows, is_weighted, -1) & ~first
    counted = _left(rows, chosen, profile) if chosen.skip_zero_weights else rows
    work = _WORK[chosen.work](counted, chosen)
    dense = counted["dense_macs"]
    if chosen.work in ("rate", "value"):  # which need not be whole
        dense = dense.astype("float64")
    macs = dense if chosen.undriven == "dense" else counted["events"]
    undriven = "nothing drives it: reads " + rows["input_class"].str.replace("*", "×")
    omitted = driven & False
    reason: Any = undriven.mask(driven, _DRIVEN[chosen.work])
    ac, mac = work.where(driven, 0), macs.mask(driven, 0)
    for at, rule, what in ((first, chosen.first, "first layer"), (head, chosen.head, "head")):
        if rule == "read" or not at.any():
            continue
        ac = ac.mask(at, 0)
        value = {"mac": dense, "rated-mac": _rate(rows) * dense, "omit": dense * 0}[rule]
        mac = mac.mask(at, value)
        said = {"mac": "dense MACs", "rated-mac": "MACs of its non-zeros", "omit": "left out"}
        reason = reason.mask(at, f"{what}: {said[rule]}")
        driven = driven & ~at
        omitted = omitted | (at & (rule == "omit"))
    if chosen.attention == "omit":
        ac, mac = ac.where(is_weighted, 0), mac.where(is_weighted, 0)
        driven, omitted = driven & is_weighted, omitted | ~is_weighted
        reason = reason.where(is_weighted, "product of activations: left out")
    if chosen.additive_weights:
        adds = rows["weight_class"].isin(("zero", *chosen.additive_weights)) & (mac != 0)
        ac, mac = ac.mask(adds, ac + mac), mac.mask(adds, 0)
        reason = reason.mask(adds, reason + "; weights need no multiplier")
    if chosen.skip_zero_weights:
        fewer = (counted["dense_macs"] < rows["dense_macs"]).fillna(False).astype(bool)
        reason = reason.mask(fewer & ~omitted, reason + "; zero weights skipped")
    unseen = rows["events"].isna() & rows["rate"].isna() & bool(driving)
    unknown = rows[ac.isna() | mac.isna() | unseen]
    if len(unknown):
        row = unknown.iloc[0]
        rated = not pd.isna(row["rate"]) and chosen.work != "rate"
        what = "only firing rates" if rated else "only shapes"
        do = 'convention="rate"' if rated else "firing rates, or measure it on data"
        raise AnalyzerError(
            f"{profile!r} holds {what} of {row['module']!r}, which convention {chosen.name!r} can "
            f"not read: use {do}."
        )
    events = counted["events"]
    skipped = events.where(events.notna(), mac).where(mac > 0, 0)
    driven = driven.astype(bool)
    kinds = rows["input_class"].str.split("*")
    pair = rows["input_class"].str.contains("*", regex=False)
    each = pd.Series(1.0, rows.index)
    if chosen.work in ("unary", "value"):
        each = _level(counted).where(driven, 1.0)
    return rows.assign(
        ac=ac,
        mac=mac,
        mac_events=skipped,
        reason=reason,
        is_driven=driven,
        left_driven=driven & (~pair | kinds.str[0].isin(driving)),
        right_driven=driven & pair & kinds.str[-1].isin(driving),
        omitted=omitted.astype(bool),
        spikes_each=each,
    )


def _left(rows: pd.DataFrame, chosen: Convention, profile: str) -> pd.DataFrame:
    """The rows with only what is left of their work where zero weights are skipped."""
    unknown = rows[rows["left_events"].isna() & rows["events"].notna()]
    if len(unknown):
        raise AnalyzerError(
            f"{profile!r} does not say which products of {unknown.iloc[0]['module']!r} have a "
            f"weight that is zero, which convention {chosen.name!r} skips: it was measured by an "
            "earlier version, so measure it again."
        )
    whole = ("dense_macs", "events", "unary_events")
    return rows.assign(**{w: rows[left] for w, left in zip(whole, LEFT, strict=True)})


def _ends(rows: pd.DataFrame, weighted: pd.Series[bool], position: int) -> pd.Series[bool]:
    """The same of each profile, where the rows are of several."""
    if "profile" not in rows:
        return _end(rows, weighted, position)
    each = [_end(some, weighted[some.index], position) for _, some in rows.groupby("profile")]
    return pd.concat(each).reindex(rows.index)


def _end(rows: pd.DataFrame, weighted: pd.Series[bool], position: int) -> pd.Series[bool]:
    """Rows of the first or last layer with weights, also those of a module that contains it.

    Layers without a module of their own are told apart by what they read.
    """
    found = rows[weighted]
    if found.empty:
        return weighted
    end = found.iloc[position]
    if not end["module"]:
        same = rows["input_class"].eq(end["input_class"]) & rows["module"].eq("")
    else:
        names = end["module"].split(".")
        same = rows["module"].isin([".".join(names[:n]) for n in range(1, len(names) + 1)])
    return weighted & same & rows["op"].eq(end["op"])


def is_layer(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are layers with weights; where no weights are known, the operation says so."""
    layer = rows["op"].str.lower().str.startswith(("linear", "conv"))
    return (rows["weight_elements"] > 0) | (layer & rows["input_class"].eq(""))


def _rate(rows: pd.DataFrame) -> pd.Series[float]:
    """The firing rate: published, or the share of non-zeros among what is read.

    Of a product of spikes with something else it is that of the spikes.
    """
    elements = rows["input_elements"].where(rows["input_elements"] > 0).astype("float64")
    measured = (rows["input_nonzeros"].astype("float64") / elements).fillna(0)
    left, right = _spiking(rows)
    measured = measured.mask(left & ~right, rows["lhs_rate"]).mask(right & ~left, rows["rhs_rate"])
    return measured.where(rows["input_nonzeros"].notna(), rows["rate"])


def _spiking(rows: pd.DataFrame) -> tuple[pd.Series[bool], pd.Series[bool]]:
    """Of products of activations, whether the first operand is spikes, and the second."""
    kinds = rows["input_class"].str.split("*")
    pair = rows["input_class"].str.contains("*", regex=False)
    return pair & kinds.str[0].isin(DRIVING), pair & kinds.str[-1].isin(DRIVING)


def _rated(rows: pd.DataFrame, chosen: Convention) -> pd.Series[float]:
    rate = _rate(rows)
    if chosen.attention == "min":
        left, right = _spiking(rows)
        least = rows[["lhs_rate", "rhs_rate"]].min(axis=1)
        rate = rate.mask(left & right, least)
    return rows["dense_macs"] * rate


def _valued(rows: pd.DataFrame, chosen: Convention) -> pd.Series[float]:
    """Share of non-zeros times the mean level that a layer reads; reals have none: ones."""
    return _rated(rows, chosen) * _level(rows).where(is_layer(rows), 1.0)


def _level(rows: pd.DataFrame) -> pd.Series[float]:
    """The mean level of the non-zeros that are read; 1 where there are none, or no levels."""
    events = rows["events"].astype("float64")
    level = (rows["unary_events"].astype("float64") / events.where(events > 0)).fillna(1.0)
    return level.where(level > 0, 1.0)


_WORK: MappingProxyType[str, Callable[[pd.DataFrame, Convention], pd.Series[Any]]] = (
    MappingProxyType(
        {
            "events": lambda rows, chosen: rows["events"],
            "unary": lambda rows, chosen: rows["unary_events"],
            "rate": _rated,
            "value": _valued,
        }
    )
)

_DRIVEN: MappingProxyType[str, str] = MappingProxyType(
    {
        "events": "spikes drive it: exact events",
        "unary": "spikes drive it: unary events",
        "rate": "spikes drive it: firing rate × dense work",
        "value": "spikes drive it: mean value × dense work",
    }
)
