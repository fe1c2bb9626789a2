"""The auditor: a dispatch mode that sees every operation of one forward pass, whatever it costs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from analyzer.facts.records import SiteKey, Tally, accumulate
from analyzer.measure.layouts import Layouts
from analyzer.measure.read.activity import Activity
from analyzer.measure.read.statistics import TensorLayout
from analyzer.measure.rules.defaults import VALUE_DEPENDENT, Rules
from analyzer.measure.rules.products import Product
from analyzer.measure.rules.registry import base_name
from analyzer.measure.rules.work import Work, WorkRule
from analyzer.measure.watch.activations import Activations
from analyzer.measure.watch.modules import RunningModules, Scope
from analyzer.measure.watch.observe import CachedOperand, CallSite, Observer
from analyzer.measure.watch.plan import Direct, Event, Planned, direct_of, event
from analyzer.measure.watch.provenance import Constant, Provenance, tensors, written
from analyzer.measure.watch.reads import Reads
from analyzer.measure.watch.restore import Guard
from analyzer.measure.watch.sites import Sites
from analyzer.measure.watch.storage import StorageMap
from analyzer.measure.watch.tap import tapped, unseen, untapped

__all__ = ["FullPass", "Run", "execute"]

Run = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Gives the result of an operation on its arguments."""


class FullPass(TorchDispatchMode):
    """Counts one forward pass.

    Args:
        rules: What is counted how.
        names: Operations to tap.
        observer: Reads operands.
        layouts: Axes of tensors.
        stack: Which module runs.
        provenance: What tensors depend on.
        guard: Copies what is about to be overwritten.
        sites: Where facts go.
        samples: How many samples pass.
        inputs: What the model is given.
        held: Its parameters and buffers.
        run: Executes an operation.

    Attributes:
        planned: Its contractions, in order.
        tallies: Element-wise work.
        uncounted: Arithmetic that no rule covers.
        random: Whether it draws random numbers.
        activations: Their memory.
        state_bytes: Of the neurons of each module.
        certain: Whether a tap saw the same contractions, no tensor was overwritten unmarked, and
            the inputs are as they were.
    """

    def __init__(
        self,
        rules: Rules,
        names: tuple[str, ...],
        observer: Observer,
        layouts: Layouts,
        stack: RunningModules,
        provenance: Provenance,
        guard: Guard,
        sites: Sites,
        samples: int,
        inputs: Any,
        held: Iterable[Tensor],
        run: Run,
    ) -> None:
        super().__init__()
        self.planned: list[Planned] = []
        self.tallies: dict[SiteKey, Tally] = {}
        self.uncounted: dict[SiteKey, Tally] = {}
        self.random = False
        self.certain = True
        self._run = run
        self._rules = rules
        self._names = names
        self._observer = observer
        self._layouts = layouts
        self._stack = stack
        self._provenance = provenance
        self._guard = guard
        self._sites = sites
        self._samples = samples
        self._calls: dict[tuple[str, str], int] = {}
        self._inputs: StorageMap[bool] = StorageMap()
        leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
        self._reads = Reads(leaves)
        for leaf in leaves:
            self._inputs.put(leaf, True)
        self.activations = Activations((*leaves, *held))
        self.state_bytes: dict[str, int] = {}
        self._writing_out = False
        self._readers: StorageMap[list[tuple[ref[Tensor], int, int]]] = StorageMap()
        self._rewritten: set[int] = set()
        self._read: list[tuple[Activity, Activity]] = []
        self._events: list[Event] = []
        self._tapped: list[Event] = []
        # Where the compiler is loaded, the model may be compiled; this is not.
        compiler = sys.modules.get("torch._dynamo")
        self._see: Callable[..., Any] = (
            self._seen if compiler is None else compiler.disable(self._seen)
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Observes what runs in the block."""
        with ExitStack() as stack:
            stack.enter_context(self._stack.running(self._samples, self._updated))
            stack.enter_context(tapped(self._names, self._note))
            stack.enter_context(self)
            yield
        self.certain = self.certain and self._events == self._tapped
        reads = Counter(id(activity) for activities in self._read for activity in activities)
        with unseen():
            for at, activities in enumerate(self._read):
                alone = tuple(reads[id(activity)] == 1 for activity in activities)
                waits = at not in self._rewritten
                self.planned[at] = self.planned[at].finished(alone, waits=waits)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would load its compiler, for a second and more, to leave this mode out of it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self._see(func, args, kwargs or {})

    def _seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = base_name(func)
        rules = self._rules
        targets = written(func, args, kwargs)
        self.random = self.random or torch.Tag.nondeterministic_seeded in func.tags
        for target in targets:
            self._guard.before_write(target)
            if target in self._inputs:
                self.certain = False
        product = rules.products.get(name)
        work = rules.works.get(name)
        fused = rules.fused.get(name)
        if product is None and work is None and fused is None and name not in rules.free:
            decomposed = self._decompose(func, args, kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = self._run(func, args, kwargs)
        if not self._writing_out:
            self.activations.saw(tensors((out,)), targets)
        for target in targets:
            self._check_mark(target)
            self._observer.activities.forget(target)
            self._provenance.changed(target)
        if name in rules.free:
            constant = self._provenance.follow(func, args, kwargs, out)
            if constant is None and _reads_values(func, args):
                self.certain = False
            self._reads.moved(args, out)
            return out
        if product is not None or fused is not None:
            self._events.append(event(func, args))
        if fused is not None:
            self._writing_out = True  # what is only counted takes no memory
            with self:
                fused(*args, **kwargs)
            self._writing_out = False
            self._provenance.follow(func, args, kwargs, out)
            return out
        if product is not None:
            with unseen():
                found = product(args, kwargs, out)
                direct = direct_of(func, args, found)
                for each in found:
                    self._contract(each, out, direct)
        constant = self._provenance.follow(func, args, kwargs, out)
        if constant is None and (name in VALUE_DEPENDENT or _reads_values(func, args)):
            self.certain = False
        if self._provenance.adds_bias(name, args, kwargs):
            self._provenance.of_layer(out, -1)  # and is free: accumulators start with it
        elif constant is not Constant.CREATED and (product is None or work is not None):
            times = self._samples if constant is Constant.FIXED else 1
            self._tally(name, work, args, kwargs, targets if out is None else out, times)
        return out

    def _decompose(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Composite operations arrive whole in inference mode: their parts are counted."""
        if not func._can_decompose():
            return NotImplemented
        with self:
            return func.decompose(*args, **kwargs)

    def _check_mark(self, target: Tensor) -> None:
        """Whoever read what was written must see that: ``x.data`` counts writes of its own."""
        for reader, version, at in self._readers.get(target) or ():
            self._rewritten.add(at)
            tensor = reader()
            if tensor is None or tensor.is_inference() or tensor._version == version:
                self.certain = False
        self._readers.drop(target)
        self._reads.overwritten(target)

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The tap: only notes what it would have seen alone."""
        self._tapped.append(event(func, args))
        with untapped():
            return func(*args, **kwargs)

    def _contract(self, product: Product, out: Any, direct: Direct | None) -> None:
        lhs_from, rhs_from = product.origins
        weights = (
            self._provenance.is_weight(lhs_from, rhs_from),
            self._provenance.is_weight(rhs_from, lhs_from),
        )
        fixed = self._provenance.is_fixed(*lhs_from, *rhs_from)
        op = "linear" if product.op == "matmul" and any(weights) else product.op
        if fixed or any(weights):
            self._provenance.of_layer(out, 1 if op.startswith("conv") else -1)
        scope = self._stack.now
        call = self._calls.get((scope.path, op), 0)
        self._calls[scope.path, op] = call + 1
        weights = (fixed or weights[0], fixed or weights[1])
        left, right = (
            1
            if weight or (implicit and product.implicit)
            else self._layouts.steps(scope.timed, op, operand.shape, self._samples)
            for operand, weight, implicit in (
                (product.lhs, weights[0], True),
                (product.rhs, weights[1], False),
            )
        )
        for operand in (product.lhs, product.rhs):
            if not operand.is_inference():
                readers = self._readers.get(operand) or []
                self._readers.put(
                    operand, [*readers, (ref(operand), operand._version, len(self.planned))]
                )
        times = self._samples if fixed else 1
        layer = self._reads.layer(product, weights, max(left, right), times, scope.bias)
        role = CallSite(scope.path, op, call, weights, fixed, (left, right))
        seen = self._observer.observe(product, role)
        site = self._sites.at(scope.path, op, call, weights)
        site.add(seen, self._samples, layer)
        pair = (seen.rhs, seen.lhs) if weights == (True, False) else (seen.lhs, seen.rhs)
        keeps = product.geometry.kept_dims(product.lhs, product.rhs, weights)
        hints = (_hint(product.lhs, pair[0]), _hint(product.rhs, pair[1]))
        role = role._replace(repeats=seen.repeats)
        known = None if product.implicit or seen.repeats else seen
        planned = Planned(Planned.kind_of(product), role, site, layer, hints, keeps, direct, known)
        self.planned.append(planned)
        self._read.append(pair)

    def _updated(self, scope: Scope, args: tuple[Any, ...], output: Any) -> None:
        """Hook: a neuron of a known kind has run. Its dynamics count, not how they are computed."""
        assert scope.neuron is not None
        neuron = scope.neuron
        updates = neuron.updates(args, output)
        size = 0
        first = next(tensors((*args, output)), None)
        if first is not None:
            timed = self._layouts.leads(first.shape, self._samples)
            neurons = first.numel() // (self._layouts.timesteps if timed else 1)
            size = neurons * neuron.kept // max(self._samples, 1)
            held = neurons * neuron.kept * first.element_size()
            self.state_bytes[scope.path] = max(self.state_bytes.get(scope.path, 0), held)
        states = (updates * neuron.kept * neuron.accesses, size)
        work = neuron.work.times(updates)
        self._add(self.tallies, scope.path, neuron.neuron, updates, work, states=states)

    def _tally(
        self,
        name: str,
        rule: WorkRule | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        times: int,
    ) -> None:
        results = list(tensors((out,)))
        scope = self._stack.now
        if not results or scope.inside:
            return
        if rule is None:
            size = sum(x.numel() for x in results) * times
            self._add(self.uncounted, scope.path, name, size, Work())
            return
        work = rule(args, out, kwargs).times(times)
        folds = self._provenance.folds(name, args)
        size = results[0].numel() * times
        self._add(self.tallies, scope.path, _kind(name), size, work, folds=folds)

    def _add(
        self,
        table: dict[SiteKey, Tally],
        module: str,
        op: str,
        elements: int,
        work: Work,
        *,
        folds: bool = False,
        states: tuple[int, int] = (0, 0),
    ) -> None:
        row = Tally(
            module,
            op,
            self._samples,
            elements,
            work.adds,
            work.multiplies,
            work.compares,
            work.specials,
            folds,
            *states,
        )
        accumulate(table, row)


def execute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation."""
    return func(*args, **kwargs)


def _hint(tensor: Tensor, activity: Activity) -> CachedOperand | None:
    """What the next pass may know of an operand; how often it is read is seen at the end."""
    if tensor.is_inference():
        return None
    base = tensor if tensor._base is None else tensor._base
    weights = activity if isinstance(base, nn.Parameter) else None
    reals = activity.values.real and activity.nonzeros == activity.elements
    return CachedOperand(
        weights, tensor.data_ptr(), tensor._version, reals, TensorLayout.of(tensor)
    )


def _reads_values(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the shape of the result, or what Python does next, may depend on values."""
    if func is torch.ops.aten.index.Tensor:
        return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
    tags = (torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output)
    return any(tag in func.tags for tag in tags)


def _kind(name: str) -> str:
    """What tables call element-wise work: one name for all kernels of one function."""
    if "batch_norm" in name:
        return "batch_norm"
    return "softmax" if "softmax" in name or "attention" in name else name.strip("_")
