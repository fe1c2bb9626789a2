"""Counts a model's forward passes: each new shape of input watched in full, the rest by plan."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import undo_all
from analyzer.facts.layers import Layer
from analyzer.facts.records import Contraction, GroupCount, SiteKey, Tally, accumulate
from analyzer.facts.sent import Sent
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.neurons.state import is_reset, is_spiking
from analyzer.measure.rules.defaults import Rules
from analyzer.measure.tensors.held import Guard, Held
from analyzer.measure.tensors.randomness import random_numbers_of_python, random_state
from analyzer.measure.tensors.restore import Snapshot, undo_of
from analyzer.measure.torch_private.modes import pushed
from analyzer.measure.torch_private.trees import tree_flatten
from analyzer.measure.watch.context import Context, Run
from analyzer.measure.watch.dispatch import FullPass
from analyzer.measure.watch.observe import Observer
from analyzer.measure.watch.plan import Plan, with_repeats
from analyzer.measure.watch.replay import Replay
from analyzer.measure.watch.sites import Sites
from analyzer.measure.watch.tap import hooks_work
from analyzer.measure.watch.watchable import check_watchable

__all__ = ["Recorder"]


class Recorder:
    """Counts the operations of a model's forward passes.

    The first pass over inputs of each shape runs under a dispatch mode that sees everything, and
    under a hook that sees contractions only. Where both saw the same ones, and the pass left the
    model's own state and its inputs alone, later passes of that shape run under the hook alone:
    element-wise work follows from shapes. A pass that turns out to go another way, or that changes
    the model, is undone and run again, watched in full, as are all passes after it.

    Args:
        model: The model; nothing is written on it.
        rules: What is counted how.
        layouts: Axes of tensors.
        guard: Copies what is about to be overwritten.
        always: Whether to watch every pass in full.
        resets: Whether known spiking modules are reset before each pass, so that no pass begins
            with a state of theirs.
        observer: Reads operands; one of its own by default.
        run: Gives the results of operations in place of PyTorch, in passes watched in full.
        apart: Whether each pass is kept on its own, too, until the next.

    Attributes:
        memory: Bytes of neuron state and of activations a sample, as the first pass showed them.
        unknown_neurons: Modules that fire by a threshold and are neurons of no known kind.
        turned: The two leading axes of tensors before and after one of them moved: their lengths.
        leading: The two leading axes of all views.
        looped: Those of tensors that neurons of no known kind read place by place.
        last: Contractions and element-wise work of the last pass, where ``apart``; else None.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Rules,
        layouts: Layouts,
        guard: Guard,
        *,
        always: bool = False,
        resets: bool = True,
        observer: Observer | None = None,
        run: Run | None = None,
        apart: bool = False,
    ) -> None:
        check_watchable(model, computes=run is None)
        self.memory: dict[str, int] = {}
        self.unknown_neurons: dict[str, None] = {}
        self.turned: set[tuple[int, ...]] = set()
        self.leading: set[tuple[int, ...]] = set()
        self.looped: set[tuple[int, ...]] = set()
        self._full = self._replayed = self._missed = 0
        self.last: tuple[tuple[Contraction, ...], tuple[Tally, ...]] | None = None
        self._apart = apart
        self._model = model
        self._resets = resets
        self._closed = is_reset if resets else is_spiking
        self._always = always or not hooks_work()
        self._context = Context(model, rules, layouts, guard, observer, run)
        self._plans: dict[Hashable, Plan] = {}
        self._undo: Snapshot | None = None
        self._tallies: dict[SiteKey, Tally] = {}
        self._uncounted: dict[SiteKey, Tally] = {}

    @property
    def passes(self) -> dict[str, Any]:
        """How many passes were watched in full, how many followed a plan, how many missed theirs.

        It also says where this PyTorch has no dispatcher hook, so that all were watched in full.
        """
        found: dict[str, Any] = {
            "full": self._full,
            "replayed": self._replayed,
            "missed": self._missed,
        }
        return found if hooks_work() else found | {"hook": f"none in PyTorch {torch.__version__}"}

    @property
    def contractions(self) -> Iterable[Contraction]:
        """Facts so far, one per call site."""
        return self._context.sites.facts()

    def forget(self) -> None:
        """Forgets what was counted, and keeps what was learnt: plans, memory, unknown neurons."""
        self._full = self._replayed = self._missed = 0
        self._tallies.clear()
        self._uncounted.clear()
        for plan in self._plans.values():
            plan.passes = 0
        for counted in (self._context.sites, self._context.layouts, self._context.sent):
            counted.forget()

    def depends_on_input(self, tensor: Tensor) -> bool:
        """Whether a tensor is not known to be constant by the last pass watched in full."""
        record = self._context.tensors.known(tensor)
        return record is None or record.origin is None

    @property
    def groups(self) -> tuple[GroupCount, ...]:
        """Activity per group so far."""
        return self._context.layouts.counted

    @property
    def sent(self) -> Iterable[Sent]:
        """What each spiking layer sent so far."""
        return self._context.sent.facts

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The modules of the model, with the shapes that they were first seen with."""
        return self._context.modules.layers

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
        if self._apart:
            self._context.sites.alone = Sites()
        key = None if self._always else _shapes(samples, inputs)
        plan = None if key is None else self._plans.get(key)
        if plan is not None:
            output, done = self._replay(plan, forward, ready, samples, inputs)
            if done:
                return output
            del output
            self._missed += 1
            self._always = True
        return self._watch(key, forward, ready, samples, inputs)

    def _replay(
        self,
        plan: Plan,
        forward: Callable[[], Any],
        ready: Callable[[], object],
        samples: int,
        inputs: Any,
    ) -> tuple[Any, bool]:
        """Follows a plan; what a pass did that misses it is undone."""
        context = self._context
        ready()
        if self._undo is None or not self._resets or self._undo.changed():
            # A reset may make new tensors; without one, neurons begin where the last pass ended.
            self._undo = undo_of(self._model, self._closed, context.guard)
        self._undo.refresh()
        back = random_state()
        given = [Held(x) for x in tree_flatten(inputs)[0] if isinstance(x, Tensor)]
        for held in given:
            held.save()
        context.observer.begin()
        replay = Replay(plan, context, samples)
        with replay.running():
            output = forward()
        if replay.complete and not self._undo.changed():
            for at, seen in replay.found:
                context.sites.add(at, seen, samples)
            context.layouts.commit()
            context.sent.commit()
            plan.passes += 1
            self._replayed += 1
            self._keep(plan.tallies)
            return output, True
        undo_all([self._undo.restore, *(held.restore for held in given), back])
        return output, False

    def _watch(
        self,
        key: Hashable | None,
        forward: Callable[[], Any],
        ready: Callable[[], object],
        samples: int,
        inputs: Any,
    ) -> Any:
        """Watches a pass in full, and keeps its plan if later ones may follow it."""
        context = self._context
        self._undo = None  # the pass may change the model
        with pushed(context.guard):
            ready()
        plans = key is not None and not self._always
        before = Snapshot(self._model, self._closed) if plans else None
        drawn = random_numbers_of_python()
        context.observer.begin()
        full = FullPass(context, samples, inputs, plan=plans)
        with full.running():
            output = forward()
        self._full += 1
        if samples and not self.memory:
            self.memory = {
                "neuron_state_bytes": sum(full.state_bytes.values()) // samples,
                "activations_bytes": context.tensors.written_bytes // samples,
                "peak_activations_bytes": context.tensors.peak_bytes // samples,
            }
        context.layouts.commit()
        context.sent.commit()
        self.unknown_neurons |= dict.fromkeys(full.unknown_neurons)
        self.turned |= full.turned
        self.leading |= full.leading
        self.looped |= full.looped
        tallies, uncounted = tuple(full.tallies), tuple(full.uncounted)
        for table, found in ((self._tallies, tallies), (self._uncounted, uncounted)):
            for tally in found:
                accumulate(table, tally)
        self._keep(tallies)
        same = full.certain and drawn == random_numbers_of_python()
        if before is not None and same and not before.drew() and not before.changed():
            modules = context.modules
            planned = with_repeats(full.planned)
            trail, grouped = list(modules.trail), dict(modules.grouped)
            self._plans[key] = Plan(
                planned, trail, grouped, full.sent, tallies, uncounted, full.handed
            )
        return output

    def _keep(self, tallies: tuple[Tally, ...]) -> None:
        """Keeps the pass that has ended, where each is kept on its own."""
        alone = self._context.sites.alone
        if alone is not None:
            self.last = tuple(alone.facts()), tallies

    def _summed(
        self, table: dict[SiteKey, Tally], of: Callable[[Plan], Iterable[Tally]]
    ) -> Iterable[Tally]:
        summed = dict(table)
        for plan in self._plans.values():
            for tally in of(plan) if plan.passes else ():
                accumulate(summed, tally.times(plan.passes))
        return summed.values()


_PLAIN = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device)


def _shapes(samples: int, inputs: Any) -> Hashable | None:
    """What makes two inputs alike: their structure, and shape, dtype and device of each tensor.

    None where they hold objects of which nothing tells whether they are the same.
    """
    leaves, structure = tree_flatten(inputs)
    found: list[Hashable] = [samples, str(structure)]
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            if leaf.layout is not torch.strided or leaf.is_nested:
                return None
            found.append((leaf.shape, leaf.stride(), leaf.dtype, leaf.device))
        elif isinstance(leaf, _PLAIN):
            found.append((type(leaf), leaf))
        else:
            return None
    return tuple(found)
