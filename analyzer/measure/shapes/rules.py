"""Rules for counting where no value is known: operations whose own rules read values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from torch import Tensor

from analyzer.measure.rules.defaults import VALUE_DEPENDENT, Rules
from analyzer.measure.rules.fused import WrittenOut, grouped_products
from analyzer.measure.rules.work import Arguments, Keywords, Work, WorkRule
from analyzer.measure.shapes.known import UnknownValueError, values_of

__all__ = ["rules_by_shapes"]


@lru_cache(maxsize=8)
def rules_by_shapes(rules: Rules) -> Rules:
    """The same rules, but for operations that would ask for values."""
    fused = {name: way for name, way in _BY_SHAPES.items() if name in rules.fused}
    works = {name: _on_values(rules.works[name]) for name in VALUE_DEPENDENT & rules.works.keys()}
    return replace(
        rules,
        fused=MappingProxyType({**rules.fused, **fused}),
        works=MappingProxyType({**rules.works, **works}),
    )


def _on_values(rule: WorkRule) -> WorkRule:
    """A rule that reads values, on those that are known."""

    def on_known(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        table, *places = args[:3]
        known = [values_of(x) for x in places]
        if any(values is None for values in known):
            raise UnknownValueError("what an embedding adds up is in its indices and offsets")
        return rule((table, *known, *args[3:]), out, kwargs)

    return on_known


def _grouped_mm(
    lhs: Tensor, rhs: Tensor, offs: Tensor | None = None, *rest: Any, **more: Any
) -> list[Tensor]:
    """``aten::_grouped_mm``, its groups as long as each other.

    How the rows, such as the tokens of a mixture of experts, spread over the groups is in values.
    As each of them is in one group, the work of all groups together is the same however they do.
    """
    if offs is None:
        return grouped_products(lhs, rhs, None)
    count = offs.numel()
    shared = lhs.shape[0] if rhs.ndim == 3 else rhs.shape[-1] if lhs.ndim == 3 else lhs.shape[1]
    return grouped_products(lhs, rhs, [shared * (g + 1) // count for g in range(count)])


_BY_SHAPES: Mapping[str, WrittenOut] = MappingProxyType({"_grouped_mm": _grouped_mm})
