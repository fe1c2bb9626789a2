"""Neurons of no known kind: modules that fire by a threshold and seem to keep a state.

Their operations are counted one by one, so nothing is lost of what they compute; but how many
numbers each of their neurons keeps is not known, which memory models need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from analyzer.measure.tensors.arguments import tensors_in
from analyzer.measure.tensors.tensors import Tensors
from analyzer.measure.torch_private.modules import MODULE_TABLES, constants_of

__all__ = ["Thresholds"]

_OPERATIONS = frozenset({"ge", "gt", "le", "lt", "heaviside", "sign", "sgn"})
"""What makes a spike of a potential."""


class Thresholds:
    """Where a pass compared values that depend on the input with a threshold."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._fired: Counter[tuple[str, str]] = Counter()
        self._handed_on: set[str] = set()
        self._parts: dict[tuple[str, tuple[int, ...]], set[int]] = {}

    def compared(self, path: str, operation: str, inputs: Iterable[Tensor]) -> None:
        """Notes an operation of a module on values that depend on the input."""
        if operation in _OPERATIONS and any(x.is_floating_point() for x in inputs):
            self._fired[path, operation] += 1

    def parted(self, path: str, x: Tensor, axis: int = 0, at: int | None = None) -> None:
        """Notes that a module took one place of an axis of a tensor, or all of them, apart."""
        if not x.is_nested and x.ndim > 1 and axis % x.ndim == 0:
            taken = range(x.shape[0]) if at is None else (at % x.shape[0],)
            self._parts.setdefault((path, tuple(x.shape[:2])), set()).update(taken)

    def looped(self, neurons: Collection[str]) -> set[tuple[int, ...]]:
        """The two leading axes of tensors of which neurons read one place after the other.

        Args:
            neurons: Their paths. The threshold of one may be in a module within.
        """
        paths = {*neurons, *(path.rpartition(".")[0] for path in neurons)}
        whole = (key for key, taken in self._parts.items() if len(taken) == key[1][0] > 1)
        return {axes for path, axes in whole if path in paths}

    def returned(self, path: str, args: tuple[Any, ...], output: Any) -> None:
        """Notes what a module was given and gave: of a state that is handed on, two tensors."""
        if isinstance(output, (tuple, list)) and min(
            len(tensors_in(args)), len(tensors_in(output))
        ) > 1:  # fmt: skip
            self._handed_on.add(path)

    def neurons(self, tensors: Tensors) -> list[str]:
        """Modules that fired and keep state, as far as can be told.

        One does whose threshold was applied several times in the pass, as in a loop over time;
        that holds a tensor that depends on the input; or that was given a second tensor and gave
        one back. The threshold may be in a module within, such as a surrogate function.
        """
        found: dict[str, None] = {}
        modules = dict(self._model.named_modules(remove_duplicate=False)) if self._fired else {}
        for (path, _), times in self._fired.items():
            outer = path.rpartition(".")[0]
            for place in (path, *([outer] if outer else [])):
                if place in self._handed_on or _holds_state(modules.get(place), tensors):
                    found[place] = None
                    break
            else:
                if times > 1:
                    found[path] = None
        return list(found)


def _holds_state(module: nn.Module | None, tensors: Tensors) -> bool:
    records = map(tensors.known, _held(module))
    return any(record is not None and record.origin is None for record in records)


def _held(module: nn.Module | None) -> Iterator[Tensor]:
    """Tensors in attributes of a module and in containers there, but for its parameters."""
    if module is None:
        return
    yield from (buffer for _, buffer in constants_of(module)[1].items() if buffer is not None)
    for name, value in vars(module).items():
        if name not in MODULE_TABLES:
            yield from tensors_in(value.values() if isinstance(value, Mapping) else (value,))
