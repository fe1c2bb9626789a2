"""One door for all interception: hooks mark module scopes, a dispatch mode sees operations."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from analyzer.errors import AnalyzerError
from analyzer.facts import Contraction, Operand, SiteKey, Tally, accumulate
from analyzer.measure.activity import Activities, Activity
from analyzer.measure.contraction import Side
from analyzer.measure.layout import Layouts
from analyzer.measure.rules import Product, Rules, Work, WorkRule, base_name
from analyzer.measure.storage import StorageMap
from analyzer.values import Values

__all__ = ["Recorder", "record"]

_IMPLICIT = Values(real=True)


class Constant(Enum):
    """How a tensor does not depend on the input.

    FIXED ones come from parameters and buffers and are of one size for any batch. CREATED ones
    were made in the forward pass: masks, positions, initial states, noise.
    """

    FIXED = "fixed"
    CREATED = "created"


class Scope(NamedTuple):
    """A module whose forward is running."""

    path: str
    timed: bool
    """Whether time is outermost in its input."""


class Recorder(TorchDispatchMode):
    """Counts the operations of forward passes, each one observed by :func:`record`.

    Args:
        model: The model; nothing is written on it.
        rules: What is counted how.
        layouts: Axes of tensors.

    Attributes:
        contractions: Facts so far, by site.
        tallies: Element-wise work so far.
        uncounted: Arithmetic that no rule covers.
        failure: The last exception that left a module, and the innermost module it left.
    """

    def __init__(self, model: nn.Module, rules: Rules, layouts: Layouts) -> None:
        super().__init__()
        self.contractions: dict[SiteKey, Contraction] = {}
        self.tallies: dict[SiteKey, Tally] = {}
        self.uncounted: dict[SiteKey, Tally] = {}
        self.failure: tuple[BaseException, str] | None = None
        self._rules = rules
        self._layouts = layouts
        self._names = _all_names(model)
        self._scopes: list[Scope] = [Scope("", timed=False)]
        self._calls: dict[tuple[str, str], int] = {}
        self._samples = 0
        self._activities = Activities()
        self._weights: StorageMap[bool] = StorageMap()
        self._constants: StorageMap[Constant] = StorageMap()
        self._linear: StorageMap[tuple[int, int]] = StorageMap()
        for parameter in model.parameters():
            self._weights.put(parameter, True)
        for tensor in (*model.parameters(), *model.buffers()):
            self._constants.put(tensor, Constant.FIXED)

    def begin(self, samples: int) -> None:
        """Starts one forward pass over a number of samples."""
        self._samples = samples
        self._calls.clear()
        self._scopes[1:] = []
        self.failure = None
        self._activities.begin(self._weights)

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Hook: a module's forward begins."""
        if id(module) not in self._names:
            return
        path = self._path(module)
        first = next(_tensors(args), None)
        self._scopes.append(Scope(path, self._layouts.timed(path, first, self._samples)))
        if self._layouts.grouped(path):
            with _disable_current_modes():
                self._layouts.count_groups(path, first, self._samples)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Hook: a module's forward has ended, also when it raised."""
        if id(module) not in self._names:
            return
        path = self._scopes.pop().path if len(self._scopes) > 1 else ""
        error = sys.exc_info()[1]
        if error is not None and (self.failure is None or self.failure[0] is not error):
            self.failure = (error, path)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = base_name(func)
        rules = self._rules
        if name in rules.free:
            out = func(*args, **kwargs)
            self._follow(func, args, kwargs, out)
            return out
        product = rules.products.get(name)
        work = rules.works.get(name)
        if product is None and work is None:
            decomposed = self._decompose(func, args, kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **kwargs)
        written_out = rules.fused.get(name)
        if written_out is not None and not any(x.is_nested for x in _tensors(args)):
            with self:
                written_out(*args, **kwargs)
            self._follow(func, args, kwargs, out)
            return out
        if product is not None:
            for each in product(args, kwargs, out):
                self._contract(each, out)
        constant = self._follow(func, args, kwargs, out)
        if constant is not Constant.CREATED and (product is None or work is not None):
            times = self._samples if constant is Constant.FIXED else 1
            self._tally(name, work, args, out, times)
        return out

    def _decompose(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Composite operations arrive whole in inference mode: their parts are counted."""
        if not func._can_decompose():
            return NotImplemented
        with self:
            return func.decompose(*args, **kwargs)

    def _path(self, module: nn.Module) -> str:
        """Dotted path of a module; of a shared one, that below the module now running."""
        names = self._names.get(id(module), [""])
        if len(names) > 1:
            scope = self._scopes[-1].path
            below = [n for n in names if n.startswith(f"{scope}.")] if scope else []
            return (below or names)[0]
        return names[0]

    def _contract(self, product: Product, out: Any) -> None:
        module = self._scopes[-1].path
        try:
            self._add(module, product, out)
        except AnalyzerError as error:
            where = f"module {module!r}" if module else "the model itself"
            raise AnalyzerError(f"in {where}, operation {self._op(product)}: {error}") from None

    def _add(self, module: str, product: Product, out: Any) -> None:
        operands = (product.lhs, product.rhs)
        fixed = all(self._constants.get(o) is Constant.FIXED for o in operands)
        rhs = self._side(product.rhs, product.lhs, fixed)
        if product.implicit:
            shape = product.lhs.shape
            nothing = Activity(shape.numel(), _IMPLICIT, 0)
            lhs = Side(product.lhs, nothing, False)
        else:
            lhs = self._side(product.lhs, product.rhs, fixed)
        counted = product.geometry.count(lhs, rhs)
        if fixed:  # in every inference, however many share a pass
            counted = counted.times(self._samples)
        op = self._op(product)
        if (lhs.parameter or rhs.parameter) and isinstance(out, Tensor) and out.ndim:
            axis = 1 if op.startswith("conv") else -1
            self._linear.put(out, (out.shape[axis], out.stride(axis)))
        elements, nonzeros = self._over_time(op, product, lhs, rhs)
        lhs_nonzeros = counted.lhs_events // max(rhs.tensor.shape[-1], 1)
        call = self._calls.get((module, op), 0)
        self._calls[module, op] = call + 1
        site = Contraction(
            module=module,
            op=op,
            call=call,
            calls=self._samples,
            dense_macs=counted.dense_macs,
            lhs=_operand(
                lhs,
                counted.lhs_events,
                counted.lhs_levels,
                lhs_nonzeros if product.implicit else lhs.activity.nonzeros,
            ),
            rhs=_operand(rhs, counted.rhs_events, counted.rhs_levels, rhs.activity.nonzeros),
            pair_events=counted.pair_events,
            pair_levels=counted.pair_levels,
            step_elements=elements,
            step_nonzeros=nonzeros,
        )
        accumulate(self.contractions, site)

    def _op(self, product: Product) -> str:
        """What tables call it: a product with a weight is ``linear``."""
        weighted = self._is_weight(product.lhs, product.rhs)
        weighted = weighted or self._is_weight(product.rhs, product.lhs)
        return "linear" if product.op == "matmul" and weighted else product.op

    def _side(self, tensor: Tensor, other: Tensor, fixed: bool) -> Side:
        try:
            activity = self._activities.of(tensor)
        except AnalyzerError as error:
            which = "weights" if self._is_weight(tensor, other) else "input"
            raise AnalyzerError(f"the {which}: {error}") from None
        return Side(tensor, activity, fixed or self._is_weight(tensor, other))

    def _is_weight(self, tensor: Tensor, other: Tensor) -> bool:
        """Whether an operand is a weight: so is all that meets the input without depending on it.

        A fixed filter in a buffer and an identity made on the spot never drive; an initial state,
        which meets a weight, may.
        """
        if tensor in self._weights or isinstance(_base(tensor), nn.Parameter):
            return True
        return tensor in self._constants and other not in self._constants

    def _over_time(
        self, op: str, product: Product, lhs: Side, rhs: Side
    ) -> tuple[int | None, tuple[int, ...] | None]:
        """Elements and non-zeros of the activations in each timestep."""
        sides = [s for s in (lhs, rhs) if not s.parameter]
        if product.implicit:
            sides = [rhs]
        timed = self._scopes[-1].timed
        steps = [self._layouts.steps(timed, op, s.tensor.shape, self._samples) for s in sides]
        stepped = [(s, t) for s, t in zip(sides, steps, strict=True) if t > 1]
        if not stepped:
            return None, None
        elements = sum(s.tensor.numel() // t for s, t in stepped)
        nonzeros = sum(s.activity.map(s.tensor, (), t) for s, t in stepped)
        return elements, tuple(nonzeros.tolist())  # type: ignore[union-attr]

    def _follow(self, func: Any, args: Any, kwargs: Any, out: Any) -> Constant | None:
        """Keeps track of what does not depend on the input, and returns how this does not."""
        inputs = list(_tensors((*args, *kwargs.values())))
        kinds = {self._constants.get(x) for x in inputs}
        constant = None if None in kinds else Constant.CREATED
        if kinds == {Constant.FIXED}:
            constant = Constant.FIXED
        if func._schema.is_mutable:
            self._changed(func, args, kwargs, constant)
        if constant is not None:
            weights = any(x in self._weights for x in inputs)
            for result in _tensors((out,)):
                self._constants.put(result, constant)
                if weights:
                    self._weights.put(result, True)
        return constant

    def _changed(self, func: Any, args: Any, kwargs: Any, constant: Constant | None) -> None:
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            for tensor in _tensors((value,)):
                self._activities.forget(tensor)
                self._linear.drop(tensor)
                if constant is None:
                    self._constants.drop(tensor)
                    self._weights.drop(tensor)

    def _tally(
        self, name: str, rule: WorkRule | None, args: tuple[Any, ...], out: Any, times: int
    ) -> None:
        results = list(_tensors((out,)))
        if not results:
            return
        module = self._scopes[-1].path
        if rule is None:
            size = sum(x.numel() for x in results) * times
            row, table = Tally(module, name, self._samples, size), self.uncounted
        else:
            work = Work() if self._is_folded(name, args) else rule(args, out).times(times)
            row = Tally(
                module,
                _kind(name),
                self._samples,
                results[0].numel() * times,
                work.adds,
                work.multiplies,
                work.compares,
                work.specials,
            )
            table = self.tallies
        accumulate(table, row)

    def _is_folded(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether this is a batch norm by fixed statistics over the channels of a layer's output.

        It folds into that layer's weights and costs nothing.
        """
        if "batch_norm" not in name:
            return False
        training = next((a for a in args if isinstance(a, bool)), False)
        if training and not name.endswith("no_training"):
            return False
        x = args[0]
        return self._linear.get(x) == (x.shape[1], x.stride(1))


@contextmanager
def record(recorder: Recorder, samples: int) -> Iterator[None]:
    """Observes one forward pass until the block ends; leaves no hook and no mode behind.

    Only the forward belongs in the block: whatever runs in it is counted. The hooks are PyTorch's
    global ones, because hooks on modules make nn.TransformerEncoderLayer leave its fused path.

    Args:
        recorder: What counts; nothing is written on its model.
        samples: How many samples pass.
    """
    recorder.begin(samples)
    with ExitStack() as stack:
        for handle in (
            register_module_forward_pre_hook(recorder.enter),
            register_module_forward_hook(recorder.leave, always_call=True),
        ):
            stack.callback(handle.remove)
        stack.enter_context(recorder)
        yield


def _kind(name: str) -> str:
    """What tables call element-wise work: one name for all kernels of one function."""
    if "batch_norm" in name:
        return "batch_norm"
    return "softmax" if "softmax" in name or "attention" in name else name.strip("_")


def _base(tensor: Tensor) -> Tensor:
    """The tensor that a view was taken from, or itself."""
    return tensor if tensor._base is None else tensor._base


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments or results of an operation, also those in lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _operand(side: Side, events: int, levels: int, nonzeros: int) -> Operand:
    return Operand(
        parameter=side.parameter,
        values=side.activity.values,
        elements=side.activity.elements,
        nonzeros=nonzeros,
        events=events,
        levels=levels,
    )


def _all_names(model: nn.Module) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return names
