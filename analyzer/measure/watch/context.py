"""What all passes of one model share: rules, axes, modules, records of tensors, what reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.rules.defaults import Rules
from analyzer.measure.tensors.held import Guard
from analyzer.measure.tensors.tensors import Tensors
from analyzer.measure.watch.modules import RunningModules
from analyzer.measure.watch.observe import Observer
from analyzer.measure.watch.operations import operations_of
from analyzer.measure.watch.sent import Sent
from analyzer.measure.watch.sites import Sites

__all__ = ["Context", "Run"]

Run = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Gives the result of an operation on its arguments."""


class Context:
    """What all passes of one model share.

    Attributes:
        model: The model.
        names: Operations that are contractions, as the dispatcher hook wants them.
        operations: What is known of each operation.
        modules: Which module runs.
        tensors: What is known of each tensor.
        sites: What each call site did so far.
        sent: What spiking layers sent so far.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Rules,
        layouts: Layouts,
        guard: Guard,
        observer: Observer | None = None,
        run: Run | None = None,
    ) -> None:
        self.model = model
        self.layouts = layouts
        self.guard = guard
        self.run = run
        self.observer = observer or Observer(layouts.timesteps)
        self.operations = operations_of(rules)
        self.modules = RunningModules(model, layouts)
        self.tensors = Tensors(model)
        self.sites = Sites()
        self.sent = Sent(layouts)
        self.names = tuple(
            name if "::" in name else f"aten::{name}" for name in (*rules.products, *rules.fused)
        )
