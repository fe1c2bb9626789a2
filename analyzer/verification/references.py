"""A forward pass as fvcore and PyTorch's own flop counter count it.

A reference is a witness only for operations that it knows. Of each place it says what it counts
there, and on which operations it says nothing.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from analyzer.measure.rules.defaults import Rules
from analyzer.measure.rules.registry import base_name
from analyzer.measure.torch_private.operators import decomposes, is_higher_order
from analyzer.measure.watch.operators import run_operator
from analyzer.verification.passes import Pass, Run

__all__ = ["Place", "Reference", "by_fvcore", "by_torch", "kind_of"]

_CONTRACTIONS_OF_FVCORE = frozenset({"addmm", "bmm", "conv", "einsum", "linear", "matmul", "mm"})
"""What fvcore counts and is a contraction; its other figures are of element-wise work."""


@dataclass
class Place:
    """What a reference makes of one kind of operation in one module.

    Attributes:
        counted: Multiply-accumulates that it reports.
        silent: Contractions of which it says nothing.
        alone: Operations that it counts and that no rule takes for contractions.
    """

    counted: int = 0
    silent: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)


@dataclass
class Reference:
    """What a reference makes of one forward pass, or why it could not follow.

    Attributes:
        name: How tables call it.
        places: By the canonical path of the module and the kind of operation.
        failure: A sentence where the reference could not follow the model.
    """

    name: str
    places: dict[tuple[str, str], Place] = field(default_factory=lambda: defaultdict(Place))
    failure: str = ""


def kind_of(op: str) -> str:
    """``convolution``, or ``product`` of matrices or vectors."""
    return "convolution" if "conv" in op else "product"


def by_fvcore(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    rules: Rules,
    run: Run | None = None,
) -> Reference:
    """What ``fvcore.nn.FlopCountAnalysis`` reports, which calls one multiply-accumulate a flop.

    Args:
        model: The model; fvcore traces it.
        args: Its arguments.
        kwargs: Its arguments by name, which fvcore can not take.
        run: What would run the model on these in its place, which fvcore can not either.
        rules: Tell which operations that fvcore passes over are surely no contractions.
    """
    from fvcore.nn import FlopCountAnalysis

    if kwargs:
        return Reference("fvcore", failure="fvcore takes no keyword arguments")
    if run is not None:
        return Reference("fvcore", failure="fvcore calls a model once, and in no other way")
    reference = Reference("fvcore")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(model, args)
        analysis.unsupported_ops_warnings(False)
        analysis.uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        counts = analysis.by_module_and_operator()
        passed_over = {name: analysis.unsupported_ops(name) for name in counts}
    for module, by_op in _without_children(counts).items():
        for op, count in by_op.items():
            kind = kind_of(op) if op in _CONTRACTIONS_OF_FVCORE else op
            reference.places[module, kind].counted += int(count)
    for module, by_op in _without_children(passed_over).items():
        for name in by_op:
            op = name.removeprefix("aten::").removesuffix("_")
            if op in rules.products or not (op in rules.works or op in rules.free):
                reference.places[module, kind_of(op)].silent.add(op)
    return reference


def _without_children(counts: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """What each module does itself, from figures that include its children."""
    own = {name: Counter(by_op) for name, by_op in counts.items()}
    for name, by_op in counts.items():
        parent = name.rpartition(".")[0]
        if name and parent in own:
            own[parent].subtract(by_op)
    return {name: +by_op for name, by_op in own.items()}


def by_torch(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    contractions: Iterable[str],
    run: Run | None = None,
) -> Reference:
    """What PyTorch's ``FlopCounterMode`` counts, halved: it calls a multiply-accumulate 2 flops.

    Its formulas are asked one by one: where one fails on what it was not written for, nothing is
    said of that operation, and the others count.

    Args:
        model: The model.
        args: Its arguments.
        kwargs: Its arguments by name.
        contractions: Base names of the operations that are contractions.
        run: Runs the model on these; by default it is called.
    """
    reference = Reference("torch")
    _Formulas(model, reference, frozenset(contractions), run).follow(args, kwargs)
    return reference


class _Formulas(Pass):
    """Asks the formula of each operation, as ``FlopCounterMode`` does."""

    def __init__(
        self,
        model: nn.Module,
        reference: Reference,
        contractions: frozenset[str],
        run: Run | None = None,
    ) -> None:
        super().__init__(model, run)
        self._reference = reference
        self._contractions = contractions

    def saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Lets an operation run, and asks what it is."""
        formula = flop_registry.get(getattr(func, "overloadpacket", func))
        if formula is None and is_higher_order(func):
            return run_operator(self, func, args, kwargs)
        if formula is None and decomposes(func):
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        name = base_name(func)
        if formula is None and name not in self._contractions:
            return out
        place = self._reference.places[self.module, kind_of(name)]
        try:
            if formula is None:
                raise NotImplementedError
            counted = int(formula(*args, **kwargs, out_val=out)) // 2
        except Exception:  # a formula asserts on shapes that it does not expect
            place.silent.add(name)
            return out
        place.counted += counted
        # What an operator on functions does is counted by these, and needs no rule.
        if counted and name not in self._contractions and not is_higher_order(func):
            place.alone.add(name)
        return out
