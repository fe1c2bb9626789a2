"""Arguments of an operation by the names that its schema gives them.

The order of arguments differs between operations, between overloads of one operation and between
versions of PyTorch; their names do not. A rule that needs a mask or a flag asks for it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.work import Arguments
from analyzer.measure.torch_private.operators import schema_of

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
    for kinds, positions, defaults in _signatures(name):
        given = dict(zip(positions, args, strict=False))
        named = {**defaults, **given, **kwargs}
        fits = len(given) == len(args) and not given.keys() & kwargs.keys()
        fits = fits and named.keys() == kinds.keys()
        if fits and all(_takes(kinds[key], value) for key, value in named.items()):
            return named
    raise AnalyzerError(
        f"no overload of aten::{name} in PyTorch {torch.__version__} takes the arguments of this "
        "call: teach the operation with analyzer.rule."
    )


class _Signature(NamedTuple):
    """The arguments of one overload: types by name, names of positional ones, and defaults."""

    kinds: Mapping[str, str]
    positions: tuple[str, ...]
    defaults: Mapping[str, Any]


@cache
def _signatures(name: str) -> tuple[_Signature, ...]:
    """The signatures of all overloads, that of the one without a name first."""
    packet = getattr(torch.ops.aten, name)
    found = []
    for overload in packet.overloads():
        arguments = schema_of(getattr(packet, overload)).arguments
        found.append(
            _Signature(
                {a.name: str(a.type) for a in arguments},
                tuple(a.name for a in arguments if not a.kwarg_only),
                {a.name: a.default_value for a in arguments if a.has_default_value()},
            )
        )
    return tuple(found)


def _takes(kind: str, value: Any) -> bool:
    """Whether an argument of this type may have this value: a tensor, None, or anything else."""
    if value is None:
        return kind.startswith("Optional")
    return isinstance(value, Tensor) == (kind in ("Tensor", "Optional[Tensor]"))
