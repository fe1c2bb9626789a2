"""Which module runs: a stack kept by hooks, and where an exception came from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import get_ident
from types import FrameType
from typing import Any, NamedTuple

from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.facts.layers import Layer
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.neurons.registry import Dynamics, dynamics
from analyzer.measure.rules.fused import COMPUTE_FOR_PARTS
from analyzer.measure.tensors.arguments import tensors_in
from analyzer.measure.torch_private.modes import hide_from_modes
from analyzer.measure.torch_private.modules import constants_of
from analyzer.measure.undoing import ModuleHooks
from analyzer.measure.watch.sent import Place
from analyzer.measure.watch.tap import unhooked

__all__ = ["RunningModules", "Scope"]

Extent = tuple[int, ...]
"""The shape of a tensor."""

_CALL = nn.Module.__call__.__code__
"""The code in whose frames a module is called."""


class Scope(NamedTuple):
    """A module whose forward is running.

    Attributes:
        path: Dotted path, empty for the model itself.
        order: Where time is in its input, see :meth:`Layouts.time_order`.
        neuron: What its dynamics cost, if it is a neuron of a known kind.
        inside: Whether it is a neuron, or runs inside one.
        at: Where in the trail of the pass it was entered.
        ordered: Whether it is sure which of time and samples comes first in its input.
    """

    path: str
    order: str
    neuron: Dynamics | None = None
    inside: bool = False
    at: int = 0
    ordered: bool = False


class RunningModules:
    """The modules that are running: a stack for each thread that a pass runs in.

    The hooks are PyTorch's global ones, because hooks on modules make nn.TransformerEncoderLayer
    leave its fused path. They see modules of all threads.

    Args:
        model: Only its own modules count.
        layouts: Axes of tensors.

    Attributes:
        trail: The modules entered so far in this pass.
        grouped: Where in the trail activity was counted by groups, and for which path.
        strayed: Path of a module that ran in a thread of which nothing is known, None if none did.
        shapes: Of the modules that ran in passes watched in full, by path: the shapes of the first
            tensors that they were given and that they returned, in the first of these passes.
    """

    def __init__(self, model: nn.Module, layouts: Layouts) -> None:
        self.trail: list[int] = []
        self.grouped: dict[int, str] = {}
        self.strayed: str | None = None
        self.shapes: dict[str, tuple[Extent | None, Extent | None]] = {}
        self._model = model
        self._layouts = layouts
        self._names: dict[int, list[str]] = {}
        self._biased: set[str] = set()
        self._whole: set[str] = set()
        self._dynamics: dict[int, Dynamics | None] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            key = id(module)
            names = self._names.setdefault(key, [])
            names.append(name)
            if len(names) == 1:
                self._dynamics[key] = dynamics(module)
            if isinstance(module, COMPUTE_FOR_PARTS):
                self._whole.add(name)
            own, _ = constants_of(module)
            if any("bias" in kind and x is not None for kind, x in own.items()):
                self._biased.add(name)
        self._scopes: list[Scope] = [Scope("", order="")]
        self._threads: dict[int, list[Scope]] = {}
        self._samples = 0

    @property
    def now(self) -> Scope:
        """The innermost module that runs in this thread; of one not followed, that of the pass."""
        return self._threads.get(get_ident(), self._scopes)[-1]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All modules of the model, each behind the one that holds it."""
        seen: dict[int, Any] = {}  # held, as the identity of what is gone may come again
        found = []
        for path, module in self._model.named_modules():
            number = 0
            for _, parameter in constants_of(module)[0].items():  # scripted ones have no values()
                if parameter is not None and id(parameter) not in seen:
                    seen[id(parameter)] = parameter
                    number += parameter.numel()
            found.append(Layer(path, type(module).__name__, number, *self.shapes.get(path, ())))
        return tuple(found)

    @property
    def paths(self) -> list[str]:
        """Paths of the modules entered so far in this pass, by the first name of each."""
        return [self._names[key][0] for key in self.trail]

    def biased(self, path: str) -> bool:
        """Whether the module of a path holds a bias of its own."""
        return path in self._biased

    def computes_for_parts(self, path: str) -> bool:
        """Whether the module of a path does the work of modules in it without calling them."""
        return path in self._whole

    @property
    def inside(self) -> bool:
        """Whether a neuron of a known kind is running."""
        return self.now.inside

    @contextmanager
    def elsewhere(self, scope: Scope) -> Iterator[None]:
        """Follows this thread too, whose work was handed on in a scope."""
        thread = get_ident()
        self._threads[thread] = [scope]
        try:
            yield
        finally:
            self._threads.pop(thread, None)

    @property
    def followed(self) -> bool:
        """Whether this thread is followed."""
        return get_ident() in self._threads

    @contextmanager
    def running(
        self,
        samples: int,
        neuron: Callable[[Scope, tuple[Any, ...], Any], None],
        other: Callable[[str, tuple[Any, ...], Any], None],
        lock: AbstractContextManager[object],
    ) -> Iterator[None]:
        """Follows one pass.

        Args:
            samples: How many samples pass.
            neuron: Called when a neuron of a known kind has run, with its input and output.
            other: Called with the path when any other module has.
            lock: Held while something is noted, as several threads may do so.
        """

        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            if id(module) in names:
                stack = threads.get(get_ident())
                if stack is None:
                    self._from_elsewhere(module)
                else:
                    with lock:
                        trail.append(id(module))
                        self._enter(module, args, stack)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            stack = threads.get(get_ident()) if id(module) in names else None
            if stack is not None and len(stack) > 1:
                scope = stack.pop()
                if scope.path not in self.shapes:
                    with hide_from_modes(), unhooked():
                        self.shapes[scope.path] = _shape(args), _shape((output,))
                done = scope.neuron is not None and output is not None
                if done and not stack[-1].inside:
                    with lock:
                        neuron(scope, args, output)
                elif not scope.inside:
                    with lock:
                        other(scope.path, args, output)

        names, trail, threads = self._names, self.trail, self._threads
        self._begin(samples)
        with ExitStack() as stack:
            threads[get_ident()] = self._scopes
            stack.callback(threads.clear)
            stack.enter_context(ModuleHooks(enter, leave, always=True))
            yield

    @contextmanager
    def following(
        self,
        samples: int,
        trail: Sequence[int],
        grouped: Mapping[int, str],
        sent: Mapping[int, Place],
        sends: Callable[[Place, Any], None],
    ) -> Iterator[None]:
        """Only keeps the trail of a pass that is expected to take a known one.

        Args:
            samples: How many samples pass.
            trail: The modules expected.
            grouped: Where in it activity is counted by groups, and the path of the module there.
            sent: Where in it spiking layers run, and how the output of each lies.
            sends: Called when one of these has run, with its output.
        """

        def note(module: nn.Module, args: tuple[Any, ...]) -> None:
            if id(module) in names and get_ident() != thread:
                self._from_elsewhere(module)
            elif id(module) in names:
                at = len(own)
                own.append(id(module))
                if at in grouped and trail[at] == id(module):
                    try:
                        self._count_groups(grouped[at], args)
                    except AnalyzerError:  # a full pass says what does not fit, if anything
                        own.append(id(None))
                if at in sent and trail[at] == id(module):
                    running.append(at)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if running and trail[running[-1]] == id(module) and get_ident() == thread:
                at = running.pop()
                if output is not None:
                    sends(sent[at], output)

        names, own, thread = self._names, self.trail, get_ident()
        running: list[int] = []
        self._begin(samples)
        with ModuleHooks(note, leave if sent else None, always=True):
            yield

    def _begin(self, samples: int) -> None:
        self.trail.clear()
        self.grouped.clear()
        self.strayed = None
        self._scopes[1:] = []
        self._samples = samples
        self._layouts.begin()

    def _from_elsewhere(self, module: nn.Module) -> None:
        """Notes a module that runs in another thread, unless the whole model runs there.

        Then somebody uses the model beside the pass. Else the model itself gave the work to a
        thread, in a way that nobody sees.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code is _CALL and frame.f_locals.get("self") is self._model:
                return
            frame = frame.f_back
        if self.strayed is None:
            self.strayed = self._names[id(module)][0]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], stack: list[Scope]) -> None:
        path = self._path(module)
        neuron = self._dynamics[id(module)]
        first = next(iter(tensors_in(args)), None)
        order = self._layouts.time_order(path, first, self._samples)
        outer = stack[-1]
        apart = () if outer.neuron is None else outer.neuron.apart
        within = outer.inside and path.removeprefix(f"{outer.path}.") not in apart
        inside = neuron is not None or within
        ordered = bool(order) and self._layouts.ordered(path, first, self._samples)
        stack.append(Scope(path, order, neuron, inside, len(self.trail) - 1, ordered))
        if self._layouts.grouped(path):
            self.grouped[len(self.trail) - 1] = path
            self._count_groups(path, args)

    def _count_groups(self, path: str, args: tuple[Any, ...]) -> None:
        with hide_from_modes(), unhooked():
            self._layouts.count_groups(path, next(iter(tensors_in(args)), None), self._samples)

    def _path(self, module: nn.Module) -> str:
        """Dotted path of a module; of a shared one, that below the module now running."""
        names = self._names[id(module)]
        if len(names) > 1:
            scope = self.now.path
            below = [n for n in names if n.startswith(f"{scope}.")] if scope else []
            return (below or names)[0]
        return names[0]


def _shape(values: tuple[Any, ...]) -> Extent | None:
    """Shape of the first tensor among some values."""
    first = next(iter(tensors_in(values)), None)
    return None if first is None or first.is_nested else tuple(first.shape)
