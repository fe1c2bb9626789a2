"""Operators: their overloads, names and schemas, and what these tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

__all__ = [
    "OpOverload",
    "OpOverloadPacket",
    "argument_names",
    "decomposes",
    "has_composite_kernel",
    "is_elementwise",
    "is_higher_order",
    "is_random",
    "operation_names",
    "overload_of",
    "qualified_name",
    "schema_of",
    "short_name",
    "written_arguments",
]

OpOverload: Any = torch._ops.OpOverload
"""Class of one overload of an operation, such as ``torch.ops.aten.add.Tensor``."""

OpOverloadPacket: Any = torch._ops.OpOverloadPacket
"""Class of an operation with all its overloads, such as ``torch.ops.aten.add``."""


def schema_of(func: Any) -> Any:
    """The schema of an overload; None of a higher-order operator, which has none."""
    return getattr(func, "_schema", None)


def qualified_name(packet: Any) -> str:
    """Name of an operation with its namespace, such as ``aten::add``."""
    return str(packet._qualified_op_name)


def short_name(func: Any) -> str:
    """Name of an overload's operation without its overload, of PyTorch's own such as ``add``."""
    return str(schema_of(func).name).removeprefix("aten::").removesuffix("_")


def argument_names(func: Any) -> list[str]:
    """Names of the arguments of an overload, in order."""
    return [argument.name for argument in schema_of(func).arguments]


def written_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    """Position and name of each argument that an overload writes to, as its schema says."""
    schema = schema_of(func)
    if schema is None or not schema.is_mutable:
        return ()
    return tuple(
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


def operation_names() -> Iterable[str]:
    """Qualified names of all operations that are registered; none where PyTorch lists none."""
    every = getattr(torch._C, "_dispatch_get_all_op_names", list)
    names: Iterable[str] = every()
    return names


def overload_of(function: Any) -> Any:
    """The overload behind what ``torch.library.custom_op`` returns; None of anything else."""
    overload = getattr(function, "_opoverload", None)
    return overload if isinstance(overload, OpOverload) else None


def is_elementwise(func: Any) -> bool:
    """Whether an overload makes one new tensor, each element of it from elements at its place."""
    schema = schema_of(func)
    return (
        schema is not None
        and torch.Tag.pointwise in func.tags
        and len(schema.returns) == 1
        and not schema.is_mutable
    )


def is_random(func: Any) -> bool:
    """Whether an overload draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())


def is_higher_order(func: Any) -> bool:
    """Whether an operation is given functions, as ``torch.cond`` is."""
    return isinstance(func, torch._ops.HigherOrderOperator)


def decomposes(func: Any) -> bool:
    """Whether an operation is made of others, which then are counted in its place."""
    can = getattr(func, "_can_decompose", None)
    return bool(can is not None and can())


def has_composite_kernel(func: Any) -> bool:
    """Whether an operation always runs as others do, so that a hook on it would see them twice."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(func.has_kernel_for_dispatch_key(composite))
