"""Calls back for chosen operations, through a hook in PyTorch's dispatcher.

A dispatch mode sees every operation and slows all of them. Here the dispatcher itself calls a
Python function, for the chosen operations alone: kernels are registered under a dispatch key that
no tensor carries, and a thread includes that key while it is watched. All other operations fall
through, and nothing that a model can ask about changes, so fused paths, scripted code and autograd
run as without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.torch_private.hook import dispatcher_hook, excluding, hook_key, include_hook
from analyzer.measure.torch_private.operators import OpOverload, has_composite_kernel
from analyzer.measure.torch_private.tensors import READ_BY_PYTHON, dlpack_exports
from analyzer.measure.undoing import Undoable
from analyzer.measure.watch.wrapping import Wrapped, Wrapping

__all__ = ["Handler", "hooked", "hooks_work", "overloads", "reads_told", "unhooked"]

Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Called in place of an operation: runs it inside :func:`unhooked` and returns its result."""


class _Line(threading.local):
    """The handlers of this thread."""

    handler: Handler | None = None
    reader: Callable[[Tensor], object] | None = None


_LINE = _Line()

unhooked = excluding
"""A context that lets the operations in its block pass without their hook."""


def hooks_work() -> bool:
    """Whether this PyTorch has what hooks need."""
    return hook_key() is not None


class hooked(Undoable):  # noqa: N801 - it is used as a function
    """Hands every call of some operations in this thread to a handler until the block ends.

    Args:
        names: Qualified names of operations, such as ``aten::mm``, with all their overloads.
        handler: What is called.
    """

    def __init__(self, names: Iterable[str], handler: Handler) -> None:
        self._names = names
        self._handler = handler
        self._before = _LINE.handler
        self._end: Callable[[], None] | None = None

    def begin(self) -> None:
        """Has this thread's operations reach the handler."""
        for name in self._names:
            dispatcher_hook(name, overloads, _kernel)
        _LINE.handler = self._handler
        self._end = include_hook()

    def undo(self) -> None:
        """Has them run as before."""
        _LINE.handler = self._before
        if self._end is not None:
            self._end()


class reads_told(Undoable):  # noqa: N801 - it is used as a function
    """Tells of tensors whose values this thread reads past PyTorch until the block ends.

    That is by ``.tolist()``, ``.numpy()``, ``__array__`` and DLPack, of which no mode hears.
    """

    def __init__(self, reader: Callable[[Tensor], object]) -> None:
        self._reader = reader
        self._before = _LINE.reader
        self._exports = _EXPORTED.held()
        self._end: Callable[[], None] | None = None

    def begin(self) -> None:
        """Has this thread's reads told."""
        _LINE.reader = self._reader
        self._exports.__enter__()
        if hooks_work():
            dispatcher_hook(READ_BY_PYTHON, partial(overloads, composite=True), _reading)
            self._end = include_hook()

    def undo(self) -> None:
        """Has them told no more."""
        _LINE.reader = self._before
        if self._end is not None:
            self._end()
        self._exports.leave()


def overloads(name: str, *, composite: bool = False) -> list[Any]:
    """All overloads of an operation, in-place ones too.

    Args:
        name: Its qualified name.
        composite: Whether those too that are made of others, which else are hooked in their place.
    """
    space, base = name.split("::")
    packets = [getattr(getattr(torch.ops, space), n, None) for n in (base, f"{base}_")]
    found = [getattr(p, o) for p in packets if p is not None for o in p.overloads()]
    return [op for op in found if composite or not has_composite_kernel(op)]


def _kernel(op: OpOverload) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        handler = _LINE.handler
        if handler is None:
            with excluding():
                return op(*args, **kwargs)
        return handler(op, args, kwargs)

    return call


def _reading(op: OpOverload) -> Callable[..., Any]:
    def call(tensor: Tensor) -> Any:
        if _LINE.reader is not None:
            _LINE.reader(tensor)
        with excluding():
            return op(tensor)

    return call


def _exporting(export: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _LINE.reader is not None:
            _LINE.reader(tensor)
        return export(tensor, *args, **kwargs)

    return wrapper


_EXPORTED = Wrapped(*(Wrapping(*place, _exporting) for place in dlpack_exports()))
"""What exports tensors by DLPack, of which the dispatcher does not hear."""
