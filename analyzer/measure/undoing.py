"""Undoes what a measurement changes, also where the undoing fails or is interrupted.

Python leaves a ``with`` block that is interrupted at its very end, or while it is entered, without
undoing it. So each change of the thread or the process is noted here before it is made, and
:class:`Surroundings` undoes, when a measurement ends, all that is still noted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from analyzer.errors import undo_all
from analyzer.measure.torch_private.modules import forget_module_hooks, interception
from analyzer.measure.torch_private.thread_state import ThreadState

__all__ = [
    "Held", "Intercepted", "ModuleHooks", "Surroundings", "Undo", "Undoable", "open_blocks",
    "undone",
]  # fmt: skip

T = TypeVar("T")


class _Line(threading.local):
    """What this thread has changed and not undone yet, the latest last."""

    def __init__(self) -> None:
        self.open: list[Undoable] = []


_LINE = _Line()


class Undoable:
    """A context that is noted before it changes anything, and may be left twice.

    Subclasses say in :meth:`begin` what is changed, and in :meth:`undo` what puts it back, also
    after a part of :meth:`begin`.
    """

    _open = False

    @property
    def in_use(self) -> bool:
        """Whether it is entered and not left yet."""
        return self._open

    def begin(self) -> Any:
        """Changes something; returns what ``as`` gives."""
        raise NotImplementedError

    def undo(self) -> None:
        """Puts it back; may be called twice."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        self._open = True
        try:
            _LINE.open.append(self)
            return self.begin()
        except BaseException:
            self.leave()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Puts back what was changed, the first time; an error of that is raised once."""
        try:
            if self._open:
                self.undo()
        except Exception:
            self._done()
            raise
        self._done()  # again, if an interrupt ended the first: what is noted holds the model

    def _done(self) -> None:
        self._open = False
        if self in _LINE.open:
            _LINE.open.remove(self)


U = TypeVar("U", bound=Undoable)


def open_blocks(kind: type[U]) -> list[U]:
    """The blocks of a kind that this thread is in, the innermost first."""
    return [block for block in reversed(_LINE.open) if isinstance(block, kind)]


class Undo(Undoable):
    """Runs some steps when its block ends, all of them.

    Args:
        steps: Each may run twice.
    """

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = steps

    def begin(self) -> None:
        """Changes nothing itself."""

    def undo(self) -> None:
        """Runs the steps."""
        undo_all(self._steps)


class Held(Undoable):
    """One of several who hold something shared, which ends with the last of them.

    Args:
        shared: Has ``enter`` and ``leave``, which are given this.
    """

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def begin(self) -> None:
        """Enters."""
        self._shared.enter(self)

    def undo(self) -> None:
        """Leaves."""
        self._shared.leave(self)


class ModuleHooks(Undoable):
    """Hooks of PyTorch on all modules, in a block.

    Args:
        before: Called before the forward of a module; with the module and its arguments.
        after: Called after it, with the output too; None for no such hook.
        always: Whether ``after`` is called where the forward raised, too.
    """

    def __init__(
        self,
        before: Callable[..., None],
        after: Callable[..., None] | None = None,
        *,
        always: bool = False,
    ) -> None:
        self._before = before
        self._after = after
        self._always = always

    def begin(self) -> None:
        """Sets the hooks."""
        register_module_forward_pre_hook(self._before)
        if self._after is not None:
            register_module_forward_hook(self._after, always_call=self._always)

    def undo(self) -> None:
        """Takes them away."""
        # Whoever is interrupted while a hook is set has no handle of it.
        forget_module_hooks(self._before, self._after)


class Intercepted(Undoable):
    """Hands every call of a module to a function, in a block.

    Args:
        module: The module.
        call: Is given what calls the module, and the arguments.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Callable[[Callable[..., Any], tuple[Any, ...], Any], Any],
    ) -> None:
        self._module = module
        self._call = call
        self._end: Callable[[], None] | None = None

    def begin(self) -> None:
        """Hands calls to the function."""
        begin, self._end = interception(self._module, self._call)
        begin()

    def undo(self) -> None:
        """Hands them to the module again."""
        if self._end is not None:
            self._end()


class Surroundings:
    """What a measurement may leave in its thread and in the process, as it was before.

    :func:`undone` takes care that :meth:`put_back` is called.

    Args:
        flags: Whether gradients and determinism are put back too, which a block of the user's may
            mean to change.

    Example:
        >>> import torch
        >>> before = Surroundings()
        >>> _ = torch.set_grad_enabled(False)
        >>> before.put_back()
        >>> torch.is_grad_enabled()
        True
    """

    def __init__(self, *, flags: bool = True) -> None:
        self._open = len(_LINE.open)
        self._state = ThreadState(flags=flags)

    def put_back(self) -> None:
        """Undoes all that was changed since and not undone.

        Raises:
            BaseException: As :func:`undo_all` does.
        """
        left = [undoable.leave for undoable in reversed(_LINE.open[self._open :])]
        undo_all([self._state.put_back, *left, self._state.put_back])


def undone(work: Callable[[], T], *steps: Callable[[], object], flags: bool = True) -> T:
    """Does some work; afterwards undoes what it changed and did not undo, and runs some steps.

    It does so twice, for an interrupt may end the first time in its midst.

    Args:
        work: What may change this thread, the process or a model.
        steps: What else is to be done at the end, as :func:`undo_all` takes it.
        flags: As :class:`Surroundings` takes it.

    Returns:
        What the work returns.

    Raises:
        BaseException: As the work and :func:`undo_all` do.
    """
    undo = Surroundings(flags=flags).put_back, *steps
    try:
        try:
            return work()
        finally:
            undo_all(undo)
    finally:
        undo_all(undo)
