"""What an audited pass leaves for later ones: its contractions, and how to find each again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.geometry import Geometry, Keep, MatMul
from analyzer.measure.rules.products import Product
from analyzer.measure.watch.observe import CachedOperand, CallSite
from analyzer.measure.watch.sites import Layer, Observation, Site

__all__ = ["Direct", "Event", "Planned", "direct_of", "event"]

Event = tuple[Any, ...]
"""Tells operations apart: the overload, and shape and dtype of each tensor it was given."""


class Direct(NamedTuple):
    """An operation that is one contraction of two of its arguments as they are.

    Attributes:
        func: The operation.
        lhs: Position of the first operand.
        rhs: Position of the second.
        rest: The arguments that are no tensors, by position.
        op: Kind of the contraction.
        geometry: How the operands meet, which follows from shapes and these.
    """

    func: Any
    lhs: int
    rhs: int
    rest: tuple[tuple[int, Any], ...]
    op: str
    geometry: Geometry

    def fits(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether an operation is this one, with the same settings."""
        return func is self.func and all(args[at] == setting for at, setting in self.rest)

    def product(self, args: tuple[Any, ...]) -> Product:
        """The contraction of some arguments."""
        return Product(self.op, args[self.lhs], args[self.rhs], self.geometry)


class Planned(NamedTuple):
    """A contraction that the next pass of the same shapes will run again.

    Attributes:
        like: What it looks like: kind, shapes, dtype.
        role: What it is in the model.
        site: Where its facts go.
        layer: What its shapes tell.
        hints: What is known of its operands.
        keeps: Axes of its operands along which non-zeros are counted apart.
        direct: How to find it without a rule, where it is as simple as that.
        known: What was seen of it, where weights and reals without a zero show the same each time.
        stands: Shapes without values, which its operands may be once their statistics are known.
        waits: Whether its operands are never overwritten, and so may be read some time later.
    """

    like: tuple[Any, ...]
    role: CallSite
    site: Site
    layer: Layer
    hints: tuple[CachedOperand | None, CachedOperand | None]
    keeps: tuple[Keep, Keep]
    direct: Direct | None
    known: Observation | None
    stands: tuple[Tensor, Tensor] | None = None
    waits: bool = True

    def finished(self, alone: tuple[bool, ...], *, waits: bool) -> Planned:
        """With all that is made when the pass has ended.

        Not before: what is small and lasts, among large tensors that come and go, breaks memory up
        into pieces that nothing large fits into.

        Args:
            alone: Of each operand, whether no other contraction reads it.
            waits: Whether none is overwritten.
        """
        hints = []
        for at, hint in enumerate(self.hints):
            if hint is not None:
                look = hint.lie.look(self.keeps[at], self.role.steps[at], reals=hint.reals)
                hint = hint._replace(look=look, alone=alone[at])
            hints.append(hint)
        left, right = hints
        lasts = left is not None and left.lasts and right is not None and right.lasts
        stands = left and right and (left.lie.stand(), right.lie.stand())
        return self._replace(
            hints=(left, right), known=self.known if lasts else None, stands=stands, waits=waits
        )

    def shows_again(self, product: Product) -> bool:
        """Whether it is known to show what it showed, where that may be known."""
        left, right = self.hints
        return bool(left and right and left.holds(product.lhs) and right.holds(product.rhs))

    def without_values(
        self, product: Product, activities: tuple[Activity, Activity]
    ) -> Product | None:
        """The contraction with nothing but shapes, if statistics of its operands know the rest."""
        weights, geometry = self.role.weights, product.geometry
        if self.stands is None or product.implicit or self.role.repeats or all(weights):
            return None
        if not (any(weights) or isinstance(geometry, MatMul)):  # meet as only values show
            return None
        for at, operand in enumerate((product.lhs, product.rhs)):
            stand, step = self.stands[at], self.role.steps[at]
            known = activities[at].knows(stand, self.keeps[at], step)
            if not known or operand.stride() != stand.stride():
                return None
        return Product(product.op, *self.stands, geometry)

    @staticmethod
    def kind_of(product: Product) -> tuple[Any, ...]:
        """What a contraction looks like."""
        return product.op, product.lhs.shape, product.rhs.shape, product.lhs.dtype


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
    return Direct(func, where[0], where[1], rest, found[0].op, found[0].geometry)


def _shape(x: Tensor) -> tuple[Any, ...]:
    """The shape of a tensor; of a nested one, those of all it holds."""
    return tuple(part.shape for part in x.unbind()) if x.is_nested else tuple(x.shape)
