"""Tensors as they were found, copied when they are about to be overwritten.

Parameters are large and hardly ever written in a forward pass, so they are copied only when an
operation is about to overwrite them, which a dispatch mode sees.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.tensors.arguments import has_memory, tensors_written
from analyzer.measure.torch_private.modes import DispatchMode
from analyzer.measure.torch_private.operators import written_arguments
from analyzer.measure.torch_private.tensors import version_of

__all__ = ["Guard", "Held", "equal"]

_MOST_COPIED = 1 << 30
"""Bytes of parameters that are copied at most so that a pass can be undone."""


class Guard(DispatchMode):
    """Copies the tensors of a model that are about to be overwritten.

    As a mode it sees the operations of its block; other modes call :meth:`before_write` themselves.

    Args:
        around: The guard of a block that this one lies in, which is told all that this one is told.
    """

    def __init__(self, around: Guard | None = None) -> None:
        super().__init__()
        self._around = around
        self._held: dict[torch.UntypedStorage, list[Held]] = {}

    def watch(self, held: Held) -> None:
        """Has a tensor copied before an operation overwrites it."""
        if held.readable:
            self._held.setdefault(held.alias.untyped_storage(), []).append(held)

    def release(self) -> None:
        """Watches nothing any more."""
        self._held.clear()

    def save(self) -> None:
        """Copies all watched tensors, but for the largest where they take too much memory.

        For passes that no mode sees.
        """
        if self._around is not None:
            self._around.save()
        watched = [held for some in self._held.values() for held in some]
        size = 0
        for held in sorted(watched, key=lambda held: held.alias.nbytes):
            size += held.alias.nbytes
            if size > _MOST_COPIED:
                break
            held.save()

    def copy_of(self, held: Held) -> Tensor | None:
        """The copy of a watched tensor that was found as it is now."""
        for known in self._held.get(held.alias.untyped_storage(), ()) if held.readable else ():
            if known.marks == held.marks:
                return known.copy
        return None

    def before_write(self, tensor: Tensor) -> None:
        """Copies all watched tensors that share the storage of one about to be written."""
        if self._around is not None:
            self._around.before_write(tensor)
        if tensor.layout is torch.strided:
            for held in self._held.get(tensor.untyped_storage(), ()):
                held.save()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in tensors_written(written_arguments(func), args, kwargs):
            self.before_write(tensor)
        return func(*args, **kwargs)


class Held:
    """A tensor as it was found. Its values are copied when :meth:`save` says so.

    Args:
        value: The tensor.

    Attributes:
        alias: Another view of its storage, which it may leave.
        copy: Its values, None until they are saved.
        marks: What tells that it was replaced, reshaped or written.
        readable: Whether it has values to copy.
    """

    __slots__ = ("_grad", "_requires_grad", "_value", "alias", "copy", "marks", "readable")

    def __init__(self, value: Tensor) -> None:
        self.readable = has_memory(value)
        self.alias = value.detach()
        self._value = value
        self.copy: Tensor | None = None
        self._grad = value.grad if value.is_leaf else None
        # What a graph computed can be detached from it in place, and not be put back into it.
        self._requires_grad = value.requires_grad if value.is_leaf else None
        self.marks = _marks(value)

    @property
    def is_parameter(self) -> bool:
        """Whether it is a parameter, which is copied only when it must be."""
        return isinstance(self._value, nn.Parameter)

    @property
    def changed(self) -> bool:
        """Whether the tensor was replaced, reshaped, or written in a way that PyTorch notices."""
        value = self._value
        return _marks(value) != self.marks or (value.is_leaf and value.grad is not self._grad)

    def save(self) -> None:
        """Copies the values, the first time."""
        if self.copy is None and self.readable:
            self.copy = _once(self.alias).clone()

    def save_again(self) -> None:
        """Copies the values as they are now."""
        if self.readable:
            if self.copy is None:
                self.save()
            else:
                self.copy.copy_(_once(self.alias))

    def restore(self) -> None:
        """Puts values, storage and gradient back.

        Raises:
            AnalyzerError: Where they were overwritten and no copy is there.
        """
        value, alias = self._value, self.alias
        if value.is_leaf and value.grad is not self._grad:
            value.grad = self._grad
        wanted = self._requires_grad
        if value.is_leaf and wanted is not None and value.requires_grad != wanted:
            value.requires_grad_(wanted)
        if not self.readable:
            return
        if _marks(value)[:3] != self.marks[:3]:
            value.data = alias
        if self.copy is None:
            if version_of(value) != self.marks[3]:
                raise AnalyzerError(
                    f"a parameter of shape {tuple(value.shape)} was overwritten in a later batch, "
                    "not in the first, and was too large to be copied before, so it is not as it "
                    'was: give analyzer.profile watch="every".'
                )
        elif not equal(_once(value), self.copy):
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                _once(value).copy_(self.copy)


def _marks(value: Tensor) -> tuple[int, Any, Any, int]:
    """What tells that a tensor was replaced, reshaped or written."""
    if value.layout is not torch.strided or value.is_nested:
        return 0, None, None, version_of(value)
    return value.data_ptr(), value.shape, value.stride(), version_of(value)


def _once(tensor: Tensor) -> Tensor:
    """A tensor with each element of its memory once: expanded axes have one entry."""
    if 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(0, 1) if not step else slice(None) for step in tensor.stride())]


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same, NaN included."""
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
