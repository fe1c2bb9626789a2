"""What brute force makes of one contraction: of all of it, and of each timestep that it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from analyzer.verification.operands import (
    SPIKES,
    at_timesteps,
    levels,
    nonzeros,
    ones,
    value_class,
)

__all__ = ["Kind", "Operation", "Seen", "Total"]

Kind = Literal["convolution", "product"]
Total = Callable[[Tensor, Tensor], int]
"""An operation on two operands, summed over its output."""

Cut = tuple[int, int]
"""Timesteps on the first axis of an operand, and how often they follow one another."""


@dataclass(frozen=True)
class Seen:
    """One contraction.

    Attributes:
        module: Canonical path of the module that ran it.
        kind: ``convolution`` or ``product`` (of matrices or vectors).
        input_class: Value class of the activation, or of both as ``first*second``.
        dense: Multiply-accumulates when nothing is zero.
        events: Products that event-driven hardware performs.
        unary: Accumulates if levels are sent as unit spikes.
        elements: Elements of its activations.
        nonzeros: How many of these are not zero.
        constant: Whether neither operand depends on the input.
        step: The timestep that it belongs to, where the model loops over time and this is told.
        reads: Where it holds all timesteps, elements and non-zeros of the activations that do, in
            each; None where time is no axis of any.
        parts: Where it holds all timesteps, what it does in each of them; None where its work does
            not come apart.
    """

    module: str
    kind: Kind
    input_class: str
    dense: int
    events: int
    unary: int
    elements: int
    nonzeros: int
    constant: bool = False
    step: int | None = None
    reads: tuple[tuple[int, int], ...] | None = None
    parts: tuple[Seen, ...] | None = None


@dataclass(frozen=True)
class Operation:
    """One contraction.

    Attributes:
        module: Canonical path of the module that runs it.
        kind: What it is.
        run: Runs it on two float64 operands.
        dense: Its dense work on operands of some shapes.
        active: Which of its operands are activations.
        softmax: Whether the first holds the weights of attention, which have no values to read.
    """

    module: str
    kind: Kind
    run: Total
    dense: Total
    active: tuple[int, ...]
    softmax: bool = False

    def seen(self, sides: tuple[Tensor, Tensor]) -> Seen:
        """Counts it on two operands."""
        active = self.active
        classes = {i: value_class(sides[i]) for i in active}
        if self.softmax:
            classes[0] = ("real", 0.0)
        full = [ones(side) for side in sides]
        masks = [nonzeros(side) if i in active else full[i] for i, side in enumerate(sides)]
        driving = tuple(i for i in active if classes[i][0] in SPIKES)
        counted = driving if len(driving) == 1 else active
        events = self.run(*(masks[i] if i in counted else full[i] for i in (0, 1)))
        discrete = tuple(i for i in active if classes[i][0] != "real")
        unary = 0
        if discrete and discrete == counted and all(classes[i][0] in SPIKES for i in discrete):
            unary = events
        elif discrete:
            by_level = [
                levels(side, classes[i][1]) if i in discrete else full[i]
                for i, side in enumerate(sides)
            ]
            unary = self.run(*by_level)
        return Seen(
            module=self.module,
            kind=self.kind,
            input_class="*".join(classes[i][0] for i in active),
            dense=self.dense(*sides),
            events=events,
            unary=unary,
            elements=sum(sides[i].numel() for i in active),
            nonzeros=sum(int(masks[i].sum()) for i in active),
        )

    def over_time(
        self, sides: tuple[Tensor, Tensor], cut_of: Callable[[Kind, Tensor], Cut | None]
    ) -> Seen:
        """Counts it on two operands, and in each timestep where these hold time.

        Args:
            sides: The operands.
            cut_of: Tells where time is on the first axis of an operand, None where it is not.
        """
        whole = self.seen(sides)
        batched = self.kind == "product" and sides[0].ndim > 2
        visible = [i for i in self.active if not (self.softmax and i == 0)]
        # Two matrices may lie either way, so only the rows of one that meets weights are time; and
        # the first axis of a kernel counts channels.
        rows = self.kind == "convolution" or self.active == (0,)
        may = [i for i in visible if batched or (i == 0 and rows)]
        cuts = {i: cut for i in may if (cut := cut_of(self.kind, sides[i])) is not None}
        if not cuts:
            return whole
        timed = zip(*(at_timesteps(sides[i], *cut) for i, cut in cuts.items()), strict=True)
        reads = tuple(
            (sum(x.numel() for x in some), sum(int((x != 0).sum()) for x in some)) for some in timed
        )
        whole = replace(whole, reads=reads)
        cut, *others = {*cuts.values()}
        comes_apart = self.active == (0,) or (batched and len(sides[0]) == len(sides[1]))
        if others or len(cuts) < len(visible) or not comes_apart:
            return whole
        by_step = [
            at_timesteps(side, *cut) if batched or i == 0 else [side] * cut[0]
            for i, side in enumerate(sides)
        ]
        pairs = zip(*by_step, strict=True)
        return replace(whole, parts=tuple(self.seen((a, b)) for a, b in pairs))
