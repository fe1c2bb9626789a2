"""Activity by temporal, spatial and structural groups, counted from the inputs of modules.

It shares with the profile what the axes of an input are called, and nothing that counts: inputs are
taken apart by einops, and each group is cut out and looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.torch_private.modes import hide_from_modes
from analyzer.measure.torch_private.trees import tree_leaves
from analyzer.measure.undoing import ModuleHooks

__all__ = ["GroupKey", "GroupsOfPass"]

GroupKey = tuple[str, str, int]
"""Canonical path of a module, axis of groups, and which group along it."""

Activity = tuple[int, int]
"""Elements, and those that are not zero."""


class GroupsOfPass:
    """Counts the inputs of modules by group while a model runs."""

    def __init__(
        self,
        model: nn.Module,
        layouts: Layouts,
        groups: Mapping[str, int],
        samples: int,
        *,
        loop: bool,
    ) -> None:
        self._layouts, self._groups, self._samples = layouts, groups, samples
        self._names: dict[nn.Module, list[str]] = defaultdict(list)
        for name, module in model.named_modules(remove_duplicate=False):
            self._names[module].append(name)
        self._without_time = {""} if loop else set()
        self._counts: dict[GroupKey, Activity] = {}
        self._calls: dict[str, list[Activity]] = defaultdict(list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Counts what runs in the block."""
        if not self._groups:
            yield
            return
        with ModuleHooks(self._enter):
            yield

    @property
    def counts(self) -> Mapping[GroupKey, Activity]:
        """All groups; a module whose axes do not tell time has it from its calls."""
        found, steps = dict(self._counts), self._layouts.timesteps
        for module, calls in self._calls.items():
            if len(calls) == 1 or len(calls) % steps:
                continue
            each = len(calls) // steps
            ranges = torch.arange(steps).tensor_split(min(self._groups["temporal"], steps))
            for group, part in enumerate(ranges):
                for activity in calls[int(part[0]) * each : (int(part[-1]) + 1) * each]:
                    _add(found, (module, "temporal", group), *activity)
        return found

    def _enter(self, module: nn.Module, args: Any) -> None:
        names = self._names.get(module, [])
        layouts = {self._layouts.of(name) for name in names}
        x = next((x for x in tree_leaves(args) if isinstance(x, Tensor)), None)
        if len(layouts) != 1 or x is None or not x.numel():
            return
        (layout,) = layouts
        if layout is not None:
            with hide_from_modes():
                self._count(names[0], layout, x)

    def _count(self, module: str, layout: str, x: Tensor) -> None:
        steps = self._layouts.timesteps
        if module in self._without_time:
            layout = " ".join(layout.replace("T", "").replace("( ", "(").split())
        axes = layout.replace("(", " ").replace(")", " ").split()
        sizes = {"T": steps, "B": self._samples}
        known = {axis: size for axis, size in sizes.items() if axis in axes}
        active = (x != 0).detach()
        for along, number in self._groups.items():
            inner = [axis for axis in axes if axis in _AXES[along]]
            if along == "spatial" and {*_MAP} <= {*axes}:
                inner = [*_MAP]
            if not inner:
                continue
            rest = [axis for axis in axes if axis not in inner]
            pattern = f"{layout} -> {' '.join(inner)} ({' '.join(rest)})"
            by_place = rearrange(active, pattern, **known)
            for group, part in enumerate(_parts(by_place, along, number)):
                _add(self._counts, (module, along, group), part.numel(), int(part.sum()))
        if steps > 1 and "temporal" in self._groups and "T" not in axes:
            self._calls[module].append((x.numel(), int(active.sum())))


_MAP = ("H", "W")
_AXES = MappingProxyType(
    {"temporal": ("T",), "spatial": ("N",), "structural": ("C", "D", "h", "d")}
)


def _parts(by_place: Tensor, along: str, number: int) -> list[Tensor]:
    """A tensor with the axes of groups first and one axis of all else, cut into its groups."""
    shape = by_place.shape[:-1]
    side = round(shape.numel() ** 0.5)
    if along == "spatial" and (len(shape) == 2 or side * side == shape.numel()):
        rows, columns = shape if len(shape) == 2 else (side, side)
        as_map = by_place.reshape(rows, columns, -1)
        return [
            window
            for band in as_map.tensor_split(min(number, rows))
            for window in band.tensor_split(min(number, columns), dim=1)
        ]
    line = by_place.flatten(0, -2)
    return list(line.tensor_split(min(number, len(line))))


def _add(counts: dict[GroupKey, Activity], key: GroupKey, elements: int, nonzeros: int) -> None:
    before = counts.get(key, (0, 0))
    counts[key] = before[0] + elements, before[1] + nonzeros
