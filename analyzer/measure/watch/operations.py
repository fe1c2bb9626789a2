"""What a pass needs to know of each operation, looked up once: its rules and its schema."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.rules.defaults import CREATES, VALUE_DEPENDENT, Rules
from analyzer.measure.rules.fused import WrittenOut
from analyzer.measure.rules.products import ProductRule
from analyzer.measure.rules.registry import base_name
from analyzer.measure.rules.work import WorkRule
from analyzer.measure.tensors.arguments import tensors_in, tensors_written
from analyzer.measure.tensors.constants import Makes
from analyzer.measure.torch_private.operators import (
    decomposes,
    is_higher_order,
    is_random,
    schema_of,
    written_arguments,
)

__all__ = ["Operation", "Operations", "operations_of"]

_RUNNING_STATISTICS = frozenset(
    {"aten::native_batch_norm", "aten::cudnn_batch_norm", "aten::miopen_batch_norm"}
)
"""Operations that write to running statistics in training though their schema does not say so."""


_TURNS = frozenset({"transpose", "permute", "t", "numpy_T"})


class Operation:
    """One overload of an operation.

    Attributes:
        name: Base name, as rules have it.
        kind: What tables call its element-wise work: one name for all kernels of one function.
        product: Its rule, if it is a contraction.
        work: Its rule, if it does element-wise work.
        fused: It written out in operations that have rules, if it is a whole layer in one kernel.
        free: Whether it does no arithmetic.
        view: Whether its results are always views of what it was given.
        composite: Whether it is counted by the operations that it is made of.
        higher: Whether it is counted by what the functions do that it is given.
        literal: Whether it turns a Python number into a tensor.
        normalises: Whether it is a batch norm.
        random: Whether it draws random numbers.
        turns: Whether it is a view with axes in another order.
        may_read_values: Whether some calls of it depend on values; see :meth:`reads_values`.
        creates: Whether its values are new ones, whatever tensors it is given.
        makes: What it makes, where its results may have more elements than its operands.
        aligned: Whether its operands lie on each other axis by axis, from the last.
        writes: Position and name of each argument that it writes to.
    """

    __slots__ = (
        "_always", "_keeps_statistics", "aligned", "composite", "creates", "free", "func", "fused",
        "higher", "kind", "literal", "makes", "may_read_values", "name", "normalises", "parts",
        "product", "random", "turns", "view", "work", "writes",
    )  # fmt: skip

    def __init__(self, func: Any, rules: Rules) -> None:
        name = base_name(func)
        schema = schema_of(func)
        self.func = func
        self.name = name
        self.kind = _kind(name)
        self.product: ProductRule | None = rules.products.get(name)
        self.work: WorkRule | None = rules.works.get(name)
        self.fused: WrittenOut | None = rules.fused.get(name)
        self.free = name in rules.free
        self.literal = func is torch.ops.aten.lift_fresh.default
        known = self.free or bool(self.product or self.work or self.fused)
        self.higher = not known and is_higher_order(func)
        self.composite = not known and not self.higher and decomposes(func)
        always = self.free and not decomposes(func) and not self.literal
        self.view = always and bool(getattr(func, "is_view", False))
        self.random = is_random(func)
        self.turns = self.view and name in _TURNS
        self.parts = self.view and name in ("select", "unbind")
        self.normalises = "batch_norm" in name
        tags = getattr(func, "tags", ())
        self._always = name in VALUE_DEPENDENT or any(
            tag in tags for tag in (torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output)
        )
        self.may_read_values = self._always or func is torch.ops.aten.index.Tensor
        self.writes: tuple[tuple[int, str], ...] = written_arguments(func)
        self.creates = self.free and name in CREATES
        self.makes = None if self.writes or not self.free else Makes.of(name)
        self.aligned = torch.Tag.pointwise in tags or self.makes is Makes.JOINED
        self._keeps_statistics = schema is not None and schema.name in _RUNNING_STATISTICS
        if self._keeps_statistics and not self.writes:
            self.writes = ((3, "running_mean"), (4, "running_var"))

    def written(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The arguments that a call writes to."""
        return tensors_written(self.writes, args, kwargs)

    def copied(self, args: tuple[Any, ...]) -> list[Tensor]:
        """What a call of a free operation makes a copy or a view of."""
        if self.creates:
            return []
        return tensors_in(args[1:2] if self.name == "copy" else args)

    def leaves_alone(self, args: tuple[Any, ...]) -> bool:
        """Whether a call writes nothing that it could write: a batch norm outside of training."""
        return self._keeps_statistics and not args[5]

    def reads_values(self, args: tuple[Any, ...]) -> bool:
        """Whether the shape of the result, or what Python does next, may depend on values."""
        return self._always or any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )


class Operations:
    """The operations of a model, each described when it first runs."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[int, Operation] = {}

    def of(self, func: Any) -> Operation:
        """What is known of an overload."""
        known = self._known.get(id(func))  # the hash of an overload is a function in Python
        if known is None:
            known = self._known[id(func)] = Operation(func, self._rules)
        return known


@lru_cache(maxsize=8)
def operations_of(rules: Rules) -> Operations:
    """The operations under some rules: those of PyTorch's own rules are described only once."""
    return Operations(rules)


def _kind(name: str) -> str:
    if "batch_norm" in name:
        return "batch_norm"
    return "softmax" if "softmax" in name or "attention" in name else name.strip("_")
