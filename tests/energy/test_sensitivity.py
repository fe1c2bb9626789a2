"""Sensitivity to constants, and energy against timesteps."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import analyzer
from analyzer.energy.explaining.sensitivity import varied
from analyzer.errors import AnalyzerError
from analyzer.report.answers import write


class Spiking(nn.Module):
    """Frames through an IF neuron; T is whatever comes in."""

    def __init__(self, T):
        super().__init__()
        self.timesteps = T
        self.fc = layer.Linear(6, 5, step_mode="m")
        self.neuron = neuron.IFNode(step_mode="m")
        self.head = layer.Linear(5, 3, step_mode="m")

    def forward(self, x):
        return self.head(self.neuron(self.fc(x.expand(self.timesteps, *x.shape)))).mean(0)


def measured(T, **metadata):
    torch.manual_seed(0)
    net = Spiking(T).eval()
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(3)
    profile = analyzer.profile(net, torch.rand(4, 6), timesteps=T, name=f"T{T}")
    return replace(profile, metadata=profile.metadata | metadata)


PROFILE = measured(4)


def test_each_constant_alone_at_its_ends():
    """Every row is the energy that the constant alone gives, priced for itself."""
    found = analyzer.sensitivity(PROFILE, memory="spyx", precision="int8")
    base = PROFILE.energy(memory="spyx", precision="int8").total_pj
    rows = {row["constant"]: row for row in found.rows.to_dict("records")}
    assert next(iter(rows)) == found.summary.split("; ")[1].split(" alone")[0]
    spans = found.rows["high_pj"] - found.rows["low_pj"]
    assert spans.is_monotonic_decreasing
    for setting in ("weight_bits", "weight_reads", "weight_level"):
        for end in ("low", "high"):
            model = f"spyx({setting}={rows[setting][end]!r})"
            alone = PROFILE.energy(memory=model, precision="int8").total_pj
            assert rows[setting][f"{end}_pj"] == pytest.approx(alone)
    weights = PROFILE.energy(memory="spyx").components["weights_pj"]
    assert rows["levels.dram"]["high_pj"] == pytest.approx(base + 1.03125 * weights)
    adds = PROFILE.energy(precision="int8").components["ac_pj"]
    assert rows["add_pj.int8"]["high_pj"] > base + adds  # also multiply-accumulates hold an add
    assert (found.rows["low_pj"] <= base).all()
    assert (found.rows["high_pj"] >= base).all()


def test_ranges_of_ones_own():
    found = analyzer.sensitivity(
        PROFILE, vary={"add_pj.fp32": (0.45, 0.9, 1.8), "activity": (0, 2)}
    )
    ac, mac = (PROFILE.per_sample()[k] for k in ("ac", "mac"))
    rows = {row["constant"]: row for row in found.rows.to_dict("records")}
    assert rows["add_pj.fp32"]["low_pj"] == pytest.approx(0.45 * ac + 4.15 * mac)
    assert rows["add_pj.fp32"]["high_pj"] == pytest.approx(1.8 * ac + 5.5 * mac)
    assert rows["activity"]["low_pj"] == pytest.approx(4.6 * mac)
    assert rows["activity"]["high_pj"] == pytest.approx(1.8 * ac + 4.6 * mac)
    assert varied(["a.b=1,x", "c=0.5"]) == {"a.b": [1, "x"], "c": [0.5]}


def test_without_a_range_nothing_moves():
    found = analyzer.sensitivity(PROFILE)
    assert found.rows.empty
    assert "no constant with a range makes a difference" in found.summary


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"add_pj.fp8": (1, 2)}, "no constant 'add_pj.fp8' to vary: choose of add_pj.int8"),
        ({"add_pj.fp32": (1, "x")}, "can not be 'x'"),
        ({"activity": (-1,)}, "from 0 on"),
        ({"activity": 2}, "give a list of values"),
        ({"weight_bits": (8,)}, "no constant 'weight_bits'"),
    ],
)
def test_what_can_not_be_varied(vary, message):
    with pytest.raises(AnalyzerError, match=message):
        analyzer.sensitivity(PROFILE, vary=vary)
    with pytest.raises(AnalyzerError, match="takes no 'colour'"):
        analyzer.sensitivity(PROFILE, memory="state", vary={"colour": (1,)})
    with pytest.raises(AnalyzerError, match="is no range"):
        varied(["add_pj.fp32"])


def test_the_tornado_is_written(tmp_path):
    found = analyzer.sensitivity(PROFILE, memory="spyx")
    page = write(found, tmp_path / "out")
    assert found.summary in page.read_text("utf-8")
    read = pd.read_csv(tmp_path / "out" / "sensitivity.csv")
    assert read["low_pj"].tolist() == pytest.approx(found.rows["low_pj"].tolist())
    drawn = (tmp_path / "out" / "tornado.svg").read_text("utf-8")
    assert all(constant in drawn for constant in found.rows["constant"])


def test_energy_against_timesteps(tmp_path):
    profiles = [replace(measured(T), correct=T) for T in (4, 1, 2)]
    found = analyzer.against_timesteps(profiles)
    assert found.rows["timesteps"].tolist() == [1, 2, 4]
    energies = [measured(T).energy().total_pj for T in (1, 2, 4)]
    assert found.rows["energy_pj"].tolist() == pytest.approx(energies)
    right = [energy / share for energy, share in zip(energies, (0.25, 0.5, 1), strict=True)]
    assert found.rows["energy_per_correct_pj"].tolist() == pytest.approx(right)
    assert found.rows["added_pj"].tolist()[2] == pytest.approx((energies[2] - energies[1]) / 2)
    best = (1, 2, 4)[right.index(min(right))]
    assert f"a right answer is cheapest at T = {best};" in found.summary
    page = write(found, tmp_path / "out")
    assert found.summary in page.read_text("utf-8")
    unlabelled = analyzer.against_timesteps([measured(1), measured(2)])
    assert "accuracy" not in unlabelled.summary
    write(unlabelled, tmp_path / "out")


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        (lambda: [PROFILE], "at least two profiles of one model.*T = 4"),
        (lambda: [PROFILE, PROFILE], "T = 4, 4"),
        (lambda: [PROFILE, measured(2, model="other")], "several models: Spiking, other"),
        (lambda: [PROFILE, replace(measured(2), tallies=())], "some have none"),
        (lambda: [PROFILE, measured(2, timesteps=None)], "'T2' does not say how many timesteps"),
    ],
)
def test_what_is_no_series_of_timesteps(profiles, message):
    with pytest.raises(AnalyzerError, match=message):
        analyzer.against_timesteps(profiles())


def test_latency_and_energy_delay():
    timed = measured(2, measured_energy={"millijoules": None, "milliseconds": 1.5})
    table = analyzer.compare([timed, PROFILE]).frame
    assert table["latency_ms"].isna().tolist() == [False, True]
    assert table["energy_delay_mj_ms"][0] == pytest.approx(1.5 * timed.energy().total_mj)
