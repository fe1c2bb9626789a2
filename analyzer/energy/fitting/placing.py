"""What each layer of a model needs of a chip, and the cores that its neurons take.

A neuron is taken for each output of a layer with weights. Those that read the same inputs, such as
all channels of one place of a convolution or all outputs of a token, are a block. A core takes
whole blocks, in order, as long as the limits of the chip allow the next one; a block that is too
large for a core is split over cores of its own. Where cores share weights and those of a layer do
not fit in one, its channels are cut into parts that do, and the places of each part are spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analyzer.energy.fitting.limits import Chip
from analyzer.facts.protocol import Facts
from analyzer.facts.records import Contraction, Shape
from analyzer.facts.values import KINDS

__all__ = ["Measured", "Need", "Share", "assigned", "entries", "needs", "neurons_kept", "share"]


class Measured(Facts, Protocol):
    """Facts with their records, as :class:`analyzer.Profile` has them."""

    @property
    def contractions(self) -> tuple[Contraction, ...]:
        """Products that were measured, one a call site."""


@dataclass(frozen=True, slots=True)
class Need:
    """A product of a model, and what it needs of a chip.

    Attributes:
        module: Dotted path of the module that runs it.
        op: ``linear``, ``conv2d``, ``matmul``, ...
        reads: Class of the values that it reads, empty where it is not known.
        weights: Elements of its weights, 0 for a product of two activations.
        neurons: Outputs of one sample in one timestep; None where the profile does not say.
        blocks: Groups of neurons that read the same inputs.
        fan_in: Inputs of one neuron.
        kernel: Places of its kernel, 1 for a linear layer.
        groups: Channel groups, each with weights of its own.
        inputs: Elements that it reads of one sample in one timestep; None where not known.
        spikes: Non-zeros that it reads, over all samples; None where not known.
        again: Whether it reads what the product before it reads.
    """

    module: str
    op: str
    reads: str
    weights: int
    neurons: int | None = None
    blocks: int = 1
    fan_in: int = 1
    kernel: int = 1
    groups: int = 1
    inputs: int | None = None
    spikes: float | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """The cores of one layer.

    Attributes:
        loads: Neurons in each core, in order; None where nothing limits what a core takes.
        refusal: Why no core can hold a neuron of it, empty where one can.
    """

    loads: NDArray[np.int64] | None = None
    refusal: str = ""


def needs(profile: Measured) -> list[Need]:
    """All products of a profile in order of execution, those of one module and operation as one."""
    steps = profile.samples, profile.metadata.get("timesteps") or 1
    sites: dict[tuple[str, str], list[Contraction]] = {}
    for site in profile.contractions:
        sites.setdefault((site.module, site.op), []).append(site)
    shapes: dict[tuple[str, str], list[Shape]] = {}
    for shape in profile.shapes:
        shapes.setdefault((shape.module, shape.op), []).append(shape)
    found: list[Need] = []
    before: _Read | None = None
    for calls in sites.values():
        read = _read_by(calls)
        need = Need(
            calls[0].module,
            calls[0].op,
            max((call.input_class for call in calls), key=_breadth),
            calls[0].weight.elements if calls[0].weight else 0,
            spikes=read[1],
            again=before == read and all(c.first_read and not c.first_read[0] for c in calls),
        )
        found.append(_with_shape(need, calls, read[0], *steps))
        before = read
    before = None
    for records in shapes.values():
        read = _read_of(records)
        driven = {record.driven for record in records}
        need = Need(
            records[0].module,
            records[0].op,
            "binary" if driven == {True} else "real" if driven == {False} else "",
            records[0].weight_elements,
            spikes=read[1],
            again=before == read and all(r.first_read_elements == 0 for r in records),
        )
        found.append(_with_shape(need, records, read[0], *steps))
        before = read
    return found


_Read = tuple[int | None, float | None]
"""Elements that a product reads over all samples, and how many are not zero."""


def _read_by(calls: Sequence[Contraction]) -> _Read:
    activations = [operand for call in calls for operand in call.activations]
    return sum(o.elements for o in activations), sum(o.nonzeros for o in activations)


def _read_of(records: Sequence[Shape]) -> _Read:
    elements = _total([record.input_elements for record in records])
    if elements is None or any(record.rate is None for record in records):
        return elements, None
    return elements, sum((r.rate or 0) * (r.input_elements or 0) for r in records)


def _breadth(kind: str) -> int:
    return max(KINDS.index(part) for part in kind.split("*"))


def _total(figures: Sequence[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


def _with_shape(
    need: Need,
    records: Sequence[Contraction] | Sequence[Shape],
    read: int | None,
    samples: int,
    timesteps: int,
) -> Need:
    """The need with its neurons, where records tell them and inputs are of one size."""
    layer = records[0].layer
    if not need.weights or layer is None or any(record.layer != layer for record in records):
        return need
    passes = _total([record.passes for record in records])
    outputs = _total([record.outputs for record in records])
    if not passes or not outputs or outputs % passes or need.weights % layer.channels:
        return need
    # A layer runs once a timestep, or once for all; one that runs more often has more neurons.
    often = [passes // each for each in (samples * timesteps, samples) if not passes % each]
    if not often or outputs // passes * layer.groups % layer.channels:
        return need
    neurons = outputs // passes * often[0]
    return replace(
        need,
        neurons=neurons,
        blocks=neurons * layer.groups // layer.channels,
        fan_in=need.weights // layer.channels,
        kernel=max(layer.fan_out * layer.groups // layer.channels, 1),
        groups=layer.groups,
        inputs=None if read is None else math.ceil(read * often[0] / passes),
    )


def share(need: Need, chip: Chip, weight_bits: int | None) -> Share:
    """Spreads the neurons of a layer over cores that are all alike.

    A limit that is not known limits nothing. Inputs that several blocks of a convolution read are
    counted for each of them, up to all inputs of the layer, as a profile does not tell which.
    """
    neurons = need.neurons or 0
    size = neurons // need.blocks
    room = None  # for weights
    if chip.weight_memory_bits is not None and weight_bits is not None:
        room = chip.weight_memory_bits // weight_bits
        if need.fan_in > room:
            return Share(refusal=f"{need.fan_in:,} weights of a neuron, a core holds {room:,}")
    if chip.axons is not None and need.fan_in > chip.axons:
        return Share(refusal=f"fan-in {need.fan_in:,}, a core has {chip.axons:,} inputs")
    if chip.neurons is None and chip.axons is None and room is None:
        return Share()
    places = need.blocks
    if chip.axons is not None and (need.inputs is None or need.inputs > chip.axons):
        places = min(places, chip.axons // need.fan_in)
    part = size  # of a block that a core can hold
    if chip.neurons is not None:
        part = min(part, chip.neurons)
    if room is not None:
        part = min(part, room // need.fan_in)
    if room is not None and chip.shares_weights and need.weights > room:
        pieces = [
            _cut(need.blocks // need.groups * channels, channels * min(places, most))
            for channels in _cut(size, part).tolist()
            for most in [places if chip.neurons is None else chip.neurons // channels]
        ]
        return Share(np.tile(np.concatenate(pieces), need.groups))
    if part < size:
        return Share(np.tile(_cut(size, part), need.blocks))
    if chip.neurons is not None:
        places = min(places, chip.neurons // size)
    if room is not None and not chip.shares_weights:
        places = min(places, room // need.fan_in // size)
    return Share(_cut(neurons, places * size))


def _cut(total: int, part: int) -> NDArray[np.int64]:
    """A number in parts, the last of which is the rest."""
    whole, rest = divmod(total, part)
    loads = np.full(whole + (rest > 0), part, dtype=np.int64)
    if rest:
        loads[-1] = rest
    return loads


def entries(need: Need, *, rounded: bool) -> int:
    """Weights that the memory of a core keeps of a whole layer.

    Example:
        >>> layer = Need("conv", "conv2d", "binary", 16 * 32 * 9, 64 * 64 * 32, 4096, 144, 9)
        >>> entries(layer, rounded=True)  # 16 inputs × 32 outputs × 4 × 4
        8192
    """
    if not rounded:
        return need.weights
    channels = need.weights // need.fan_in
    inputs = need.fan_in // need.kernel
    return inputs * _power(need.kernel) * _power(channels)


def neurons_kept(need: Need, *, rounded: bool) -> tuple[int, int]:
    """Neurons that the memory of a core keeps of a whole layer: the least and the most.

    A profile tells how many places a map has, not its height and width.

    Example:
        >>> layer = Need("conv", "conv2d", "binary", 2 * 40 * 9, 33 * 33 * 40, 33 * 33, 18, 9)
        >>> neurons_kept(layer, rounded=True)  # 40 × 2,048 if 9 × 121, 40 × 64 × 64 if 33 × 33
        (81920, 163840)
    """
    neurons = need.neurons or 0
    channels = need.weights // need.fan_in
    if not rounded or not channels or neurons % channels:
        return neurons, neurons
    places = neurons // channels
    sides = (side for side in range(1, math.isqrt(places) + 1) if places % side == 0)
    sizes = [_power(side) * _power(places // side) for side in sides] or [0]
    return channels * min(sizes), channels * max(sizes)


def _power(number: int) -> int:
    """The least power of two that is as large."""
    return 1 << (number - 1).bit_length()


def assigned(fitting: Sequence[Sequence[int]]) -> list[int | None]:
    """Gives each layer a core of its own: as many layers as possible, earlier ones first.

    Returns:
        The core of each layer, None where none is left.

    Example:
        >>> assigned([[0, 1], [0], [0, 1]])
        [1, 0, None]
    """
    layer_of: dict[int, int] = {}

    def placed(layer: int, tried: set[int]) -> bool:
        for core in fitting[layer]:
            if core in tried:
                continue
            tried.add(core)
            if core not in layer_of or placed(layer_of[core], tried):
                layer_of[core] = layer
                return True
        return False

    for layer in range(len(fitting)):
        placed(layer, set())
    core_of = {layer: core for core, layer in layer_of.items()}
    return [core_of.get(layer) for layer in range(len(fitting))]
