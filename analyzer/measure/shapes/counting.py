"""Counts a model by its shapes alone: one forward pass on the meta device, where nothing runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.facts.records import Contraction, Shape, merge
from analyzer.facts.values import Values
from analyzer.measure.frame.evidence import Listener
from analyzer.measure.frame.frame import Forward, Frame
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.metadata import metadata_of
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.geometry import Counted, Keep
from analyzer.measure.rules.products import Product
from analyzer.measure.shapes.functions import Functions
from analyzer.measure.shapes.inputs import (
    batch_of,
    is_sample_shape,
    one_batch,
    shape_with_batch,
)
from analyzer.measure.shapes.known import UnknownValueError, taken
from analyzer.measure.shapes.rules import rules_by_shapes
from analyzer.measure.shapes.running import MetaRun
from analyzer.measure.shapes.twin import twin_of
from analyzer.measure.tensors.restore import preserved
from analyzer.measure.torch_private.trees import tree_leaves, tree_map
from analyzer.measure.undoing import undone
from analyzer.measure.watch.failures import misfit, place_of
from analyzer.measure.watch.observe import Observer
from analyzer.measure.watch.recorder import Recorder
from analyzer.measure.watch.sites import CallSite, Observation
from analyzer.profiles import Profile

__all__ = ["count"]

_UNKNOWN = Values(real=True)

_NO_VALUES = re.compile(r"\bmeta (tensor|device)|unallocated storage")
"""How PyTorch says that a tensor of the meta device has no values."""


def count(
    model: nn.Module,
    inputs: Any,
    *,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    samples: DeclaredSamples = None,
    forward: Forward | None = None,
    name: str | None = None,
) -> Profile:
    """Counts parameters, dense work and memory of a model without running it.

    Args:
        model: Any module. It is not changed: its twin on the meta device, which has shapes and no
            values, runs in its place.
        inputs: As for :func:`analyzer.count`.
        timesteps: Timesteps of one pass; by default what ``model.timesteps`` says. A model that
            does not say needs a layout of its input that has them.
        layouts: As for :func:`analyzer.profile`; ``{"": "T B C H W"}`` of a model that is given T
            steps of each sample.
        samples: How many samples the batch holds.
        forward: Runs the model on the batch.
        name: How tables call the profile.

    Returns:
        A profile of the batch whose activity is unknown: ``events`` and the like are missing.
        Attention that a run computes in one kernel is written out here: the same dense work, more
        activations.

    Raises:
        AnalyzerError: Where the forward needs values, or does not take such inputs.
    """
    if not isinstance(model, nn.Module):
        raise AnalyzerError(f"count needs a torch.nn.Module, not {type(model).__name__}.")
    if forward is not None and not callable(forward):
        raise AnalyzerError(
            f"forward is {type(forward).__name__}: give a function (model, batch) -> output."
        )
    twin = undone(partial(twin_of, model))
    frame = Frame.declare(
        twin,
        timesteps=timesteps,
        samples=_declared(inputs, samples),
        layouts=layouts,
        groups={},
        forward=forward,
    )
    given = tree_map(
        lambda x: taken(x) if isinstance(x, Tensor) else x,
        _described(model, inputs, frame.axes(), timesteps),
    )
    batch = one_batch(given, twin, forward)
    frame = frame.assumed(batch, 0)
    if not frame.samples_of(batch, 0):
        raise AnalyzerError("a count needs a batch with samples, not of 0: give one at least.")
    recorder, settled = undone(partial(_counted, frame, batch))
    if settled.samples_of(batch, 0) != frame.samples_of(batch, 0):
        recorder, settled = undone(partial(_counted, settled, batch))
    number = settled.samples_of(batch, 0)
    shape = list(inputs) if is_sample_shape(inputs) else settled.shape_of(batch, number)
    return Profile(
        samples=number,
        metadata=metadata_of(model, name, settled.timesteps.number, shape)
        | recorder.memory
        | {"counted": "shapes", "frame": settled.as_metadata("once")},
        shapes=merge(_shape(fact) for fact in recorder.contractions),
        tallies=tuple(recorder.tallies),
        uncounted=tuple(recorder.uncounted),
        layers=recorder.layers,
    )


def _counted(frame: Frame, batch: Batch) -> tuple[Recorder, Frame]:
    """Counts one pass, and returns the frame that it shows."""
    twin = frame.model
    rules = rules_by_shapes(default_rules())
    work = frozenset({*rules.products, *rules.fused})
    samples = frame.samples_of(batch, 0)
    try:
        with (
            torch.no_grad(),
            preserved(twin) as guard,
            Functions(),
            Listener(twin).listening(batch.tensors) as evidence,
        ):
            recorder = Recorder(
                twin,
                rules,
                frame.axes(),
                guard,
                always=True,
                observer=_ShapesAlone(),
                run=MetaRun(work),
            )
            output = recorder.run(
                lambda: frame.run(batch),
                lambda: reset_state(twin),
                samples,
                (batch.args, batch.kwargs),
            )
    except AnalyzerError:
        raise
    except Exception as error:
        _refuse(error, twin, (batch.args, batch.kwargs))
    evidence.note_neurons(recorder.unknown_neurons, recorder.looped)
    return recorder, frame.settled(batch, output, evidence, number=0)


def _declared(inputs: Any, samples: DeclaredSamples) -> DeclaredSamples:
    """The samples of a batch where they are declared: one, where its shape is that of a sample."""
    if not is_sample_shape(inputs):
        return samples
    if samples not in (None, 1):
        raise AnalyzerError(
            f"{tuple(inputs)} is the shape of one sample, so samples can not be {samples!r}: "
            'give the whole batch, such as (("float32", (8, 3, 224, 224)),).'
        )
    return 1


def _described(model: nn.Module, inputs: Any, axes: Layouts, timesteps: int | None) -> Any:
    """The batch that a description stands for."""
    first = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if not is_sample_shape(inputs):
        return batch_of(inputs, first)
    _check_timesteps(model, axes, timesteps)
    return torch.empty(
        shape_with_batch(inputs, axes.of(""), axes.timesteps), dtype=first, device="meta"
    )


def _check_timesteps(model: nn.Module, axes: Layouts, timesteps: int | None) -> None:
    """Refuses timesteps that the model is not known to take."""
    own = getattr(model, "timesteps", None)
    layout = axes.of("") or ""
    if timesteps in (None, 1, own) or "T" in layout:
        return
    says = f"has {own} timesteps of its own" if own else "does not say how it takes time"
    raise AnalyzerError(
        f"{type(model).__name__} {says}, so it can not be counted at {timesteps}: build it so, "
        'or give the layout of its input, such as layouts={"": "T B C H W"}.'
    )


class _ShapesAlone(Observer):
    """Takes every operand for unknown values: dense work alone is counted."""

    def __init__(self) -> None:
        super().__init__(timesteps=1)

    def observe(
        self,
        product: Product,
        at: CallSite,
        keep: tuple[Keep, Keep],
        reals: tuple[bool, bool] = (False, False),
    ) -> Observation:
        """The dense work alone."""
        dense = product.geometry.dense(product.lhs, product.rhs)
        counted = Counted(dense * at.times, 0, 0, 0, 0, 0, 0)
        lhs, rhs = (Activity(x.numel(), _UNKNOWN, 0) for x in (product.lhs, product.rhs))
        seen = Observation(lhs, rhs, 0, counted, None, None, None, False)
        return seen.swapped() if at.weights == (True, False) else seen


def _shape(fact: Contraction) -> Shape:
    weight = fact.weight
    return Shape(
        module=fact.module,
        op=fact.op,
        calls=fact.calls,
        dense_macs=fact.dense_macs,
        input_elements=sum(o.elements for o in fact.activations),
        weight_elements=weight.elements if weight else 0,
        outputs=fact.outputs,
        passes=fact.passes,
        layer=fact.layer,
        first_read_elements=sum(o.elements for o in fact.first_read_operands),
        first_read_weights=fact.first_read_weights,
    )


def _refuse(error: Exception, model: nn.Module, arguments: Any) -> NoReturn:
    """Says in one sentence why a pass without values failed, and what to do."""
    where = place_of(error, model)
    place = where or type(model).__name__
    said = " ".join(str(error).split())[:200]
    if isinstance(error, UnknownValueError) or _NO_VALUES.search(said):
        raise AnalyzerError(
            f"{place} looks at values, so it can not be counted by shapes alone ({said}): give the "
            "inputs that decide as tensors with their values, or profile it on data instead."
        ) from error
    said_of_axes = misfit(error, model)
    hint = f"{said_of_axes or 'check the shapes and dtypes of the inputs'}."
    tensors = [x for x in tree_leaves(arguments) if isinstance(x, Tensor)]
    if isinstance(model.get_submodule(where), nn.Embedding | nn.EmbeddingBag) and any(
        x.is_floating_point() for x in tensors
    ):
        hint = (
            'token ids are whole numbers, so give their dtype, such as {"input_ids": ("int64", '
            "(1, 128))}."
        )
    given = ", ".join(f"{_dtype_of(x)} {tuple(x.shape)}" for x in tensors[:4])
    more = f" and {len(tensors) - 4} more" if len(tensors) > 4 else ""
    raise AnalyzerError(
        f"{place} can not be counted with inputs of {given or 'no tensor'}{more} "
        f"({type(error).__name__}: {said}): {hint}"
    ) from error


def _dtype_of(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
