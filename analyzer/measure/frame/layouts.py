"""What the axes of a model's tensors mean, in einops notation, and counts by groups along them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from fnmatch import translate
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.records import AXES, GroupCount, SiteKey, accumulate
from analyzer.measure.read.groups import STRUCTURAL, Grouping, axes_of, grouping

__all__ = ["CALLS", "MIXED", "SAMPLES_FIRST", "TIME_FIRST", "Layouts", "order_of"]

TIME_FIRST, SAMPLES_FIRST, CALLS, MIXED = "T", "B", "calls", "mixed"

_KNOWN = ("T", "B", "H", "W", "N", *STRUCTURAL)

Array = NDArray[Any]

_NONE_TOLD: Mapping[str, str] = MappingProxyType({})


class Layouts:
    """What the axes of a model's tensors mean.

    Args:
        patterns: From a glob pattern of module paths to the layout of that module's first input,
            such as ``"T B C H W"``, ``"(T B) C H W"``, ``"T B N D"`` or ``"B C H W"``. Axes: T
            time, B batch, C or D channels, H W or N positions, h heads, d channels of a head.
        groups: How many groups to make: ``temporal`` ranges of timesteps, ``spatial`` windows
            per side, ``structural`` ranges of channels.
        timesteps: Timesteps of one forward pass, 1 where there is no time.
        order: Where time is in modules without a layout: :data:`TIME_FIRST`,
            :data:`SAMPLES_FIRST`, or :data:`CALLS` where each call of a module is a timestep.
        is_sure: Whether that order is known and not assumed.
        told: Where time is in the input of single modules, as a pass showed, :data:`MIXED` where it
            may be either; under the empty path in axes where time and samples are merged.
    """

    def __init__(
        self,
        patterns: Mapping[str, str],
        groups: Mapping[str, int],
        timesteps: int,
        order: str = TIME_FIRST,
        *,
        is_sure: bool = False,
        told: Mapping[str, str] = _NONE_TOLD,
    ) -> None:
        unknown = sorted(set(groups) - set(AXES))
        if unknown:
            raise AnalyzerError(
                f"groups along {', '.join(unknown)} are not known: use {', '.join(AXES)}."
            )
        for axis, number in groups.items():
            if not isinstance(number, int) or number < 1:
                raise AnalyzerError(f"groups[{axis!r}] must be a positive integer, not {number!r}.")
        for pattern, layout in patterns.items():
            _check_layout(pattern, layout)
        self._patterns = dict(patterns)
        self._groups = dict(groups)
        self._timesteps = timesteps
        self._order = order
        self._is_sure = is_sure
        self._told = told
        self._found: dict[str, str | None] = {}
        self._plans: dict[Hashable, Grouping] = {}
        self._sums: dict[tuple[str, Grouping, int], tuple[int, Array]] = {}
        self._over_calls: dict[SiteKey, GroupCount] = {}
        self._pass: list[tuple[str, Grouping, Array]] = []
        self._calls: dict[str, list[tuple[int, int]]] = {}

    @property
    def counted(self) -> tuple[GroupCount, ...]:
        """Activity per group so far."""
        found = dict(self._over_calls)
        for (module, plan, _), (passes, counts) in self._sums.items():
            for axis, fired in plan.fold(counts).items():
                for group, (read, nonzeros) in enumerate(
                    zip(plan.elements[axis], fired, strict=True)
                ):
                    row = GroupCount(module, axis, group, int(read) * passes, int(nonzeros))
                    accumulate(found, row)
        return tuple(found.values())

    def forget(self) -> None:
        """Forgets the activity so far."""
        self._sums.clear()
        self._over_calls.clear()

    def of(self, module: str) -> str | None:
        """The layout declared for a module's input; the first pattern that matches."""
        if module not in self._found:
            found = _one_of(tuple(self._patterns)).match(module)
            layouts = list(self._patterns.values())
            self._found[module] = (
                layouts[found.lastindex - 1] if found and found.lastindex else None
            )
        return self._found[module]

    @property
    def timesteps(self) -> int:
        """Timesteps of one forward pass."""
        return self._timesteps

    def begin(self) -> None:
        """Starts one forward pass."""
        self._pass.clear()
        self._calls.clear()

    def commit(self) -> None:
        """Adds the activity of the pass that has ended.

        Where the layout of a module names no time axis, each of its calls is a timestep.
        """
        for module, plan, counts in self._pass:
            key = (module, plan, counts.ndim)
            passes, before = self._sums.get(key, (0, 0))
            self._sums[key] = (passes + 1, before + counts.astype(np.int64))
        for module, calls in self._calls.items():
            steps, rest = divmod(len(calls), self._timesteps)
            if len(calls) == 1:
                continue
            if rest:
                raise AnalyzerError(
                    f"module {module!r} ran {len(calls)} times in one pass of {self._timesteps} "
                    "timesteps, so its calls are no timesteps: name its time axis, such as "
                    f"layouts={{{module!r}: 'T B N D'}}, or leave temporal groups out."
                )
            parts = np.array_split(np.arange(self._timesteps), self._groups["temporal"])
            for group, part in enumerate(part for part in parts if part.size):
                some = calls[part[0] * steps : (part[-1] + 1) * steps]
                elements, nonzeros = (sum(column) for column in zip(*some, strict=True))
                row = GroupCount(module, "temporal", group, elements, nonzeros)
                accumulate(self._over_calls, row)

    def grouped(self, module: str) -> bool:
        """Whether a module's input is to be counted by groups."""
        return bool(self._groups) and self.of(module) is not None

    def time_order(self, module: str, tensor: Tensor | None, samples: int) -> str:
        """Where time is in a module's input.

        A declared layout decides; without one, the shape of the input must begin like ``T B`` or
        ``(T B)``, or where batches go first like ``B T`` or ``(B T)``. The shape of the model's own
        input decides nothing, as the model may loop over its first axis.

        Returns:
            ``T`` where time is outermost, ``B`` where it is within the samples, which are
            outermost, :data:`MIXED` where it may be either, empty where there is no sign of time.
        """
        if self._timesteps < 2 or self._order == CALLS:
            return ""
        layout = self.of(module)
        if layout is not None:
            return order_of(layout)
        if tensor is None or tensor.ndim < 2 or not module:
            return ""
        told = self._told.get(module)
        if told is not None:
            lengths = self._timesteps, samples
            merged = tensor.shape[0] == self._timesteps * samples
            apart = tensor.ndim > 2 and tuple(tensor.shape[:2]) in (lengths, lengths[::-1])
            return told if merged or apart else ""
        shape = tensor.shape if tensor.ndim > 2 else tensor.shape[:1]
        return self._order if self.leads(shape, samples) else ""

    def ordered(self, module: str, tensor: Tensor | None, samples: int) -> bool:
        """Whether it is sure which of time and samples comes first in a module's input.

        A size alone does not tell ``(T B)`` from ``(B T)``. A declared layout does, neurons of the
        model do, and two axes of these lengths.
        """
        if self._is_sure or module in self._told or self.of(module) is not None:
            return True
        if tensor is None or tensor.ndim < 3 or not module:
            return False
        steps = self._timesteps
        apart = (steps, samples) if self._order == TIME_FIRST else (samples, steps)
        return tuple(tensor.shape[:2]) == apart

    def leads(self, shape: torch.Size, samples: int) -> bool:
        """Whether a shape begins with time and samples, as two axes or merged."""
        steps = self._timesteps
        apart = (steps, samples) if self._order == TIME_FIRST else (samples, steps)
        return shape[:1] == (steps * samples,) or shape[:2] == apart

    def steps(self, order: str, op: str, shape: torch.Size, samples: int) -> tuple[int, int]:
        """Timesteps along the first axis of an operand, and how often they come one after another.

        Args:
            order: Where time is in the input of the module that runs the operation.
            op: The operation. The first axis of a convolution's input is never merged with
                others, so its size alone shows whether it is ``(T B)``.
            shape: Shape of the operand as the operation sees it, leading axes flattened.
            samples: Samples in this pass.

        Returns:
            ``(T, 1)`` where time is outermost, ``(T, samples)`` where the samples are; ``(1, 1)``
            where the axis isn't known to hold time.
        """
        steps = self._timesteps
        unknown = 1, 1
        if steps < 2 or not shape or not shape[0] or self._order == CALLS:
            return unknown
        if not order and op.startswith("conv") and shape[0] == steps * samples:
            order = self._told.get("", self._order)
        if order not in (TIME_FIRST, SAMPLES_FIRST) or shape[0] % (steps * samples):
            return unknown
        return steps, 1 if order == TIME_FIRST else samples

    def batch_axis(self, tensor: Tensor) -> tuple[int, int]:
        """Which axis of the model's input holds the samples, by its layout (pattern ``""``).

        Returns:
            The axis, and how many timesteps are merged into it.

        Raises:
            AnalyzerError: Where the layout doesn't fit the tensor.
        """
        axes = self._input_axes(tensor)
        at = next(i for i, names in enumerate(axes) if "B" in names)
        others = [name for name in axes[at] if name != "B"]
        if others not in ([], ["T"]):
            raise AnalyzerError(
                f"the layout {self.of('')!r} of the model's input merges {' and '.join(others)} "
                "with the samples, whose number is then not known: give samples=."
            )
        return at, self._timesteps if others else 1

    def time_axis(self, tensor: Tensor) -> int | None:
        """Which axis of the model's input is time alone, None where its layout names none."""
        if self.of("") is None:
            return None
        axes = self._input_axes(tensor)
        return next((i for i, names in enumerate(axes) if names == ["T"]), None)

    def axis_of_steps(self, tensor: Tensor, samples: int) -> int | None:
        """Which axis of the model's input a loop over time may take apart, None if none may.

        Without a layout it is one of the first two that is as long and holds no samples.
        """
        axis = self.time_axis(tensor)
        if axis is None and samples != self._timesteps:
            lengths = enumerate(tensor.shape[:2])
            axis = next((at for at, size in lengths if size == self._timesteps), None)
        return axis

    def at_step(self, tensor: Tensor, step: int) -> Tensor:
        """What the model's input holds in one timestep; all of it where its layout has no time."""
        if self.of("") is None:
            return tensor
        axes = self._input_axes(tensor)
        axis = next((i for i, names in enumerate(axes) if "T" in names), None)
        if axis is None:
            return tensor
        if axes[axis] != ["T"]:
            at = axes[axis].index("T")
            sizes = [-1, self._timesteps] if at else [self._timesteps, -1]
            tensor, axis = tensor.unflatten(axis, sizes), axis + at
        return tensor.select(axis, step)

    def _input_axes(self, tensor: Tensor) -> list[list[str]]:
        layout = self.of("") or ""
        axes = [part.strip("()").split() for part in re.findall(r"\([^)]*\)|\S+", layout)]
        if len(axes) != tensor.ndim:
            raise AnalyzerError(
                f"the layout {layout!r} of the model's input does not fit a tensor of shape "
                f"{tuple(tensor.shape)}: name each axis, B for the samples."
            )
        return axes

    def count_groups(self, module: str, tensor: Tensor | None, samples: int) -> None:
        """Counts the non-zeros of a module's input by group, for this pass.

        Raises:
            AnalyzerError: Where its layout doesn't fit the tensor.
        """
        layout = self.of(module)
        if layout is None or tensor is None or tensor.numel() == 0:
            return
        if self._order == CALLS and not module:  # the layout is of all calls of the model
            layout = " ".join(re.sub(r"\bT\b", "", layout).replace("( ", "(").split())
        plan = self._plan(layout, module, tensor, samples)
        counts = plan.count(tensor)
        self._pass.append((module, plan, counts))
        if self._timesteps > 1 and "temporal" in self._groups and "T" not in axes_of(layout):
            whole = counts if counts.ndim == 2 else tensor != 0
            self._calls.setdefault(module, []).append((tensor.numel(), int(whole.sum())))

    def _plan(self, layout: str, module: str, tensor: Tensor, samples: int) -> Grouping:
        key = (layout, tensor.shape, tensor.stride(), samples)
        plan = self._plans.get(key)
        if plan is None:
            sizes = {"B": samples} | ({"T": self._timesteps} if "T" in axes_of(layout) else {})
            try:
                plan = grouping(layout, tensor.shape, tensor.stride(), sizes, self._groups)
            except ValueError:
                raise self._misfit(layout, module, tensor, samples) from None
            self._plans[key] = plan
        return plan

    def _misfit(self, layout: str, module: str, tensor: Tensor, samples: int) -> AnalyzerError:
        return AnalyzerError(
            f"the layout {layout!r} of module {module!r} does not fit its input of shape "
            f"{tuple(tensor.shape)} at {self._timesteps} timesteps and {samples} samples."
        )


def order_of(layout: str) -> str:
    """Where time is in a layout, empty where it does not begin with time or samples and time."""
    names = axes_of(layout)
    if names[:1] == ("T",):
        return TIME_FIRST
    return SAMPLES_FIRST if names[:2] == ("B", "T") else ""


@lru_cache(maxsize=64)
def _one_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for some glob patterns: its group that matched is the first that does."""
    return re.compile("|".join(f"({translate(pattern)})" for pattern in patterns))


def _check_layout(pattern: str, layout: str) -> None:
    names = axes_of(layout)
    unknown = [n for n in names if n not in _KNOWN]
    if unknown or "B" not in names or len(set(names)) != len(names):
        whose = f"modules {pattern!r}" if pattern else "the model's input"
        reason = "it names no B, the samples" if "B" not in names else "it names an axis twice"
        if unknown:
            letters = all(letter in _KNOWN for letter in unknown[0])
            reason = f"unknown axis {unknown[0]!r}" + ("; put spaces between axes" * letters)
        raise AnalyzerError(
            f"layout {layout!r} for {whose} is not understood ({reason}). T is time, B samples, C "
            "or D channels, H and W or N positions: write it like 'T B C H W', '(T B) C H W' or "
            "'T B N D'."
        )
