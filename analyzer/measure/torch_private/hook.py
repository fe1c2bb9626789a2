"""The dispatcher hook: Python functions before chosen operations, in threads that ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch

__all__ = ["dispatcher_hook", "excluding", "hook_key", "hook_settings", "include_hook"]

_KEY = "TESTING_ONLY_GenericMode"
"""A dispatch key that no tensor ever carries, so that nothing but this package's hook uses it."""

_KEY_SETTERS = (
    "_dispatch_tls_is_dispatch_key_included",
    "_dispatch_tls_is_dispatch_key_excluded",
    "_dispatch_tls_set_dispatch_key_included",
    "_dispatch_tls_set_dispatch_key_excluded",
)
"""What says whether this thread includes or excludes a dispatch key, and has it do so."""


class _Registered:
    """The hook's registrations, which last as long as these objects do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.libraries: list[Any] = []
        self.names: set[str] = set()
        self.kernels: set[tuple[str, str]] = set()
        self.falls_through = False
        self.key: Any = None
        self.lacks: str | None = None


_REGISTERED = _Registered()


def hook_key() -> Any:
    """The dispatch key under which hooked operations are registered; None where hooks lack.

    Every operation without a hook falls through it. Without the key, every pass is watched by the
    dispatch mode: slower, with the same numbers.
    """
    known = _REGISTERED
    with known.lock:
        if known.key is None and known.lacks is None:
            try:
                key: Any = torch._C._parse_dispatch_key(_KEY)
                if not known.falls_through:  # of a try that was interrupted
                    library = torch.library.Library("_", "IMPL")
                    known.libraries.append(library)  # first, as what it holds ends with it
                    library.fallback(torch.library.fallthrough_kernel, _KEY)
                    known.falls_through = True
                for name in (*_KEY_SETTERS, "_ExcludeDispatchKeyGuard"):
                    getattr(torch._C, name)
                torch._C.DispatchKeySet(key)
            except (AttributeError, RuntimeError) as error:
                known.lacks = f"{type(error).__name__}: {error}"
            else:
                _let_through_operators(key)
                known.key = key
        return known.key


def _let_through_operators(key: Any) -> None:
    """Has the key fall through higher-order operators too, also through those that are made later.

    They are dispatched in Python, by lists of their own.
    """
    passed = getattr(torch._ops, "_HIGHER_ORDER_OP_DEFAULT_FALLTHROUGH_DISPATCH_KEYS", [])
    passed.append(key)
    for operator in getattr(torch._ops, "_higher_order_ops", {}).values():
        operator.fallthrough(key)


def dispatcher_hook(
    name: str, overloads: Callable[[str], list[Any]], kernel: Callable[[Any], Any]
) -> None:
    """Puts a Python kernel before an operation, once for the life of the process.

    Args:
        name: Name with its namespace, such as ``aten::mm``.
        overloads: From the name to its overloads that get a kernel.
        kernel: From an overload to what is called in its place.
    """
    key, known = hook_key(), _REGISTERED
    if key is None or name in known.names:
        return
    with known.lock:
        if name in known.names:
            return
        library = torch.library.Library(name.split("::")[0], "IMPL")
        known.libraries.append(library)  # first, as what it holds ends with it
        for overload in overloads(name):
            if (name, str(overload)) not in known.kernels:  # of a try that was interrupted
                library.impl(overload, kernel(overload), _KEY)
                known.kernels.add((name, str(overload)))
        known.names.add(name)


def include_hook() -> Callable[[], None]:
    """Lets hooked operations of this thread reach their hook; returns what ends that.

    It may be called twice, and does nothing where there is no hook.
    """
    key = hook_key()
    if key is None:
        return lambda: None
    before = _is_included(key)

    def end() -> None:
        _include(key, before)

    _include(key, True)
    return end


def hook_settings() -> Callable[[], None]:
    """What puts back whether this thread reaches its hooks, as it is now; may be called twice."""
    key = _REGISTERED.key
    included = key is not None and _is_included(key)
    excluded = key is not None and _is_excluded(key)

    def back() -> None:
        key = _REGISTERED.key  # which may have been registered since
        if key is not None:
            _include(key, included)
            _exclude(key, excluded)

    return back


def excluding() -> AbstractContextManager[Any]:
    """Lets the operations of a block pass without their hook."""
    keys = _key_set()
    if keys is None:
        return _NOTHING
    guard: AbstractContextManager[Any] = torch._C._ExcludeDispatchKeyGuard(keys)
    return guard


_NOTHING = nullcontext()


@cache
def _key_set() -> Any:
    key = hook_key()
    return None if key is None else torch._C.DispatchKeySet(key)


def _is_included(key: Any) -> bool:
    return bool(torch._C._dispatch_tls_is_dispatch_key_included(key))


def _is_excluded(key: Any) -> bool:
    return bool(torch._C._dispatch_tls_is_dispatch_key_excluded(key))


def _include(key: Any, included: bool) -> None:
    if _is_included(key) != included:
        torch._C._dispatch_tls_set_dispatch_key_included(key, included)


def _exclude(key: Any, excluded: bool) -> None:
    if _is_excluded(key) != excluded:
        torch._C._dispatch_tls_set_dispatch_key_excluded(key, excluded)
