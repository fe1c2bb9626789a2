"""Dispatch mode: sees every operation of one forward pass, and counts it.

The first pass of each shape of input runs under it, and every pass of a model that later passes
can not be told from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.records import LayerShape, Tally
from analyzer.measure.frame.orders import swaps_leading
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.fused import part_running
from analyzer.measure.rules.products import Product, require_dense
from analyzer.measure.rules.work import Work
from analyzer.measure.tensors.arguments import tensors_in
from analyzer.measure.tensors.scales import Scale
from analyzer.measure.tensors.steps import StepTags, steps_of_calls
from analyzer.measure.tensors.tensors import Origin
from analyzer.measure.torch_private.modes import DispatchMode, hide_from_modes, pushed
from analyzer.measure.torch_private.trees import tree_leaves
from analyzer.measure.watch.compiler import uncompiled
from analyzer.measure.watch.context import Context
from analyzer.measure.watch.imports import Imports
from analyzer.measure.watch.modules import Scope
from analyzer.measure.watch.operations import Operation
from analyzer.measure.watch.operators import run_operator
from analyzer.measure.watch.plan import Direct, Event, Planned, direct_of, event
from analyzer.measure.watch.sent import Place
from analyzer.measure.watch.sites import CallSite
from analyzer.measure.watch.tallies import Tallies
from analyzer.measure.watch.tap import hooked, reads_told, unhooked
from analyzer.measure.watch.threads import Strands
from analyzer.measure.watch.thresholds import Thresholds

__all__ = ["FullPass"]


class FullPass(DispatchMode):
    """Counts one forward pass, every operation of it, in all threads that it runs in.

    Args:
        context: What all passes of a model share.
        samples: How many samples pass.
        inputs: What the model is given.
        plan: Whether to note what a later pass of the same shapes needs to count itself.

    Attributes:
        planned: How to find and read each again; empty without a plan.
        state_bytes: Of the neurons of each module.
        sent: Where in the trail of modules spiking layers ran, and how the output of each lies.
        unknown_neurons: Modules that fire by a threshold and are neurons of no known kind.
        turned: The two leading axes of tensors before and after one of them moved: their lengths.
        leading: The two leading axes of all views.
        looped: Those of tensors that neurons of no known kind read place by place.
        certain: Whether the dispatcher hook saw the same contractions, nothing depended on values
            and the inputs are as they were, so that a later pass may follow this one.
    """

    supports_higher_order_operators = True

    def __init__(self, context: Context, samples: int, inputs: Any, *, plan: bool) -> None:
        super().__init__()
        self.planned: list[Planned] = []
        self.certain = plan
        self.state_bytes: dict[str, int] = {}
        self.sent: dict[int, Place] = {}
        self.unknown_neurons: list[str] = []
        self.turned: set[tuple[int, ...]] = set()
        self.leading: set[tuple[int, ...]] = set()
        self.looped: set[tuple[int, ...]] = set()
        self._context = context
        self._samples = samples
        self._tensors = context.tensors
        self._plan = plan
        self._thresholds = Thresholds(context.model)
        self._calls: dict[tuple[str, str], int] = {}
        self._tagged: dict[tuple[str, str], list[int | None]] = {}
        self._run_by: dict[str, str] = {}
        self._writing_out = False
        self._seen_here: list[Event] = []
        self._seen_by_hook: list[Event] = []
        self._tallies = Tallies()
        self._uncounted = Tallies()
        given = [x for x in tree_leaves(inputs) if isinstance(x, Tensor)]
        self._tensors.begin(given, samples, context.layouts.timesteps)
        self._tags = _tags_of(context, given, samples)
        self._imports = Imports()
        self._thread = get_ident()
        self._strands = Strands(context.modules)
        self._failure: AnalyzerError | None = None
        self._drew = self._values_left = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Observes what runs in the block.

        Raises:
            AnalyzerError: Where the model caught one, or did something where it can not be seen.
        """
        context = self._context
        context.sent.begin()
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            follow = context.modules.running(
                self._samples, self._updated, self._thresholds.returned, self._tensors.lock
            )
            stack.enter_context(follow)
            if self._plan:
                stack.enter_context(hooked(context.names, self._note))
            stack.enter_context(reads_told(self._read))
            stack.enter_context(self._strands.following(self))
            stack.enter_context(pushed(self))
            yield
        if self._failure is not None:
            raise self._failure
        self.certain = self.certain and self._seen_here == self._seen_by_hook
        self.unknown_neurons = self._thresholds.neurons(self._tensors)
        self.looped = self._thresholds.looped(self.unknown_neurons)
        self._tell_steps()

    @property
    def handed(self) -> int:
        """How often work was handed to other threads."""
        return self._strands.handed

    @property
    def tallies(self) -> Iterable[Tally]:
        """Element-wise work."""
        return self._tallies.facts(self._samples)

    @property
    def uncounted(self) -> Iterable[Tally]:
        """Arithmetic that no rule covers."""
        return self._uncounted.facts(self._samples)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        try:
            return self._saw(func, args, kwargs or {})
        except AnalyzerError as error:
            self._failure = error
            raise

    def _saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context, run = self._context, self._context.run
        op = context.operations.of(func)
        if get_ident() != self._thread:
            self.certain = False  # the order of operations differs from pass to pass
            if not self._strands.noted():
                return func(*args, **kwargs)
        if len(sys.modules) != self._imports.modules and self._imports.active():
            return func(*args, **kwargs)  # what an import computes is not the model's
        if op.view:  # all that is known of the storage holds of its views
            out = func(*args, **kwargs) if run is None else run(func, args, kwargs)
            if op.parts:
                self._thresholds.parted(context.modules.now.path, *args)
            if isinstance(out, Tensor):
                self.leading.add(tuple(out.shape[:2]))
                if op.turns and swaps_leading(op.name, args, args[0]) is not False:
                    self.turned |= {tuple(args[0].shape[:2]), tuple(out.shape[:2])}
            return out
        if op.composite:
            require_dense(*(x for x in tensors_in(args) if x.layout is torch.jagged))
            with pushed(self):
                return func.decompose(*args, **kwargs)
        if op.higher:
            self.certain = False  # what its functions do may depend on values
            return run_operator(self, func, args, kwargs)
        read = op.copied(args) if op.free else []
        of_input = bool(read) and self._tensors.given(read)
        targets = self._before(op, args, kwargs) if op.writes else []
        out = func(*args, **kwargs) if run is None else run(func, args, kwargs)
        with self._tensors.lock:
            self._after(op, args, kwargs, targets, out, read, of_input=of_input)
        return out

    def _before(self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """Prepares for an operation that writes; returns what it will write to."""
        targets = op.written(args, kwargs)
        with self._tensors.lock:
            for target in targets:
                self._context.guard.before_write(target)
                if self._tensors.record(target).held and not op.leaves_alone(args):
                    self.certain = False
        return targets

    def _after(
        self,
        op: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        targets: list[Tensor],
        out: Any,
        read: list[Tensor],
        *,
        of_input: bool,
    ) -> None:
        """Counts an operation that has run."""
        context, tensors = self._context, self._tensors
        given = (*args, *kwargs.values()) if kwargs else args
        literal = op.literal and not (self._values_left and out.ndim)
        inputs = [] if literal else tensors_in(given)
        results = [out] if isinstance(out, Tensor) else tensors_in((out,))
        for target in targets:
            tensors.overwritten(target)
        if op.fused is not None:
            self._write_out(op, args, kwargs)
        elif op.product is not None:
            self._contract_all(op, args, kwargs, out)
        source = tensors.ran(
            inputs,
            targets,
            results,
            args=args,
            makes=op.makes,
            aligned=op.aligned,
            takes_memory=not self._writing_out,
        )
        if self._tags is not None:
            self._tags.ran(inputs, results)
        self._drew = self._drew or op.random
        reads = op.may_read_values and op.reads_values(args)
        if reads and (source.origin is None or self._drew):
            self.certain = False
        if source.origin is None and op.name in _SCALES:
            tensors.scaled(op.name, args, out)
        if op.free:
            tensors.copied(read, results, given=of_input)
        elif op.fused is not None or (op.product is not None and op.work is None):
            pass  # it does no work on single elements
        elif op.name == "add" and not kwargs and tensors.adds_bias(args):
            tensors.of_layer(out, -1)  # and is free: accumulators start with it
        elif context.modules.inside:
            pass  # its equation counts
        elif source.weights or source.origin is not Origin.CREATED:
            if source.origin is None:
                self._thresholds.compared(context.modules.now.path, op.name, inputs)
            alone = source.origin is not None and not source.by_sample
            times = self._samples if alone else 1
            self._count_elementwise(op, args, kwargs, targets if out is None else out, times)

    def _write_out(self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Counts a whole layer of one kernel by the operations that it stands for."""
        assert op.fused is not None
        if self._plan and not self._writing_out:
            self._seen_here.append(event(op.func, args))
        outer, self._writing_out = self._writing_out, True  # what is only counted takes no memory
        try:
            with pushed(self):
                # In a context of its own: what an interrupt leaves of its parts ends with it.
                copy_context().run(op.fused, *args, **kwargs)
        finally:
            self._writing_out = outer

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Handler of the dispatcher hook: only notes what it would have seen alone."""
        if not self._imports.active():
            self._seen_by_hook.append(event(func, args))
        with unhooked():
            return func(*args, **kwargs)

    def _read(self, tensor: Tensor) -> None:
        """Python reads the values of a tensor, and may do anything with them."""
        known = self._tensors.known(tensor)
        if known is None or known.origin is None:
            self._values_left = True  # what Python gives to PyTorch from now on may hold them
            self.certain = False
        elif self._drew:
            self.certain = False

    def _contract_all(
        self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        """Counts the contractions of one operation."""
        assert op.product is not None
        with hide_from_modes():
            products = op.product(args, kwargs, out)
            direct = None
            if self._plan and not self._writing_out:
                self._seen_here.append(event(op.func, args))
                direct = direct_of(op.func, args, products)
            for product in products:
                self._contract(product, out, direct)

    def _contract(self, product: Product, out: Any, direct: Direct | None) -> None:
        tensors, context = self._tensors, self._context
        roles = tensors.roles(*product.origins)
        weights, fixed = roles.weights, roles.fixed
        op = "linear" if product.op == "matmul" and any(weights) else product.op
        if fixed or any(weights):
            tensors.of_layer(out, 1 if op.startswith("conv") else -1)
        scope = context.modules.now
        origins = (*product.origins[0], *product.origins[1])
        path = scope.path
        if context.modules.computes_for_parts(path):
            path = tensors.holder(origins, path)
        part = part_running() if self._writing_out else None
        if part is not None:
            op, path = part.op, f"{path}.{part.module}".strip(".")
        call = self._calls.get((path, op), 0)
        self._calls[path, op] = call + 1
        if path != scope.path:
            self._run_by[path] = scope.path
        if self._tags is not None:
            self._tagged.setdefault((path, op), []).append(self._tags.of(origins))
        weights = (fixed or weights[0], fixed or weights[1])
        lhs, rhs, geometry = product.lhs, product.rhs, product.geometry
        layouts, samples = context.layouts, self._samples
        # Where one product serves all samples of a pass, each of them does it.
        times = samples if roles.constant and not any(roles.by_sample) else 1
        reads = tuple(
            1 if weight or by_sample or not roles.constant else samples
            for weight, by_sample in zip(weights, roles.by_sample, strict=True)
        )
        time = [
            layouts.steps(scope.order, op, x.shape, samples if n == 1 else 1) if may else (1, 1)
            for may, x, n in zip(product.may_hold_time(weights), (lhs, rhs), reads, strict=True)
        ]
        layer = None
        if weights[0] != weights[1]:
            layer = LayerShape(*geometry.fan_out(lhs, rhs, weights), context.modules.biased(path))
        first = not product.implicit and tensors.is_first_read(lhs), tensors.is_first_read(rhs)
        left_copies, right_copies = (
            _copies(x, samples, by_sample=by_sample) if weight else 1
            for x, weight, by_sample in zip((lhs, rhs), weights, roles.by_sample, strict=True)
        )
        copies = left_copies, right_copies
        is_swapped = weights == (True, False)
        scales: list[Scale | None] = [None, None]
        if weights[0] != weights[1] and not product.implicit:  # of the activation of a layer
            x, which, axis = (rhs, 1, -2) if weights[0] else (lhs, 0, -1)
            axis = 1 if op.startswith("conv") else axis
            scales[which] = tensors.scale_of(x, axis, time[which][0])
        at = CallSite(
            path,
            op,
            call,
            weights,
            times,
            (reads[0], reads[1]),
            copies,
            (scales[0], scales[1]),
            (time[0][0], time[1][0]),
            scope.ordered,
            geometry.outputs(lhs, rhs) * times,
            layer,
            first[::-1] if is_swapped else first,
            (time[0][1], time[1][1]),
        )
        keep = geometry.kept_dims(lhs, rhs, weights)
        seen = context.observer.observe(product, at, keep)
        context.sites.add(at, seen, samples)
        if self._plan:
            pair = (seen.rhs, seen.lhs) if is_swapped else (seen.lhs, seen.rhs)
            reals = _are_reals(pair[0]), _are_reals(pair[1])
            if layer is not None and pair[1].nonzeros < pair[1].elements:
                keep = geometry.kept_dims(lhs, rhs, (False, False))  # zero weights tell these apart
            at = at._replace(repeats=seen.repeats)
            self.planned.append(Planned(Planned.kind_of(product), at, reals, keep, direct))

    def _tell_steps(self) -> None:
        """Notes to which timestep each call of a module belongs, where something tells."""
        timesteps = self._context.layouts.timesteps
        if timesteps < 2:
            return
        trail = self._context.modules.paths
        for (path, op), calls in self._calls.items():
            tags = self._tagged.get((path, op)) or [None] * calls
            if steps := steps_of_calls(tags, timesteps, self._run_by.get(path, path), trail):
                self._context.sites.timed(path, op, steps)

    def _updated(self, scope: Scope, args: tuple[Any, ...], output: Any) -> None:
        """Hook: a neuron of a known kind has run. Its equation counts, not how it is computed."""
        neuron = scope.neuron
        assert neuron is not None
        updates, steps = neuron.updates(args, output), neuron.steps(args, output)
        self._read_sent(scope, output, updates, steps)
        size = 0
        first = next(iter(tensors_in((*args, output))), None)
        if first is not None:
            neurons = updates // steps
            size = neurons * neuron.kept // max(self._samples, 1)
            held = neurons * neuron.kept * first.element_size()
            self.state_bytes[scope.path] = max(self.state_bytes.get(scope.path, 0), held)
        states = (updates * neuron.kept * neuron.accesses, size)
        work = neuron.work.times(updates)
        self._tallies.add((scope.path, neuron.neuron, False), updates, work, states)

    def _read_sent(self, scope: Scope, output: Any, updates: int, steps: int) -> None:
        """Reads what a spiking layer sends."""
        assert scope.neuron is not None
        timesteps, sent = self._context.layouts.timesteps, self._context.sent
        if steps == 1 and scope.order and updates % (timesteps * max(self._samples, 1)) == 0:
            steps = timesteps
        with hide_from_modes(), unhooked():
            place = sent.place(
                scope.path, scope.neuron.neuron, output, updates, steps, self._samples
            )
            if place is not None:
                self.sent[scope.at] = place
                sent.read(place, output)

    def _count_elementwise(
        self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, times: int
    ) -> None:
        results = [out] if isinstance(out, Tensor) else tensors_in((out,))
        if not results:
            return
        scope = self._context.modules.now
        if op.work is None:
            size = sum(x.numel() for x in results) * times
            self._uncounted.add((scope.path, op.name, False), size, Work())
            return
        work = op.work(args, out, kwargs)
        if times != 1:
            work = work.times(times)
        folds = op.normalises and self._tensors.folds(op.name, args)
        size = results[0].numel() * times
        self._tallies.add((scope.path, op.kind, folds), size, work)


_SCALES = frozenset({"mul", "div"})


def _tags_of(context: Context, given: Sequence[Tensor], samples: int) -> StepTags | None:
    """What tells timesteps apart where the model's own input has a time axis."""
    first, steps = next((x for x in given if x.ndim), None), context.layouts.timesteps
    if first is None or steps < 2 or first.layout is not torch.strided:
        return None
    axis = context.layouts.axis_of_steps(first, samples)
    # Where all timesteps are one in memory, no place tells them apart.
    return None if axis is None or not first.stride(axis) else StepTags(first, axis)


def _copies(weights: Tensor, samples: int, *, by_sample: bool) -> int:
    """How often an operand holds the same weights: for each sample, or for each product of a batch.

    PyTorch broadcasts a matrix over the batch where it can not fold the batch into the other
    operand: such a matrix counts once, however many products read it.
    """
    if by_sample:
        return samples
    batched = weights.layout is torch.strided and weights.ndim == 3 and not weights.stride(0)
    return max(weights.shape[0], 1) if batched else 1


def _are_reals(activity: Activity) -> bool:
    """Whether an operand holds reals, none of them zero, as it will mostly do again."""
    return activity.values.real and activity.nonzeros == activity.elements
