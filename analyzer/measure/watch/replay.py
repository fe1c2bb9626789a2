"""Later passes: the plan of a fully watched one, followed by a hook on contractions alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.products import Product
from analyzer.measure.torch_private.modes import hide_from_modes
from analyzer.measure.watch.compiler import uncompiled
from analyzer.measure.watch.context import Context
from analyzer.measure.watch.plan import Plan, Planned
from analyzer.measure.watch.sent import Place
from analyzer.measure.watch.sites import CallSite, Observation
from analyzer.measure.watch.tap import hooked, unhooked
from analyzer.measure.watch.threads import HandingOn

__all__ = ["Replay"]


class Replay:
    """Counts one forward pass that is expected to go like an earlier one.

    Attributes:
        found: What each contraction did, in order.
    """

    def __init__(self, plan: Plan, context: Context, samples: int) -> None:
        self.found: list[tuple[CallSite, Observation]] = []
        self._plan = plan
        self._context = context
        self._samples = samples
        self._ahead = iter(plan.contractions)
        self._next = next(self._ahead, None)
        self._missed = False
        self._handed = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Observes what runs in the block."""
        context, plan = self._context, self._plan
        context.sent.begin()
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.enter_context(HandingOn(self._hand_on))
            follow = context.modules.following(
                self._samples, plan.trail, plan.grouped, plan.sent, self._sends
            )
            stack.enter_context(follow)
            stack.enter_context(hooked(context.names, self._saw))
            yield

    @property
    def complete(self) -> bool:
        """Whether the pass went as planned, to its end."""
        modules = self._context.modules
        same = self._next is None and modules.trail == self._plan.trail
        alone = modules.strayed is None and self._handed == self._plan.handed
        return same and alone and not self._missed

    def _hand_on(self) -> Callable[[], AbstractContextManager[object]]:
        """Notes that work is handed to another thread, where nobody sees it."""
        self._handed += 1
        return nullcontext

    def _sends(self, place: Place, output: Any) -> None:
        """Hook: a spiking layer has run."""
        with unhooked(), hide_from_modes():
            if not self._context.sent.read(place, output):
                self._missed = True

    def _saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        planned = self._next
        direct = planned.direct if planned is not None else None
        with unhooked():
            if self._missed:
                return func(*args, **kwargs)
            if direct is not None and direct.fits(func, args):
                with hide_from_modes():  # before the product, which empties the caches
                    self._follow(direct.product(args))
                return self._run(func, args, kwargs)
            out = func(*args, **kwargs)
            op = self._context.operations.of(func)
            if op.product is not None:
                with hide_from_modes():
                    for product in op.product(args, kwargs, out):
                        self._follow(product)
                return out
        assert op.fused is not None
        op.fused(*args, **kwargs)
        return out

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs what was counted already: a model that catches its failure leaves the plan."""
        try:
            return func(*args, **kwargs)
        except BaseException:
            self._missed = True
            raise

    def _follow(self, product: Product) -> None:
        planned = self._next
        if planned is None or planned.like != Planned.kind_of(product):
            self._missed = True
            return
        self._next = next(self._ahead, None)
        try:
            observe = self._context.observer.observe
            seen = observe(product, planned.at, planned.keep, planned.reals)
        except AnalyzerError:  # a full pass says where it was, and whether anything is wrong at all
            self._missed = True
            return
        self.found.append((planned.at, seen))
