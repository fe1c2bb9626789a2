"""Which modules are spiking neurons, and what one update of each costs.

No spiking library is imported: classes are known by their paths. Another library is one more file
that declares a :class:`~analyzer.measure.neurons.library.Library`, named in ``LIBRARIES``; single
classes are taught by ``analyzer.neuron``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from torch import nn

from analyzer.errors import AnalyzerWarning
from analyzer.measure.neurons import norse, own, sinabs, snntorch, spikingjelly
from analyzer.measure.neurons.copies import if_it_computes
from analyzer.measure.neurons.equation import Neuron
from analyzer.measure.neurons.library import Library, Reset
from analyzer.measure.neurons.scalar import Scalar, Tally, restarted
from analyzer.measure.neurons.taught import neuron
from analyzer.measure.rules.work import Work

__all__ = ["LIBRARIES", "Dynamics", "dynamics", "kind_of", "reset_of"]

LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        library.name: library
        for library in (
            own.LIBRARY,
            spikingjelly.LIBRARY,
            snntorch.LIBRARY,
            sinabs.LIBRARY,
            norse.LIBRARY,
        )
    }
)
"""The libraries that are known, by the name of their package."""

_HARMLESS = frozenset({"__init__", "__repr__", "extra_repr", "reset", "__doc__", "__module__"})


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The dynamics of a spiking module.

    Attributes:
        neuron: Its kind, as tables show it, such as ``LIFNode``.
        work: Element-wise operations of one update of one neuron.
        updates: ``(args, output) -> int``: how many updates one call performed (neurons × batch ×
            timesteps), from its positional arguments and its output.
        steps: ``(args, output) -> int``: how many timesteps that call held, so that there are
            ``updates / steps`` neurons that keep state.
        apart: Names of children whose operations are not part of ``work`` and are counted on their
            own: lateral connections.
        kept: How many numbers each neuron keeps from one timestep to the next: at least its
            potential.
        accesses: How often one update reads and writes each of them.
    """

    neuron: str
    work: Work
    updates: Callable[[tuple[Any, ...], Any], int]
    steps: Callable[[tuple[Any, ...], Any], int]
    apart: tuple[str, ...] = ()
    kept: int = 1
    accesses: int = 1


def dynamics(module: nn.Module) -> Dynamics | None:
    """The dynamics of a module, None if it is no known neuron or its settings make it another.

    None also if its constants leave its equation undefined, or, with a warning, if it lacks a
    setting that the equation needs: then its operations are counted one by one.

    The cost is counted from the neuron's equation with the module's settings, whatever kernel or
    backend computes it. Contractions inside the module, such as lateral connections, are not part
    of it. Reads constants of the module, so call it outside of a forward pass on a GPU.

    Raises:
        AnalyzerError: If an equation that was taught for its class fails.
    """
    found = kind_of(module)
    if found is None:
        return None
    name, kind = found
    try:
        if not kind.fits(module):
            return None
        work = _work(module, kind)
        kept = max(_states(module, kind) - kind.derived, 1)
        accesses = kind.accesses(module)
    except (ArithmeticError, ValueError):  # constants such as a threshold of 0 to divide by
        return None
    except (AttributeError, LookupError, TypeError) as error:  # another version of its library
        cls: Any = type(module)
        _warn(cls, str(error))
        return None

    def updates(args: tuple[Any, ...], output: Any) -> int:
        return kind.updates(module, args, output)

    def steps(args: tuple[Any, ...], output: Any) -> int:
        return max(kind.steps(module, args, output), 1)

    return Dynamics(name, work, updates, steps, kind.apart, kept, accesses)


@lru_cache(maxsize=1024)
def _warn(cls: type, reason: str) -> None:
    """Says it once for each class, as a network has many modules of one."""
    warnings.warn(
        f"{cls.__module__}.{cls.__qualname__} has the name of a neuron that is known, but not its "
        f"settings ({reason.rstrip('.')}): its operations are counted one by one. "
        "Teach its equation with analyzer.neuron.",
        AnalyzerWarning,
        stacklevel=3,
    )


def _work(module: nn.Module, kind: Neuron) -> Work:
    """Of a second timestep: only the first tells which state variables are spikes."""
    n = _states(module, kind)
    first, second = Tally(), Tally()
    _, *state = kind.update(module, *(Scalar(0.5, first) for _ in range(1 + n)))
    kind.update(module, Scalar(0.5, second), *(restarted(x, second) for x in state[:n]))
    return second.work()


def _states(module: nn.Module, kind: Neuron) -> int:
    return kind.states if isinstance(kind.states, int) else kind.states(module)


def kind_of(module: nn.Module) -> tuple[str, Neuron] | None:
    """The name and kind of the first class in a module's ancestry that is known or was taught.

    A subclass that is not known itself and redefines a method computes something else.
    """
    own: Any = type(module)
    return _kind_of(own) if neuron.any else _kind_in_libraries(own)


def _kind_of(own: type) -> tuple[str, Neuron] | None:
    redefined: set[str] = set()
    for cls in own.__mro__:
        taught = neuron.of(cls)
        kind = _known(cls) if taught is None else taught.neuron
        if kind is not None:
            resets = set() if taught is None else {taught.reset}
            inherited = {name for name in redefined - resets if hasattr(cls, name)}
            return None if inherited else (cls.__name__, kind)
        redefined |= {n for n, v in vars(cls).items() if callable(v)} - _HARMLESS
    return None


@lru_cache(maxsize=1024)
def _kind_in_libraries(own: type) -> tuple[str, Neuron] | None:
    """The same where nothing was taught: then it is one for all modules of a class."""
    return _kind_of(own)


@lru_cache(maxsize=1024)
def _known(cls: type) -> Neuron | None:
    """What a library says of a class of its own, or of one that looks like a copy of these."""
    package, _, path = f"{cls.__module__}.{cls.__qualname__}".partition(".")
    if package in LIBRARIES:
        return LIBRARIES[package].neuron(path)
    for library in LIBRARIES.values():
        original = library.copy_of(cls)
        if original is not None:
            return if_it_computes(library.neurons[original])
    return None


def reset_of(module: nn.Module) -> Reset | None:
    """What resets a module's state, None if nothing is known to."""
    for cls in type(module).__mro__:
        taught = neuron.of(cls)
        reset = None if taught is None else taught.reset_of(module)
        if reset is not None:
            return reset
    kind: Any = type(module)
    found = (library.reset(module) for library in _libraries(kind))
    return next((reset for reset in found if reset is not None), None)


@lru_cache(maxsize=1024)
def _libraries(kind: type) -> tuple[Library, ...]:
    """The libraries that a class or one of its bases is of, or copied from."""
    packages = {cls.__module__.partition(".")[0] for cls in kind.__mro__}
    return tuple(
        library
        for library in LIBRARIES.values()
        if library.name in packages or any(map(library.owns, kind.__mro__))
    )
