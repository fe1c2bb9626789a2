"""How many samples a batch holds: as declared, else by evidence, else along its first axis.

Evidence is what targets, outputs and modules say. Where pieces of it disagree, an error asks.
Outputs alone confirm the first axis, and move samples to no other: a Gram matrix is as long as the
second axis of images, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from analyzer.errors import AnalyzerError, whole_of
from analyzer.measure.frame.evidence import Evidence
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.torch_private.trees import tree_leaves

__all__ = [
    "DeclaredSamples", "Samples", "assumed_samples", "check_samples", "decided_samples",
    "settled_samples",
]  # fmt: skip

REMEDY = (
    'name the axes of the model\'s input, such as layouts={"": "T B C H W"} or "B C H W", or give '
    "samples=, a number or a function of the batch"
)

DeclaredSamples = int | Callable[[Any], int] | None
"""Samples of each batch, or what tells them from a batch as the caller gave it."""


@dataclass(frozen=True)
class Samples:
    """Where the samples of a batch are read.

    Attributes:
        source: What told, in words for people.
        assumed: Whether nothing told, so that the convention of PyTorch was taken.
        leaf: Which tensor of the batch holds them; None where no tensor does, so that they are as
            many as targets or inputs in a list.
        axis: The axis of that tensor.
        steps: Timesteps that are merged into that axis.
        declared: What the caller gave, a number or a function; it goes before all else.
        tied: Other places that hold as many in all batches so far, so that nothing tells yet
            which of them holds the samples.
    """

    source: str
    assumed: bool = False
    leaf: int | None = 0
    axis: int = 0
    steps: int = 1
    declared: DeclaredSamples = None
    tied: tuple[Samples, ...] = ()

    def is_open(self, batch: Batch) -> bool:
        """Whether the tied places hold different numbers in a batch, so that it must tell."""
        return any(_number_at(place, batch) != _number_at(self, batch) for place in self.tied)

    def of(self, batch: Batch, number: int) -> int:
        """How many samples a batch holds.

        Raises:
            AnalyzerError: Where the batch does not hold them as told.
        """
        if self.declared is not None:
            return _declared(self.declared, batch)
        if self.leaf is None:
            lengths = (_length_of_target(batch.target), _length_of_list(batch))
            known = next((n for n in lengths if n is not None), None)
            if known is None:
                raise AnalyzerError(f"the samples of batch {number} are not known: {REMEDY}.")
            return known
        tensors = batch.tensors
        x = tensors[self.leaf] if self.leaf < len(tensors) else None
        if x is None or x.ndim <= self.axis:
            raise _no_axis(number)
        samples, rest = divmod(x.shape[self.axis], self.steps)
        if rest:
            raise AnalyzerError(
                f"batch {number} of shape {tuple(x.shape)} holds no whole number of {self.steps} "
                f"timesteps on axis {self.axis}: {REMEDY}."
            )
        return int(samples)


def assumed_samples(
    batch: Batch, layouts: Layouts, declared: DeclaredSamples, number: int
) -> Samples:
    """Where samples are read before a pass: as declared, else on the first axis by convention.

    Raises:
        AnalyzerError: Where the batch has no axis at all, or the layout doesn't fit it.
    """
    if declared is not None:
        return Samples("samples=", declared=declared)
    at = next((i for i, x in enumerate(batch.tensors) if x.ndim), None)
    if at is None:
        if _length_of_target(batch.target) is None and _length_of_list(batch) is None:
            raise _no_axis(number)
        return Samples("length of the targets", leaf=None)
    layout = layouts.of("")
    if layout is None:
        return Samples("first axis of the input, by convention", assumed=True, leaf=at)
    axis, steps = layouts.batch_axis(batch.tensors[at])
    return Samples(f"layout {layout!r}", leaf=at, axis=axis, steps=steps)


def settled_samples(
    batch: Batch, output: Any, evidence: Evidence, timesteps: int | None, number: int
) -> Samples:
    """Where samples are read by all evidence of a pass; by convention where there is none.

    Raises:
        AnalyzerError: Where pieces of evidence disagree, or agree on two numbers.
    """
    places = list(_places(batch, timesteps))
    pieces = _pieces(batch, output, evidence, timesteps)
    if not pieces:
        return assumed_samples(batch, Layouts({}, {}, 1), None, number)
    agreed = _agreed(pieces, number)
    first = places[0].samples if places else None
    if len(agreed) > 1:
        listed = _length_of_list(batch)  # one tensor for each: of a sample, or of all samples
        either = len(places) > 1 and batch.tensors[0].ndim > 4 and not evidence.batched
        either = either or (batch.first is not None and evidence.is_looped(batch.first))
        if first not in agreed or first == timesteps or listed in agreed or either:
            raise AnalyzerError(f"batch {number} may hold {_or(agreed)} samples: {REMEDY}.")
        agreed = frozenset((first,))
    (samples,) = agreed
    said = " and ".join(piece.says for piece in pieces)
    if evidence.unbatched:
        listed = _length_of_list(batch) is not None
        return Samples(said, leaf=None) if listed else Samples(said, declared=1)
    fitting = [place for place in places if place.samples == samples]
    if evidence.leads:  # also where both axes are equally long
        fitting.sort(key=lambda place: place.axis != 1)
    if not fitting:
        return Samples(said, leaf=None)
    found, *others = (
        Samples(said, leaf=place.leaf, axis=place.axis, steps=place.steps) for place in fitting
    )
    tied = (other for other in others if None not in (other.leaf, found.leaf))
    return replace(found, tied=tuple(tied))


def decided_samples(
    known: Samples, batch: Batch, output: Any, evidence: Evidence, timesteps: int | None,
    number: int,
) -> Samples:  # fmt: skip
    """Which of the places that were tied so far holds the samples, by a batch that tells.

    Raises:
        AnalyzerError: Where pieces of evidence disagree, or tell none of these places.
    """
    told = settled_samples(batch, output, evidence, timesteps, number)
    places = {(place.leaf, place.axis, place.steps): place for place in (known, *known.tied)}
    if (told.leaf, told.axis, told.steps) not in places:
        check_samples(known, batch, output, evidence, timesteps, number)
        return known
    tied = (place for place in told.tied if (place.leaf, place.axis, place.steps) in places)
    return replace(told, tied=tuple(tied))


def check_samples(
    samples: Samples, batch: Batch, output: Any, evidence: Evidence, timesteps: int | None,
    number: int,
) -> None:  # fmt: skip
    """Checks a later batch: all that speaks of it must agree with what the first one told."""
    if samples.declared is None:
        own = _Piece(samples.source, frozenset((samples.of(batch, number),)))
        _agreed([own, *_pieces(batch, output, evidence, timesteps)], number)


def _number_at(place: Samples, batch: Batch) -> int | None:
    """How many samples a batch holds at a place, None where it has no such place."""
    tensors = batch.tensors
    x = tensors[place.leaf] if place.leaf is not None and place.leaf < len(tensors) else None
    if x is None or x.ndim <= place.axis or x.shape[place.axis] % place.steps:
        return None
    return x.shape[place.axis] // place.steps


class _Place(NamedTuple):
    """Where a batch may hold samples, and how many it then holds."""

    samples: int
    leaf: int | None
    axis: int = 0
    steps: int = 1


class _Piece(NamedTuple):
    """One piece of evidence: the numbers of samples that agree with it."""

    says: str
    numbers: frozenset[int]


def _places(batch: Batch, timesteps: int | None) -> Iterator[_Place]:
    """Where samples may be, the most usual place first."""
    first = True
    for leaf, x in enumerate(batch.tensors):
        if not x.ndim:
            continue
        yield _Place(x.shape[0], leaf)
        if first and (x.ndim > 2 or (x.ndim == 2 and not x.is_floating_point())):
            yield _Place(x.shape[1], leaf, 1)
        if first and timesteps and timesteps > 1 and x.shape[0] % timesteps == 0:
            yield _Place(x.shape[0] // timesteps, leaf, 0, timesteps)
        first = False
    length = _length_of_list(batch)
    if length is not None:
        yield _Place(length, None)


def _pieces(batch: Batch, output: Any, evidence: Evidence, timesteps: int | None) -> list[_Piece]:
    """All that speaks of the number of samples, and fits some place where they may be."""
    found = list(_places(batch, timesteps))
    known = [place.samples for place in found]
    places = set(known)
    outputs = set(_leading(batch, output, evidence, timesteps))
    target = _length_of_target(batch.target)
    several = bool(known) and known[0] > 1 and target not in places
    if several and target is not None and target % known[0] == 0:
        outputs.discard(target)  # it is of each position of a sample, in one long row
        target = None
    pieces = []
    fitting = outputs & (places | ({target} if target is not None else set()))
    if target is None:
        fitting = _of_outputs_alone(fitting, batch, evidence, timesteps)
    if fitting and not evidence.packed:  # lengths of packed sequences are among the outputs
        pieces.append(_Piece("outputs", frozenset(fitting)))
        of_first = {place.samples for place in found if place.leaf in (None, found[0].leaf)}
        if evidence.batched and target is None and not fitting & of_first:
            says = f"{evidence.batched}, which reads samples on the first axis of the input"
            pieces.append(_Piece(says, frozenset(known[:1])))
    if target is not None and (
        target in places | outputs or not any(n and target % n == 0 for n in fitting or places)
    ):
        pieces.append(_Piece("targets", frozenset((target,))))
    first = batch.first
    if evidence.leads and first is not None:
        pieces.append(_Piece(evidence.leads, frozenset((first.shape[1],))))
    if evidence.packed:
        pieces.append(_Piece("a packed sequence", frozenset((evidence.packed,))))
    if evidence.merged and first is not None:
        says = f"neurons that take {evidence.merged} timesteps apart"
        pieces.append(_Piece(says, frozenset((first.shape[0] // evidence.merged,))))
    if evidence.unbatched:
        says = f"{evidence.unbatched} reads one sample without a batch axis"
        # Targets as many as an axis is long may be of its positions, or of samples.
        either = first is not None and target in (first.shape if first.ndim == 2 else known[:1])
        pieces = [piece for piece in pieces if piece.says == "targets" and either]
        pieces.append(_Piece(says, frozenset((_length_of_list(batch) or 1,))))
    return pieces


def _of_outputs_alone(
    fitting: set[int], batch: Batch, evidence: Evidence, timesteps: int | None
) -> set[int]:
    """Which numbers that outputs fit they tell where there are no targets.

    They tell the second axis, or samples that are merged with time, only where something shows that
    the first axis holds time: else they may be as long by chance, as a Gram matrix or a feature map
    is. Where it may or may not, all places are open, and the caller is asked.
    """
    first = batch.first
    if first is None or evidence.leads or evidence.merged or evidence.packed:
        return fitting
    length = first.shape[0]
    lengths = {x.shape[0] for x in batch.tensors if x.ndim}
    elsewhere = fitting - lengths - {_length_of_list(batch)}
    if not elsewhere:
        return fitting
    # As in a loop over time, whose outputs are stacked.
    if evidence.is_sliced(length) or evidence.is_looped(first):
        return fitting - {length} if length == timesteps else fitting
    frames = first.ndim > 4 and not evidence.batched
    timed = length > 1 and length == timesteps and first.ndim > 2 and not evidence.batched
    if frames and timed:
        return fitting
    return fitting | {length} if frames or timed else fitting - elsewhere


def _leading(batch: Batch, output: Any, evidence: Evidence, timesteps: int | None) -> Iterator[int]:
    """Numbers of samples that an output may hold."""
    first = batch.first
    swapped = None if first is None or first.ndim < 3 else first.shape[:2][::-1]
    if first is not None and swapped == first.shape[:2]:
        swapped = None
    listed = _length_of_list(batch)
    if isinstance(output, (list, tuple)) and output:
        of_tensors = isinstance(output[0], Tensor)
        if not of_tensors or len(output) == listed:
            yield len(output)  # such as one dict of boxes for each image
        if not of_tensors and len(output) == listed:
            return  # lengths of the items are numbers of boxes
    for x in tree_leaves(output):
        if not (isinstance(x, Tensor) and x.ndim) or x.is_nested:
            continue
        if not evidence.leads and x.shape[:2] == swapped:
            continue  # it may lie as the input does not: its first axis tells nothing
        yield x.shape[0]
        if evidence.leads and first is not None and x.shape[0] == first.shape[0] * first.shape[1]:
            yield first.shape[1]  # merged with what leads
        timed = (timesteps or 1) > 1 and x.shape[0] == timesteps
        if first is not None and x.shape[0] == first.shape[0]:
            timed = timed or evidence.is_looped(first)
        if x.ndim > 1 and (evidence.leads or timed):
            yield x.shape[1]
        if evidence.merged and x.shape[0] % evidence.merged == 0:
            yield x.shape[0] // evidence.merged


def _agreed(pieces: Iterable[_Piece], number: int) -> frozenset[int]:
    pieces = list(pieces)
    agreed = frozenset.intersection(*(piece.numbers for piece in pieces))
    if not agreed:
        told = "; ".join(f"{piece.says}: {_or(piece.numbers)}" for piece in pieces)
        raise AnalyzerError(
            f"how many samples batch {number} holds can not be told, as what speaks of it "
            f"disagrees ({told}): {REMEDY}."
        )
    return agreed


def _declared(declared: int | Callable[[Any], int], batch: Batch) -> int:
    found: Any = declared(batch.whole) if callable(declared) else declared
    whole = whole_of(found.item() if isinstance(found, Tensor) and found.numel() == 1 else found)
    if whole is None or whole < 0:
        raise AnalyzerError(f"samples must be a number of samples, not {found!r}.")
    return whole


def _length_of_target(target: Any) -> int | None:
    if isinstance(target, Mapping):
        target = next((x for x in target.values() if isinstance(x, Tensor)), None)
    if isinstance(target, Tensor):
        return target.shape[0] if target.ndim else None
    return len(target) if isinstance(target, list) else None


def _length_of_list(batch: Batch) -> int | None:
    """Inputs in a list of tensors of one sample each, such as images of different sizes."""
    first = batch.args[0] if batch.args else None
    return len(first) if isinstance(first, list) and first else None


def _no_axis(number: int) -> AnalyzerError:
    return AnalyzerError(
        f"batch {number} holds no tensor with a batch axis, so its samples can not be counted: "
        "give samples=, a number or a function of the batch, such as "
        "samples=lambda batch: batch.num_graphs of graphs. Arrays go in as tensors, and single "
        "samples through torch.utils.data.DataLoader(samples, batch_size=32)."
    )


def _or(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))
