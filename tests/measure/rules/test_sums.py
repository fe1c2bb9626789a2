"""Sums of products of counts are exact at any size, held against Python's own integers."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.facts.values import MAX_LEVEL, Values
from analyzer.measure.rules.convolutions import Convolution
from analyzer.measure.rules.geometry import Side
from analyzer.measure.rules.matrices import Attended, MatMul
from analyzer.measure.rules.sums import dot

GRADED = Values(peak=MAX_LEVEL, high=MAX_LEVEL)
REAL = Values(real=True)


def near(power):
    """Integers around a power of two, as counts of operands far too large for a test."""
    return st.integers(2**power - 2**10, 2**power)


def side(shape, counts, levels=None, weight=False):
    """An operand of this shape whose statistics are given, not read: no such tensor fits memory."""
    counts, levels = (None if x is None else np.array(x, np.int64) for x in (counts, levels))
    activity = SimpleNamespace(
        elements=torch.Size(shape).numel(),
        nonzeros=sum(counts.tolist()),
        values=REAL if levels is None else GRADED,
        counts=lambda tensor, keep, steps: counts[None],
        levels=lambda tensor, keep, steps: levels[None],
    )
    return Side(torch.empty((), device="meta").expand(shape), activity, weight)


@pytest.mark.parametrize("power", [20, 31, 40])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_products_of_matrices(power, data):
    """``[n, k] @ [k, m]`` with n and m near a power of two: 2^80 pairs and more."""
    drawn = st.lists(near(power), min_size=3, max_size=3)
    left, right = data.draw(drawn), data.draw(drawn)
    n = m = 2**power
    lhs = side((n, 3), left, [MAX_LEVEL * c for c in left])
    rhs = side((3, m), right, [MAX_LEVEL * c for c in right])
    counted = MatMul().count(lhs, rhs)
    pairs = sum(a * b for a, b in zip(left, right, strict=True))
    assert counted[:7] == (
        3 * n * m,
        sum(left) * m,
        sum(left) * MAX_LEVEL * m,
        sum(right) * n,
        sum(right) * MAX_LEVEL * n,
        pairs,
        pairs * MAX_LEVEL**2,
    )
    weighted = MatMul().count(lhs, side((3, m), right, weight=True))
    assert weighted[7:] == (sum(right) * n, pairs, pairs * MAX_LEVEL)


@pytest.mark.parametrize("power", [20, 50, 58])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_attention_under_a_mask(power, data):
    """Values ``[keys, width]`` with a width near a power of two, each used by some queries."""
    counts = data.draw(st.lists(near(power), min_size=3, max_size=3))
    mask = data.draw(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=70))
    width = 2**power
    scores = torch.empty((), device="meta").expand(len(mask), 3)
    lhs = Side(scores, SimpleNamespace(values=REAL, nonzeros=0), False)
    counted = Attended(torch.tensor(mask)).count(lhs, side((3, width), counts))
    by_key = [sum(row[key] for row in mask) for key in range(3)]
    assert counted.pair_events == sum(c * q for c, q in zip(counts, by_key, strict=True))
    assert counted.lhs_events == sum(by_key) * width


CONVOLUTIONS = {
    "plain": Convolution((5,), (1,), (1,), (1,), 1, False),
    "groups": Convolution((3,), (2,), (1,), (1,), 2, False),
    "dilated": Convolution((3,), (1,), (1,), (2,), 1, False),
    "transposed": Convolution((11,), (2,), (0,), (1,), 2, True),
    "cropped": Convolution((7,), (2,), (2,), (1,), 1, True),
}


def meets(layer, position, tap):
    """Whether an input at a position meets a tap, from the outputs that it would reach."""
    stride, padding, dilation = layer.stride[0], layer.padding[0], layer.dilation[0]
    if layer.transposed:
        return position * stride - padding + tap * dilation in range(layer.output[0])
    return any(o * stride - padding + tap * dilation == position for o in range(layer.output[0]))


@pytest.mark.parametrize("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("power", [20, 31, 40])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_convolutions_with_a_computed_kernel(layer, power, data):
    """A batch near a power of two, 4 channels of 5 positions, kernels of 3 taps."""
    batch, outputs, size, taps = 2**power, 6, 5, 3
    inner = outputs // layer.groups if layer.transposed else 4 // layer.groups
    heads = 4 if layer.transposed else outputs
    counts = data.draw(st.lists(near(power), min_size=4 * size, max_size=4 * size))
    kernel = np.ones((heads, inner, taps), np.int64)
    lhs = side((batch, 4, size), counts, [MAX_LEVEL * c for c in counts])
    kept = kernel.sum(1) if layer.transposed else kernel
    rhs = side(kernel.shape, kept.reshape(-1), MAX_LEVEL * kept.reshape(-1))
    counted = layer.count(lhs, rhs)
    met = [(i, t) for i, t in product(range(size), range(taps)) if meets(layer, i, t)]
    each = inner if layer.transposed else outputs // layer.groups
    events = each * sum(counts[c * size + i] for c in range(4) for i, _ in met)
    on_taps = batch * kernel.size // taps * len(met)
    assert counted.lhs_events == counted.pair_events == events
    assert counted.lhs_levels == events * MAX_LEVEL
    assert counted.pair_levels == events * MAX_LEVEL**2
    assert (counted.rhs_events, counted.rhs_levels) == (on_taps, on_taps * MAX_LEVEL)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), min_size=0, max_size=5))
def test_dot_with_the_least_bound_there_is(pairs):
    exact = sum(a * b for a, b in pairs)
    left, right = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    assert dot(left, right, exact) == exact
