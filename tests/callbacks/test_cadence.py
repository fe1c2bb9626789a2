"""When probes are due, by a clock that the tests move, and what is said of their time."""

import math

import pytest

from analyzer.callbacks import Cost
from analyzer.callbacks.cadence import Cadence


def run(cadence, steps, step_s, probe_s, start_s):
    """A training of equal steps; returns the steps that were probed and the clock."""
    now, probed = 0.0, []
    for step in range(steps):
        now += step_s
        if cadence.is_due(step, now):
            begin = now
            now += probe_s if probed else start_s
            cadence.probed(step, begin, now, expected_s=probe_s)
            probed.append(step)
    return probed


@pytest.mark.parametrize("start_s", [0.05, 10.0])
@pytest.mark.parametrize("probe_s", [0.001, 0.05, 3.0])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_probes_take_no_more_than_their_share(share, probe_s, start_s):
    cadence = Cadence(None, share)
    probed = run(cadence, 50_000, 0.03, probe_s, start_s)
    cost = cadence.cost
    assert cost.probes == len(probed)
    assert cost.training_s == pytest.approx(49_999 * 0.03)
    assert cost.start_s == start_s
    assert cost.probes_s == pytest.approx((len(probed) - 1) * probe_s)
    assert cost.share <= share
    if start_s + probe_s < share * cost.training_s / 2:
        assert cost.whole_share <= share  # a long training pays the first probe, too
        # And what may be taken is, in whole steps and whole probes.
        steps_between = math.ceil(probe_s / share / 0.9 / 0.03 - 1e-9)
        assert len(probed) >= 0.95 * (50_000 - start_s / share / 0.9 / 0.03) / steps_between - 2


def test_an_early_curve_has_points_before_the_first_probe_is_paid():
    probed = run(Cadence(None, 0.02), 1000, 0.03, 0.01, start_s=10.0)
    assert 23 <= len(probed) <= 28  # half of 1.8 % of 30 s, in probes of 10 ms


def test_a_pause_does_not_bring_many_probes_at_once():
    cadence = Cadence(None, 0.02)
    run(cadence, 100, 0.03, 0.01, 0.01)
    now = 1000.0  # a long validation, or a notebook that waited
    due = []
    for step in range(100, 120):
        now += 0.03
        due.append(cadence.is_due(step, now))
        if due[-1]:
            cadence.probed(step, now, now + 0.01, expected_s=0.01)
            now += 0.01
    assert due[0]
    assert sum(due) == 2  # 0.01 s are the share of 0.56 s, some 19 steps


def test_a_probe_that_takes_longer_is_waited_for_longer():
    cadence = Cadence(None, 0.02)
    assert cadence.is_due(0, 0.0)
    cadence.probed(0, 0.0, 0.0, expected_s=1.0)
    assert not cadence.is_due(1, 55.5)
    assert cadence.is_due(2, 55.6)
    cadence.probed(2, 55.6, 57.6, expected_s=2.0)  # it took twice as long as was thought
    assert not cadence.is_due(3, 224.1)
    assert cadence.is_due(4, 224.3)


def test_every_is_multiples_also_where_steps_are_skipped_and_after_a_resume():
    cadence = Cadence(5, 0.02)
    due = []
    for step in (3, 4, 5, 6, 9, 11, 12, 20, 7):
        if cadence.is_due(step, 0.0):
            due.append(step)
            cadence.probed(step, 0.0, 0.0, 0.0)
    assert due == [3, 5, 11, 20, 7]


def test_the_training_lasts_also_while_none_is_asked_whether_a_probe_is_due():
    cadence = Cadence(None, 0.02)
    for begin in (0.0, 10.0, 20.0):  # measured at once
        cadence.probed(0, begin, begin + 1, expected_s=1.0)
    cadence.is_due(1, 25.0)
    cadence.probed(1, 26.0, 27.0, expected_s=1.0)  # a GPU was waited for in between
    assert cadence.cost == Cost(probes=4, start_s=1.0, probes_s=3.0, training_s=9.0 + 9.0 + 5.0)


def test_the_cost_is_said():
    cost = Cost(probes=1, start_s=0.5, probes_s=0.0, training_s=0.0)
    assert str(cost) == (
        "1 probe: 0.00 s of 0.0 s of training (0.00 %), and 0.50 s for the first (0.00 % in all)."
    )
    assert Cost(3, 1.0, 0.5, 50.0).share == 0.01
    assert Cost(3, 1.0, 0.5, 50.0).whole_share == 0.03
