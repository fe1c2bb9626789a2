"""What one forward pass shows of its frame: how often neurons ran, and what holds the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from analyzer.measure.frame.layouts import SAMPLES_FIRST, TIME_FIRST
from analyzer.measure.frame.orders import Orders
from analyzer.measure.neurons.equation import first_tensor, one_step
from analyzer.measure.neurons.registry import kind_of
from analyzer.measure.torch_private.modes import hide_from_functions, pushed
from analyzer.measure.undoing import ModuleHooks

__all__ = ["Evidence", "Listener"]

_SEQUENCES = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.Transformer)
_ONE_SAMPLE: Mapping[type[nn.Module], int] = MappingProxyType(
    {
        nn.Conv1d: 2,
        nn.Conv2d: 3,
        nn.Conv3d: 4,
        nn.ConvTranspose1d: 2,
        nn.ConvTranspose2d: 3,
        nn.ConvTranspose3d: 4,
        nn.Linear: 1,
        nn.RNNCellBase: 1,
    }
)
"""Axes of an input that is one sample without a batch axis."""


@dataclass
class Evidence:
    """What was seen in one pass.

    Attributes:
        steps: Timesteps that each spiking module with a state ran over, by its path.
        calls: How often each of them was called.
        leads: What says that the first axis of the model's input is time or a sequence, and its
            second the samples; empty where nothing does.
        merged: Timesteps that are merged with the samples on that axis, 0 where nothing says so.
        packed: Samples in a packed sequence that a module reads, 0 where none is.
        unbatched: The module that read the model's input as one sample without a batch axis.
        runs: How often each module with weights ran.
        slices: How often each module read what the input may hold at one place of its first axis.
        batched: The layer that reads the model's input with its samples first.
        over_time: How what neurons take for several timesteps begins: its first two axes, and how
            many it has.
        at_once: The same of neurons that ran once, on one timestep.
        orders: Where time is in the input of single modules, None where that was not followed.
        has_state: Whether modules of no known library carry state from pass to pass.
        unknown: Modules that seem to be neurons of no known kind.
        looped: The two leading axes of tensors that such a neuron read one place of the first
            after the other.
        hands_on: Whether a recurrent cell read such a place of the input.
        loops: Whether the first pass showed something with a state that goes along the first axis
            of the input.
    """

    steps: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    leads: str = ""
    merged: int = 0
    packed: int = 0
    unbatched: str = ""
    runs: dict[str, int] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    batched: str = ""
    over_time: dict[str, tuple[int, ...]] = field(default_factory=dict)
    at_once: dict[str, tuple[int, ...]] = field(default_factory=dict)
    orders: Mapping[str, str] | None = None
    has_state: bool = False
    unknown: tuple[str, ...] = ()
    looped: Set[tuple[int, ...]] = frozenset()
    hands_on: bool = False
    loops: bool = False

    def note_neurons(self, unknown: Iterable[str], looped: Set[tuple[int, ...]]) -> None:
        """Notes the neurons of no known kind, and what they looped over."""
        self.unknown, self.looped = tuple(unknown), looped

    def is_looped(self, first: Tensor) -> bool:
        """Whether something with a state went along the first axis of the input, as over time."""
        states = self.steps or self.has_state or self.unknown or self.hands_on
        here = tuple(first.shape[:2]) in self.looped
        return self.loops or here or (bool(states) and self.is_sliced(first.shape[0]))

    def is_sliced(self, length: int) -> bool:
        """Whether a module ran once for each place of a first axis of this length."""
        return length > 1 and length in self.slices.values()

    def clear(self) -> None:
        """Forgets a pass that was undone."""
        vars(self).update(vars(Evidence()))


class Listener:
    """Notes what forward passes of one model show.

    Uses PyTorch's global hooks, and only where the model has modules that can tell something.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}
        self._neurons: dict[int, Any] = {}
        self._time: dict[int, int | None] = {}
        self._sequences: dict[int, bool] = {}  # whether samples are first
        self._one_sample: dict[int, int] = {}
        self._weights: set[int] = set()
        for module in model.modules():
            found = kind_of(module)
            if found is not None:
                kind = found[1]
                if kind.states != 0 or kind.steps is not one_step:
                    self._neurons[id(module)] = kind
                    self._time[id(module)] = _time_axis(module, kind)
                continue
            if isinstance(module, _SEQUENCES):
                self._sequences[id(module)] = _is_batch_first(module)
            else:
                axes = (n for cls, n in _ONE_SAMPLE.items() if isinstance(module, cls))
                if number := next(axes, 0):
                    self._one_sample[id(module)] = number
            if any(True for _ in module.parameters(recurse=False)):
                self._weights.add(id(module))
        self._reading = self._weights.union(self._neurons, self._sequences, self._one_sample)

    @property
    def tells_axes(self) -> bool:
        """Whether the model has modules that tell time from samples in any batch."""
        return bool(self._neurons) or not all(self._sequences.values())

    @property
    def tells_time(self) -> bool:
        """Whether the model has neurons, whose passes tell T."""
        return bool(self._neurons)

    @contextmanager
    def listening(
        self, given: list[Tensor], timed: tuple[int, int, str | None] | None = None
    ) -> Iterator[Evidence]:
        """What the pass in the block shows, complete when it ends.

        Args:
            given: The tensors that the model is given.
            timed: T, the samples of the pass, and which of them is first in the input where a
                layout says so: to follow which comes first where.
        """
        seen, thread = Evidence(), get_ident()
        orders = Orders(*timed, given) if timed is not None else None
        first = given[0] if given else None

        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            key = id(module)
            if get_ident() != thread:  # another thread may use the model meanwhile
                return
            path = self._names.get(key)
            if path is None:
                return
            if key in self._weights:
                seen.runs[path] = seen.runs.get(path, 0) + 1
            packed = isinstance(module, nn.RNNBase) and args and isinstance(args[0], PackedSequence)
            if packed:
                seen.packed = int(args[0].batch_sizes[0])
            if orders is None and key not in self._reading:
                return
            with hide_from_functions():
                x = first_tensor(args)
                if x is None:
                    return
                if orders is not None:
                    orders.read(path, x)
                if first is None:
                    return
                if (key in self._weights or key in self._neurons) and _is_slice(x, first):
                    seen.slices[path] = seen.slices.get(path, 0) + 1
                    seen.hands_on = seen.hands_on or isinstance(module, nn.RNNCellBase)
                if not packed and (key in self._sequences or key in self._one_sample):
                    self._note_input(seen, module, x, first)

        def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            kind = self._neurons.get(id(module))
            if kind is None or get_ident() != thread:
                return
            path = self._names[id(module)]
            with hide_from_functions():
                steps = max(kind.steps(module, args, output), 1)
                seen.steps[path] = seen.steps.get(path, 0) + steps
                seen.calls[path] = seen.calls.get(path, 0) + 1
                x = first_tensor(args)
                if x is None or x.is_nested or x.ndim < 2 or first is None or not first.ndim:
                    return
                self._note_time(seen, module, x, first, steps)
                if orders is not None and steps > 1:
                    samples_first = kind.samples_first or self._time[id(module)] == 1
                    for held in (x, first_tensor(output)):
                        if held is not None:
                            orders.runs_over(held, SAMPLES_FIRST if samples_first else TIME_FIRST)

        with ExitStack() as stack:
            stack.enter_context(ModuleHooks(enter, leave if self._neurons else None))
            if orders is not None:
                stack.enter_context(pushed(orders))
            yield seen
        if orders is not None:
            seen.orders = orders.told
            square = first is not None and first.ndim > 1 and first.shape[0] == first.shape[1]
            if square and orders.of_input != TIME_FIRST and not self._sequences:
                seen.leads = ""  # the neuron runs over another axis of this length

    def _note_input(self, seen: Evidence, module: nn.Module, x: Tensor, first: Tensor) -> None:
        """A module that tells how the model's own input is laid out."""
        if not x.ndim or x.is_nested:
            return
        name = f"{type(module).__name__} {self._names[id(module)]!r}"
        positions = first.shape[:-1] if first.is_floating_point() else first.shape[:2]
        if id(module) in self._sequences:
            if x.shape[:-1] != positions or _is_transposed(x, first):
                return
            if x.ndim == 2:
                seen.unbatched = name
            elif x.ndim == 3 and not self._sequences[id(module)]:
                seen.leads = f"{name} reads its first axis as a sequence (batch_first=False)"
        elif x.shape == first.shape:
            axes = self._one_sample[id(module)]
            if x.ndim == axes:
                seen.unbatched = name
            elif x.ndim == axes + 1 and axes > 1:  # leading axes of a linear layer may be any
                seen.batched = name

    def _note_time(
        self, seen: Evidence, module: nn.Module, x: Tensor, first: Tensor, steps: int
    ) -> None:
        """A neuron that is given all timesteps at once."""
        axis = self._time[id(module)]
        squeezed = axis != 1 and self._neurons[id(module)].samples_first
        path = self._names[id(module)]
        name = repr(path)
        if steps > 1 and axis == 0 and not squeezed:
            seen.over_time[path] = (*x.shape[:2], x.ndim)
        if seen.steps[path] == 1 and x.ndim > 2:
            seen.at_once[path] = (*x.shape[:2], x.ndim)
        else:
            seen.at_once.pop(path, None)
        if axis == 0 and x.ndim == first.ndim == 2 and len(x) == len(first) > 1 and not squeezed:
            seen.unbatched = f"neuron {name}"
        elif axis == 0 and x.shape[:2] == first.shape[:2] and not squeezed:
            several = f"{steps} timestep{'s' if steps > 1 else ''}"
            seen.leads = f"neuron {name} reads {several} on the first axis of the input"
        elif steps > 1:
            merged = x.shape[0] if squeezed else x.shape[0] * x.shape[1]
            if (squeezed or axis is not None) and merged == first.shape[0]:
                seen.merged = steps


def _time_axis(module: nn.Module, kind: Any) -> int | None:
    """Which axis of its input a neuron runs over, None where it is no axis of its own."""
    lengths = (1009, 1013, 1)
    try:
        steps = kind.steps(module, (torch.empty(lengths, device="meta"),), None)
    except Exception:  # such an input is not for it
        return None
    return lengths.index(steps) if steps in lengths[:2] else None


def _is_slice(x: Tensor, first: Tensor) -> bool:
    """Whether a tensor may be of the model's input at one place of its first axis."""
    if x.is_nested or first.ndim < 3 or not x.ndim:
        return False
    samples = x.ndim == first.ndim - 1 and x.shape[0] == first.shape[1]
    return samples or x.shape == first.shape[1:]


def _is_batch_first(module: Any) -> bool:
    if isinstance(module, nn.TransformerEncoderLayer):
        module = module.self_attn
    return bool(getattr(module, "batch_first", True))


def _is_transposed(x: Tensor, first: Tensor) -> bool:
    """Whether a view of the model's input has its axes in another order, however long they are."""
    if not (x.layout is first.layout is torch.strided) or x.ndim != first.ndim:
        return False
    same = x.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
    return same and x.stride() != first.stride()
