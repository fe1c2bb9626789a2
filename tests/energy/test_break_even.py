"""Break-even and energy per correct prediction, by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError

FAST = settings(max_examples=60, deadline=None, derandomize=True)


def rated(name, macs, dense, rate):
    rows = [("first", macs, 1, 0), ("rest", dense, rate, 1)]
    table = [
        {"module": m, "op": "linear", "dense_macs": n, "firing_rate": r, "driven": d}
        for m, n, r, d in rows
        if n
    ]
    return analyzer.from_rates(table, name=name)


@FAST
@given(st.integers(0, 10**9), st.integers(1, 10**9), st.floats(0.001, 2), st.integers(1, 10**9))
def test_at_the_break_even_rate_both_take_the_same(macs, dense, rate, twin):
    ann = rated("ann", twin, 0, 0)
    found = analyzer.break_even(rated("snn", macs, dense, rate), ann, convention="rate")
    assert found.rate == pytest.approx(rate)
    if macs > twin:
        assert found.break_even_rate is None
        assert "even silent it would take more" in found.summary
        return
    at = found.break_even_rate
    if at > 1e-9:
        snn = rated("snn", macs, dense, at)
        energies = [p.energy(convention="rate").total_pj for p in (snn, ann)]
        assert energies[0] == pytest.approx(energies[1], rel=1e-6)
    assert ("every neuron always fires" in found.summary) == (at > 1)


def test_without_spikes_there_is_no_rate():
    with pytest.raises(AnalyzerError, match="it takes a spiking model here"):
        analyzer.break_even(rated("ann", 5, 0, 0), rated("snn", 5, 5, 0.1), convention="rate")


def test_energy_per_correct_prediction():
    profile = replace(rated("snn", 0, 1000, 0.5), samples=4, correct=3)
    table = analyzer.compare([profile, replace(profile, correct=None)], convention="rate").frame
    one = 0.9 * 500 / 4 * 1e-9
    assert table["energy_mj"].tolist() == pytest.approx([one, one])
    assert table["energy_per_correct_mj"][0] == pytest.approx(one / 0.75)
    assert table["energy_per_correct_mj"].isna().tolist() == [False, True]


def test_spikes_per_synapse():
    """Two layers of 4 x 4 connections at four timesteps; 5 spikes into one, none into the other."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Threshold(1e9, 0.0), nn.Linear(4, 4))
    spikes = torch.zeros(4, 1, 4)
    spikes[0, 0, :3] = 1
    spikes[3, 0, :2] = 1
    axes = {"*": "T B D", "": "T B D"}
    report = analyzer.profile(model.eval(), spikes, timesteps=4, layouts=axes).energy()
    assert report.spikes_per_synapse == pytest.approx(5 * 4 / 32)
    sums = rated("snn", 70, 4000, 0.125).energy(convention="rate")
    assert math.isnan(sums.spikes_per_synapse)  # of sums nobody knows the connections


def test_formats_are_priced_through_every_door():
    profile = rated("snn", 10, 100, 0.5)
    assert profile.energy(convention="rate", precision="int8").total_pj == pytest.approx(
        50 * 0.03 + 10 * 0.23
    )
    table = analyzer.compare([profile], convention="rate", precision="fp16").frame
    assert table["energy_mj"][0] == pytest.approx((50 * 0.4 + 10 * 1.5) * 1e-9)
