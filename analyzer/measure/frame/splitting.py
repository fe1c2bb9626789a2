"""Batches of one sample each, cut out of a batch of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.samples import Samples
from analyzer.measure.torch_private.trees import tree_leaves, tree_map

__all__ = ["single_samples"]


def single_samples(
    batch: Batch, place: Samples, samples: int, *, samples_first: bool, number: int
) -> Iterator[Batch]:
    """The samples of a batch, one after another, each as a batch of its own.

    The tensor that holds the samples is cut along their axis. Of the others those are cut that are
    as long along the same axis, or along their first; all else is the same for every sample.

    Args:
        batch: The batch.
        place: Where its samples are.
        samples: How many there are.
        samples_first: Whether the samples are outermost where they share an axis with time.
        number: Of the batch, for errors.

    Raises:
        AnalyzerError: Where nothing tells how to cut the batch.
    """
    if samples == 1:
        yield batch
        return
    tensors = batch.tensors
    leaf = place.leaf
    held = tensors[leaf] if leaf is not None and leaf < len(tensors) else None
    length = samples * place.steps
    found = [x for x in tree_leaves((batch.args, batch.kwargs)) if isinstance(x, Tensor)]
    inside = any(x is held for x in found)
    if held is None or not inside or held.ndim <= place.axis or held.shape[place.axis] != length:
        raise AnalyzerError(
            f"per_sample=True can not cut batch {number} into its {samples} samples: give batches "
            'of one sample, or name the axes of the model\'s input, such as layouts={"": "B C H '
            'W"}.'
        )
    sizes = (samples, place.steps) if samples_first else (place.steps, samples)

    def cut(x: Tensor, axis: int, at: int) -> Tensor:
        if place.steps == 1:
            return x.narrow(axis, at, 1).clone().contiguous()
        apart: Tensor = x.unflatten(axis, sizes).narrow(axis + (not samples_first), at, 1)
        return apart.flatten(axis, axis + 1).clone().contiguous()

    for at in range(samples):

        def one(value: Any, at: int = at) -> Any:
            if not isinstance(value, Tensor) or value.is_nested or not value.ndim:
                return value
            if value.ndim > place.axis and value.shape[place.axis] == length:
                return cut(value, place.axis, at)
            return _of_first_axis(value, samples, at)

        args, kwargs = tree_map(one, (batch.args, batch.kwargs))
        target = _target_of(batch.target, samples, at)
        yield replace(batch, args=args, kwargs=kwargs, target=target, whole=None)


def _of_first_axis(x: Tensor, samples: int, at: int) -> Tensor:
    if not x.ndim or x.shape[0] != samples:
        return x
    return x.narrow(0, at, 1).clone().contiguous()


def _target_of(target: Any, samples: int, at: int) -> Any:
    """The target of one sample; None where nothing tells how to cut it."""
    if isinstance(target, list):
        return [target[at]] if len(target) == samples else None
    leaves = tree_leaves(target)
    if not all(isinstance(x, Tensor) and x.ndim and x.shape[0] == samples for x in leaves):
        return None
    return tree_map(lambda x: _of_first_axis(x, samples, at), target)
