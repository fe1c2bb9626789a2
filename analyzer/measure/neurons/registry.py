"""What one update of a spiking neuron costs: a registry by class, of no library imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from analyzer.measure.neurons import norse, own, sinabs, snntorch, spikingjelly
from analyzer.measure.neurons.equation import Neuron
from analyzer.measure.neurons.scalar import Scalar, Tally, restarted
from analyzer.measure.rules.work import Work

__all__ = ["LIBRARIES", "Dynamics", "dynamics", "kind_of"]

LIBRARIES: Mapping[str, Mapping[str, Neuron]] = MappingProxyType(
    {
        "analyzer": own.NEURONS,
        "spikingjelly": spikingjelly.NEURONS,
        "snntorch": snntorch.NEURONS,
        "sinabs": sinabs.NEURONS,
        "norse": norse.NEURONS,
    }
)
"""The neurons of each library, by the path of their class after the library's name."""

_HARMLESS = frozenset({"__init__", "__repr__", "extra_repr", "reset", "__doc__", "__module__"})


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The dynamics of a spiking module.

    Attributes:
        neuron: Its kind, as tables show it, such as ``LIFNode``.
        work: Element-wise operations of one update of one neuron.
        updates: ``(args, output) -> int``: how many updates one call performed (neurons × batch ×
            timesteps), from its positional arguments and its output.
        apart: Names of children whose operations are no part of ``work``: lateral connections.
        kept: How many figures each neuron keeps from step to step: at least its potential.
        accesses: How often one update reads and writes each of them.
    """

    neuron: str
    work: Work
    updates: Callable[[tuple[Any, ...], Any], int]
    apart: tuple[str, ...] = ()
    kept: int = 1
    accesses: int = 1


def dynamics(module: nn.Module) -> Dynamics | None:
    """The dynamics of a module, None where it is no known neuron or its settings make it another.

    None also where its constants leave its equation undefined.

    The cost is counted from the neuron's equation with the module's settings, whatever kernel or
    backend computes it. Contractions inside the module, such as lateral connections, are no part
    of it. Reads constants of the module, so call it outside of a forward pass on a GPU.
    """
    found = kind_of(module)
    if found is None:
        return None
    name, kind = found
    if not kind.fits(module):
        return None

    try:
        work = _work(module, kind)
    except (ArithmeticError, ValueError):  # constants such as a threshold of 0 to divide by
        return None

    def updates(args: tuple[Any, ...], output: Any) -> int:
        return kind.updates(module, args, output)

    kept = max(_states(module, kind) - kind.derived, 1)
    return Dynamics(name, work, updates, kind.apart, kept, kind.accesses(module))


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
    """The name and kind of the first class of the registry in a module's ancestry.

    A subclass that is not in the registry and redefines a method computes something else.
    """
    redefined: set[str] = set()
    for cls in type(module).__mro__:
        library, _, path = f"{cls.__module__}.{cls.__qualname__}".partition(".")
        kind = LIBRARIES.get(library, {}).get(_public(library, path))
        if kind is not None:
            inherited = {name for name in redefined if hasattr(cls, name)}
            return None if inherited else (cls.__name__, kind)
        redefined |= {n for n, v in vars(cls).items() if callable(v)} - _HARMLESS
    return None


def _public(library: str, path: str) -> str:
    """SpikingJelly's neurons are named by the package that they are imported from."""
    if library == "spikingjelly" and path.startswith("activation_based.neuron."):
        return f"activation_based.neuron.{path.rpartition('.')[2]}"
    return path
