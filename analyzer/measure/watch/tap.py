"""A tap on chosen operations: a Python function in the dispatcher's way, at no cost to the rest.

A dispatch mode sees every operation and slows all of them. Here PyTorch's dispatcher itself calls
back, for the chosen operations alone: kernels are registered under a dispatch key that no tensor
ever carries, and a thread is tapped while it includes that key. All other operations fall through,
and nothing that a model can ask about changes, so fused paths, scripted and autograd code run as
ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ["Handler", "is_tapped", "overloads", "tapped", "unseen", "untapped"]

Handler = Callable[[OpOverload, tuple[Any, ...], dict[str, Any]], Any]
"""Called in place of an operation: runs it inside :func:`untapped` and returns its result."""

_KEY = "TESTING_ONLY_GenericMode"


class _Line(threading.local):
    """Who listens in this thread."""

    handler: Handler | None = None


_LINE = _Line()


@contextmanager
def tapped(names: Iterable[str], handler: Handler) -> Iterator[None]:
    """Hands every call of some operations in this thread to a handler until the block ends.

    Args:
        names: Qualified names of operations, such as ``aten::mm``, with all their overloads.
        handler: What is called.
    """
    for name in names:
        _register(name)
    before, _LINE.handler = _LINE.handler, handler
    try:
        with torch._C._IncludeDispatchKeyGuard(_key()):
            yield
    finally:
        _LINE.handler = before


def is_tapped() -> bool:
    """Whether a handler listens in this thread."""
    return _LINE.handler is not None


def untapped() -> AbstractContextManager[Any]:
    """Lets operations in the block pass the tap."""
    guard: AbstractContextManager[Any] = torch._C._ExcludeDispatchKeyGuard(_keys())
    return guard


def unseen() -> AbstractContextManager[Any]:
    """Hides the operations of a block from modes of the user's that are active, if any are."""
    if not (torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()):
        return _NOTHING
    stack = ExitStack()
    stack.enter_context(_disable_current_modes())
    stack.enter_context(torch._C.DisableTorchFunction())
    return stack


_NOTHING = nullcontext()


def overloads(name: str) -> list[OpOverload]:
    """All overloads of an operation, in-place ones too; none of one that is defined by others."""
    space, base = name.split("::")
    packets = [getattr(getattr(torch.ops, space), n, None) for n in (base, f"{base}_")]
    found = [getattr(p, o) for p in packets if p is not None for o in p.overloads()]
    return [op for op in found if not op.has_kernel_for_dispatch_key(_composite())]


@cache
def _key() -> Any:
    """The dispatch key, made to fall through for all operations that have no tap."""
    key = torch._C._parse_dispatch_key(_KEY)
    library = torch.library.Library("_", "IMPL")
    library.fallback(torch.library.fallthrough_kernel, _KEY)
    _LIBRARIES.append(library)
    return key


@cache
def _keys() -> Any:
    return torch._C.DispatchKeySet(_key())


@cache
def _composite() -> Any:
    return torch._C.DispatchKey.CompositeImplicitAutograd


@cache
def _register(name: str) -> None:
    """Puts the tap on an operation, for the life of the process: it is silent until included."""
    library = torch.library.Library(name.split("::")[0], "IMPL")
    for op in overloads(name):
        library.impl(op, _tap(op), _KEY)
    _LIBRARIES.append(library)


def _tap(op: OpOverload) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        handler = _LINE.handler
        if handler is None:
            with untapped():
                return op(*args, **kwargs)
        return handler(op, args, kwargs)

    return call


class _Libraries(list[Any]):
    """Registrations last as long as these objects do."""


_LIBRARIES = _Libraries()
