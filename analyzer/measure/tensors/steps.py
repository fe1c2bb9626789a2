"""Which timestep each call of a module belongs to, where a model loops over time.

A module that runs as often as there are timesteps runs once in each. One that runs more often may
run several times a step, or over all steps several times. What it reads tells: a part of the input
at one timestep, and all that is computed from it. Without that, the modules that run once a step
tell, where its calls lie evenly between theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from analyzer.measure.tensors.arguments import has_memory

__all__ = ["StepTags", "steps_of_calls"]

_SEVERAL = -1
"""Stands for what holds several timesteps, and for what is computed from that."""


class StepTags:
    """The timestep that tensors of one pass belong to."""

    def __init__(self, given: Tensor, axis: int) -> None:
        self._given = given
        self._stride = given.stride(axis)
        self._number = given.shape[axis]
        self._key = given.untyped_storage()
        self._tags: WeakKeyDictionary[torch.UntypedStorage, int] = WeakKeyDictionary()

    def ran(self, inputs: Iterable[Tensor], results: Iterable[Tensor]) -> None:
        """Notes that an operation ran: its results belong to the latest step that it read."""
        tags = [tag for x in inputs if (tag := self._tag(x)) is not None]
        tag = None if not tags else _SEVERAL if _SEVERAL in tags else max(tags)
        for result in results:
            if not has_memory(result):
                continue
            key = result.untyped_storage()
            if tag is None:
                self._tags.pop(key, None)
            elif key is not self._key:
                self._tags[key] = tag

    def of(self, tensors: Iterable[Tensor]) -> int | None:
        """The timestep that some operands belong to, None where they do not tell one."""
        tags = [tag for x in tensors if (tag := self._tag(x)) is not None]
        return None if not tags or _SEVERAL in tags else max(tags)

    def _tag(self, tensor: Tensor) -> int | None:
        if not has_memory(tensor):
            return None
        key = tensor.untyped_storage()
        return self._of_view(tensor) if key is self._key else self._tags.get(key)

    def _of_view(self, view: Tensor) -> int:
        """The timestep of a part of the input, by its place in memory."""
        stride, number = self._stride, self._number
        offset = view.storage_offset() - self._given.storage_offset()
        within = offset % stride
        for size, step in zip(view.shape, view.stride(), strict=True):
            if size > 1 and step % (stride * number):
                within += (size - 1) * step
        return (offset // stride) % number if within < stride else _SEVERAL


def steps_of_calls(
    tags: Sequence[int | None], timesteps: int, module: str, trail: Sequence[str]
) -> list[int] | None:
    """The timestep of each call of a module in one pass, None where nothing tells.

    Args:
        tags: Of what each call read, None where it told nothing.
        timesteps: T.
        module: Its path.
        trail: Paths of the modules that ran in the pass, in order.
    """
    each, rest = divmod(len(tags), timesteps)
    if rest or not each:
        return None
    told = Counter(tags)
    if all(told[step] == each for step in range(timesteps)):
        return [step for step in tags if step is not None]
    if each == 1:
        return list(range(timesteps))
    runs = Counter(trail)
    if runs[module] != len(tags):
        return None
    for other in (m for m, n in runs.items() if n == timesteps and m != module):
        if _lies_evenly(module, other, trail, each):
            return [call // each for call in range(len(tags))]
    return None


def _lies_evenly(module: str, other: str, trail: Sequence[str], each: int) -> bool:
    """Whether a module runs equally often before (or after) each run of another."""
    between = [0]
    for ran in trail:
        if ran == other:
            between.append(0)
        elif ran == module:
            between[-1] += 1
    before, after = between[:-1], between[1:]
    return set(before) == {each} or set(after) == {each}
