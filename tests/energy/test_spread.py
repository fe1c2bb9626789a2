"""What samples cost one by one, intervals in tables, and two models on the same samples."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.declared.memory import memory_models
from analyzer.models.neurons import IF

EXACT = ("dense", "exact", "unary", "rate", "spikformer", "spike-driven", "neurobench", "ecmt")
"""Conventions that add up sample by sample."""


def spikes(*shape, rate=0.3, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


class OverTime(nn.Module):
    """A convolution, neurons and layers over ``[T, B, 1, 6, 6]``."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.fire, self.fc = nn.Conv2d(1, 3, 3, padding=1), IF(), nn.Linear(108, 4)
        self.eval()

    def forward(self, x):
        steps, batch = x.shape[:2]
        y = self.conv(x.flatten(0, 1)).unflatten(0, (steps, batch))
        return self.fc(self.fire(y).flatten(2)).mean(0)


LAYOUT = {"timesteps": 4, "layouts": {"": "T B C H W"}}


def over_time(seed=0, samples=8, **settings):
    x = spikes(4, samples, 1, 6, 6)
    return analyzer.profile(OverTime(seed), x, per_sample=True, **LAYOUT | settings)


@pytest.mark.parametrize("memory", [None, *memory_models()])
@pytest.mark.parametrize("convention", EXACT)
def test_samples_add_up_to_the_energy_of_the_whole(convention, memory):
    profile = over_time()
    found = profile.spread(convention=convention, memory=memory)
    total = profile.energy(convention=convention, memory=memory)
    assert found.samples["energy_pj"].mean() == pytest.approx(total.total_pj, rel=1e-12)
    assert found.samples["ac"].mean() == pytest.approx(total.table["ac"].sum(), rel=1e-12)
    assert found.samples["mac"].mean() == pytest.approx(total.table["mac"].sum(), rel=1e-12)


@pytest.mark.parametrize("memory", [None, "spyx", "state"])
@pytest.mark.parametrize(("technology", "precision"), [("45nm", "fp32"), ("45nm", "int8")])
def test_a_sample_costs_what_a_profile_of_its_own_costs(technology, precision, memory):
    x = spikes(4, 5, 1, 6, 6)
    prices = {"technology": technology, "precision": precision, "memory": memory}
    found = analyzer.profile(OverTime(), x, per_sample=True, **LAYOUT).spread(**prices)
    for number, cost in enumerate(found.samples["energy_pj"]):
        alone = analyzer.profile(OverTime(), x[:, number : number + 1], **LAYOUT)
        assert cost == pytest.approx(alone.energy(**prices).total_pj, rel=1e-12)


def test_the_table_says_what_the_samples_say():
    found = over_time(samples=40).spread()
    ac = found.samples["ac"]
    row = found.frame.iloc[0]
    assert (row["ac_min"], row["ac_max"]) == (ac.min(), ac.max())
    assert row["ac"] == pytest.approx(ac.mean())
    assert row["ac_std"] == pytest.approx(np.std(ac, ddof=1))
    assert row["ac_low"] < row["ac"] < row["ac_high"]
    assert row["ac_high"] - row["ac_low"] == pytest.approx(3.92 * ac.std() / 40**0.5, rel=0.15)
    assert row["energy_low_mj"] == pytest.approx(found.intervals["energy_pj"][0] * 1e-9)
    assert "±" in found.shown()["Mean"][0]
    assert "95 % interval" in found.summary


def test_one_sample_has_no_interval():
    found = over_time(samples=1).spread()
    assert found.frame.iloc[0].filter(like="_low").isna().all()
    assert found.shown()["95 % interval"].tolist() == ["–"] * 3
    assert "of one sample" in found.summary
    assert "±" not in repr(over_time(samples=1).energy())


def test_tables_show_intervals_where_profiles_have_them():
    one, two = over_time(name="one"), over_time(1, name="two")
    x = spikes(4, 8, 1, 6, 6)
    plain = analyzer.profile(OverTime(2), x, name="plain", **LAYOUT)
    without = analyzer.compare([plain])
    assert not any(column.endswith("_low") for column in without.frame)
    assert "±" not in without.to_markdown() + without.to_latex()
    found = analyzer.compare([one, two, plain])
    frame = found.frame.set_index("model")
    energy = one.spread().intervals["energy_pj"]
    assert frame.loc["one", ["energy_low_mj", "energy_high_mj"]].tolist() == pytest.approx(
        [end * 1e-9 for end in energy]
    )
    assert frame.loc["plain", ["ac_low", "ac_high"]].isna().all()
    cells = found.shown(["ac", "energy_mj"]).set_index("Model")
    assert all("±" in cell for cell in cells.loc[["one", "two"]].to_numpy().ravel())
    assert not any("±" in cell for cell in cells.loc["plain"])
    assert "half of the 95 % interval" in found.to_markdown()
    assert "energy_low_mj,energy_high_mj" in found.to_csv().splitlines()[0]
    narrowed = found.arranged(columns=["energy_mj"])
    assert "±" in narrowed.shown()["Energy"][0]
    latex = found.to_latex(["energy_mj"])
    assert re.search(r"\{Energy \(\\unit\{(.*)\}\)\} & \{\$\\pm\$ \(\\unit\{\1\}\)\}", latex)
    assert latex.count("{--}") == 1
    assert "±" in repr(one.energy())


def test_two_models_on_the_same_samples():
    one, two = over_time(name="one", samples=40), over_time(1, name="two", samples=40)
    found = analyzer.paired(one, two)
    differences = two.spread().samples["ac"] - one.spread().samples["ac"]
    assert found.samples["ac"].tolist() == differences.tolist()
    row = found.frame.iloc[0]
    assert row["ac_difference"] == pytest.approx(differences.mean())
    assert row["ac_low"] < row["ac_difference"] < row["ac_high"]
    assert found.p["ac"] == 1e-4
    assert "more than chance explains" in found.summary
    turned = analyzer.paired(two, one)
    assert turned.frame["ac_difference"][0] == -row["ac_difference"]
    assert turned.p == found.p


def test_a_difference_that_means_do_not_show_shows_in_pairs():
    """Samples differ far more than the models do, so intervals overlap; each is dearer in one."""
    x = torch.zeros(60, 100)
    for row, spiking in enumerate(
        torch.randint(1, 100, (60,), generator=torch.Generator().manual_seed(0))
    ):
        x[row, :spiking] = 1
    fan_outs = {"one": 100, "two": 102}
    profiles = [
        analyzer.profile(nn.Linear(100, n).eval(), x, name=name, per_sample=True)
        for name, n in fan_outs.items()
    ]
    first, second = (p.spread().intervals["ac"] for p in profiles)
    assert first[1] > second[0]
    found = analyzer.paired(*profiles)
    assert found.p["energy_pj"] == 1e-4
    assert found.frame["ac_difference"][0] == pytest.approx(2 * x.sum().item() / 60)


def test_a_model_and_itself_do_not_differ():
    profile = over_time(samples=20)
    found = analyzer.paired(profile, profile)
    assert set(found.p.values()) == {1.0}
    assert "do not differ by more than chance" in found.summary
    few = over_time(samples=4)
    assert "too few to tell" in analyzer.paired(few, over_time(1, samples=4)).summary


def test_what_is_no_pair_is_refused():
    one = over_time(name="one")
    plain = analyzer.profile(OverTime(), spikes(4, 8, 1, 6, 6), name="plain", **LAYOUT)
    with pytest.raises(analyzer.AnalyzerError, match="'plain' does not know what single samples"):
        analyzer.paired(one, plain)
    with pytest.raises(analyzer.AnalyzerError, match="hold 8 and 9 samples"):
        analyzer.paired(one, over_time(samples=9))
    other = analyzer.profile(
        OverTime(), spikes(4, 8, 1, 6, 6, seed=7), per_sample=True, name="other", **LAYOUT
    )
    with pytest.raises(analyzer.AnalyzerError, match="given different inputs"):
        analyzer.paired(one, other)
    assert len(analyzer.paired(one, other, aligned=True).samples) == 8
    rated = analyzer.from_rates(
        {"module": ["a"], "op": ["linear"], "dense_macs": [1], "firing_rate": [0.5]}
    )
    with pytest.raises(analyzer.AnalyzerError, match="per_sample=True"):
        rated.spread()


def test_a_model_without_products_has_samples_that_cost_nothing(tmp_path):
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    kept = analyzer.profile(Double(), torch.rand(4, 8), per_sample=True)
    assert kept.energy().total_pj == 0
    assert kept.spread().samples["energy_pj"].tolist() == [0, 0, 0, 0]
    assert "Double" in analyzer.compare([kept, kept]).to_markdown()
    assert analyzer.card([kept], tmp_path / "cards").exists()
