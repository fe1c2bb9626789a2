"""Whether facts that were read from a file can be: counts from zero, and no part above its whole.

A file may be damaged or be written by others. What can not be is refused when it is read, so that
nothing that prices facts has to ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, get_type_hints

from analyzer.facts.records import AXES, Contraction, GroupCount, Operand, Shape
from analyzer.facts.sent import MOST_NEURONS, NeuronSet, Sent
from analyzer.facts.values import MAX_LEVEL, Values

__all__ = ["refuse_impossible", "refuse_many_neurons", "refuse_unbounded"]

LARGEST = 2**63 - 1
"""The largest count that a file may hold."""

DEEPEST = 500
"""How deep modules may be nested; trees of them are walked by functions that call themselves."""

LARGEST_RATE = 1e12
"""The largest firing rate, which graded spikes alone bring above 1."""


def refuse_impossible(record: Any) -> None:
    """Refuses a record with a value that can not be."""
    kind: Any = type(record)
    plan = _plan(kind)
    for at, number in enumerate(plan.counts_of(record)):  # files hold hundreds of thousands
        if number is not None and not 0 <= number <= LARGEST:
            raise ValueError(_outside(plan.counts[at], number))
    for name in plan.lists:
        numbers = getattr(record, name) or (0,)
        for number in (min(numbers), max(numbers)):
            if not 0 <= number <= LARGEST:
                raise ValueError(_outside(name, number))
    if plan.is_of_module and record.module.count(".") > DEEPEST:
        raise ValueError(f".module is nested more than {DEEPEST} modules deep")
    if plan.check is not None:
        plan.check(record)


def _outside(name: str, number: int) -> str:
    return f".{name} is {'below 0' if number < 0 else 'above 2^63 - 1'}"


_BELOW_ZERO = frozenset({"low", "values", "columns"})
"""Fields that are no counts: levels, and places of columns, of which -1 is none."""


class _Plan(NamedTuple):
    """What is to be checked in records of one kind.

    Attributes:
        counts: Fields that hold one count.
        lists: Fields that hold several.
        is_of_module: Whether it names a module.
        check: What refuses more of it.
        counts_of: What gives the values of ``counts``.
    """

    counts: tuple[str, ...]
    lists: tuple[str, ...]
    is_of_module: bool
    check: Callable[[Any], None] | None
    counts_of: Callable[[Any], tuple[int | None, ...]]


@cache
def _plan(kind: Any) -> _Plan:
    hints = {k: hint for k, hint in get_type_hints(kind).items() if k not in _BELOW_ZERO}
    counts = tuple(name for name, hint in hints.items() if hint in (int, int | None))
    several = (tuple[int, ...], tuple[int, ...] | None)
    lists = tuple(name for name, hint in hints.items() if hint in several)
    return _Plan(counts, lists, "module" in hints, _CHECKS.get(kind), _getter(counts))


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[int | None, ...]]:
    """What gives these fields as a tuple, which an attrgetter gives of two fields and more."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _of_values(values: Values) -> None:
    if not -MAX_LEVEL <= values.low <= 0 <= values.high <= MAX_LEVEL:
        raise ValueError(f" has levels from {values.low} to {values.high}")
    if values.peak < 0 or not 0 <= values.epsilon <= 1:
        raise ValueError(f" has a peak of {values.peak} and an error of {values.epsilon}")


def _of_operand(operand: Operand) -> None:
    if operand.nonzeros > operand.elements:
        raise ValueError(f" has {operand.nonzeros} non-zeros among {operand.elements} elements")


def _of_contraction(site: Contraction) -> None:
    for name, events in (
        ("lhs.events", site.lhs.events),
        ("rhs.events", site.rhs.events),
        ("pair_events", site.pair_events),
    ):
        if events > site.dense_macs:
            raise ValueError(f".{name} is {events}, and there are {site.dense_macs} products")
    read = site.step_nonzeros or ()
    if read and max(read) > (site.step_elements or 0):
        raise ValueError(
            f".step_nonzeros has {max(read)} non-zeros among {site.step_elements} elements"
        )
    if site.layer is not None and not site.activations:
        raise ValueError(".layer is of weights, and none of its operands is an activation")
    left = site.left
    if left is not None and max(left.dense_macs, left.events) > site.dense_macs:
        raise ValueError(f".left is more than all of its {site.dense_macs} products")
    if site.parts:
        if any(part.parts for part in site.parts):
            raise ValueError(".parts have parts")
        if sum(part.dense_macs for part in site.parts) != site.dense_macs:
            raise ValueError(f".parts are not the {site.dense_macs} products of the whole")


def _of_shape(shape: Shape) -> None:
    if shape.rate is not None and not 0 <= shape.rate <= LARGEST_RATE:
        raise ValueError(f".rate is {shape.rate}")


def _of_group(group: GroupCount) -> None:
    if group.nonzeros > group.elements:
        raise ValueError(f" has {group.nonzeros} non-zeros among {group.elements} elements")
    if group.axis not in AXES:
        raise ValueError(f".axis is {group.axis!r}")


def _of_sent(sent: Sent) -> None:
    if sent.nonzeros > sent.outputs:
        raise ValueError(f" has {sent.nonzeros} non-zeros among {sent.outputs} values")
    if sent.silent is not None and sent.neurons not in (None, sent.silent.size):
        raise ValueError(f".silent is of {sent.silent.size} neurons, and there are {sent.neurons}")


_CHECKS: Mapping[type, Callable[[Any], None]] = MappingProxyType(
    {
        Values: _of_values,
        Operand: _of_operand,
        Contraction: _of_contraction,
        Shape: _of_shape,
        GroupCount: _of_group,
        Sent: _of_sent,
    }
)


def refuse_many_neurons(sent: Any) -> None:
    """Refuses lists of silent neurons that a few bytes stand for and that fill the memory.

    Raises:
        ValueError: Where they are more than are read, or their number is none.
    """
    rows = sent if isinstance(sent, list) else []
    texts = (row.get("silent") for row in rows if isinstance(row, dict))
    number = sum(NeuronSet.size_of(text) for text in texts if isinstance(text, str))
    if number > MOST_NEURONS:
        raise ValueError(f"sent lists {number:,} neurons, and {MOST_NEURONS:,} are read at most")


def refuse_unbounded(value: Any, place: str) -> None:
    """Refuses numbers of JSON that are infinite or no 64-bit integer.

    Args:
        value: What JSON holds.
        place: How a message calls it.

    Raises:
        ValueError: Says where.
    """
    left: list[tuple[Any, _Path]] = [(value, (place, None))]
    while left:
        value, path = left.pop()
        if isinstance(value, (dict, list)):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            left += [(item, (key, path)) for key, item in inner]
        elif type(value) is int and not -LARGEST <= value <= LARGEST:
            raise ValueError(f"{_written(path)} is beyond 2^63")
        elif type(value) is float and not math.isfinite(value):
            raise ValueError(f"{_written(path)} is no finite number")


_Path = tuple[Any, Any]
"""The last key of a place in JSON, and the path to what holds it. Only those in a message are
written out: a long key may hold many values."""


def _written(path: _Path | None) -> str:
    keys = []
    while path is not None:
        key, path = path
        keys.append(str(key))
    return ".".join(reversed(keys))
