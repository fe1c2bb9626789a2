"""Counts a model by its shapes alone: one forward pass on the meta device, where nothing runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from types import MappingProxyType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.facts.records import Contraction, Shape, merge
from analyzer.facts.values import Values
from analyzer.measure.frame.frame import Frame
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.metadata import metadata_of
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.geometry import Counted, Keep
from analyzer.measure.rules.products import Product
from analyzer.measure.rules.registry import base_name
from analyzer.measure.torch_private import is_elementwise
from analyzer.measure.watch.modules import place_of
from analyzer.measure.watch.observe import Observer
from analyzer.measure.watch.recorder import Recorder
from analyzer.measure.watch.restore import preserved
from analyzer.measure.watch.sites import CallSite, Observation
from analyzer.measure.watch.tensors import tensors_in
from analyzer.profiles import Profile

__all__ = ["count"]

_UNKNOWN = Values(real=True)


def count(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Profile:
    """Counts parameters, dense work and memory of a model without running it.

    Args:
        model: Any module whose forward does not depend on values. It is not changed: its twin on
            the meta device, which has shapes and no values, runs in its place.
        input_shape: Shape of one sample, without the batch axis.
        timesteps: Timesteps of one pass; by default what ``model.timesteps`` says. A model that
            does not say needs a layout of its input that has them.
        layouts: As for :func:`analyzer.profile`; ``{"": "T B C H W"}`` of a model that is given T
            steps of each sample.
        name: How tables call the profile.

    Returns:
        A profile of one sample whose activity is unknown: ``events`` and the like are missing.
        Attention that a run computes in one kernel is written out here: the same dense work, more
        activations.

    Raises:
        AnalyzerError: Where the forward needs values, or does not take such a sample.
    """
    if not isinstance(model, nn.Module):
        raise AnalyzerError(f"count needs a torch.nn.Module, not {type(model).__name__}.")
    axes = Frame.declare(model, timesteps=timesteps, layouts=layouts, groups={}).axes()
    shape = _batched(model, axes, timesteps, tuple(input_shape))
    first = next(model.parameters(), None)
    dtype = first.dtype if first is not None and first.is_floating_point() else torch.float32
    image = torch.empty(shape, dtype=dtype, device="meta")
    twin = model
    try:
        twin = _twin(model)
        with torch.no_grad(), preserved(twin) as guard:
            recorder = Recorder(
                twin,
                default_rules(),
                axes,
                guard,
                always=True,
                observer=_ShapesAlone(1),
                run=_shaped,
            )
            recorder.run(lambda: twin(image), lambda: None, 1, ((image,), {}))
    except AnalyzerError:
        raise
    except Exception as error:
        _refuse(error, twin, input_shape)
    return Profile(
        samples=1,
        metadata=metadata_of(model, name, axes.timesteps, list(input_shape))
        | recorder.memory
        | {"counted": "shapes"},
        shapes=merge(_shape(fact) for fact in recorder.contractions),
        tallies=tuple(recorder.tallies),
        uncounted=tuple(recorder.uncounted),
    )


def _shaped(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The shape of a result.

    PyTorch works out some shapes in Python functions that load its compiler when they first run,
    which takes longer than to count the largest model. Those of common operations are made here,
    where the arguments fit; where they do not, PyTorch says why.
    """
    own = _SHAPES.get(base_name(func))
    if own and not kwargs and all(_is_plain(x, own) for x in tensors_in(args)):
        made = own(*args)
        if made is not None:
            return made
    if not is_elementwise(func) or "memory_format" in kwargs:
        return func(*args, **kwargs)
    given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    shape = torch.broadcast_shapes(*(x.shape for x in given))
    like = next((x for x in given if x.shape == shape and not x.is_contiguous()), None)
    empty = (_nothing(x) for x in args)
    dtype = func(*empty, **{key: _nothing(x) for key, x in kwargs.items()}).dtype
    if like is None:
        return torch.empty(shape, dtype=dtype, device="meta")
    return torch.empty_like(like, dtype=dtype)


def _is_plain(x: Tensor, own: Callable[..., Any]) -> bool:
    """Whether a result made of this argument is contiguous."""
    free = own is _multiplied or (own is _joined and x.ndim < 4)  # no channels last below
    return free or x.is_contiguous()


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    """Shape of ``torch.cat``."""
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    some = [x for x in tensors if x.shape != (0,)]  # an old habit of PyTorch skips those
    if not some:
        return torch.empty(0, dtype=dtype, device="meta")
    shape = list(some[0].shape)
    if any(_without(x, dim) != _without(some[0], dim) for x in some):
        return None
    shape[dim] = sum(x.shape[dim] for x in some)
    return torch.empty(shape, dtype=dtype, device="meta")


def _without(x: Tensor, dim: int) -> list[int]:
    shape = list(x.shape)
    del shape[dim]
    return shape


def _multiplied(bias: Tensor, lhs: Tensor, rhs: Tensor) -> Tensor | None:
    """Shape of a matrix product with a bias."""
    if lhs.shape[1] != rhs.shape[0] or bias.shape != rhs.shape[1:]:
        return None
    return torch.empty((lhs.shape[0], rhs.shape[1]), dtype=lhs.dtype, device="meta")


def _normalised(
    x: Tensor, size: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Shapes of a layer norm: its result, means and reciprocal deviations."""
    if x.shape[x.ndim - len(size) :] != tuple(size):
        return None
    kept = x.shape[: x.ndim - len(size)] + (1,) * len(size)
    mean, deviation = (torch.empty(kept, dtype=x.dtype, device="meta") for _ in range(2))
    return torch.empty_like(x), mean, deviation


def _scaled(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """Shapes of a batch norm by running statistics: its result, and what training would save."""
    if any(other.shape != x.shape[1:2] for other in tensors_in(rest)):
        return None
    mean, deviation = (torch.empty(x.shape[1], device="meta") for _ in range(2))
    return torch.empty_like(x), mean, deviation


def _shares(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Shape of a softmax."""
    return torch.empty_like(x, dtype=dtype)


_SHAPES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "addmm": _multiplied,
        "cat": _joined,
        "native_batch_norm": _scaled,
        "native_layer_norm": _normalised,
        "_safe_softmax": _shares,
    }
)
"""Shapes of the results of contiguous arguments."""


def _nothing(x: Any) -> Any:
    """An argument like this one without an element."""
    return torch.empty([0] * x.ndim, dtype=x.dtype) if isinstance(x, Tensor) else x


class _ShapesAlone(Observer):
    """Takes every operand for unknown values: dense work alone is counted."""

    def observe(
        self,
        product: Product,
        at: CallSite,
        keep: tuple[Keep, Keep],
        reals: tuple[bool, bool] = (False, False),
    ) -> Observation:
        """The dense work alone."""
        dense = product.geometry.dense(product.lhs, product.rhs)
        counted = Counted(dense, 0, 0, 0, 0, 0, 0)
        lhs, rhs = (Activity(x.numel(), _UNKNOWN, 0) for x in (product.lhs, product.rhs))
        seen = Observation(lhs, rhs, 0, counted, None, None, None, False)
        return seen.swapped() if at.weights == (True, False) else seen


def _batched(
    model: nn.Module, axes: Layouts, timesteps: int | None, sample: tuple[int, ...]
) -> tuple[int, ...]:
    """Shape of the model's input with one sample in it."""
    layout = (axes.of("") or "B").replace("(", "").replace(")", "").split()
    if layout[0] == "T":
        folded = (axes.of("") or "").startswith("(")
        return (axes.timesteps, *sample) if folded else (axes.timesteps, 1, *sample)
    own = getattr(model, "timesteps", None)
    if timesteps not in (None, 1, own):
        says = f"has {own} timesteps of its own" if own else "does not say how it takes time"
        raise AnalyzerError(
            f"{type(model).__name__} {says}, so it can not be counted at {timesteps}: build it so, "
            'or give the layout of its input, such as layouts={"": "T B C H W"}.'
        )
    return (1, *sample)


def _twin(model: nn.Module) -> nn.Module:
    """The model on the meta device; no value is copied."""
    held: Iterable[Tensor] = (*model.parameters(), *model.buffers())
    if all(tensor.is_meta for tensor in held) and not model.training:
        return model
    known: dict[int, Any] = {}
    for tensor in held:
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        known[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, known).eval()


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


def _refuse(error: Exception, model: nn.Module, shape: tuple[int, ...]) -> NoReturn:
    where = place_of(error, model) or type(model).__name__
    said = " ".join(str(error).split())
    raise AnalyzerError(
        f"{where} can not be counted by shapes alone, with a sample of {tuple(shape)} "
        f"({type(error).__name__}: {said[:200]}): where the shape is right, it looks at values, so "
        "profile it on data instead."
    ) from error
