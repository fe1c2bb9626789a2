"""What a fully watched pass leaves for later ones: its contractions, and how to find each again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from analyzer.facts.records import Tally
from analyzer.measure.rules.geometry import Geometry, Keep
from analyzer.measure.rules.products import Product
from analyzer.measure.watch.sent import Place
from analyzer.measure.watch.sites import CallSite

__all__ = ["Direct", "Event", "Plan", "Planned", "direct_of", "event", "with_repeats"]

Event = tuple[Any, ...]
"""Tells operations apart: the overload, and shape and dtype of each tensor it was given."""


class Direct(NamedTuple):
    """An operation that is one contraction of two of its arguments as they are.

    Attributes:
        func: The operation.
        number: How many positional arguments it is given.
        lhs: Position of the first operand.
        rhs: Position of the second.
        rest: The arguments that are no tensors, by position.
        op: Kind of the contraction.
        geometry: How the operands meet, which follows from shapes and these.
    """

    func: Any
    number: int
    lhs: int
    rhs: int
    rest: tuple[tuple[int, Any], ...]
    op: str
    geometry: Geometry

    def fits(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether an operation is this one, with the same settings."""
        same = func is self.func and len(args) == self.number
        return same and all(args[at] == setting for at, setting in self.rest)

    def product(self, args: tuple[Any, ...]) -> Product:
        """The contraction of some arguments."""
        return Product(self.op, args[self.lhs], args[self.rhs], self.geometry)


class Planned(NamedTuple):
    """A contraction that the next pass of the same shapes will run again.

    Attributes:
        like: What it must be like to be this one: kind, shapes, dtype and geometry.
        at: Where it runs.
        reals: Of each operand, whether it held reals, none of them zero.
        keep: Axes of its operands along which non-zeros are counted apart.
        direct: How to find it without a rule, where it is as simple as that.
    """

    like: tuple[Any, ...]
    at: CallSite
    reals: tuple[bool, bool]
    keep: tuple[Keep, Keep]
    direct: Direct | None

    @staticmethod
    def kind_of(product: Product) -> tuple[Any, ...]:
        """What a contraction looks like."""
        geometry = None if product.implicit else product.geometry  # a mask can not be compared
        return product.op, product.lhs.shape, product.rhs.shape, product.lhs.dtype, geometry


@dataclass(slots=True)
class Plan:
    """What a pass over inputs of certain shapes does.

    Attributes:
        contractions: In order.
        trail: The modules that run, in order.
        grouped: Where in it activity is counted by groups, and the path of the module there.
        sent: Where in it spiking layers run, and how the output of each lies.
        tallies: Element-wise work of one pass, which follows from shapes alone.
        uncounted: Arithmetic of one pass that no rule covers.
        handed: How often work was handed to other threads, which ran no operation.
        passes: How many passes followed it.
    """

    contractions: list[Planned]
    trail: list[int]
    grouped: dict[int, str]
    sent: dict[int, Place]
    tallies: tuple[Tally, ...]
    uncounted: tuple[Tally, ...]
    handed: int
    passes: int = 0


def with_repeats(planned: Sequence[Planned]) -> list[Planned]:
    """The contractions of a pass; at sites that repeat also the first call may repeat.

    It is what the others are held against.
    """
    again = {(p.at.module, p.at.op) for p in planned if p.at.repeats}
    return [
        p._replace(at=p.at._replace(repeats=True)) if (p.at.module, p.at.op) in again else p
        for p in planned
    ]


def event(func: Any, args: tuple[Any, ...]) -> Event:
    """What identifies one execution of an operation."""
    return (func, *((_shape(x), x.dtype) for x in args if isinstance(x, Tensor)))


def direct_of(func: Any, args: tuple[Any, ...], found: Sequence[Product]) -> Direct | None:
    """How to find an operation's contraction again, where that needs no rule."""
    if len(found) != 1 or found[0].implicit:
        return None
    where = [
        next((i for i, arg in enumerate(args) if arg is operand), None)
        for operand in (found[0].lhs, found[0].rhs)
    ]
    if where[0] is None or where[1] is None:
        return None
    rest = tuple((i, arg) for i, arg in enumerate(args) if not isinstance(arg, Tensor))
    return Direct(func, len(args), where[0], where[1], rest, found[0].op, found[0].geometry)


def _shape(x: Tensor) -> tuple[Any, ...]:
    """The shape of a tensor; of a nested one, those of all it holds."""
    return tuple(part.shape for part in x.unbind()) if x.is_nested else tuple(x.shape)
