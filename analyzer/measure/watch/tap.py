"""Calls back for chosen operations, through a hook in PyTorch's dispatcher.

A dispatch mode sees every operation and slows all of them. Here the dispatcher itself calls a
Python function, for the chosen operations alone: kernels are registered under a dispatch key that
no tensor carries, and a thread includes that key while it is watched. All other operations fall
through, and nothing that a model can ask about changes, so fused paths, scripted code and autograd
run as without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from analyzer.measure.torch_private import (
    OpOverload,
    dispatcher_hook,
    excluding,
    has_composite_kernel,
    hook_key,
    including,
)

__all__ = ["Handler", "hooked", "hooks_work", "overloads", "unhooked"]

Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Called in place of an operation: runs it inside :func:`unhooked` and returns its result."""


class _Line(threading.local):
    """The handler of this thread."""

    handler: Handler | None = None


_LINE = _Line()

unhooked = excluding
"""A context that lets the operations in its block pass without their hook."""


def hooks_work() -> bool:
    """Whether this PyTorch has what hooks need."""
    return hook_key() is not None


@contextmanager
def hooked(names: Iterable[str], handler: Handler) -> Iterator[None]:
    """Hands every call of some operations in this thread to a handler until the block ends.

    Args:
        names: Qualified names of operations, such as ``aten::mm``, with all their overloads.
        handler: What is called.
    """
    for name in names:
        _register(name)
    before, _LINE.handler = _LINE.handler, handler
    try:
        with including():
            yield
    finally:
        _LINE.handler = before


@cache
def _register(name: str) -> None:
    dispatcher_hook(name, overloads(name), _kernel)


def overloads(name: str) -> list[Any]:
    """All overloads of an operation, in-place ones too; none of one that is made of others."""
    space, base = name.split("::")
    packets = [getattr(getattr(torch.ops, space), n, None) for n in (base, f"{base}_")]
    found = [getattr(p, o) for p in packets if p is not None for o in p.overloads()]
    return [op for op in found if not has_composite_kernel(op)]


def _kernel(op: OpOverload) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        handler = _LINE.handler
        if handler is None:
            with excluding():
                return op(*args, **kwargs)
        return handler(op, args, kwargs)

    return call
