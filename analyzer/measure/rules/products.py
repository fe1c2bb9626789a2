"""Contractions, described to the counter: two operands and which of their elements are multiplied.

:func:`matmul`, :func:`linear`, :func:`convolution` and :func:`attention` are for the rules of
operations that the package does not know (see :func:`analyzer.rule`). They compute nothing: a
:class:`Product` names the operands, and the counter reads what they hold.

Example:
    >>> import torch
    >>> import analyzer
    >>> product = analyzer.products.linear(torch.ones(4, 6), torch.ones(3, 6))
    >>> product.op, tuple(product.lhs.shape), tuple(product.rhs.shape)
    ('matmul', (4, 6), (6, 3))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.convolutions import Convolution
from analyzer.measure.rules.geometry import Geometry
from analyzer.measure.rules.matrices import Attended, MatMul
from analyzer.measure.rules.work import Arguments

__all__ = [
    "Product",
    "ProductRule",
    "attention",
    "convolution",
    "linear",
    "matmul",
    "per_axis",
    "require_dense",
]


class Product(NamedTuple):
    """One contraction: what a rule returns for it.

    Made by the functions of this module, rarely by hand.

    Attributes:
        op: ``linear`` and the like; ``matmul`` becomes ``linear`` where one operand is a parameter.
        lhs: First operand; for attention weights a stand-in that has only their shape.
        rhs: Second operand.
        geometry: Which of their elements are multiplied with each other.
        implicit: Whether ``lhs`` is such a stand-in.
        lhs_from: The arguments that the first operand was made of, where it is none itself.
        rhs_from: Those that the second was made of.
    """

    op: str
    lhs: Tensor
    rhs: Tensor
    geometry: Geometry
    implicit: bool = False
    lhs_from: tuple[Tensor, ...] = ()
    rhs_from: tuple[Tensor, ...] = ()

    @property
    def origins(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What decides whether the operands depend on the input."""
        return self.lhs_from or (self.lhs,), self.rhs_from or (self.rhs,)

    def may_hold_time(self, weights: tuple[bool, bool]) -> tuple[bool, bool]:
        """Whether the first axis of each operand may be time.

        Two matrices may lie either way, so only the rows of one that meets weights may be. The
        first axis of a kernel counts channels.

        Args:
            weights: Which operands hold weights.
        """
        convolves = self.op.startswith("conv")
        batched = self.lhs.ndim > 2 and not convolves
        first = batched or convolves or weights[1]
        return first and not (weights[0] or self.implicit), batched and not weights[1]


ProductRule = Callable[[Arguments, Mapping[str, Any], Any], list[Product]]
"""From the arguments, the keyword arguments and the result of a call to its contractions."""


def matmul(lhs: Tensor, rhs: Tensor) -> Product:
    """A matrix product, in all the forms that ``torch.matmul`` takes.

    Args:
        lhs: ``[*batch, n, k]`` or ``[k]``; batch axes broadcast.
        rhs: ``[*batch, k, m]`` or ``[k]``.

    Raises:
        AnalyzerError: Where the shapes do not fit.

    Example:
        >>> import torch
        >>> from analyzer import products
        >>> product = products.matmul(torch.ones(2, 5, 6), torch.ones(6, 3))
        >>> product.geometry.dense(product.lhs, product.rhs)  # multiply-accumulates
        180
    """
    shapes = f"{_shape(lhs)} and {_shape(rhs)}"
    if not (lhs.ndim and rhs.ndim):
        raise AnalyzerError(f"a matrix product of operands {shapes}: a scalar has no axis to sum.")
    left = lhs.unsqueeze(0) if lhs.ndim == 1 else lhs
    right = rhs.unsqueeze(-1) if rhs.ndim == 1 else rhs
    if left.shape[-1] != right.shape[-2]:
        raise AnalyzerError(
            f"a matrix product of operands {shapes}: they differ on the axis to sum over, "
            f"{left.shape[-1]} and {right.shape[-2]}."
        )
    if right.ndim == 2:
        rows = left.reshape(-1, left.shape[-1])
        return Product("matmul", rows, right, MatMul(), lhs_from=(lhs,))
    if left.shape[:-2] == right.shape[:-2]:
        return Product("matmul", left, right, MatMul())
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise AnalyzerError(
            f"a matrix product of operands {shapes}: their batch axes do not broadcast."
        ) from None
    left, right = (x.expand(*batch, *x.shape[-2:]) for x in (left, right))
    return Product("matmul", left, right, MatMul())


def linear(x: Tensor, weight: Tensor) -> Product:
    """A linear layer, as ``torch.nn.functional.linear`` computes it; its bias is free.

    Args:
        x: ``[*batch, in]``.
        weight: ``[out, in]``.

    Raises:
        AnalyzerError: Where the shapes do not fit.

    Example:
        >>> import torch
        >>> from analyzer import products
        >>> product = products.linear(torch.ones(4, 6), torch.ones(3, 6))
        >>> product.geometry.dense(product.lhs, product.rhs)
        72
    """
    if weight.ndim != 2:
        raise AnalyzerError(f"a linear layer needs a weight [out, in], not {_shape(weight)}.")
    return matmul(x, weight.t())


def convolution(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    transposed: bool = False,
) -> Product:
    """A convolution in 1 to 3 dimensions, or a transposed one; its bias is free.

    Args:
        x: ``[B, C_in, *S]``, or without the batch axis.
        weight: ``[C_out, C_in / groups, *K]``, transposed ``[C_in, C_out / groups, *K]``.
        out: The result, ``[B, C_out, *S_out]``; only its shape is read.
        stride: One figure, or one per spatial axis, as the two that follow.
        padding: Zeros on both sides.
        dilation: Distance between neighbouring taps of the kernel.
        groups: Channel groups.
        transposed: Whether it is a transposed convolution.

    Raises:
        AnalyzerError: Where the shapes do not fit.

    Example:
        >>> import torch
        >>> from analyzer import products
        >>> x, weight = torch.ones(1, 2, 8, 8), torch.ones(4, 2, 3, 3)
        >>> product = products.convolution(x, weight, torch.ones(1, 4, 8, 8), padding=1)
        >>> product.op, product.geometry.dense(product.lhs, product.rhs)
        ('conv2d', 4608)
    """
    axes = weight.ndim - 2
    if axes not in (1, 2, 3):
        raise AnalyzerError(
            f"a convolution needs a weight [out, in, *kernel] of 3 to 5 axes, not {_shape(weight)}."
        )
    batched = x.unsqueeze(0) if x.ndim == axes + 1 else x
    channels = weight.shape[0] if transposed else weight.shape[1] * groups
    if batched.ndim != axes + 2 or batched.shape[1] != channels:
        raise AnalyzerError(
            f"a convolution with a weight {_shape(weight)} in {groups} groups needs an input with "
            f"{channels} channels and {axes} spatial axes, not {_shape(x)}."
        )
    geometry = Convolution(
        tuple(out.shape[-axes:]),
        per_axis(stride, axes),
        per_axis(padding, axes),
        per_axis(dilation, axes),
        groups,
        transposed,
    )
    if not all(axis.fits for axis in geometry.axes(batched.shape[2:], weight.shape[2:])):
        raise AnalyzerError(
            f"a convolution of {_shape(x)} by {_shape(weight)} does not give {_shape(out)}: "
            "check stride, padding, dilation and transposed."
        )
    return Product(f"conv{'_transpose' if transposed else ''}{axes}d", batched, weight, geometry)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Tensor | None = None,
    *,
    allowed_from: Sequence[Tensor] | None = None,
) -> list[Product]:
    """The two products of scaled dot-product attention: scores, and scores times values.

    What is between them (scale, mask, softmax) is no contraction: return a :class:`analyzer.Work`
    for it beside. Where there are fewer key heads than query heads, each serves several of these.

    Args:
        query: ``[*batch, H, N, D]``.
        key: ``[*batch, H_kv, M, D]``, where H is a multiple of H_kv.
        value: ``[*batch, H_kv, M, E]``.
        allowed: bool that broadcasts to ``[*batch, H, N, M]``; None where all may attend to all.
        allowed_from: The arguments of the call that ``allowed`` was made of, where it is not one
            of them itself; they decide whether it depends on the input.

    Raises:
        AnalyzerError: Where the shapes do not fit.

    Example:
        >>> import torch
        >>> from analyzer import products
        >>> q = k = v = torch.ones(1, 2, 5, 4)
        >>> scores, mixed = products.attention(q, k, v)
        >>> [p.geometry.dense(p.lhs, p.rhs) for p in (scores, mixed)]
        [200, 200]
    """
    if query.ndim < 3:
        raise AnalyzerError(f"attention needs queries [*batch, heads, N, D], not {_shape(query)}.")
    if allowed_from is None:
        allowed_from = () if allowed is None else (allowed,)
    keys, values = (key,), (value,)
    heads, groups = query.shape[-3], key.shape[-3]
    if heads != groups:
        if not groups or heads % groups:
            raise AnalyzerError(f"{heads} query heads can not share {groups} key heads.")
        key, value = (x.repeat_interleave(heads // groups, dim=-3) for x in (key, value))
    scores = matmul(query, key.transpose(-2, -1))
    weights = query.new_empty(()).expand(*query.shape[:-1], key.shape[-2])
    return [
        Product("attention_qk", scores.lhs, scores.rhs, MatMul(), rhs_from=keys),
        Product(
            "attention_av",
            weights,
            value,
            Attended(allowed),
            implicit=True,
            lhs_from=(query, *keys, *allowed_from),
            rhs_from=values,
        ),
    ]


def per_axis(setting: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """A setting such as a stride as one figure for each axis, from one for all or one for each."""
    figures = (setting,) if isinstance(setting, int) else tuple(setting)
    if len(figures) not in (1, axes):
        raise AnalyzerError(f"{list(figures)} is neither one figure nor one for each of {axes}.")
    return figures if len(figures) == axes else figures * axes


def require_dense(*operands: Tensor) -> None:
    """Refuses nested tensors, whose shape does not say how many elements they have."""
    if any(operand.is_nested for operand in operands):
        raise AnalyzerError(
            "operands that are nested tensors can not be counted: give padded tensors and a mask."
        )


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
