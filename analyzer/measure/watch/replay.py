"""The cheap way through: the plan of an audited pass, followed by a tap on contractions alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.facts.records import Tally
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.defaults import Rules
from analyzer.measure.rules.products import Product
from analyzer.measure.rules.registry import base_name
from analyzer.measure.watch.dispatch import FullPass
from analyzer.measure.watch.modules import RunningModules
from analyzer.measure.watch.observe import Observer
from analyzer.measure.watch.plan import Planned
from analyzer.measure.watch.sites import Observation
from analyzer.measure.watch.tap import tapped, unseen, untapped

__all__ = ["Plan", "Replay"]

_SMALL, _HELD = 1 << 16, 1 << 20
"""Bytes of an operand that may wait to be read, and of all that wait.

After a large product the processor's caches hold no more of Python, and code in between costs many
times what it does when it runs again and again. So what is small is read later. What is large lies
in the caches itself: it is read at once, and counted later.
"""


@dataclass(slots=True)
class Plan:
    """What a pass over inputs of certain shapes does.

    Attributes:
        contractions: In order.
        trail: The modules that run, in order.
        grouped: Where in it activity is counted by groups, and the path of the module there.
        tallies: Element-wise work of one pass, which follows from shapes alone.
        uncounted: Arithmetic of one pass that no rule covers.
        random: Whether it draws random numbers.
        passes: How many passes followed it.
    """

    contractions: list[Planned]
    trail: list[int]
    grouped: dict[int, str]
    tallies: tuple[Tally, ...]
    uncounted: tuple[Tally, ...]
    random: bool
    passes: int = 0

    @classmethod
    def of(cls, audit: FullPass, stack: RunningModules) -> Plan:
        """What an audit found."""
        again = {(p.role.module, p.role.op) for p in audit.planned if p.role.repeats}
        for at, planned in enumerate(audit.planned):
            role = planned.role
            if (role.module, role.op) in again:  # a first call is what later ones are held against
                audit.planned[at] = planned._replace(role=role._replace(repeats=True), known=None)
        return cls(
            audit.planned,
            list(stack.trail),
            dict(stack.grouped),
            tuple(audit.tallies.values()),
            tuple(audit.uncounted.values()),
            audit.random,
        )


class Replay:
    """Counts one forward pass that is expected to go like an earlier one.

    Args:
        plan: How the earlier one went.
        rules: What is counted how.
        names: Operations to tap.
        observer: Reads operands.
        stack: Notes which modules run.
        samples: How many samples pass.
    """

    def __init__(
        self,
        plan: Plan,
        rules: Rules,
        names: tuple[str, ...],
        observer: Observer,
        stack: RunningModules,
        samples: int,
    ) -> None:
        self._plan = plan
        self._rules = rules
        self._names = names
        self._observer = observer
        self._stack = stack
        self._samples = samples
        self._ahead = iter(plan.contractions)
        self._next = next(self._ahead, None)
        self._found: list[tuple[Planned, Observation]] = []
        self._waiting: list[tuple[Planned, Product, list[int]]] = []
        self._read: list[tuple[Planned, Product, tuple[Activity, Activity]]] = []
        self._held = 0
        self._astray = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Observes what runs in the block."""
        with ExitStack() as stack:
            follow = self._stack.following(self._samples, self._plan.trail, self._plan.grouped)
            stack.enter_context(follow)
            stack.enter_context(tapped(self._names, self._saw))
            yield
            with untapped(), unseen():
                self._settle()
                self._conclude()

    def commit(self) -> bool:
        """Adds the facts of the pass, if it went as planned; else nothing, and says so."""
        plan = self._plan
        complete = len(self._found) == len(plan.contractions) and self._stack.trail == plan.trail
        if self._astray or not complete:
            return False
        for planned, seen in self._found:
            planned.site.add(seen, self._samples, planned.layer)
        plan.passes += 1
        return True

    def _saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        planned = self._next
        direct = planned.direct if planned is not None else None
        with untapped():
            if self._astray:
                return func(*args, **kwargs)
            if direct is not None and direct.fits(func, args):
                with unseen():  # before the product, which empties the caches
                    self._follow(direct.product(args))
                return self._run(func, args, kwargs)
            out = func(*args, **kwargs)
            name = base_name(func)
            rule = self._rules.products.get(name)
            if rule is not None:
                with unseen():
                    for product in rule(args, kwargs, out):
                        self._follow(product)
                return out
        self._rules.fused[name](*args, **kwargs)
        return out

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs what was counted already: a model that catches its failure leaves the plan."""
        try:
            return func(*args, **kwargs)
        except BaseException:
            self._astray = True
            raise

    def _follow(self, product: Product) -> None:
        planned = self._next
        if planned is None or planned.like != Planned.kind_of(product):
            self._astray = True
            return
        self._next = next(self._ahead, None)
        known = planned.known
        if known is not None and planned.shows_again(product):
            self._found.append((planned, known))
            return
        operands = product.lhs, product.rhs
        small = product.lhs.nbytes <= _SMALL
        if small and planned.waits and not any(x.is_inference() for x in operands):
            self._waiting.append((planned, product, [x._version for x in operands]))
            self._held += product.lhs.nbytes
            if self._held > _HELD:
                self._settle()
            return
        if planned.role.repeats:  # held against earlier calls, which must be counted before
            self._settle()
        try:
            read = self._observer.read(product, planned.role, planned.keeps, planned.hints)
        except AnalyzerError:  # an audit says where it was, and whether anything is wrong at all
            self._astray = True
            return
        shapes = planned.without_values(product, read)
        self._read.append((planned, shapes or product, read))
        if shapes is None:
            self._conclude()

    def _settle(self) -> None:
        """Reads the operands that wait."""
        for planned, product, versions in self._waiting:
            if versions != [x._version for x in (product.lhs, product.rhs)]:
                self._astray = True
                break
            try:
                seen = self._observer.observe(product, planned.role, planned.hints, planned.keeps)
            except AnalyzerError:
                self._astray = True
                break
            self._found.append((planned, seen))
        self._waiting.clear()
        self._held = 0

    def _conclude(self) -> None:
        """Counts what has been read."""
        for planned, product, read in self._read:
            seen = self._observer.conclude(product, planned.role, planned.keeps, read)
            self._found.append((planned, seen))
        self._read.clear()
