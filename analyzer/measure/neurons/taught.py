"""Neurons that users teach: modules of their own, counted by an equation that they write."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.neurons.equation import Equation, Neuron, one_step, time_on
from analyzer.measure.neurons.library import Reset
from analyzer.measure.neurons.scalar import Number, Scalar, number

__all__ = ["NeuronRegistry", "Taught", "neuron"]


@dataclass(frozen=True, slots=True)
class Taught:
    """What was taught of a class: its equation, and how its modules are reset."""

    neuron: Neuron
    reset: str | Callable[[Any], object] | None

    def reset_of(self, module: nn.Module) -> Reset | None:
        """What resets a module, None where nothing does."""
        if callable(self.reset):
            return partial(self.reset, module)
        if self.reset is None:
            return None
        method: Any = getattr(module, self.reset, None)
        if not callable(method):
            raise AnalyzerError(
                f"{type(module).__name__} was taught with reset={self.reset!r}, but has no such "
                "method: give the name of one, or a function of the module."
            )
        return method  # type: ignore[no-any-return]


class NeuronRegistry:
    """Spiking module classes that users taught, with their equations.

    Call it to teach a class: see :meth:`__call__`. The registry behind ``analyzer.neuron`` is
    shared by all profiles of a process.

    Example:
        >>> import torch
        >>> import analyzer
        >>> class Leaky(torch.nn.Module):
        ...     def __init__(self, tau):
        ...         super().__init__()
        ...         self.tau = tau
        ...         self.v = 0.0
        ...     def forward(self, x):
        ...         v = self.v + (x - self.v) / self.tau
        ...         spike = (v >= 1).to(x)
        ...         self.v = v - spike
        ...         return spike
        ...     def rest(self):
        ...         self.v = 0.0
        >>> def update(module, x, v):
        ...     v = v + (x - v) / module.tau
        ...     spike = v >= 1
        ...     return spike, v - spike
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), Leaky(2.0)).eval()
        >>> with analyzer.neuron.temporarily():
        ...     analyzer.neuron(Leaky, update, state=["v"], reset="rest")
        ...     profile = analyzer.profile(model, torch.rand(4, 3))
        >>> row = profile.counts.set_index("op").loc["Leaky"]
        >>> int(row["adds"]), int(row["multiplies"]), int(row["compares"])
        (60, 20, 20)
    """

    def __init__(self) -> None:
        self._taught: dict[type | str, Taught] = {}
        self._lock = threading.Lock()

    def __call__(
        self,
        cls: type[nn.Module] | str,
        equation: Equation,
        *,
        state: int | str | Sequence[str] = 1,
        time: int | None = None,
        reset: str | Callable[[Any], object] | None = None,
        replace: bool = False,
    ) -> None:
        """Teaches a spiking module class: what one update of one neuron computes.

        Use it for a neuron that no known library defines. Its modules then count by the equation,
        whatever operations or kernels compute them, in one row of a profile each, and their state
        has a size. Contractions inside the module, such as lateral connections, still count by
        themselves; all other operations inside are replaced by the equation.

        A subclass counts the same way, unless it redefines a method. What is taught of a class
        that the package knows is used in place of the package's.

        Args:
            cls: The class, or its path ``"package.module.Class"``, which need not be imported.
            equation: ``(module, x, *state) -> (output, *state)`` of one neuron in one timestep, in
                plain arithmetic and comparisons: every operation on a number that depends on the
                input is counted. ``module`` is a view of the module in which tensors read as
                numbers. ``select``, ``exp``, ``sigmoid``, ``relu``, ``clamp`` and others are in
                :mod:`analyzer.measure.neurons.scalar`, which also says what costs nothing: spikes
                choose for free, and constants are computed once.
            state: How many state variables each neuron has, or the names of the attributes that
                hold them.
            time: The axis of the input that holds the timesteps; None if one call is one timestep.
                There is one update for each element of the input.
            reset: What puts a module to rest before each batch: the name of its method, or a
                function of the module. None if every forward pass starts at rest by itself.
            replace: Whether this may take the place of what was taught of this class before.

        Raises:
            AnalyzerError: If ``cls`` is not a module class or path of one, was taught before, or an
                argument does not fit the others.
        """
        key, name = _key(cls)
        names = (state,) if isinstance(state, str) else state
        n = names if isinstance(names, int) else len(names)
        if isinstance(names, bool) or n < 0:
            raise AnalyzerError(
                f"state={state!r} of {name} is neither a number of variables nor names of "
                "attributes: give state=1 or state=['v']."
            )
        if isinstance(time, bool) or not (time is None or isinstance(time, int)):
            raise AnalyzerError(
                f"time={time!r} of {name} is no axis: give time=0 if the timesteps come first in "
                "the input, or time=None if one call is one timestep."
            )
        _check_arity(name, equation, n)
        _check_reset(cls, name, reset)
        kind = Neuron(
            _checked(name, equation, n),
            states=n,
            steps=one_step if time is None else time_on(time),
        )
        with self._lock:
            earlier = self._filed(key)
            if earlier is not None and not replace:
                raise AnalyzerError(
                    f"{name} was taught before: pass replace=True to put this in its place."
                )
            self._taught[key if earlier is None else earlier] = Taught(kind, reset)

    def remove(self, cls: type[nn.Module] | str) -> None:
        """Forgets what was taught of a class.

        Raises:
            AnalyzerError: If nothing was, or this is not a module class or path of one.
        """
        key, name = _key(cls)
        with self._lock:
            filed = self._filed(key)
            if filed is None:
                raise AnalyzerError(f"{name} was not taught, so it can't be removed.")
            del self._taught[filed]

    @contextmanager
    def temporarily(self) -> Iterator[NeuronRegistry]:
        """When the block ends, what is taught is what was taught when it began."""
        with self._lock:
            before = dict(self._taught)
        try:
            yield self
        finally:
            with self._lock:
                self._taught = before

    @property
    def any(self) -> bool:
        """Whether any class was taught."""
        return bool(self._taught)

    def of(self, cls: type) -> Taught | None:
        """What was taught of this very class, by itself or by its path."""
        filed = self._filed(cls) if self._taught else None
        return None if filed is None else self._taught.get(filed)

    def _filed(self, key: type | str) -> type | str | None:
        """What a class is filed under: itself, or its path if that was taught before its import."""
        names = (key,) if isinstance(key, str) else (key, f"{key.__module__}.{key.__qualname__}")
        return next((name for name in names if name in self._taught), None)


def _key(cls: object) -> tuple[type | str, str]:
    """What to file a class under, and its name for messages.

    For a path that is the class itself if its module is imported already.
    """
    if isinstance(cls, str):
        home, _, name = cls.rpartition(".")
        if not home or not all(part.isidentifier() for part in cls.split(".")):
            raise AnalyzerError(
                f"{cls!r} is no path of a class: give one such as 'package.module.Class'."
            )
        if home not in sys.modules:
            return cls, name
        found = getattr(sys.modules[home], name, None)
        if found is None:
            raise AnalyzerError(f"{home} has no class {name!r}.")
        cls = found
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise AnalyzerError(
            f"{getattr(cls, '__name__', repr(cls))} is not a class of torch.nn.Module: teach the "
            "class whose instances are in the model."
        )
    return cls, cls.__name__


def _check_arity(name: str, equation: object, n: int) -> None:
    if not callable(equation):
        raise AnalyzerError(
            f"the equation of {name} is {type(equation).__name__}: give a function "
            "(module, x, *state) -> (output, *state)."
        )
    try:
        signature = inspect.signature(equation)
    except ValueError:  # not told by some functions that are not written in Python
        return
    try:
        signature.bind(*range(2 + n))
    except TypeError:
        raise AnalyzerError(
            f"the equation of {name} takes {signature}, but it is called with {2 + n} arguments: "
            f"the module, the input and {n} state variables (state={n})."
        ) from None


def _check_reset(cls: object, name: str, reset: object) -> None:
    if reset is None or (callable(reset) and not isinstance(reset, type)):
        return
    if not isinstance(reset, str):
        raise AnalyzerError(
            f"reset={reset!r} of {name} is neither a method's name nor a function of the module."
        )
    if isinstance(cls, type) and not callable(getattr(cls, reset, None)):
        raise AnalyzerError(f"{name} has no method {reset!r} that could reset it.")


def _checked(name: str, equation: Equation, n: int) -> Equation:
    """The equation, with errors that name its class."""

    def update(module: Any, *numbers: Number) -> tuple[Number, ...]:
        try:
            found = equation(_Numbers(module), *numbers)
        except Exception as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise AnalyzerError(
                f"the equation of {name} failed: {reason}. It computes one neuron in plain "
                "arithmetic and comparisons, such as spike = v >= 1, without functions of torch."
            ) from error
        parts = found if isinstance(found, (tuple, list)) else (found,)
        if len(parts) != 1 + n or not all(isinstance(x, (Scalar, int, float)) for x in parts):
            kinds = ", ".join(type(x).__name__ for x in parts)
            raise AnalyzerError(
                f"the equation of {name} returned ({kinds}): return (output, *state), which are "
                f"{1 + n} numbers as state={n}."
            )
        return tuple(parts)

    return update


class _Numbers:
    """A view of a module in which tensors read as numbers."""

    __slots__ = ("_module",)

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, Tensor):
            return number(value)
        return _Numbers(value) if isinstance(value, nn.Module) else value


neuron = NeuronRegistry()
"""What was taught to ``analyzer.neuron``."""
