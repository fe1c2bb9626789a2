"""Modes of a thread: the base class of dispatch modes, and which of them see a block."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "DispatchMode",
    "active_functions",
    "active_modes",
    "hide_from_functions",
    "hide_from_modes",
    "mode_depth",
    "pushed",
    "set_functions",
    "set_modes",
]


class DispatchMode(TorchDispatchMode):
    """Base class of modes that see every operation of a block.

    PyTorch's own is documented, but lives in a private module. Entering that notes for all threads
    at once which modes are active, and leaves it wrong where threads leave in another order than
    they entered, or where an interrupt ends it in its midst.
    """

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[pushed] = []

    def __enter__(self) -> Self:
        block = pushed(self)
        block.__enter__()
        self._blocks.append(block)
        return self

    def __exit__(self, *error: object) -> None:
        self._blocks.pop().__exit__(*error)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would load its compiler, for a second and more, to leave the mode out of it."""
        return False


def mode_depth() -> int:
    """How many dispatch modes are active in this thread."""
    return int(torch._C._len_torch_dispatch_stack())


def active_modes() -> list[Any]:
    """The dispatch modes that are active in this thread, the innermost last."""
    return [torch._C._get_dispatch_stack_at(at) for at in range(mode_depth())]


def set_modes(modes: list[Any]) -> None:
    """Has these modes active in this thread, and no others."""
    while mode_depth():
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes:
        torch._C._push_on_torch_dispatch_stack(mode)


def active_functions() -> list[Any]:
    """The function modes that are active in this thread, the innermost last.

    PyTorch keeps the default device among them, which is left out: it is a setting, not a block.
    """
    return [mode for mode in _functions() if mode is not _default_device()]


def set_functions(modes: list[Any]) -> None:
    """Has these function modes active in this thread, and of others the default device alone."""
    found = _functions()
    for _ in found:
        torch._C._pop_torch_function_stack()
    for mode in [*(mode for mode in found if mode is _default_device()), *modes]:
        torch._C._push_on_torch_function_stack(mode)


def _functions() -> list[Any]:
    depth = torch._C._len_torch_function_stack()
    return [torch._C._get_function_stack_at(at) for at in range(depth)]


def _default_device() -> Any:
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


class pushed:  # noqa: N801 - it is used as a function
    """Has a mode see the operations of a block, in a thread or a call that it is not active in."""

    def __init__(self, mode: Any) -> None:
        self._mode = mode
        self._depth = -1

    def __enter__(self) -> None:
        self._depth = mode_depth()
        torch._C._push_on_torch_dispatch_stack(self._mode)

    def __exit__(self, *error: object) -> None:
        # What an interrupt left above goes too; where one took the mode away, nothing does.
        at = self._depth
        if 0 <= at < mode_depth() and torch._C._get_dispatch_stack_at(at) is self._mode:
            while mode_depth() > at:
                torch._C._pop_torch_dispatch_stack(None)


def hide_from_modes() -> AbstractContextManager[Any]:
    """Hides the operations of a block from modes of the user's that are active, if any are."""
    if not (torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()):
        return _NOTHING
    return _Hidden()


class _Hidden:
    """A block without modes. PyTorch's own loses them where it is interrupted."""

    def __enter__(self) -> None:
        self._modes = active_modes()
        self._functions = hide_from_functions()
        self._functions.__enter__()
        set_modes([])

    def __exit__(self, *error: object) -> None:
        set_modes(self._modes)
        self._functions.__exit__(None, None, None)


_NOTHING = nullcontext()


def hide_from_functions() -> AbstractContextManager[Any]:
    """Hides attributes that a block reads of tensors from function modes and subclasses."""
    return torch._C.DisableTorchFunction()
