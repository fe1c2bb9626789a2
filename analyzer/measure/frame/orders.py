"""Whether time or the samples come first in the tensors of a pass.

Sizes tell it of tensors that hold both apart, where there are not as many samples as timesteps.
Where both are merged in one axis, or as long, what a tensor was made of tells: a view that merges
or parts two axes keeps their order, one that swaps them turns it around, all else computes entry by
entry of the leading axes. In the end a neuron that runs over time says which of the axes it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from analyzer.measure.frame.layouts import MIXED, SAMPLES_FIRST, TIME_FIRST
from analyzer.measure.torch_private.modes import DispatchMode
from analyzer.measure.torch_private.operators import schema_of, short_name
from analyzer.measure.torch_private.trees import tree_leaves

__all__ = ["Orders", "swaps_leading"]

_OTHER = MappingProxyType({TIME_FIRST: SAMPLES_FIRST, SAMPLES_FIRST: TIME_FIRST, MIXED: MIXED})


class _Group:
    """Tensors of one order, which may be known only later; or the other way around as another."""

    __slots__ = ("_above", "_order", "_sure", "_turned")

    def __init__(self, order: str | None = None, *, sure: bool = False) -> None:
        self._order = order
        self._sure = sure
        self._above: _Group | None = None
        self._turned = False

    @property
    def order(self) -> str | None:
        """The order, None where nothing told it."""
        top, turned = self._top()
        return _OTHER[top._order] if turned and top._order is not None else top._order

    @property
    def sure(self) -> bool:
        """Whether a neuron told the order, and no size alone."""
        return self._top()[0]._sure

    def tell(self, order: str, *, sure: bool = False) -> None:
        """Says what the order is."""
        self.join(_Group(order, sure=sure))

    def join(self, other: _Group) -> None:
        """Says that two groups have one order."""
        (mine, turned), (theirs, theirs_turned) = self._top(), other._top()
        around = turned != theirs_turned
        if mine is theirs:
            mine._order = MIXED if around else mine._order
            return
        order = _OTHER[theirs._order] if around and theirs._order is not None else theirs._order
        if mine._order is None:
            mine._order = order
        elif order not in (None, mine._order):
            mine._order = MIXED
        mine._sure = mine._sure or theirs._sure
        theirs._above, theirs._turned = mine, around

    def turned(self) -> _Group:
        """The group of what holds the axes the other way around."""
        other = _Group()
        other._above, other._turned = self, True
        return other

    def _top(self) -> tuple[_Group, bool]:
        group, turned = self, False
        while group._above is not None:
            turned ^= group._turned
            group = group._above
        return group, turned


class Orders(DispatchMode):
    """Follows the order of time and samples through the operations of a pass.

    Args:
        timesteps: T, more than one.
        samples: Samples in the pass, more than one.
        order: Which of them comes first in the model's own input, None where no layout says so.
        given: What the model is given.
    """

    supports_higher_order_operators = True

    def __init__(
        self, timesteps: int, samples: int, order: str | None, given: Iterable[Tensor]
    ) -> None:
        super().__init__()
        self._number = timesteps * samples
        self._apart: dict[tuple[int, ...], str] = {
            (timesteps, samples): TIME_FIRST,
            (samples, timesteps): SAMPLES_FIRST,
        }
        self._told_by_size = timesteps != samples
        self._groups: Any = WeakTensorKeyDictionary()
        self._read: dict[str, list[tuple[_Group, bool]]] = {}
        self._merged: list[_Group] = []
        self._given = [x for x in given if self._holds_both(x)]
        for x in self._given:
            self._group(x)
        if order is not None and self._given:
            self._group(self._given[0]).tell(order, sure=True)

    def read(self, path: str, x: Tensor) -> None:
        """Notes what a module reads."""
        if self._holds_both(x):
            read = self._group(x), not self._is_apart(x)
            self._read.setdefault(path, []).append(read)

    def runs_over(self, x: Tensor, order: str) -> None:
        """Notes that a neuron runs over the time of a tensor, which lies in this order."""
        if self._holds_both(x):
            self._group(x).tell(order, sure=True)

    @property
    def of_input(self) -> str | None:
        """The order in the model's own input, None where nothing tells it."""
        return self._group(self._given[0]).order if self._given else None

    @property
    def told(self) -> Mapping[str, str]:
        """The order in the input of each module, where all its calls tell it.

        Under the empty path that of all axes that were merged. What nothing tells may be either,
        but where sizes tell time from samples and all else lies time first: then it is left out.
        """
        merged = _common((group, True) for group in self._merged)
        either = not self._told_by_size or merged in (SAMPLES_FIRST, MIXED)
        found = {
            path: _common(read) or (MIXED if either else None) for path, read in self._read.items()
        } | {"": merged}
        return {path: order for path, order in found.items() if order is not None}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        results = [x for x in _tensors(out) if self._holds_both(x)]
        if results and schema_of(func) is not None:
            given = [x for x in _tensors((args, kwargs)) if self._holds_both(x)]
            name = short_name(func)
            for x in results:
                self._made(name, args, given, x)
        return out

    def _made(self, name: str, args: tuple[Any, ...], given: list[Tensor], x: Tensor) -> None:
        if x in self._groups:
            return  # it was written to
        if name in ("transpose", "permute", "t", "numpy_T"):
            source = given[0] if given else None
            turn = None if source is None else swaps_leading(name, args, source)
            if source is not None and turn is not None:
                group = self._group(source)
                self._set(x, group.turned() if turn else group)
                return
            self._group(x)
            return
        if name in ("view", "_unsafe_view", "_reshape_alias", "reshape"):
            if given:
                self._join(x, given[0])
                return
        elif name not in ("stack", "cat"):  # these may lay out an axis anew
            for source in given:
                if self._lies_alike(source, x) and (
                    self._told_by_size or source.ndim == x.ndim or _keeps_leading(name, args, x)
                ):
                    self._join(x, source)
        self._group(x)

    def _lies_alike(self, a: Tensor, b: Tensor) -> bool:
        apart = self._is_apart(a), self._is_apart(b)
        if apart == (True, True):
            return _leading(a) == _leading(b)
        return apart == (False, False) and a.shape[0] == b.shape[0]

    def _join(self, x: Tensor, source: Tensor) -> None:
        """A tensor that lies as one that it was made of."""
        group = self._group(source)
        if x in self._groups:
            self._groups[x].join(group)
            return
        if self._is_apart(x) and self._told_by_size:
            group.tell(self._apart[_leading(x)])
        self._set(x, group)

    def _group(self, x: Tensor) -> _Group:
        if x not in self._groups:
            known = self._told_by_size and self._is_apart(x)
            self._set(x, _Group(self._apart[_leading(x)] if known else None))
        found: _Group = self._groups[x]
        return found

    def _set(self, x: Tensor, group: _Group) -> None:
        self._groups[x] = group
        if not self._is_apart(x) and x.ndim and x.shape[0] == self._number:
            self._merged.append(group)

    def _is_apart(self, x: Tensor) -> bool:
        return _leading(x) in self._apart

    def _holds_both(self, x: Tensor) -> bool:
        if x.is_nested or not x.ndim or isinstance(x, nn.Parameter):
            return False
        length = x.shape[0]
        return self._is_apart(x) or (length > 0 and length % self._number == 0)


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def _leading(x: Tensor) -> tuple[int, ...]:
    return () if x.is_nested else tuple(x.shape[:2])


def swaps_leading(name: str, args: tuple[Any, ...], source: Tensor) -> bool | None:
    """Whether an operation swaps the two leading axes, None where it moves one of them away."""
    axes = list(range(source.ndim))
    if name == "permute":
        axes = [axis % source.ndim for axis in args[1]]
    elif name == "transpose":
        a, b = (axis % source.ndim for axis in args[1:3])
        axes[a], axes[b] = axes[b], axes[a]
    else:
        axes.reverse()
    leading = axes[:2]
    return leading == [1, 0] if sorted(leading) == [0, 1] else None


def _keeps_leading(name: str, args: tuple[Any, ...], x: Tensor) -> bool:
    """Whether an operation along some axes leaves the two leading ones alone."""
    axes = args[1] if len(args) > 1 else None
    axes = [axes] if isinstance(axes, int) else axes
    if not isinstance(axes, (list, tuple)) or not all(isinstance(axis, int) for axis in axes):
        return False
    ndim = args[0].ndim + (name == "unsqueeze") if isinstance(args[0], Tensor) else x.ndim
    return bool(axes) and all(axis % ndim > 1 for axis in axes)


def _common(read: Iterable[tuple[_Group, bool]]) -> str | None:
    """The order of all that is read, None where nothing tells it.

    A size alone may be that of channels: it tells no order, but speaks against another one where
    both axes were merged.

    Args:
        read: Groups of tensors, and whether time and samples are merged in each.
    """
    claims = set()
    for group, is_merged in read:
        order = group.order
        if not group.sure and order == SAMPLES_FIRST:
            order = MIXED if is_merged else None
        claims.add(order)
    if len(claims - {None, TIME_FIRST}) > 0 and len(claims) > 1:
        return MIXED
    return next(iter(claims - {None}), None)
