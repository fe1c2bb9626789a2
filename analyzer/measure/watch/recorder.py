"""Counts passes: each new shape of input under the auditor, the rest by the cheap way."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from analyzer.facts.records import Contraction, SiteKey, Tally, accumulate
from analyzer.measure.layouts import Layouts
from analyzer.measure.neurons.state import is_spiking
from analyzer.measure.rules.defaults import Rules
from analyzer.measure.watch.dispatch import FullPass, Run, execute
from analyzer.measure.watch.modules import RunningModules
from analyzer.measure.watch.observe import Observer
from analyzer.measure.watch.provenance import Provenance
from analyzer.measure.watch.replay import Plan, Replay
from analyzer.measure.watch.restore import Guard, StateSnapshot, random_state
from analyzer.measure.watch.sites import Sites

__all__ = ["Recorder"]


class Recorder:
    """Counts the operations of a model's forward passes.

    The first pass over inputs of each shape runs under a dispatch mode that sees everything, and
    under a tap that sees contractions only. Where both saw the same ones, and the pass left the
    model's own state and its inputs alone, later passes of that shape run under the tap alone:
    element-wise work follows from shapes. A pass that turns out to go another way than the audited
    one is run again, audited.

    Args:
        model: The model; nothing is written on it.
        rules: What is counted how.
        layouts: Axes of tensors.
        guard: Copies what is about to be overwritten.
        always: Whether to audit every pass.
        observer: Reads operands; one of its own by default.
        run: Executes operations of audited passes.

    Attributes:
        audited: Passes that ran under the auditor.
        replayed: Passes that ran the cheap way.
        strayed: Passes that went another way than planned and ran twice.
        memory: Bytes of neuron state and of activations a sample, as the first pass showed them.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Rules,
        layouts: Layouts,
        guard: Guard,
        *,
        always: bool = False,
        observer: Observer | None = None,
        run: Run = execute,
    ) -> None:
        self.audited = self.replayed = self.strayed = 0
        self.memory: dict[str, int] = {}
        self._model = model
        self._rules = rules
        self._layouts = layouts
        self._guard = guard
        self._always = always
        self._execute = run
        self._observer = observer or Observer(layouts.timesteps)
        self._stack = RunningModules(model, layouts)
        self._provenance = Provenance(model)
        self._sites = Sites()
        self._plans: dict[Hashable, Plan] = {}
        self._tallies: dict[SiteKey, Tally] = {}
        self._uncounted: dict[SiteKey, Tally] = {}
        self._tapped = tuple(
            name if "::" in name else f"aten::{name}" for name in (*rules.products, *rules.fused)
        )

    @property
    def passes(self) -> dict[str, int]:
        """How many passes were audited, how many followed a plan, and how many left theirs."""
        return {"audited": self.audited, "replayed": self.replayed, "strayed": self.strayed}

    @property
    def contractions(self) -> Iterable[Contraction]:
        """Facts so far, one per site."""
        return self._sites.facts()

    @property
    def tallies(self) -> Iterable[Tally]:
        """Element-wise work so far."""
        return self._summed(self._tallies, lambda plan: plan.tallies)

    @property
    def uncounted(self) -> Iterable[Tally]:
        """Arithmetic so far that no rule covers."""
        return self._summed(self._uncounted, lambda plan: plan.uncounted)

    def run(
        self, forward: Callable[[], Any], ready: Callable[[], object], samples: int, inputs: Any
    ) -> Any:
        """Runs and counts one forward pass.

        Args:
            forward: Runs the model and returns its output.
            ready: Called before each forward: resets neuron state.
            samples: How many samples pass.
            inputs: What the model is given; passes over inputs of the same shapes are alike.
        """
        key = (samples, *_shapes(inputs))
        plan = None if self._always else self._plans.get(key)
        if plan is not None:
            back = random_state() if plan.random else None
            output, done = self._replay(plan, forward, ready, samples)
            if done:
                return output
            del output
            self.strayed += 1
            self._always = True
            if back is not None:
                back()
        return self._audit(key, forward, ready, samples, inputs)

    def _replay(
        self, plan: Plan, forward: Callable[[], Any], ready: Callable[[], object], samples: int
    ) -> tuple[Any, bool]:
        ready()
        self._begin(samples)
        replay = Replay(plan, self._rules, self._tapped, self._observer, self._stack, samples)
        with replay.running():
            output = forward()
        done = replay.commit()
        if done:
            self.replayed += 1
            self._layouts.commit()
        return output, done

    def _audit(
        self,
        key: Hashable,
        forward: Callable[[], Any],
        ready: Callable[[], object],
        samples: int,
        inputs: Any,
    ) -> Any:
        with self._guard:
            ready()
        before = None if self._always else StateSnapshot(self._model, is_spiking)
        self._begin(samples)
        audit = FullPass(
            self._rules,
            self._tapped,
            self._observer,
            self._layouts,
            self._stack,
            self._provenance,
            self._guard,
            self._sites,
            samples,
            inputs,
            (*self._model.parameters(), *self._model.buffers()),
            self._execute,
        )
        with audit.running():
            output = forward()
        self.audited += 1
        if samples and not self.memory:
            self.memory = {
                "neuron_state_bytes": sum(audit.state_bytes.values()) // samples,
                "activations_bytes": audit.activations.written // samples,
                "peak_activations_bytes": audit.activations.peak // samples,
            }
        self._layouts.commit()
        for table, found in ((self._tallies, audit.tallies), (self._uncounted, audit.uncounted)):
            for tally in found.values():
                accumulate(table, tally)
        if before is not None and audit.certain and not before.changed():
            self._plans[key] = Plan.of(audit, self._stack)
        return output

    def _begin(self, samples: int) -> None:
        self._observer.begin(samples)
        self._observer.activities.begin(self._provenance.weights)

    def _summed(
        self, table: dict[SiteKey, Tally], of: Callable[[Plan], Iterable[Tally]]
    ) -> Iterable[Tally]:
        summed = dict(table)
        for plan in self._plans.values():
            for tally in of(plan) if plan.passes else ():
                accumulate(summed, tally.times(plan.passes))
        return summed.values()


def _shapes(inputs: Any) -> tuple[Hashable, ...]:
    """What makes two inputs alike: their structure, and shape, dtype and device of each tensor."""
    leaves, structure = tree_flatten(inputs)
    return (
        str(structure),
        *(
            (leaf.shape, leaf.stride(), leaf.dtype, leaf.device)
            if isinstance(leaf, Tensor)
            else repr(leaf)
            for leaf in leaves
        ),
    )
