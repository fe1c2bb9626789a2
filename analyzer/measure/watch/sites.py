"""Call sites of contractions, and the sums of what each was seen to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.facts.records import Contraction, LayerShape, LeftWork, Operand, SiteKey
from analyzer.facts.values import Values
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.geometry import Counted
from analyzer.measure.tensors.scales import Scale
from analyzer.measure.watch.timesteps import ByStep, parts_of

__all__ = ["CallSite", "Observation", "Site", "Sites"]


class CallSite(NamedTuple):
    """The n-th time that a module runs an operation: what is the same in every pass.

    Attributes:
        module: Dotted path of the module that runs it.
        op: What tables call it.
        call: Which time in one pass, from 0.
        weights: Which of its operands hold weights.
        times: How many samples an execution stands for: all of a pass where it is one for all of
            them, else 1.
        reads: How many samples each operand stands for, being an activation that is one for all of
            them; else 1.
        copies: How many equal copies of it each operand is, being weights that were expanded to the
            batch; else 1.
        scales: What each operand was multiplied by that the weights it meets take over.
        steps: Timesteps in the first axis of each operand, 1 where time is not known.
        ordered: Whether it is sure which of time and samples comes first in that axis.
        outputs: Elements of its result.
        layer: The layer that it is, None where not exactly one operand holds weights.
        first_read: Of each operand, whether no contraction before had read it; an activation is
            the first of the two.
        outer: How often the timesteps of each operand come one after another: as often as there
            are samples where these are outermost, else once.
        repeats: Whether it may do again what the timestep before did.
    """

    module: str
    op: str
    call: int
    weights: tuple[bool, bool]
    times: int
    reads: tuple[int, int]
    copies: tuple[int, int]
    scales: tuple[Scale | None, Scale | None]
    steps: tuple[int, int]
    ordered: bool
    outputs: int
    layer: LayerShape | None
    first_read: tuple[bool, bool]
    outer: tuple[int, int] = (1, 1)
    repeats: bool = True


class Observation(NamedTuple):
    """One execution of a contraction.

    Attributes:
        lhs: Statistics of the first operand.
        rhs: Statistics of the second.
        lhs_nonzeros: Non-zeros of the first operand, which for attention weights no tensor shows.
        counted: Its work.
        step_elements: Activation elements read in each timestep, None where time is not known.
        step_nonzeros: int64, non-zeros in each timestep.
        by_step: What it did in each timestep, None where that is not known.
        repeats: Whether it did again, with the same operands, what the timestep before did.
    """

    lhs: Activity
    rhs: Activity
    lhs_nonzeros: int
    counted: Counted
    step_elements: int | None
    step_nonzeros: NDArray[np.int64] | None
    by_step: ByStep | None
    repeats: bool

    def swapped(self) -> Observation:
        """The same with its operands in the other order."""
        dense, lhs_events, lhs_levels, rhs_events, rhs_levels, *pairs = self.counted
        return self._replace(
            lhs=self.rhs,
            rhs=self.lhs,
            lhs_nonzeros=self.rhs.nonzeros,
            by_step=None if self.by_step is None else self.by_step.swapped(),
            counted=Counted(dense, rhs_events, rhs_levels, lhs_events, lhs_levels, *pairs),
        )


class Site:
    """What one call site did, summed over passes.

    While the value classes of both operands stay what they were, only integers are added; where
    one changes, the sums so far are joined with what follows.
    """

    __slots__ = (
        "_at", "_by_step", "_classes", "_fact", "_repeats", "_steps", "_sums", "_weights",
    )  # fmt: skip

    def __init__(self, at: CallSite) -> None:
        self._at = at
        self._weights = (all(at.weights), any(at.weights))
        self._fact: Contraction | None = None
        self._classes: tuple[Values, Values] | None = None
        self._sums: list[int] = []
        self._steps: tuple[int, Any] | None = None
        self._by_step: ByStep | None = None
        self._repeats = True

    def add(self, at: CallSite, seen: Observation, samples: int) -> None:
        """Adds one execution over a number of samples."""
        lhs, rhs, lhs_nonzeros, counted, step_elements, step_nonzeros, by_step, repeats = seen
        steps = None if step_nonzeros is None else (step_elements or 0, step_nonzeros)
        read = [lhs.elements, lhs_nonzeros, rhs.elements, rhs.nonzeros]
        if at.reads != (1, 1) or at.copies != (1, 1):
            sides = (1, 0) if at.weights == (True, False) else (0, 1)
            for position in range(4):
                side = sides[position // 2]
                read[position] = read[position] * at.reads[side] // at.copies[side]
        figures = (samples, at.outputs, samples * max(at.steps), *read, *counted)
        known = self._classes
        same = known is not None and known[0] is lhs.values and known[1] is rhs.values
        same = same and self._at.layer == at.layer and self._at.first_read == at.first_read
        same = same and _alike(self._by_step, by_step)
        if not (same and (steps is None) == (self._steps is None)):
            self._settle()
            self._classes, self._sums, self._steps = (lhs.values, rhs.values), list(figures), steps
            self._repeats, self._at, self._by_step = repeats, at, by_step
            return
        sums = [a + b for a, b in zip(self._sums, figures, strict=True)]
        for position, weight in ((3, self._weights[0]), (5, self._weights[1])):
            if weight:  # one and the same, however often it is read
                sums[position : position + 2] = map(
                    max, self._sums[position : position + 2], figures[position : position + 2]
                )
        self._sums = sums
        self._repeats = self._repeats and repeats
        if steps is not None and self._steps is not None:
            self._steps = (self._steps[0] + (step_elements or 0), self._steps[1] + step_nonzeros)
        if by_step is not None and self._by_step is not None:
            self._by_step += by_step

    def fact(self) -> Contraction:
        """All that was added."""
        self._settle()
        assert self._fact is not None
        return self._fact

    def _settle(self) -> None:
        if self._classes is None:
            return
        calls, outputs, passes, l_el, l_nz, r_el, r_nz, dense, *work = self._sums
        l_ev, l_lv, r_ev, r_lv, pairs, pair_levels, *left_work = work
        (left, right), (lhs_weight, rhs_weight) = self._classes, self._weights
        whole = [dense, pairs, 0] if lhs_weight else [dense, l_ev, l_lv]
        fact = Contraction(
            module=self._at.module,
            op=self._at.op,
            call=self._at.call,
            calls=calls,
            dense_macs=dense,
            lhs=Operand(lhs_weight, left, l_el, l_nz, l_ev, l_lv),
            rhs=Operand(rhs_weight, right, r_el, r_nz, r_ev, r_lv),
            pair_events=pairs,
            pair_levels=pair_levels,
            step_elements=None if self._steps is None else self._steps[0],
            step_nonzeros=None if self._steps is None else tuple(self._steps[1].tolist()),
            repeats=self._repeats,
            outputs=outputs,
            passes=passes,
            layer=self._at.layer,
            first_read=self._at.first_read,
            left=LeftWork(*left_work) if rhs_weight and left_work != whole else None,
        )
        if self._by_step is not None:
            fact = replace(fact, parts=parts_of(fact, self._by_step))
        self._fact = fact if self._fact is None else self._fact + fact
        self._classes = None


def _alike(a: ByStep | None, b: ByStep | None) -> bool:
    """Whether the figures of two add up as they are."""
    if a is None or b is None:
        return a is b
    return a.values == b.values


class Sites:
    """The sums of all call sites of a model, in the order in which they first ran.

    Attributes:
        alone: Sums of one pass, where that is wanted on its own as well; None elsewhere.
    """

    def __init__(self) -> None:
        self.alone: Sites | None = None
        self._sites: dict[SiteKey, Site] = {}
        self._steps: dict[tuple[str, str, int], int | None] = {}

    def timed(self, module: str, op: str, steps: Sequence[int]) -> None:
        """Says to which timestep each call of an operation in a module belongs."""
        for call, step in enumerate(steps):
            key = (module, op, call)
            self._steps[key] = step if self._steps.get(key, step) == step else None

    def add(self, at: CallSite, seen: Observation, samples: int) -> None:
        """Adds one execution at a call site over a number of samples."""
        if self.alone is not None:
            self.alone.add(at, seen, samples)
        key = (at.module, at.op, at.call, at.weights[0] + at.weights[1])
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = Site(at)
        site.add(at, seen, samples)

    def forget(self) -> None:
        """Forgets what they did so far, not to which timesteps calls belong."""
        self._sites.clear()

    def facts(self) -> Iterable[Contraction]:
        """What all of them did."""
        for key, site in self._sites.items():
            step = self._steps.get((str(key[0]), str(key[1]), int(key[2])))
            yield site.fact() if step is None else replace(site.fact(), step=step)
