"""Where a pass failed: the module, what it reads, and what it was given, axis by axis."""

from __future__ import annotations

from torch import Tensor, nn

from analyzer.measure.torch_private.trees import tree_leaves

__all__ = ["misfit", "place_of", "sizes"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_IMAGE_AXES = ("B C L", "B C H W", "B C D H W")
"""Axes of the input of a convolution over one, two and three axes."""


def place_of(error: BaseException, model: nn.Module) -> str:
    """Path of the innermost module of a model whose code an exception passed through."""
    return _at(error, model)[0]


def misfit(error: BaseException, model: nn.Module) -> str:
    """What the layer that failed reads, what it was given, and what to do; empty if it fits."""
    path, given = _at(error, model)
    layer = model.get_submodule(path)
    if given is None:
        return ""
    name = f"{path or 'the model'} ({type(layer).__name__})"
    shape = tuple(given.shape)
    if isinstance(layer, _CONVOLUTIONS):
        axes = _IMAGE_AXES[len(layer.kernel_size) - 1].split()
        return _of_channels(name, axes, "C", layer.in_channels, shape)
    if isinstance(layer, _BATCH_NORMS):
        kind = _BATCH_NORMS.index(next(k for k in _BATCH_NORMS if isinstance(layer, k)))
        axes = _IMAGE_AXES[kind].split()
        axes = ["B", "C"] if kind == 0 and len(shape) == 2 else axes
        return _of_channels(name, axes, "C", layer.num_features, shape)
    if isinstance(layer, nn.Linear) and shape and shape[-1] != layer.in_features:
        return (
            f"{name} reads D = {layer.in_features} on its last axis and got D = {shape[-1]} "
            f"{_in(shape)}: the images or sequences may be of another size than the model was "
            "built for, or their channels last"
        )
    return ""


def sizes(axes: list[str], shape: tuple[int, ...]) -> str:
    """Axes with their sizes, such as ``B C H W = 8, 3, 32, 32``; the shape where they differ."""
    if len(axes) != len(shape):
        return f"{len(shape)} {'axis' if len(shape) == 1 else 'axes'} {_in(shape)}"
    return f"{' '.join(axes)} = {', '.join(map(str, shape))}"


def _in(shape: tuple[int, ...]) -> str:
    return f"in ({', '.join(map(str, shape))})"


def _of_channels(
    name: str, axes: list[str], channel: str, wanted: int, shape: tuple[int, ...]
) -> str:
    """The sentence for a layer whose second axis is channels."""
    at = axes.index(channel)
    fits = len(shape) == len(axes) and shape[at] == wanted
    if fits:
        return ""
    reads = f"{name} reads {' '.join(axes)} with {channel} = {wanted} and got {sizes(axes, shape)}"
    if len(shape) == len(axes) and shape[-1] == wanted:
        return f"{reads}: channels come first, so move the last axis to axis {at}"
    if len(shape) == len(axes):
        return (
            f"{reads}: give data of {wanted} channel{'s' if wanted > 1 else ''}, or build the "
            f"model for {shape[at]}"
        )
    if len(shape) > len(axes):
        return (
            f"{reads}: a sample is {' '.join(axes[1:])} without the samples' axis; where one axis "
            'is time and the model does not take it, give loop=True and layouts={"": "T B C H W"}'
        )
    return (
        f"{reads}: give samples of {' '.join(axes[1:])}; where the model takes time too, name it: "
        'layouts={"": "T B C H W"} and timesteps='
    )


def _at(error: BaseException, model: nn.Module) -> tuple[str, Tensor | None]:
    """Path of the module that an exception was raised in, and the first tensor that it was given.

    They are read off the frames that the exception passed: those of a method of a module of the
    model, the innermost of which holds its arguments.
    """
    names = {id(module): name for name, module in model.named_modules()}
    place: str = ""
    given: Tensor | None = None
    trace = error.__traceback__
    while trace is not None:
        there = trace.tb_frame.f_locals
        owner = there.get("self")
        if id(owner) in names:
            if names[id(owner)] != place or given is None:
                inputs = [x for key, x in there.items() if key not in ("self", "kwargs")]
                given = next((x for x in tree_leaves(inputs) if isinstance(x, Tensor)), None)
            place = names[id(owner)]
        trace = trace.tb_next
    return place, given
