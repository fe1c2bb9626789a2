"""Bit budgets by hand, and against loops over the rows of a measured network."""

from pathlib import Path

import pytest
import torch
from torch import nn

import analyzer
from analyzer.models.neurons import LIF

ROOT = Path(__file__).parents[2]


def rated(dense, rates, driven, **more):
    modules = [f"l{i}" for i in range(len(dense))]
    table = {"module": modules, "op": ["linear"] * len(dense), "dense_macs": dense}
    return analyzer.from_rates(table | {"firing_rate": rates, "driven": driven}, **more)


def test_it_is_the_formula_of_its_source():
    """BB = T·b_w·b_s, S-ACE = Σ n·BB, NS-ACE = Σ r·n·BB, with n of a timestep."""
    timesteps, n, rates, weights, spikes = 4, [100, 50], [0.1, 0.3], 4, 2
    snn = rated([timesteps * each for each in n], rates, [1, 1], name="snn")
    found = analyzer.bit_budget([snn], weight_bits=weights, spike_bits=spikes).rows.iloc[0]
    budget = timesteps * weights * spikes
    assert found["s_ace"] == sum(n) * budget
    assert found["ns_ace"] == pytest.approx(
        sum(r * each for r, each in zip(rates, n, strict=True)) * budget
    )


def test_a_dense_model_has_the_widths_of_its_activations():
    ann = rated([100, 50], [1, 1], [0, 0], name="ann")
    found = analyzer.bit_budget([ann], weight_bits=4, activation_bits=8).rows.iloc[0]
    assert found["s_ace"] == found["ns_ace"] == 150 * 4 * 8


def test_equal_budgets_tie_and_halve_with_the_timesteps():
    """The claim of the source: T timesteps of b_s bits cost as T·b_s of one bit."""
    one = rated([800], [0.1], [1], name="T8")
    two = rated([400], [0.1], [1], name="T4, two bits")
    by_one = analyzer.bit_budget([one]).rows.iloc[0]
    by_two = analyzer.bit_budget([two], spike_bits=2).rows.iloc[0]
    assert by_one["s_ace"] == by_two["s_ace"]


def test_products_of_activations_have_the_widths_of_both():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.last = nn.Linear(6, 5), LIF(), nn.Linear(5, 2)

        def forward(self, x):
            x = self.act(3 * self.first(x).abs())
            return self.last(x @ x.transpose(-1, -2) @ x)

    torch.manual_seed(0)
    profile = analyzer.profile(Net().eval(), torch.rand(4, 3, 5, 6), timesteps=4)
    w, s, a = 7, 2, 5
    found = analyzer.bit_budget([profile], weight_bits=w, spike_bits=s, activation_bits=a).rows
    wanted = 0
    for row in profile.counts[profile.counts["dense_macs"] > 0].itertuples():
        sides = [s if kind in ("binary", "zero") else a for kind in row.input_class.split("*")]
        wanted += row.dense_macs * (sides[0] * sides[1] if len(sides) == 2 else sides[0] * w)
    assert found["s_ace"].iloc[0] == pytest.approx(wanted / 3)
    assert found["budget"].iloc[0] == 4 * w * s


def test_ratios_are_to_the_first():
    names = ("vit-tiny", "ge2mst-tiny")
    profiles = [analyzer.load(ROOT / "profiles" / f"{name}.json.gz") for name in names]
    rows = analyzer.bit_budget(profiles).rows
    assert rows["s_ratio"].tolist() == [1, rows["s_ace"][1] / rows["s_ace"][0]]
    assert rows["ns_ace"][1] < rows["s_ace"][1]


@pytest.mark.parametrize(
    "given", [{"weight_bits": 0}, {"spike_bits": 1.5}, {"activation_bits": True}]
)
def test_widths_that_can_not_be_are_refused(given):
    (name,) = given
    with pytest.raises(analyzer.AnalyzerError, match=f"{name} is {given[name]!r}: give a whole"):
        analyzer.bit_budget([rated([1], [1], [1])], **given)
    with pytest.raises(analyzer.AnalyzerError, match="give at least one profile"):
        analyzer.bit_budget([])


def test_one_profile_or_any_number_are_taken():
    snn = rated([400], [0.1], [1], name="snn")
    alone, several = analyzer.bit_budget(snn), analyzer.bit_budget(p for p in [snn])
    assert alone.rows["ns_ace"].tolist() == several.rows["ns_ace"].tolist()
    assert alone.shown()["T"].tolist() == ["–"]
