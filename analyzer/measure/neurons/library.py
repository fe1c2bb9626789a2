"""What one spiking library declares to the registry, in one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import nn

from analyzer.measure.neurons.equation import Neuron

__all__ = ["Library", "Reset", "by_name"]

Reset = Callable[[], object]
"""Puts one module's state to rest."""


def by_name(*names: str) -> Callable[[nn.Module], Reset | None]:
    """Modules are reset by the first of these methods that they have."""

    def find(module: nn.Module) -> Reset | None:
        for name in names:
            method: Any = getattr(module, name, None)
            if callable(method):
                return method  # type: ignore[no-any-return]
        return None

    return find


def _nothing(found: Any) -> Any:
    return None


def _no_aliases() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Library:
    """A spiking library: its neurons and how they are reset.

    Attributes:
        name: Of its top-level package.
        neurons: What is known of each neuron class, by the class's path below that package.
        reset: Finds what resets a module of this library, None where nothing does.
        aliases: Homes of the same classes in other versions: from a module's path, submodules
            included, to the one that ``neurons`` names.
        copy_of: For classes of other packages: the path in ``neurons`` of the class that this one
            looks like a copy of, or None. Its modules are then run once beside the equation, and
            the equation is taken only where both agree.
        owns: For classes of other packages: whether it is a copied base class of this library,
            whose modules are reset as the library's own.
    """

    name: str
    neurons: Mapping[str, Neuron]
    reset: Callable[[nn.Module], Reset | None] = _nothing
    aliases: Mapping[str, str] = field(default_factory=_no_aliases)
    copy_of: Callable[[type], str | None] = _nothing
    owns: Callable[[type], bool | None] = _nothing

    def neuron(self, path: str) -> Neuron | None:
        """What is known of a class of this library, by its path below the package."""
        for start, home in self.aliases.items():
            if path.startswith(f"{start}."):
                return self.neurons.get(f"{home}.{path.rpartition('.')[2]}")
        return self.neurons.get(path)
