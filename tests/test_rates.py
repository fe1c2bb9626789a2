"""Counting by shapes, and profiles from published figures."""

import csv
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.warm import warm

FAST = settings(max_examples=60, deadline=None, derandomize=True)

rows = st.lists(
    st.tuples(
        st.sampled_from(["a.conv", "a.head", "b.q", "c"]),
        st.sampled_from(["conv2d", "linear", "matmul"]),
        st.integers(0, 10**12),
        st.floats(0, 3),
        st.sampled_from([0, 1, None]),
    ),
    min_size=1,
    max_size=8,
)
COLUMNS = ["module", "op", "dense_macs", "firing_rate", "driven"]


@FAST
@given(rows)
def test_rates_read_as_their_formula(table):
    """AC = dense work times rate where spikes drive, MAC = dense work elsewhere."""
    profile = analyzer.from_rates(pd.DataFrame(table, columns=COLUMNS), name="paper")
    read = profile.operations("rate")
    driven = [(d == 1 or (d is None and rate != 1)) for *_, rate, d in table]
    ac = sum(dense * rate for (_, _, dense, rate, _), on in zip(table, driven, strict=True) if on)
    mac = sum(dense for (_, _, dense, _, _), on in zip(table, driven, strict=True) if not on)
    assert read["ac"].sum() == pytest.approx(ac, rel=1e-12)
    assert read["mac"].sum() == mac
    assert profile.energy(convention="rate").total_pj == pytest.approx(0.9 * ac + 4.6 * mac)
    assert profile.totals["dense_macs"] == sum(dense for _, _, dense, _, _ in table)
    assert profile.counts["events"].isna().all()
    assert "events" not in profile.totals
    assert (profile + profile).energy(convention="rate").total_pj == pytest.approx(
        profile.energy(convention="rate").total_pj
    )


def test_a_profile_of_rates_is_saved_and_loaded(tmp_path):
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.25]}
    profile = analyzer.from_rates(table, name="paper")
    again = analyzer.load(profile.save(tmp_path / "p.json"))
    assert again == profile
    assert again.energy(convention="rate").total_pj == pytest.approx(2.25)
    assert analyzer.compare([again], convention="rate")["ac"].tolist() == [2.5]
    assert "dense_macs=10" in repr(again)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"firing_rate": ["often"]}, r"^firing_rate in row 0 \(a\) is 'often': it must be"),
        ({"firing_rate": [-0.1]}, "must be a number from 0"),
        ({"dense_macs": [1.5]}, "must be a whole number"),
        ({"dense_macs": [float("nan")]}, "must be a number from 0"),
        ({"driven": [2]}, "driven in row 0"),
        ({"op": None}, "lacks the column 'op'"),
    ],
)
def test_bad_rates_are_refused(change, says):
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.25]} | change
    table = {key: value for key, value in table.items() if value is not None}
    with pytest.raises(AnalyzerError, match=says):
        analyzer.from_rates(table)
    with pytest.raises(AnalyzerError, match="no row"):
        analyzer.from_rates({key: [] for key in COLUMNS})


def test_rates_are_no_events():
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.25]}
    with pytest.raises(AnalyzerError, match=r"only firing rates of 'a'.*convention=\"rate\"\.$"):
        analyzer.from_rates(table, name="paper").energy()
    with pytest.raises(AnalyzerError, match=r"only shapes of .*measure it on data"):
        analyzer.count("vit-tiny").energy()


def test_rates_of_a_measurement_price_as_the_measurement(tmp_path):
    """Counting with measured rates is the reading ``rate`` of the measurement itself."""
    torch.manual_seed(0)
    model = models.build("spikingformer-8-384", depth=1, image_size=64, embed_dim=64)
    image = torch.rand(1, 3, 64, 64)
    warm(model, image)
    read = analyzer.profile(model.eval(), image).operations("rate")
    by_module = read.groupby("module")[["ac", "mac", "dense_macs"]].sum()
    rates = {
        module: None if row["mac"] else row["ac"] / row["dense_macs"]
        for module, row in by_module.iterrows()
    }
    counted = analyzer.count(model, (3, 64, 64), rates=rates)
    assert counted.operations("rate")["ac"].sum() == pytest.approx(by_module["ac"].sum())
    assert counted.operations("rate")["mac"].sum() == by_module["mac"].sum()

    path = tmp_path / "rates.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["module", "firing_rate", "driven"])
        writer.writerows([m, 1 if r is None else r, int(r is not None)] for m, r in rates.items())
    assert analyzer.count(model, (3, 64, 64), rates=path) == counted


def test_rates_that_do_not_fit_are_refused(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(AnalyzerError, match=r"no rate is given for 1\.$"):
        analyzer.count(model, (4,), rates={"0": 0.5})
    with pytest.raises(AnalyzerError, match=r"it has no 2\.$"):
        analyzer.count(model, (4,), rates={"0": 0.5, "1": None, "2": 1})
    path = tmp_path / "r.csv"
    with pytest.raises(AnalyzerError, match="no readable CSV"):
        analyzer.count(model, (4,), rates=path)
    path.write_text("module,firing_rate\n0,0.5\n0,0.5\n1,0.2\n")
    with pytest.raises(AnalyzerError, match="second rate for its module"):
        analyzer.count(model, (4,), rates=path)


class Gated(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def test_what_looks_at_values_can_not_be_counted():
    with pytest.raises(AnalyzerError, match=r"^0 looks at values.*profile it on data instead\.$"):
        analyzer.count(nn.Sequential(Gated(4, 4)), (4,))
    with pytest.raises(AnalyzerError, match=r"^0 can not be counted .*float32 \(1, 5\)"):
        analyzer.count(nn.Sequential(nn.Linear(4, 4)), (5,))
    with pytest.raises(AnalyzerError, match="needs the shape of one sample"):
        analyzer.count(nn.Linear(4, 4))
    with pytest.raises(AnalyzerError, match="square images"):
        analyzer.count("vit-tiny", (1, 32, 16))


def test_counting_changes_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    counted = analyzer.count(model, (3, 8, 8))
    assert counted.totals["dense_macs"] == 36 * 4 * 27
    assert model.training
    assert model[1].training
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert not any(p.is_meta for p in model.parameters())
    assert counted.memory["parameters_bytes"] == 4 * (4 * 27 + 4 + 8)


def test_counting_at_any_size():
    small, large = (analyzer.count("qkformer-10-384", (3, n, n)) for n in (224, 384))
    assert small.parameters == large.parameters == 16_473_688
    # All but the head and the attention products grow with the area.
    assert large.totals["dense_macs"] / small.totals["dense_macs"] == pytest.approx(
        (384 / 224) ** 2, rel=1e-3
    )


def test_warming_sets_statistics_and_nothing_else():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)).eval()
    x = torch.randn(50, 3) * 4 + 1
    weights = model[0].weight.clone()
    assert warm(model, x)
    assert not model.training
    assert not model[1].training
    assert model[1].momentum == 0.1
    assert torch.equal(model[0].weight, weights)
    y = model[0](x)
    torch.testing.assert_close(model[1].running_mean, y.mean(0))
    torch.testing.assert_close(model[1].running_var, y.var(0))
    assert not warm(nn.Linear(3, 5), x)


def test_published_figures_have_sources():
    for name in models.names():
        for row in models.published(name):
            assert row.source
            assert row.top1 is None or 0 < row.top1 < 100
    best = models.published("spikingformer-8-512")[0]
    assert (best.top1, best.energy_mj, best.timesteps) == (74.79, 7.46, 4)
    assert Path(models.__file__).with_name("published.csv").exists()
