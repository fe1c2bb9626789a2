"""The facts a measurement stores: plain, immutable, and additive over data.

A *site* is one place in one forward pass: the n-th time that a module ran an operation. What a
site has seen is joined over all batches, so its value class, and with it every count, depends on
the data alone and not on how the data was cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from analyzer.facts.values import Values

__all__ = [
    "AXES",
    "Contraction",
    "GroupCount",
    "LayerShape",
    "Operand",
    "Shape",
    "SiteKey",
    "Tally",
    "accumulate",
    "merge",
]

SiteKey = tuple[str | int | bool, ...]
"""Module, operation and call; for a contraction also how many of its operands hold weights."""

AXES = ("temporal", "spatial", "structural")
"""What activity may be grouped along."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of a contraction.

    Attributes:
        parameter: Whether it holds weights: those never drive and their zeros are never skipped.
        values: Joined value class.
        elements: Elements read, summed over samples (once for a parameter).
        nonzeros: How many of them were not zero.
        events: Products with this operand's non-zeros: each times its fan-out.
        levels: The same with each value's absolute level instead of one; 0 for reals.
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
    """The layer that a site is, as far as it does not grow with the data.

    Attributes:
        channels: Output channels.
        fan_out: Weights that an input element meets where no border and no stride leaves any out.
        groups: Channel groups.
        bias: Whether the module that ran it holds a bias.
    """

    channels: int
    fan_out: int
    groups: int
    bias: bool


@dataclass(frozen=True, slots=True)
class Contraction:
    """A linear, convolution, matrix product or attention product at one site.

    Attributes:
        module: Dotted path of the module that ran it, empty for the model itself.
        op: ``linear``, ``conv2d``, ``matmul``, ...
        call: Which time this was in one forward pass, from 0.
        calls: Samples that passed through.
        dense_macs: Multiply-accumulates when nothing is zero, padding included.
        lhs: The first operand: the activation where the other holds weights.
        rhs: The second: weights, or another activation.
        pair_events: Products whose two factors are both non-zero; of weights with weights all,
            padding left out.
        pair_levels: The same, each weighted by both levels; 0 where either is real.
        step_elements: Activation elements read in each timestep, None where time is not known.
        step_nonzeros: Non-zeros among them, one figure per timestep.
        repeats: Whether it only did again what the timestep before did, with the same operands: at
            a site that holds all timesteps, in each but the first.
        outputs: Elements of the result, None in profiles of the first versions.
        passes: Samples that passed, each counted once a timestep.
        layer: Shape of the layer, None without weights, or where it differed between passes.
        first_read: Whether this is the first contraction to read each operand, of those that the
            model made or holds; None where that is not known.
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

    @property
    def key(self) -> SiteKey:
        """What identifies the site."""
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
        """Products that event-driven hardware performs, exactly."""
        activations = self.activations
        driving = [o for o in activations if o.values.drives]
        if len(driving) == 1:
            return driving[0].events
        return activations[0].events if len(activations) == 1 else self.pair_events

    @property
    def unary_events(self) -> int:
        """Accumulates if every level is sent as unit spikes; 0 where no operand has levels."""
        discrete = [o for o in self.activations if not o.values.real]
        if len(discrete) == 2:
            return self.pair_levels
        return discrete[0].levels if discrete else 0

    @property
    def first_read_operands(self) -> tuple[Operand, ...]:
        """Its activations that no contraction before had read, and that the model made."""
        return tuple(o for o in self._sides_read_first if not o.parameter)

    @property
    def first_read_weights(self) -> int:
        """Elements of its weights, if no contraction before had read them."""
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
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """Contractions of one module and operation of which shapes are known, and nothing was run.

    Attributes:
        module: Dotted path of the module.
        op: ``linear``, ``conv2d``, ``matmul``, ...
        calls: Samples that pass, each as often as an inference runs the operation.
        dense_macs: Multiply-accumulates when nothing is zero.
        input_elements: Activation elements read, None where they are not known.
        weight_elements: Elements of the weights, 0 without any.
        rate: Published share of the dense work that spikes cause, None where it is not known. Sums
            of graded spikes may exceed 1.
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
        """What identifies the row; what drives it is part of that."""
        return self.module, self.op, -1 if self.driven is None else int(self.driven)

    def __add__(self, other: Shape) -> Shape:
        """Both in one; rates are weighted by the work that they are shares of."""
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
    """Work of one kind that is no contraction, or that no rule covers, summed per module.

    ``adds``, ``multiplies``, ``compares`` and ``specials`` (exp, div, sqrt and the like) are
    operations on single elements; ``output_elements`` says how large the results were. ``folds``
    marks a batch norm that can be folded into the weights of the layer before it.
    ``state_elements`` is how many figures of state neurons read, and wrote, from one update to the
    next, ``state_size`` how many they keep for one sample; None in profiles of the first versions.
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
        """What identifies the row."""
        return self.module, self.op, int(self.folds)

    def times(self, n: int) -> Tally:
        """The same work done n times."""
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
        return replace(
            self,
            calls=self.calls + other.calls,
            output_elements=self.output_elements + other.output_elements,
            adds=self.adds + other.adds,
            multiplies=self.multiplies + other.multiplies,
            compares=self.compares + other.compares,
            specials=self.specials + other.specials,
            state_elements=_sum(self.state_elements, other.state_elements),
            state_size=_most(self.state_size, other.state_size),
        )


def _sum(a: int | None, b: int | None) -> int | None:
    """The sum, if both are known."""
    return None if a is None or b is None else a + b


def _most(a: int | None, b: int | None) -> int | None:
    """The larger, if both are known."""
    return None if a is None or b is None else max(a, b)


@dataclass(frozen=True, slots=True)
class GroupCount:
    """Activity of one group of a module's input.

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
        return replace(
            self,
            elements=self.elements + other.elements,
            nonzeros=self.nonzeros + other.nonzeros,
        )


Fact = TypeVar("Fact", Contraction, Shape, Tally, GroupCount)


def accumulate(table: dict[SiteKey, Fact], fact: Fact) -> None:
    """Adds a fact to a table, to the one with its key if there is one."""
    seen = table.get(fact.key)
    table[fact.key] = fact if seen is None else seen + fact


def merge(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Adds up the facts that share a key, in the order in which the keys first came."""
    merged: dict[SiteKey, Fact] = {}
    for fact in facts:
        accumulate(merged, fact)
    return tuple(merged.values())
