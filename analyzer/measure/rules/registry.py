"""``analyzer.rule``: rules that users write for operations that the package does not know.

The registry is a value. The one behind ``analyzer.rule`` is shared by all profiles of a process;
:func:`analyzer.measure.rules.defaults.default_rules` takes any other.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import torch

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.products import Product
from analyzer.measure.rules.work import Arguments, Keywords, Work
from analyzer.measure.torch_private.operators import (
    OpOverload,
    OpOverloadPacket,
    operation_names,
    overload_of,
    qualified_name,
    schema_of,
)

__all__ = ["RuleRegistry", "UserRule", "base_name", "rule"]

UserRule = Callable[[Arguments, Mapping[str, Any], Any], object]
R = TypeVar("R", bound=UserRule)

_OWN_NAMESPACES = frozenset({"aten", "prims"})


@cache
def base_name(func: Any) -> str:
    """What rules call an operation: no overload, and no namespace where it is PyTorch's own.

    ``add`` for ``aten::add_.Tensor``, but ``mylib::add_`` for an operation of anybody else's, and
    ``flex_attention`` for a higher-order operator.
    """
    schema = schema_of(func)
    return str(func.name()) if schema is None else _base(schema.name)


def _base(qualified: str) -> str:
    namespace, _, name = qualified.partition("::")
    if namespace not in _OWN_NAMESPACES:
        return qualified
    return name if name.startswith("__") else name.removesuffix("_")


class RuleRegistry:
    """Rules by operation. Called with an operation, it decorates the rule for it.

    A profile lists operations without a rule in ``profile.uncovered`` and leaves them out of its
    totals. Give a rule for one that does arithmetic: a kernel of your own, or an operation of
    PyTorch's that the package lacks or that you want counted in another way.

    The decorated function takes ``(args, kwargs, out)`` of a call: its positional arguments with
    their defaults filled in, the keyword arguments that were given, and its result. It returns what
    the call did:

    - a contraction made by :mod:`analyzer.products`, or
    - :class:`Work` on single elements, or
    - a list or tuple of any of these, or
    - None, if the call did no arithmetic.

    It uses the shapes of its arguments and computes nothing, so that it may be called in every
    pass.

    Example:
        >>> import torch
        >>> import analyzer
        >>> @torch.library.custom_op("mylib::spike_linear", mutates_args=())
        ... def spike_linear(spikes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ...     return spikes @ weight.t()
        >>> @analyzer.rule(spike_linear)
        ... def count(args, kwargs, out):
        ...     return analyzer.products.linear(args[0], args[1])
        >>> class Layer(torch.nn.Linear):
        ...     def forward(self, spikes):
        ...         return spike_linear(spikes, self.weight)
        >>> profile = analyzer.profile(Layer(6, 3).eval(), torch.eye(4, 6))
        >>> profile.totals["dense_macs"], profile.totals["ac"]  # 4 spikes, 3 outputs
        (72, 12)
        >>> analyzer.rule.remove(spike_linear)
    """

    def __init__(self) -> None:
        self._rules: dict[str, tuple[UserRule, torch.FunctionSchema | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, op: object, *, replace: bool = False) -> Callable[[R], R]:
        """Decorates a function as the rule for an operation, all its overloads included.

        A rule for an operation of PyTorch's own is used in place of the package's.

        Args:
            op: ``torch.ops.mylib.spike_mm``, one overload of it, what
                ``torch.library.custom_op`` returned, or a name ``"mylib::spike_mm"``.
            replace: Whether it may take the place of an earlier rule for this operation.

        Raises:
            AnalyzerError: Where there is no such operation, or it has a rule already.
        """
        qualified, schema = _resolve(op)

        def teach(function: R) -> R:
            if not callable(function):
                raise AnalyzerError(
                    f"the rule for {qualified} is {type(function).__name__}: decorate a function "
                    "of (args, kwargs, out)."
                )
            with self._lock:
                if _base(qualified) in self._rules and not replace:
                    raise AnalyzerError(
                        f"{qualified} has a rule already: pass replace=True to put this one in its "
                        "place."
                    )
                self._rules[_base(qualified)] = (function, schema)
            return function

        return teach

    def remove(self, op: object) -> None:
        """Removes the rule for an operation.

        Raises:
            AnalyzerError: Where there is no such operation, or no rule for it.
        """
        qualified, _ = _resolve(op)
        with self._lock:
            if self._rules.pop(_base(qualified), None) is None:
                raise AnalyzerError(f"{qualified} has no rule that could be removed.")

    @contextmanager
    def temporarily(self) -> Iterator[RuleRegistry]:
        """When the block ends, the rules are those that were there when it began."""
        with self._lock:
            kept = dict(self._rules)
        try:
            yield self
        finally:
            with self._lock:
                self._rules = kept

    def answers(self) -> dict[str, Answer]:
        """The rules of this moment by base name, ready for one counter to ask."""
        with self._lock:
            rules = dict(self._rules)
        return {name: Answer(name, *rule) for name, rule in rules.items()}


class Answer:
    """A user's rule, split into the two rules that a counter has for an operation.

    The counter asks for the products of a call and right afterwards for its work; each counter has
    its own answers, so the work kept in between is that of the same call.
    """

    def __init__(self, name: str, rule: UserRule, schema: torch.FunctionSchema | None) -> None:
        self._name = name
        self._rule = rule
        self._schema = schema
        self._work = Work()

    def products(self, args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
        """The contractions of a call."""
        self._work = Work()
        try:
            found = self._rule(_with_defaults(self._schema, args), kwargs, out)
        except Exception as error:
            reason = str(error) or type(error).__name__
            kind = "" if isinstance(error, AnalyzerError) else f" {type(error).__name__}:"
            raise AnalyzerError(
                f"the rule for {self._name} failed:{kind} {reason.rstrip('.')}."
            ) from error
        one = isinstance(found, Product) or not isinstance(found, (list, tuple))
        parts: list[Any] = [found] if one else list(cast("list[Any]", found))
        for part in parts:
            if isinstance(part, Work):
                self._work += part
            elif not (part is None or isinstance(part, Product)):
                raise AnalyzerError(
                    f"the rule for {self._name} returned {type(part).__name__}: return a "
                    "contraction of analyzer.products, analyzer.Work, a list of these, or None."
                )
        return [part for part in parts if isinstance(part, Product)]

    def work(self, args: Arguments, out: Any, kwargs: Keywords) -> Work:
        """The work on single elements of the call whose products were asked for last."""
        return self._work


def _resolve(op: object) -> tuple[str, torch.FunctionSchema | None]:
    """An operation's name with its namespace, and its schema if it has only one overload."""
    if isinstance(op, OpOverload):
        packet: Any = op.overloadpacket
    elif isinstance(op, OpOverloadPacket):
        packet = op
    elif isinstance(op, str):
        packet = _packet(op)
    else:
        overload = overload_of(op)
        if overload is None:
            raise AnalyzerError(
                f"a rule is for an operation such as torch.ops.mylib.spike_mm or its name "
                f"'mylib::spike_mm', not for {type(op).__name__}."
            )
        packet = overload.overloadpacket
    overloads = packet.overloads()
    schema = schema_of(getattr(packet, overloads[0])) if len(overloads) == 1 else None
    return qualified_name(packet), schema


def _packet(name: str) -> Any:
    namespace, separator, short = name.partition("::")
    if not (separator and namespace and short):
        raise AnalyzerError(
            f"{name!r} is no name of an operation: give one with its namespace, such as "
            "'mylib::spike_mm'."
        )
    packet = getattr(getattr(torch.ops, namespace), short.partition(".")[0], None)
    if packet is not None:
        return packet
    known = {full.partition(".")[0] for full in operation_names()}
    near = difflib.get_close_matches(name, known, n=3)
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else "import the module that registers it first."
    )
    raise AnalyzerError(f"unknown operation {name!r}: {hint}")


def _with_defaults(schema: torch.FunctionSchema | None, args: Arguments) -> Arguments:
    """Positional arguments with those that PyTorch left out because they are the defaults."""
    if schema is None:
        return args
    missing = [a.default_value for a in schema.arguments[len(args) :] if not a.kwarg_only]
    return (*args, *missing)


rule = RuleRegistry()
"""The rules given to ``analyzer.rule``."""
