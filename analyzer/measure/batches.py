"""Inputs as callers give them (a tensor, arguments, a loader) as batches of arguments.

:func:`analyzer.profile` and the other functions that run a model all take the same inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from analyzer.errors import AnalyzerError

__all__ = ["Batch", "batches_of", "is_one_batch", "length"]


class Batch:
    """Arguments of one forward pass, and the target if there is one.

    Args:
        value: A tensor, a tuple or list of arguments, or a dict of arguments by name.
        with_target: Whether a tuple or list is ``(x, target)`` and not positional arguments.

    Attributes:
        target: The target, None where there is none.
        args: Positional arguments of the model.
        kwargs: Arguments of the model by name.

    Raises:
        AnalyzerError: Where the value is none of these.
    """

    def __init__(self, value: Any, *, with_target: bool) -> None:
        self.target: Any = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        if isinstance(value, Tensor):
            self.args = (value,)
        elif isinstance(value, Mapping):
            self.kwargs = dict(value)
        elif isinstance(value, (tuple, list)) and value:
            self.args = (value[0],) if with_target else tuple(value)
            self.target = value[1] if with_target and len(value) > 1 else None
        else:
            raise AnalyzerError(
                f"a batch is {type(value).__name__}, which can not be passed to the model: give "
                "a tensor, (x, target), or a dict of arguments."
            )


def batches_of(inputs: Any) -> Iterator[Batch]:
    """The batches of some inputs, one after another.

    Args:
        inputs: A tensor, a tuple or dict of arguments, one batch ``[x, target]`` as a DataLoader
            yields it, or an iterable of batches.

    Raises:
        AnalyzerError: Where the inputs are none of these.
    """
    if isinstance(inputs, (Tensor, tuple, Mapping)):
        yield Batch(inputs, with_target=False)
        return
    if _is_collated(inputs):
        yield Batch(inputs, with_target=True)
        return
    if not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes)):
        raise AnalyzerError(
            f"inputs are {type(inputs).__name__}: give a tensor, a tuple or dict of arguments, or "
            "an iterable of batches."
        )
    for value in inputs:
        yield Batch(value, with_target=True)


def _is_collated(inputs: Any) -> bool:
    """Whether a list is one batch ``[x, target]``, as a DataLoader yields it."""
    if not (isinstance(inputs, list) and len(inputs) == 2):
        return False
    if not all(isinstance(item, Tensor) and item.ndim for item in inputs):
        return False
    x, target = inputs
    return bool(target.ndim == 1 and len(target) == len(x) and x.ndim > 1)


def is_one_batch(inputs: Any) -> bool:
    """Whether inputs are one batch."""
    whole = isinstance(inputs, (Tensor, tuple, Mapping)) or _is_collated(inputs)
    return whole or length(inputs) == 1


def length(inputs: Any) -> int | None:
    """Number of batches; None where it is not known, as of a generator."""
    try:
        return len(inputs)
    except TypeError:
        return None
