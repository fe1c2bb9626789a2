"""Whether facts that were read from a file can be: counts from zero, and no part above its whole.

A file may be damaged or be written by others. What can not be is refused when it is read, so that
nothing that prices facts has to ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

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
    """Refuses a record with a value that can not be.

    Args:
        record: Any of the records that files hold.

    Raises:
        ValueError: Says which value.
    """
    kind: Any = type(record)
    values_of, names, check = _plan(kind)
    for at, value in enumerate(values_of(record)):  # files hold hundreds of thousands of them
        if type(value) is int:
            if not 0 <= value <= LARGEST:
                raise ValueError(_outside(names[at], value))
        elif type(value) is tuple:
            for number in value:
                if type(number) is int and not 0 <= number <= LARGEST:
                    raise ValueError(_outside(names[at], number))
        elif names[at] == "module" and value.count(".") > DEEPEST:
            raise ValueError(f".module is nested more than {DEEPEST} modules deep")
    for wrong in check(record) if check else ():
        raise ValueError(wrong)


def _outside(name: str, number: int) -> str:
    return f".{name} is {'below 0' if number < 0 else 'above 2^63 - 1'}"


_BELOW_ZERO = frozenset({"low", "values", "columns"})
"""Fields that are no counts: levels, and places of columns, of which -1 is none."""


@cache
def _plan(kind: Any) -> tuple[Any, tuple[str, ...], Callable[[Any], Iterable[str]] | None]:
    """What gives the fields of a record that may be counts, their names, and its own check.

    Fields of ``_BELOW_ZERO`` are none.
    """
    names = tuple(f.name for f in fields(kind) if f.name not in _BELOW_ZERO)
    # With one name an attrgetter gives no tuple.
    values_of = (
        attrgetter(*names) if len(names) > 1 else lambda record: (getattr(record, names[0]),)
    )
    return values_of, names, _CHECKS.get(kind)


def _of_values(values: Values) -> Iterator[str]:
    if not -MAX_LEVEL <= values.low <= 0 <= values.high <= MAX_LEVEL:
        yield f" has levels from {values.low} to {values.high}"
    if values.peak < 0 or not 0 <= values.epsilon <= 1:
        yield f" has a peak of {values.peak} and an error of {values.epsilon}"


def _of_operand(operand: Operand) -> Iterator[str]:
    if operand.nonzeros > operand.elements:
        yield f" has {operand.nonzeros} non-zeros among {operand.elements} elements"


def _of_contraction(site: Contraction) -> Iterator[str]:
    for name, events in (
        ("lhs.events", site.lhs.events),
        ("rhs.events", site.rhs.events),
        ("pair_events", site.pair_events),
    ):
        if events > site.dense_macs:
            yield f".{name} is {events}, and there are {site.dense_macs} products"
    read = site.step_nonzeros or ()
    if read and max(read) > (site.step_elements or 0):
        yield f".step_nonzeros has {max(read)} non-zeros among {site.step_elements} elements"
    left = site.left
    if left is not None and max(left.dense_macs, left.events) > site.dense_macs:
        yield f".left is more than all of its {site.dense_macs} products"
    if site.parts:
        if any(part.parts for part in site.parts):
            yield ".parts have parts"
        if sum(part.dense_macs for part in site.parts) != site.dense_macs:
            yield f".parts are not the {site.dense_macs} products of the whole"


def _of_shape(shape: Shape) -> Iterator[str]:
    if shape.rate is not None and not 0 <= shape.rate <= LARGEST_RATE:
        yield f".rate is {shape.rate}"


def _of_group(group: GroupCount) -> Iterator[str]:
    if group.nonzeros > group.elements:
        yield f" has {group.nonzeros} non-zeros among {group.elements} elements"
    if group.axis not in AXES:
        yield f".axis is {group.axis!r}"


def _of_sent(sent: Sent) -> Iterator[str]:
    if sent.nonzeros > sent.outputs:
        yield f" has {sent.nonzeros} non-zeros among {sent.outputs} values"
    if sent.silent is not None and sent.neurons not in (None, sent.silent.size):
        yield f".silent is of {sent.silent.size} neurons, and there are {sent.neurons}"


_CHECKS: Mapping[type, Callable[[Any], Iterable[str]]] = MappingProxyType(
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

    Args:
        sent: What a file says of what layers sent, as JSON has it.

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
    left = [(value, place)]
    while left:
        value, place = left.pop()
        if isinstance(value, (dict, list)):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            left += [(item, f"{place}.{key}") for key, item in inner]
        elif type(value) is int and not -LARGEST <= value <= LARGEST:
            raise ValueError(f"{place} is beyond 2^63")
        elif type(value) is float and not math.isfinite(value):
            raise ValueError(f"{place} is no finite number")
