"""Which module of a model is running, for verification and training memory.

Profiling uses ``modules.py``, which also knows neurons and layouts. Hooks are gone when the block
ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from analyzer.measure.undoing import ModuleHooks

__all__ = ["Scopes", "canonical_names", "followed"]


class Scopes:
    """The stack of modules whose forward is running, by their canonical paths.

    Attributes:
        runs: How often the model itself was called.
    """

    def __init__(self, model: nn.Module) -> None:
        self.runs = 0
        self._names = {id(module): name for name, module in model.named_modules()}
        self._stack: list[tuple[str, Any]] = [("", None)]

    @property
    def path(self) -> str:
        """Dotted path of the innermost module, empty for the model itself."""
        return self._stack[-1][0]

    @property
    def arguments(self) -> Any:
        """Positional arguments of the innermost module, None where none runs."""
        return self._stack[-1][1]

    def enter(self, module: nn.Module, args: Any) -> None:
        """Hook: a forward begins."""
        if id(module) in self._names:
            path = self._names[id(module)]
            self.runs += not path
            self._stack.append((path, args))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Hook: a forward has ended, also when it raised."""
        if id(module) in self._names and len(self._stack) > 1:
            self._stack.pop()


@contextmanager
def followed(model: nn.Module) -> Iterator[Scopes]:
    """Follows one forward pass; global hooks, so that fused layers stay fused."""
    scopes = Scopes(model)
    with ModuleHooks(scopes.enter, scopes.leave, always=True):
        yield scopes


def canonical_names(model: nn.Module) -> dict[str, str]:
    """From every path of a module to its first one: shared modules have several."""
    first = {id(module): name for name, module in model.named_modules()}
    return {name: first[id(module)] for name, module in model.named_modules(remove_duplicate=False)}
