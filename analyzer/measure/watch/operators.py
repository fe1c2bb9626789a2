"""Operators that are given functions, such as ``torch.cond``: what these do is counted."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from analyzer.measure.torch_private.kernels import kernel_of
from analyzer.measure.torch_private.modes import pushed
from analyzer.measure.torch_private.trees import tree_map

__all__ = ["run_operator"]

_COMPUTE = frozenset({"flex_attention"})
"""Operators that do more than to call the functions that they are given."""


def run_operator(mode: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Runs an operator on functions, as it runs outside of the compiler.

    Args:
        mode: Sees the operations of these functions, and those of the operator if it has its own.
        func: The operator.
        args: What it is given.
        kwargs: What it is given by name.

    Raises:
        AnalyzerError: Where it runs in a way in which its operations can not be seen.
    """
    kernel = kernel_of(func)
    if func.name() in _COMPUTE:
        with pushed(mode):
            return kernel(*args, **kwargs)

    def watched(value: Any) -> Any:
        if not callable(value) or isinstance(value, (Tensor, type)):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            with pushed(mode):
                return value(*args, **kwargs)

        return call

    # Most kernels refuse to run while a mode is active.
    return kernel(*tree_map(watched, args), **tree_map(watched, kwargs))
