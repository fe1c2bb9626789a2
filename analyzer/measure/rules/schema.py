"""Arguments of an operation by the names that its schema gives them.

The order of arguments differs between operations, between overloads of one operation and between
versions of PyTorch; their names do not. A rule that needs a mask or a flag asks for it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.work import Arguments

__all__ = ["exists", "named_arguments"]


def exists(name: str) -> bool:
    """Whether this version of PyTorch has an operation ``aten::name``."""
    return hasattr(torch.ops.aten, name)


def named_arguments(name: str, args: Arguments, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of one call by name, those that were left out with their defaults.

    Args:
        name: The operation, without its namespace ``aten`` and without its overload.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Raises:
        AnalyzerError: Where no overload of the operation takes such arguments.
    """
    for schema in _schemas(name):
        kinds = {a.name: str(a.type) for a in schema.arguments}
        positions = [a.name for a in schema.arguments if not a.kwarg_only]
        given = dict(zip(positions, args, strict=False))
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        named = defaults | given | dict(kwargs)
        fits = len(given) == len(args) and not given.keys() & kwargs.keys()
        fits = fits and named.keys() == kinds.keys()
        if fits and all(_takes(kinds[key], value) for key, value in named.items()):
            return named
    raise AnalyzerError(
        f"no overload of aten::{name} in PyTorch {torch.__version__} takes the arguments of this "
        "call: teach the operation with analyzer.rule."
    )


@cache
def _schemas(name: str) -> tuple[torch.FunctionSchema, ...]:
    """The schemas of all overloads, the one without a name first."""
    packet = getattr(torch.ops.aten, name)
    return tuple(getattr(packet, overload)._schema for overload in packet.overloads())


def _takes(kind: str, value: Any) -> bool:
    """Whether an argument of this type may have this value: a tensor, None, or anything else."""
    if value is None:
        return kind.startswith("Optional")
    return isinstance(value, Tensor) == (kind in ("Tensor", "Optional[Tensor]"))
