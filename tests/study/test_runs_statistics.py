"""Means over seeds and which differences are real: against scipy, by hand, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from analyzer.study.runs.costs import factor_of_break_even
from analyzer.study.runs.statistics import detectable, difference, holm, spread
from analyzer.twins.quantised import bits_of


def seeds(values):
    return dict(enumerate(values))


def test_a_spread_is_the_mean_and_the_deviation_of_a_sample():
    found = spread([1.0, 2.0, 6.0])
    assert found.mean == 3.0
    assert found.std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert math.isnan(spread([1.0]).std)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 5), (4, 3)])
def test_independent_seeds_are_compared_by_welch(n, m):
    draw = np.random.default_rng(n)
    a, b = draw.normal(0.9, 0.01, n), draw.normal(0.88, 0.03, m)
    found = difference(seeds(a), seeds(b))
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.test == "Welch"
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.seeds == (n, m)


def test_the_same_weights_are_compared_seed_by_seed():
    a = {0: 0.90, 1: 0.80, 2: 0.85, 7: 0.1}
    b = {2: 0.83, 0: 0.89, 1: 0.785}
    found = difference(a, b, paired=True)
    expected = stats.ttest_rel([0.90, 0.80, 0.85], [0.89, 0.785, 0.83])
    interval = expected.confidence_interval(0.95)
    assert found.test == "paired"
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.seeds == (3, 3)
    # Without the pairs these seeds hide the difference.
    assert found.p < 0.05 < difference(a, b).p


def test_one_side_may_not_vary():
    """The dense work of an ANN is the same for all seeds."""
    found = difference(seeds([1.0, 1.2, 1.1]), seeds([2.0, 2.0, 2.0]))
    expected = stats.ttest_1samp([1.0, 1.2, 1.1], 2.0)
    assert found.p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("a", "b", "paired"),
    [
        ([0.9], [0.8, 0.7, 0.6], False),
        ([0.9, 0.8], [0.7], False),
        ([0.9, 0.9], [0.8, 0.8], False),
        ([0.9], [0.8], True),
        ([0.75, 0.5], [0.5, 0.25], True),
    ],
)
def test_no_test_where_none_is_possible(a, b, paired):
    found = difference(seeds(a), seeds(b), paired=paired)
    assert found.test == "none"
    assert math.isnan(found.p)
    assert math.isnan(found.low)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))


def test_tests_are_adjusted_together():
    """Holm 1979: 3 × 0.01, then the larger of that and 2 × 0.02, then that again."""
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    found = holm([0.01, math.nan, 0.02])
    assert (found[0], found[2]) == pytest.approx((0.02, 0.02))
    assert math.isnan(found[1])
    assert holm([]) == []


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10])
def test_what_is_called_detectable_is_found_in_four_of_five_studies(n):
    """By simulation: 4000 studies with that difference."""
    draw = np.random.default_rng(n)
    a = draw.normal(detectable(n), 1, (4000, n))
    b = draw.normal(0, 1, (4000, n))
    found = stats.ttest_ind(a, b, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_bits_of_levels():
    assert [bits_of(n) for n in (1, 2, 3, 4, 6, 7, 8, 15, 16, 32)] == [
        1, 2, 2, 3, 3, 3, 4, 4, 5, 6,
    ]  # fmt: skip
    assert all(bits_of(n) == math.ceil(math.log2(n + 1)) for n in range(1, 200))


def test_the_price_of_memory_at_which_two_take_the_same():
    assert factor_of_break_even((1, 10), (6, 5)) == 1
    assert factor_of_break_even((1, 10), (2, 5)) == pytest.approx(0.2)
    # Less of both, or more of both, whatever it costs.
    assert math.isnan(factor_of_break_even((1, 5), (6, 10)))
    assert math.isnan(factor_of_break_even((1, 5), (6, 5)))
