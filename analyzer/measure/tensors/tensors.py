"""What is known of each tensor while a model is watched: one record a storage.

Counting needs to know of an operand whether it depends on the input, whether it holds weights, and
whether an operation read it before; memory needs its size and how long it lives. All views of a
storage share that, so it is kept by storage, and forgotten when the storage dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial
from threading import RLock
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor, nn

from analyzer.measure.tensors.constants import Constant, Makes, SampleAxis
from analyzer.measure.tensors.scales import Scale
from analyzer.measure.torch_private.modules import constants_of
from analyzer.measure.torch_private.tensors import base_of

__all__ = ["Origin", "Roles", "Source", "StorageRecord", "Tensors"]


class Origin(Enum):
    """How a tensor does not depend on the input, which makes it a constant.

    FIXED ones come from parameters and buffers alone. CREATED ones were made in the forward pass,
    or from such: masks, positions, initial states, noise.
    """

    FIXED = "fixed"
    CREATED = "created"


class Source(NamedTuple):
    """What the results of an operation come from.

    Attributes:
        origin: How they do not depend on the input, None where they do.
        weights: Whether, not depending on it, they come from parameters.
        by_sample: Whether, not depending on it, they have elements for each sample. Others are one
            and the same for all samples.
    """

    origin: Origin | None
    weights: bool
    by_sample: bool


_INPUT = Source(None, weights=False, by_sample=False)


class Roles(NamedTuple):
    """What the operands of a contraction are.

    Attributes:
        weights: Which of them are weights.
        fixed: Whether both come from parameters and buffers alone.
        constant: Whether neither depends on the input.
        by_sample: Which of them, not depending on it, have elements for each sample.
    """

    weights: tuple[bool, bool]
    fixed: bool
    constant: bool
    by_sample: tuple[bool, bool]


Part = tuple[set[tuple[int, int]], int, int]
"""Elements of a tensor: what has been read of their storage, where they begin, how many."""


class StorageRecord:
    """What is known of one storage.

    Attributes:
        origin: How its values do not depend on the input; None where they do.
        weights: Whether it is a parameter, or computed from parameters and constants.
        owners: Paths of the modules that hold it as a parameter of their own.
        by_sample: Whether, not depending on the input, it has elements for each sample.
        given: Whether the model was given it, or a copy of what it was given.
        held: Whether it is a parameter, a buffer or an input, and no activation.
        counted: Whether its bytes count as an activation's.
        size: Its bytes, where they count.
        channels: Number of channels and their stride, where a layer with weights wrote it.
        reads: Parts of it that a contraction has read: ``(offset, elements)``.
        scale: What it was multiplied by, where an operation made it so.
        copied: The part of another storage that it is a copy of.
        alive: Weak reference to the storage, which takes the record with it.
    """

    __slots__ = (
        "alive", "by_sample", "channels", "copied", "counted", "given", "held", "origin", "owners",
        "reads", "scale", "size", "weights",
    )  # fmt: skip

    def __init__(self) -> None:
        self.origin: Origin | None = None
        self.weights = False
        self.owners: tuple[str, ...] = ()
        self.by_sample = False
        self.given = False
        self.held = False
        self.counted = False
        self.size = 0
        self.channels: tuple[int, int] | None = None
        self.reads: set[tuple[int, int]] = set()
        self.copied: Part | None = None
        self.scale: Scale | None = None
        self.alive: ref[Any] | None = None


class Tensors:
    """The records of a model's tensors, from pass to pass.

    Args:
        model: Its parameters and buffers do not depend on the input.

    Attributes:
        written_bytes: Bytes that this pass wrote: all results, views aside; in-place writes too.
        peak_bytes: Most bytes of activations alive at one time in this pass.
        lock: Held while records are written: a model may run in several threads.
    """

    def __init__(self, model: nn.Module) -> None:
        self.lock = RLock()
        self.written_bytes = self.peak_bytes = 0
        self._alive_bytes = 0
        self._samples = 1
        self._axis = SampleAxis()
        self._records: dict[int, StorageRecord] = {}
        self._died = _without_cycle(self)
        parameters = [*model.parameters(), *_pruned(model)]
        self._of_model = [*parameters, *model.buffers()]
        for tensor in self._of_model:
            self.record(tensor).origin = Origin.FIXED
        for parameter in parameters:
            self.record(parameter).weights = True
        for name, parameter in model.named_parameters(remove_duplicate=False):
            record = self.record(parameter)
            record.owners = (*record.owners, name.rpartition(".")[0])

    def begin(self, inputs: Iterable[Tensor], samples: int, timesteps: int) -> None:
        """Starts a pass: nothing has been read, written or given yet but the inputs."""
        self._samples = samples
        self._axis = SampleAxis(samples, timesteps)
        self.written_bytes = self.peak_bytes = self._alive_bytes = 0
        for record in list(self._records.values()):
            record.given = record.held = record.counted = False
            record.channels = record.copied = record.scale = None
            record.reads = set()
        for tensor in inputs:
            record = self.record(tensor)
            record.given = record.held = True
        for tensor in self._of_model:
            self.record(tensor).held = True

    def record(self, tensor: Tensor) -> StorageRecord:
        """The record of a tensor's storage; of a tensor without one, an empty one."""
        if tensor.layout is not torch.strided:
            return StorageRecord()
        # PyTorch keeps the Python object of a storage as long as the storage lives, so that its
        # identity tells storages apart and a weak reference to it tells when one dies.
        storage = tensor.untyped_storage()
        record = self._records.get(id(storage))
        return self._new_record(storage) if record is None else record

    def _new_record(self, storage: torch.UntypedStorage) -> StorageRecord:
        key = id(storage)
        record = self._records[key] = StorageRecord()
        record.alive = ref(storage, partial(self._died, key))
        return record

    def known(self, tensor: Tensor) -> StorageRecord | None:
        """The record of a tensor's storage, if there is one."""
        if tensor.layout is not torch.strided:
            return None
        return self._records.get(id(tensor.untyped_storage()))

    def forget(self, key: int) -> None:
        """Takes the record of a storage that died."""
        with self.lock:
            record = self._records.pop(key, None)
            if record is not None and record.counted:
                self._alive_bytes -= record.size

    def roles(self, lhs: Sequence[Tensor], rhs: Sequence[Tensor]) -> Roles:
        """What the operands of a contraction are.

        All that meets the input without depending on it is a weight. So a fixed filter in a buffer
        and an identity made on the spot never drive; an initial state, which meets a weight, may.

        Args:
            lhs: What the first operand was made of, itself if it was not.
            rhs: The same of the second.
        """
        left, right = self._source(lhs), self._source(rhs)
        fixed = left.origin is Origin.FIXED and right.origin is Origin.FIXED
        weights = (
            left.origin is not None and (left.weights or right.origin is None),
            right.origin is not None and (right.weights or left.origin is None),
        )
        constant = left.origin is not None and right.origin is not None
        return Roles(weights, fixed, constant, (left.by_sample, right.by_sample))

    def holder(self, parts: Iterable[Tensor], path: str) -> str:
        """Path of the module at or below ``path`` that holds the weights of an operation."""
        owners = [o for x in parts if (record := self.known(x)) for o in record.owners]
        if path in owners:
            return path
        below = f"{path}." if path else ""
        return next((owner for owner in owners if owner.startswith(below)), path)

    def _source(self, parts: Sequence[Tensor]) -> Source:
        """What an operand comes from; a parameter is one in whatever model it is."""
        fixed, weights = True, False
        constants = []
        for x in parts:
            record = self.known(x)
            origin = None if record is None else record.origin
            holds = (record is not None and record.weights) or isinstance(base_of(x), nn.Parameter)
            if origin is None and not holds:
                return _INPUT
            weights = weights or holds
            fixed = fixed and origin is Origin.FIXED
            constants.append(Constant(x, holds, record is not None and record.by_sample))
        origin = Origin.FIXED if fixed else Origin.CREATED
        return Source(origin, weights, self._axis.held(constants))

    def ran(
        self,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        results: Sequence[Tensor],
        *,
        args: tuple[Any, ...] = (),
        makes: Makes | None = None,
        aligned: bool = False,
        takes_memory: bool = True,
    ) -> Source:
        """Notes that an operation ran: its memory, and how its results depend on the input.

        Args:
            inputs: Tensors that it read.
            targets: Those of them that it wrote to.
            results: What it returned.
            args: Its arguments, where it makes something.
            makes: What it makes of them.
            aligned: Whether its operands lie on each other axis by axis, from the last.
            takes_memory: Whether its results count as activations.

        Returns:
            What its results come from.
        """
        source = self._source_of(inputs, aligned)
        if makes is not None and results:
            source = self._made(makes, source, inputs, args, results)
        origin, weights, by_sample = source
        records = self._records
        written: list[StorageRecord] = []
        for target in targets:
            record = self.record(target)
            written.append(record)
            if takes_memory and target.layout is torch.strided:
                self.written_bytes += target.nbytes
            if origin is None:
                record.origin, record.weights, record.by_sample = None, False, False
        # What is one for all samples is there in an inference of one sample, too.
        share = 1 if origin is None or by_sample else self._samples
        for result in results:
            if result.layout is not torch.strided:
                continue
            storage = result.untyped_storage()
            found = records.get(id(storage))
            record = self._new_record(storage) if found is None else found
            if origin is not None:
                record.origin = origin
                record.weights = record.weights or weights
                record.by_sample = record.by_sample or by_sample
            if takes_memory and not (record.held or record.counted or record in written):
                record.counted = True
                record.size = size = storage.nbytes() * share
                self.written_bytes += size
                self._alive_bytes += size
                if self._alive_bytes > self.peak_bytes:
                    self.peak_bytes = self._alive_bytes
        return source

    def _source_of(self, inputs: Sequence[Tensor], aligned: bool) -> Source:
        """What comes from some tensors; without any it is made on the spot."""
        records = self._records
        fixed = created = weights = False
        constants = []
        for x in inputs:
            record = None
            if x.layout is torch.strided:
                record = records.get(id(x.untyped_storage()))
            if record is None or record.origin is None:
                return _INPUT
            weights = weights or record.weights
            if record.origin is Origin.FIXED:
                fixed = True
            elif x.ndim:  # a number is of one size for any batch
                created = True
            constants.append(Constant(x, record.weights, record.by_sample))
        origin = Origin.FIXED if fixed and not created else Origin.CREATED
        return Source(origin, weights, self._axis.held(constants, aligned=aligned))

    def _made(
        self,
        makes: Makes,
        source: Source,
        inputs: Sequence[Tensor],
        args: tuple[Any, ...],
        results: Sequence[Tensor],
    ) -> Source:
        """What comes from an operation whose results hold more than its operands."""
        if makes.is_new:
            by_sample = source.by_sample or (
                source.origin is None and makes is Makes.LIKE and self._axis.divides(inputs[0])
            )
            source = Source(Origin.CREATED, weights=False, by_sample=by_sample)
        if source.origin is None or source.by_sample:
            return source
        return source._replace(by_sample=self._axis.introduced(makes, args, results))

    def overwritten(self, tensor: Tensor) -> None:
        """Forgets what was read of a tensor, what layer wrote it, and that it was given."""
        record = self.record(tensor)
        record.reads = set()
        record.copied = record.channels = record.scale = None
        record.given = False

    def given(self, read: Sequence[Tensor]) -> bool:
        """Whether the model was given all of some tensors, or copies of what it was given."""
        return bool(read) and all(self.record(x).given for x in read)

    def copied(self, read: Sequence[Tensor], made: Sequence[Tensor], *, given: bool) -> None:
        """Notes that an operation copied some tensors, or took views of them.

        Args:
            read: What it copied.
            made: The copies.
            given: Whether the model was given all that was copied, before anything was written.
        """
        if given:
            for x in made:
                self.record(x).given = True
        if len(read) == len(made) == 1 and read[0].numel() == made[0].numel():
            source, record = self._part(read[0]), self.record(made[0])
            if record.reads is not source[0]:
                record.copied = source

    def is_first_read(self, tensor: Tensor) -> bool:
        """Whether the model made these elements and none read them before, by any view or copy."""
        if self.record(tensor).given:
            return False
        reads, *part = self._part(tensor)
        if tuple(part) in reads:
            return False
        reads.add((part[0], part[1]))
        return True

    def _part(self, tensor: Tensor) -> Part:
        """Which elements these are, of what was first made."""
        record = self.record(tensor)
        if record.copied is not None and record.copied[2] == tensor.numel():
            return record.copied
        offset = int(tensor.storage_offset()) if tensor.layout is torch.strided else 0
        return record.reads, offset, tensor.numel()

    def scaled(self, name: str, args: tuple[Any, ...], out: Any) -> None:
        """Notes that an operation multiplied a tensor, or divided it."""
        if len(args) == 2 and all(isinstance(x, Tensor) for x in args):
            fixed = [self._source((x,)).origin is Origin.FIXED for x in args]
            scale = Scale.of(name, args, fixed, out)
            if scale is not None:
                self.record(out).scale = scale

    def scale_of(self, x: Tensor, axis: int, steps: int) -> Scale | None:
        """What an activation was multiplied by that the weights of its layer take over."""
        record = self.known(x)
        scale = None if record is None else record.scale
        return scale if scale is not None and scale.folds(x, axis, steps) else None

    def of_layer(self, out: Any, axis: int) -> None:
        """Notes that a tensor is what a layer with weights computed, its channels on an axis."""
        if isinstance(out, Tensor) and out.ndim:
            self.record(out).channels = (out.shape[axis], out.stride(axis))

    def adds_bias(self, args: tuple[Any, ...]) -> bool:
        """Whether an addition adds a fixed value to each channel of a layer's output.

        PyTorch adds the bias of a linear layer so where the input is not contiguous.
        """
        x, bias = args[0], args[1]
        if not (isinstance(x, Tensor) and isinstance(bias, Tensor)):
            return False
        record = self.known(x)
        layer = None if record is None else record.channels
        if layer is None or bias.ndim > x.ndim:
            return False
        source = self._source((bias,))
        if source.origin is not Origin.FIXED:
            return False
        samples = self._samples if source.by_sample else 1
        if bias.numel() != layer[0] * samples:
            return False
        axes = [a for a in range(-bias.ndim, 0) if bias.shape[a] == layer[0] > 1] or [-1]
        return any((x.shape[axis], x.stride(axis)) == layer for axis in axes)

    def folds(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether a batch norm by fixed statistics acts on the channels of a layer's output.

        It folds into that layer's weights and costs nothing.
        """
        training = next((a for a in args if isinstance(a, bool)), False)
        if training and not name.endswith("no_training"):
            return False
        record = self.known(args[0])
        x = args[0]
        return record is not None and record.channels == (x.shape[1], x.stride(1))


def _pruned(model: nn.Module) -> list[Tensor]:
    """Weights that ``torch.nn.utils.prune`` keeps as plain attributes beside ``..._orig``.

    They are made anew when their module is called, but some modules are read without a call.
    """
    return [
        weight
        for module in model.modules()
        for name, _ in constants_of(module)[0].items()  # scripted modules have no plain dict
        if name.endswith("_orig")
        and isinstance(weight := vars(module).get(name.removesuffix("_orig")), Tensor)
    ]


def _without_cycle(tensors: Tensors) -> Callable[[int, object], None]:
    """Has a storage forgotten, and does not keep alive what holds its record."""
    weak = ref(tensors)

    def died(key: int, storage: object) -> None:
        known = weak()
        if known is not None:
            known.forget(key)

    return died
