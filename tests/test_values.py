"""Value classes and how they join."""

from fractions import Fraction
from functools import reduce
from math import nextafter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import value_class

from analyzer.facts.values import MAX_LEVEL, Values, common_step
from analyzer.measure.read.activity import Activity

FAST = settings(max_examples=100, deadline=None, derandomize=True)

steps = st.sampled_from([1.0, 0.5, 0.25, 3.0, 0.1, 1 / 9, 1 / 7, 0.3, 2.5, 100.0])
levels = st.lists(st.integers(-6, 6), min_size=1, max_size=6)
tensors = st.one_of(
    st.tuples(levels, steps).map(lambda p: torch.tensor([float(n) for n in p[0]]) * p[1]),
    st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=4).map(torch.tensor),
    st.lists(st.integers(-300, 300), min_size=1, max_size=6).map(torch.tensor),
)


def classify(x):
    return Activity.read(x).values


def joined(values):
    return reduce(lambda a, b: a.join(b)[0], values)


@FAST
@given(tensors)
def test_class_and_step_are_those_of_brute_force(x):
    kind, step = value_class(x)
    found = classify(x)
    assert found.kind == kind
    if kind != "real":
        assert found.step == pytest.approx(step, rel=1e-6)


@FAST
@given(tensors, tensors)
def test_join_commutes_and_factors_swap(a, b):
    a, b = classify(a), classify(b)
    one, i, j = a.join(b)
    other, k, m = b.join(a)
    assert one == other
    assert (i, j) == (m, k)


@FAST
@given(st.lists(tensors, min_size=3, max_size=3))
def test_join_associates(parts):
    a, b, c = map(classify, parts)
    assert joined([joined([a, b]), c]) == joined([a, joined([b, c])])


@FAST
@given(st.lists(st.tuples(levels, st.sampled_from([0.5, 1.0, 1.5])), min_size=1, max_size=5))
def test_joined_classes_are_the_class_of_all_values_together(parts):
    """Also bit for bit in the step: it was read from rounded values, and differed by batch size."""
    parts = [torch.tensor([float(n) for n in ns]) * s / 9 for ns, s in parts]
    assert joined([classify(p) for p in parts]) == classify(torch.cat(parts))


@FAST
@given(st.integers(1, MAX_LEVEL), st.integers(1, MAX_LEVEL))
def test_common_step_of_integers_is_their_ratio(a, b):
    ratio = Fraction(a, b)
    assert common_step(float(a), float(b), 0.0) == (ratio.numerator, ratio.denominator)
    assert common_step(a / 7, b / 7, 2**-52) == (ratio.numerator, ratio.denominator)


@pytest.mark.parametrize(
    "quotient",
    [nextafter(510, 0), 1 / nextafter(510, 0), 1e30, 1e-30, 256.0, 1 / 256, np.pi],
    ids=lambda q: f"{q:.4g}",
)
def test_no_common_step(quotient):
    assert common_step(quotient, 1.0, 1e-7) is None


TABLE = [
    ([0, 0], "zero", True),
    ([0, 1], "binary", True),
    ([-2, 0], "binary", True),
    ([3], "binary", True),
    ([-1, 0, 1], "ternary", True),
    ([-1, 1], "ternary", True),
    ([-1, 0, 2], "graded", False),
    ([0, 1, 2], "graded", False),
    ([0, 255, 1], "graded", False),
    ([0, 256, 1], "real", False),
    ([-255, 255, 1], "graded", False),
    ([-256, 1], "real", False),
]


@pytest.mark.parametrize(("values", "kind", "drives"), TABLE, ids=[str(t[0]) for t in TABLE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32], ids=str)
def test_kinds(values, kind, drives, dtype):
    found = classify(torch.tensor(values, dtype=dtype))
    assert (found.kind, found.drives) == (kind, drives)


def test_classes_seen_late_in_a_large_tensor_count():
    """The first few thousand values decide early only where they can."""
    x = torch.zeros(100_000)
    x[::3] = 1
    assert classify(x).kind == "binary"
    x[-1] = 2
    assert classify(x).kind == "graded"
    x[-1] = 0.7071
    assert classify(x).kind == "real"
    x[-1] = -1
    assert classify(x).kind == "ternary"


def test_joining_beyond_the_largest_level_is_real():
    assert Values(1.0, 0, 1, 0.0).join(Values(255.0, 0, 255, 0.0))[0].high == 255
    assert Values(2.0, 0, 2, 0.0).join(Values(255.0, 0, 1, 0.0))[0].kind == "graded"
    assert Values(2.0, 0, 1, 0.0).join(Values(257.0, 0, 1, 0.0))[0].kind == "real"


def test_zero_joins_to_the_other():
    some = Values(0.75, 0, 3, 1e-7)
    assert Values().join(some) == (some, 1, 1)
    assert some.join(Values()) == (some, 1, 1)
