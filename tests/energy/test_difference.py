"""What changed between two profiles: parts that add up, reasons, and what may be compared."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.explaining.difference import PARTS
from analyzer.errors import AnalyzerError

FASHION = Path(__file__).parents[2] / "reports" / "fashion" / "profiles"
COLUMNS = [f"{part}_pj" for part in PARTS]


def load(name):
    return analyzer.load(FASHION / f"{name}-s0.json.gz")


class Net(nn.Module):
    """Two layers; the second reads what the first input becomes at a threshold."""

    def __init__(self, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.second((self.first(x) > 0).to(x.dtype))


def layer(values, name="net", out=5):
    """A profile of one linear layer of one sample; 45 nm takes 0.9 pJ an AC and 4.6 a MAC."""
    x = torch.tensor([values])
    return analyzer.profile(nn.Linear(x.shape[1], out, bias=False).eval(), x, name=name)


def adds_up(found):
    total = found.second.total_pj - found.first.total_pj
    size = max(found.first.total_pj, found.second.total_pj)
    assert found.rows["difference_pj"].sum() == pytest.approx(total, abs=1e-9 * size)
    assert found.parts["difference_pj"].sum() == pytest.approx(total, abs=1e-9 * size)
    for _, row in found.rows.iterrows():
        assert row[COLUMNS].sum() == pytest.approx(row["difference_pj"], abs=1e-9 * size)


def part(found, name):
    return found.parts.set_index("part")["difference_pj"][name]


@pytest.mark.parametrize(
    ("other", "options"),
    [
        ("ge2mst-tiny-w1e-07", {}),
        ("ge2mst-tiny-w5e-07", {"memory": "spyx"}),
        ("ge2mst-tiny-T2", {}),
        ("ge2mst-tiny-ann", {"convention": "spikformer"}),
        ("ge2mst-tiny-stbp", {"convention_b": "rate", "technology_b": "7nm"}),
        ("ge2mst-tiny-T8", {"convention": "exact(elementwise=priced)", "memory_b": "lemaire"}),
        ("ge2mst-tiny-w1e-07", {"memory": "spyx", "memory_b": "none", "precision_b": "int8"}),
    ],
)
def test_the_parts_add_up_row_by_row(other, options):
    adds_up(analyzer.diff(load("ge2mst-tiny"), load(other), **options))


def test_a_regularised_network_differs_by_its_activity_alone():
    """The same dense work, the same classes and prices: all is in how much fires."""
    a, b = load("ge2mst-tiny"), load("ge2mst-tiny-w1e-07")
    found = analyzer.diff(a, b)
    ac = sum(b.operations()["ac"]) / b.samples - sum(a.operations()["ac"]) / a.samples
    assert part(found, "activity") == pytest.approx(0.9 * ac)
    assert (found.parts["difference_pj"] != 0).sum() == 1
    sizes = found.rows["difference_pj"].abs().tolist()
    assert sizes == sorted(sizes, reverse=True)
    row = found.rows.iloc[0]
    assert row["module"] == "stages.2.0.conv"
    assert row["reason"] == "spikes cause 1.4 % instead of 13.6 % of the same dense work"
    keys = found.provenance.set_index("key")
    assert keys.loc["study.synops_weight"].tolist() == ["0.0", "1e-07"]
    assert "weights_digest" in keys.index
    assert "accuracy 88.4 % → 85.8 %" in found.summary


def test_the_other_way_round_the_parts_have_the_other_sign():
    a, b = load("ge2mst-tiny"), load("ge2mst-tiny-stbp-T2")
    options = {"convention": "spikformer", "convention_b": "exact", "memory_b": "spyx"}
    back = {"convention": "exact", "convention_b": "spikformer", "memory": "spyx",
            "memory_b": "none"}  # fmt: skip
    there, here = analyzer.diff(a, b, **options), analyzer.diff(b, a, **back)
    for name in PARTS:
        assert part(here, name) == pytest.approx(-part(there, name), abs=1e-3)


def test_a_class_that_changed_is_told_from_activity():
    """4 inputs, 5 outputs: 2 spikes are 10 AC, 9 pJ; graded they are 20 MAC, 92 pJ."""
    found = analyzer.diff(layer([1.0, 0.0, 1.0, 0.0]), layer([1.0, 0.0, 2.0, 0.0]))
    assert part(found, "classes") == pytest.approx(92 - 9)
    assert part(found, "activity") == 0
    assert found.rows["reason"].tolist() == ["reads graded instead of binary, so AC became MAC"]
    back = analyzer.diff(layer([0.5, 0.31416, 2.7183, 0.001]), layer([1.0, 0.0, 1.0, 0.0]))
    assert back.rows["reason"].tolist() == ["reads binary instead of real, so MAC became AC"]


def test_the_same_classes_in_other_timesteps_are_told_by_the_share_of_mac():
    """Sums in one of two timesteps, then in both: half of the dense work is MAC, then all."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2, bias=False)

        def forward(self, x):
            return self.fc(x)

    def of(*steps):
        x = torch.tensor([[step] for step in steps])
        return analyzer.profile(Two().eval(), x, timesteps=len(steps), layouts={"": "T B D"})

    spikes, sums = [1.0, 0.0, 1.0], [1.0, 0.0, 2.0]
    found = analyzer.diff(of(spikes, sums, sums), of(sums, spikes, spikes))
    assert found.rows["reason"].tolist() == ["33.3 % of its dense work is MAC instead of 66.7 %"]
    assert part(found, "classes") == pytest.approx(2 * 0.9 * 2 - 3 * 2 * 4.6)


def test_parts_are_means_over_all_orders():
    """Dense work 20 to 40, activity 1/2 to 3/4: 9 to 27 pJ, worked out order by order."""
    a, b = layer([1.0, 0.0, 1.0, 0.0]), layer([1.0, 0.0, 1.0, 1.0], out=10)
    found = analyzer.diff(a, b)
    before, after = {"work": 20, "activity": 0.5}, {"work": 40, "activity": 0.75}
    moved = dict.fromkeys(before, 0.0)
    for order in permutations(before):
        now = dict(before)
        for name in order:
            then = now | {name: after[name]}
            moved[name] += 0.9 * (then["work"] * then["activity"] - now["work"] * now["activity"])
            now = then
    assert part(found, "dense_work") == pytest.approx(moved["work"] / 2)
    assert part(found, "activity") == pytest.approx(moved["activity"] / 2)
    (reason,) = found.rows["reason"]
    assert "dense work 20 → 40" in reason
    assert "spikes cause 75.0 % instead of 50.0 % of the dense work" in reason


def test_timesteps_are_told_from_dense_work():
    found = analyzer.diff(load("ge2mst-tiny"), load("ge2mst-tiny-T2"))
    assert part(found, "dense_work") == 0
    assert part(found, "timesteps") < 0
    stem = found.rows[found.rows["module"] == "stem.conv"].iloc[0]
    assert stem["difference_pj"] == 0  # it runs once at any T
    assert stem["reason"] == "the same"
    row = found.rows.iloc[0]
    assert "it runs 2 times an inference instead of 4 (dense work 7.08 M → 3.54 M)" in row["reason"]


def test_conventions_and_prices_are_parts_of_their_own():
    a = load("spikformer-tiny")
    read = analyzer.diff(a, a, convention_b="spikformer")
    nonzero = read.parts[read.parts["difference_pj"] != 0]
    assert nonzero["part"].tolist() == ["convention"]
    assert read.rows.iloc[0]["reason"].startswith("read otherwise: nothing drives it: reads graded")
    cost = analyzer.diff(a, a, technology_b="7nm")
    assert cost.parts[cost.parts["difference_pj"] != 0]["part"].tolist() == ["price"]
    assert cost.rows.iloc[0]["reason"] == "4.60 pJ → 1.69 pJ an operation"
    moved = analyzer.diff(a, a, memory_b="spyx")
    assert moved.parts[moved.parts["difference_pj"] != 0]["part"].tolist() == ["memory"]
    assert not moved.rows["reason"].str.startswith("only").any()  # neurons are in both


def test_layers_of_one_alone_are_named():
    def named(**kinds):
        model = nn.Sequential()
        for name, kind in kinds.items():
            model.add_module(name, kind)
        return analyzer.profile(model.eval(), torch.rand(2, 4), name="+".join(kinds))

    a = named(stem=nn.Linear(4, 4), old=nn.Linear(4, 2))
    b = named(stem=nn.Linear(4, 4), new=nn.Linear(4, 3))
    found = analyzer.diff(a, b)
    reasons = found.rows.set_index("module")["reason"]
    assert reasons.to_dict() == {
        "new": "only in the second",
        "old": "only in the first",
        "stem": "the same",
    }
    assert part(found, "presence") == pytest.approx(4.6 * (12 - 8))
    assert set(found.shown().set_index("Module").loc["new", ["First"]]) == {"–"}
    adds_up(found)


def test_all_of_a_layer_of_one_alone_is_presence_also_what_it_moves():
    spikes = torch.eye(4)
    a = analyzer.profile(nn.Sequential(nn.Linear(4, 4)).eval(), spikes, name="one")
    more = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    b = analyzer.profile(more.eval(), spikes, name="two")
    found = analyzer.diff(a, b, memory="spyx")
    alone = found.rows.set_index("module").loc["1", "energy_pj_b"]
    assert part(found, "presence") == pytest.approx(alone)
    adds_up(found)


def test_runs_that_one_side_does_not_tell_make_no_difference():
    model = nn.Sequential(nn.Linear(3, 4, bias=False))
    x = torch.ones(4, 1, 3)
    measured = analyzer.profile(model.eval(), x, timesteps=4, layouts={"": "T B D"}, name="four")
    table = {"module": ["0"], "op": ["linear"], "dense_macs": [48], "firing_rate": [0.5]}
    published = analyzer.from_rates(table, name="published")
    found = analyzer.diff(measured, published, convention="rate", anyway=True)
    assert part(found, "timesteps") == 0
    assert part(found, "dense_work") == 0
    assert "time" not in found.rows.iloc[0]["reason"]
    adds_up(found)


def test_nothing_differs_from_itself():
    a = load("ge2mst-tiny")
    found = analyzer.diff(a, a)
    assert (found.rows["difference_pj"] == 0).all()
    assert found.summary.endswith("Nothing differs.")
    assert found.provenance.empty
    assert found.shown().empty
    assert found.notes[0] == "32 of 32 layers take the same in both."


def test_what_saw_other_data_is_refused():
    a = load("ge2mst-tiny")
    other = replace(a, metadata=a.metadata | {"data": "digits"})
    with pytest.raises(AnalyzerError, match=r"not of the same data \(fashion-mnist and digits\)"):
        analyzer.diff(a, other)
    found = analyzer.diff(a, other, anyway=True)
    assert found.notes[0] == "Not of the same data: fashion-mnist and digits."
    for key, value in (("split", "train"), ("input_shape", [1, 28, 28])):
        with pytest.raises(AnalyzerError, match="not of the same"):
            analyzer.diff(a, replace(a, metadata=a.metadata | {key: value}))


def test_random_data_is_the_same_by_its_seed():
    made = [replace(layer([1.0, 0.0]), metadata=layer([1.0, 0.0]).metadata | {"data": "random",
            "seed": seed}) for seed in (0, 1)]  # fmt: skip
    with pytest.raises(AnalyzerError, match=r"same seed \(0 and 1\)"):
        analyzer.diff(*made)


def test_doubts_are_said():
    a = load("ge2mst-tiny")
    fewer = replace(a, samples=1250)
    found = analyzer.diff(a, fewer)
    assert "Means over 2,500 and over 1,250 samples." in found.notes
    silent = {k: v for k, v in a.metadata.items() if k != "data"}
    unsaid = analyzer.diff(a, replace(a, metadata=silent | {"name": "unsaid"}))
    assert any(note.startswith("unsaid does not say which data") for note in unsaid.notes)


def test_nothing_in_common_is_refused():
    a = layer([1.0, 0.0, 1.0, 0.0], name="a")
    b = analyzer.profile(Net().eval(), torch.rand(1, 4), name="b")
    with pytest.raises(AnalyzerError, match="'a' and 'b' have no layer in common"):
        analyzer.diff(a, b)


def test_published_rates_can_be_compared():
    table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
    a, b = (
        analyzer.from_rates(
            table | {"dense_macs": [1000, 100], "firing_rate": [rate, 1]}, name=f"{rate}"
        )
        for rate in (0.5, 0.2)
    )
    found = analyzer.diff(a, b, convention="rate")
    assert part(found, "activity") == pytest.approx(-0.3 * 1000 * 0.9)
    adds_up(found)
