"""The records that a measurement stores: plain, immutable, and added up over batches.

A *call site* is one place in a forward pass: the n-th time that a module ran an operation. There is
one record per call site. Records of later batches are added to it, so that its value class, and
with it every count, depends on the data alone and not on how the data was cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from analyzer.facts.sent import Sent
from analyzer.facts.values import Values

__all__ = [
    "AXES",
    "Contraction",
    "Fact",
    "GroupCount",
    "LayerShape",
    "LeftWork",
    "Operand",
    "Shape",
    "SiteKey",
    "Tally",
    "accumulate",
    "accumulate_all",
    "merge",
]

SiteKey = tuple[str | int | bool, ...]
"""Module, operation and call; for a contraction also how many of its operands hold weights."""

AXES = ("temporal", "spatial", "structural")
"""Axes along which activity may be grouped."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One of the two operands of a contraction.

    Attributes:
        parameter: Whether it holds weights. Weights never drive an operation, and their zeros are
            never skipped.
        values: The class of all values that it held.
        elements: Elements read, summed over samples (once for a parameter).
        nonzeros: How many of them were not zero.
        events: Non-zeros, each times its fan-out: the products that it takes part in.
        levels: The same, with each non-zero counted as often as its absolute level; 0 for reals.
    """

    parameter: bool
    values: Values
    elements: int
    nonzeros: int
    events: int
    levels: int

    def join(self, other: Operand) -> tuple[Operand, int, int]:
        """Both operands' facts in one, and the two level factors of the joined step."""
        values, mine, theirs = self.values.join(other.values)
        if self.parameter:
            elements = max(self.elements, other.elements)
            nonzeros = max(self.nonzeros, other.nonzeros)
        else:
            elements = self.elements + other.elements
            nonzeros = self.nonzeros + other.nonzeros
        levels = 0 if values.real else self.levels * mine + other.levels * theirs
        joined = Operand(
            self.parameter, values, elements, nonzeros, self.events + other.events, levels
        )
        return joined, mine, theirs


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The shape of a layer with weights, as far as it does not depend on the input.

    Attributes:
        channels: Output channels.
        fan_out: Weights that an input element is multiplied with, where no border and no stride
            leaves any out.
        groups: Channel groups.
        bias: Whether the module that ran it holds a bias.
    """

    channels: int
    fan_out: int
    groups: int
    bias: bool


@dataclass(frozen=True, slots=True)
class LeftWork:
    """What is left of a layer's work where products with weights that are zero are skipped.

    Attributes:
        dense_macs: Products whose weight is not zero, padding included.
        events: Products of an activation and a weight that are both not zero.
        levels: The same, each as often as the absolute level of the activation; 0 for reals.
    """

    dense_macs: int
    events: int
    levels: int


@dataclass(frozen=True, slots=True)
class Contraction:
    """A linear layer, convolution, matrix product or attention product at one call site.

    Attributes:
        module: Dotted path of the module that ran it, empty for the model itself.
        op: ``linear``, ``conv2d``, ``matmul``, ...
        call: Which of the module's runs of this operation it is in one forward pass, from 0.
        calls: Samples that passed through.
        dense_macs: Multiply-accumulates if nothing is skipped, padding included.
        lhs: The first operand: the activation where the other holds weights.
        rhs: The second operand: weights, or another activation.
        pair_events: Products whose two factors are both non-zero. Of weights with weights it is all
            products but those with padding.
        pair_levels: The same, each counted as often as the product of both levels; 0 where either
            operand holds reals.
        step_elements: Activation elements read in each timestep, None where time is not known.
        step_nonzeros: Non-zeros among them, one figure per timestep.
        repeats: Whether it did the same as the timestep before, with equal operands. Where one call
            site holds all timesteps: whether each but the first did.
        outputs: Elements of the result, None in profiles of the first versions.
        passes: Samples that passed, each counted once per timestep.
        layer: Shape of the layer, None without weights, or where it differed between passes.
        first_read: Whether this is the first contraction to read each operand, of those that the
            model made or holds; None where that is not known.
        step: The timestep that this call belongs to, where a model loops over time and something
            tells; None where nothing does.
        left: What is left of it where zero weights are skipped, where that is less; see
            :attr:`left_work`.
        parts: Where one call holds all timesteps, what it does in each of them, as a call a
            timestep would tell it; None where that is not known.
    """

    module: str
    op: str
    call: int
    calls: int
    dense_macs: int
    lhs: Operand
    rhs: Operand
    pair_events: int
    pair_levels: int
    step_elements: int | None = None
    step_nonzeros: tuple[int, ...] | None = None
    repeats: bool = False
    outputs: int | None = None
    passes: int | None = None
    layer: LayerShape | None = None
    first_read: tuple[bool, ...] | None = None
    left: LeftWork | None = None
    step: int | None = None
    parts: tuple[Contraction, ...] | None = None

    @property
    def classed(self) -> tuple[Contraction, ...]:
        """The parts that have a value class of their own: the timesteps, where these are known.

        A spike may be of another size in each timestep. Where all are of one class, the whole call
        says the same as its timesteps do.
        """
        if self.parts is None or all(o.values.kind in ("zero", "binary") for o in self.activations):
            return (self,)
        own = self.input_class
        return (self,) if all(part.input_class == own for part in self.parts) else self.parts

    @property
    def steps(self) -> int:
        """How many timesteps one call holds; 1 where the model loops over time."""
        if self.step_nonzeros is not None:
            return len(self.step_nonzeros)
        return self.passes // self.calls if self.passes and self.calls else 1

    @property
    def key(self) -> SiteKey:
        """What identifies the call site."""
        return self.module, self.op, self.call, self.lhs.parameter + self.rhs.parameter

    @property
    def activations(self) -> tuple[Operand, ...]:
        """The operands that are not parameters; none where weights meet weights."""
        return tuple(o for o in (self.lhs, self.rhs) if not o.parameter)

    @property
    def weight(self) -> Operand | None:
        """The operand that is a parameter, if one is."""
        return self.rhs if self.rhs.parameter else None

    @property
    def input_class(self) -> str:
        """Value class of the activation, or of both as ``first*second``; empty without any."""
        return "*".join(o.values.kind for o in self.activations)

    @property
    def events(self) -> int:
        """Products that event-driven hardware performs, counted exactly.

        Of a layer they are the events of its activation. Of two activations they are the events of
        the one that holds spikes; where both or neither do, the products of two non-zeros.
        """
        activations = self.activations
        driving = [o for o in activations if o.values.drives]
        if len(driving) == 1:
            return driving[0].events
        return activations[0].events if len(activations) == 1 else self.pair_events

    @property
    def unary_events(self) -> int:
        """Accumulates if a value of level n is sent as n spikes; 0 where no operand has levels."""
        discrete = [o for o in self.activations if not o.values.real]
        if len(discrete) == 2:
            return self.pair_levels
        return discrete[0].levels if discrete else 0

    @property
    def left_work(self) -> LeftWork | None:
        """The work without zero weights; None in profiles of the first versions with such."""
        weight = self.weight
        if self.left is not None:
            return self.left
        if weight is not None and weight.nonzeros < weight.elements and self.dense_macs:
            return None
        return LeftWork(self.dense_macs, self.events, self.unary_events)

    @property
    def first_read_operands(self) -> tuple[Operand, ...]:
        """The activations that the model made and that no contraction before had read."""
        return tuple(o for o in self._sides_read_first if not o.parameter)

    @property
    def first_read_weights(self) -> int:
        """Elements of the weights, 0 where a contraction before had read them."""
        return sum(o.elements for o in self._sides_read_first if o.parameter)

    @property
    def _sides_read_first(self) -> list[Operand]:
        sides = zip((self.lhs, self.rhs), self.first_read or (), strict=False)
        return [operand for operand, first in sides if first]

    def __add__(self, other: Contraction) -> Contraction:
        lhs, mine_l, theirs_l = self.lhs.join(other.lhs)
        rhs, mine_r, theirs_r = self.rhs.join(other.rhs)
        real = lhs.values.real or rhs.values.real
        levels = self.pair_levels * mine_l * mine_r + other.pair_levels * theirs_l * theirs_r
        timed = self.step_nonzeros is not None and other.step_nonzeros is not None
        timed = timed and len(self.step_nonzeros or ()) == len(other.step_nonzeros or ())
        left, some = None, self.left is not None or other.left is not None
        ours, others = (self.left_work, other.left_work) if some else (None, None)
        if ours is not None and others is not None:
            left = LeftWork(
                ours.dense_macs + others.dense_macs,
                ours.events + others.events,
                0 if lhs.values.real else ours.levels * mine_l + others.levels * theirs_l,
            )
        return Contraction(
            module=self.module,
            op=self.op,
            call=self.call,
            calls=self.calls + other.calls,
            dense_macs=self.dense_macs + other.dense_macs,
            lhs=lhs,
            rhs=rhs,
            pair_events=self.pair_events + other.pair_events,
            pair_levels=0 if real else levels,
            step_elements=(self.step_elements or 0) + (other.step_elements or 0) if timed else None,
            step_nonzeros=tuple(
                a + b
                for a, b in zip(self.step_nonzeros or (), other.step_nonzeros or (), strict=True)
            )
            if timed
            else None,
            repeats=self.repeats and other.repeats,
            outputs=_sum(self.outputs, other.outputs),
            passes=_sum(self.passes, other.passes),
            layer=self.layer if self.layer == other.layer else None,
            first_read=self.first_read if self.first_read == other.first_read else None,
            left=left,
            step=self.step if self.step == other.step else None,
            parts=_added(self.parts, other.parts),
        )


def _added(
    a: tuple[Contraction, ...] | None, b: tuple[Contraction, ...] | None
) -> tuple[Contraction, ...] | None:
    """The sums of parts, None where they are not known of both, or are not as many."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(mine + theirs for mine, theirs in zip(a, b, strict=True))


@dataclass(frozen=True, slots=True)
class Shape:
    """Contractions of one module and operation that were counted by shapes, without running them.

    Attributes:
        module: Dotted path of the module.
        op: ``linear``, ``conv2d``, ``matmul``, ...
        calls: Samples that pass, each counted as often as an inference runs the operation.
        dense_macs: Multiply-accumulates if nothing is skipped.
        input_elements: Activation elements read, None where they are not known.
        weight_elements: Elements of the weights, 0 without any.
        rate: Published share of the dense work that spikes cause, None where it is not known. It
            may exceed 1 where spikes are graded.
        driven: Whether spikes drive the operation, None where that is not known.
        outputs: Elements of the results, None where they are not known.
        passes: Samples that pass, each counted once a timestep.
        layer: Shape of the layer, None where it has no weights or is not known.
        first_read_elements: Activation elements that no contraction before had read, None where
            that is not known.
        first_read_weights: Weights that no contraction before had read.
    """

    module: str
    op: str
    calls: int
    dense_macs: int
    input_elements: int | None = None
    weight_elements: int = 0
    rate: float | None = None
    driven: bool | None = None
    outputs: int | None = None
    passes: int | None = None
    layer: LayerShape | None = None
    first_read_elements: int | None = None
    first_read_weights: int | None = None

    @property
    def key(self) -> SiteKey:
        """What identifies the record; whether spikes drive it is part of that."""
        return self.module, self.op, -1 if self.driven is None else int(self.driven)

    def __add__(self, other: Shape) -> Shape:
        """Adds both up; the rate is the mean of both, weighted by dense work."""
        dense = self.dense_macs + other.dense_macs
        known = self.rate is not None and other.rate is not None
        rate = self.rate
        if self.rate != other.rate:
            spikes = (self.rate or 0) * self.dense_macs + (other.rate or 0) * other.dense_macs
            rate = spikes / dense if known and dense else None
        return replace(
            self,
            calls=self.calls + other.calls,
            dense_macs=dense,
            input_elements=_sum(self.input_elements, other.input_elements),
            weight_elements=max(self.weight_elements, other.weight_elements),
            rate=rate,
            outputs=_sum(self.outputs, other.outputs),
            layer=self.layer if self.layer == other.layer else None,
            passes=_sum(self.passes, other.passes),
            first_read_elements=_sum(self.first_read_elements, other.first_read_elements),
            first_read_weights=_sum(self.first_read_weights, other.first_read_weights),
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """Element-wise work of one module and operation, or arithmetic that no rule covers.

    Attributes:
        module: Dotted path of the module that ran it.
        op: Name of the operation, such as ``add`` or ``softmax``.
        calls: Samples that passed through.
        output_elements: Elements of the results.
        adds: Additions of single elements.
        multiplies: Multiplications of single elements.
        compares: Comparisons of single elements.
        specials: Other functions of single elements: exp, div, sqrt and the like.
        folds: Whether it is a batch norm that can be folded into the weights of the layer before.
        state_elements: Elements of neuron state that are read, and as many written, over all
            updates; None in profiles of the first versions.
        state_size: Elements of neuron state that are kept for one sample; None likewise.
    """

    module: str
    op: str
    calls: int
    output_elements: int
    adds: int = 0
    multiplies: int = 0
    compares: int = 0
    specials: int = 0
    folds: bool = False
    state_elements: int | None = None
    state_size: int | None = None

    @property
    def key(self) -> SiteKey:
        """What identifies the record."""
        return self.module, self.op, int(self.folds)

    def times(self, n: int) -> Tally:
        """The same work, done n times."""
        return replace(
            self,
            calls=n * self.calls,
            output_elements=n * self.output_elements,
            adds=n * self.adds,
            multiplies=n * self.multiplies,
            compares=n * self.compares,
            specials=n * self.specials,
            state_elements=None if self.state_elements is None else n * self.state_elements,
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.module,
            self.op,
            self.calls + other.calls,
            self.output_elements + other.output_elements,
            self.adds + other.adds,
            self.multiplies + other.multiplies,
            self.compares + other.compares,
            self.specials + other.specials,
            self.folds,
            _sum(self.state_elements, other.state_elements),
            _most(self.state_size, other.state_size),
        )


def _sum(a: int | None, b: int | None) -> int | None:
    """The sum, None where one of them is not known."""
    return None if a is None or b is None else a + b


def _most(a: int | None, b: int | None) -> int | None:
    """The larger one, None where one of them is not known."""
    return None if a is None or b is None else max(a, b)


@dataclass(frozen=True, slots=True)
class GroupCount:
    """Activity of one group of the input of a module, such as one timestep or one quarter of a map.

    Attributes:
        module: Dotted path of the module whose input it is.
        axis: ``temporal``, ``spatial`` or ``structural``.
        group: Which group along that axis, from 0.
        elements: Elements of the group, summed over samples.
        nonzeros: Non-zeros among them.
    """

    module: str
    axis: str
    group: int
    elements: int
    nonzeros: int

    @property
    def key(self) -> SiteKey:
        """What identifies the group."""
        return self.module, self.axis, self.group

    def __add__(self, other: GroupCount) -> GroupCount:
        return GroupCount(
            self.module,
            self.axis,
            self.group,
            self.elements + other.elements,
            self.nonzeros + other.nonzeros,
        )


Fact = TypeVar("Fact", Contraction, Shape, Tally, GroupCount, Sent)


def accumulate(table: dict[SiteKey, Fact], fact: Fact) -> None:
    """Adds a record to the one of the table that has the same key, or puts it there."""
    key = fact.key
    seen = table.get(key)
    table[key] = fact if seen is None else seen + fact


def accumulate_all(table: dict[SiteKey, Fact], facts: Iterable[Fact]) -> None:
    """Does so with several."""
    for fact in facts:
        accumulate(table, fact)


def merge(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Adds up the records that share a key, in the order in which the keys first came."""
    merged: dict[SiteKey, Fact] = {}
    accumulate_all(merged, facts)
    return tuple(merged.values())
