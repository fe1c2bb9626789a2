"""Advice: what it says by hand on small models, and that nothing speculative is called exact."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.models.neurons import IF

FASHION = Path(__file__).parents[2] / "reports" / "fashion" / "profiles"
T = 2


class Sums(nn.Module):
    """A layer with two kinds of neurons behind it, and one that reads the sums of their spikes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 5, bias=False)
        self.one, self.two = IF(), IF(1.5)
        self.first.weight.data = torch.diag(torch.tensor([1.0, 1.0, 1.0, -1.0]))

    def forward(self, x):  # [T, B, 4]
        current = self.first(x)
        return self.second(self.one(current) + self.two(current))


def profile_of(model, x, **options):
    return analyzer.profile(model.eval(), x, timesteps=T, layouts={"": "T B D"}, **options)


@pytest.fixture(scope="module")
def sums():
    torch.manual_seed(0)
    x = torch.tensor([[[1.5, 1.25, 1.0, 1.0]], [[1.0, 1.75, 1.0, 1.0]]])
    return profile_of(Sums(), x, name="sums")


def advice(profile, kind, **options):
    rows = analyzer.advise(profile, **options).rows
    return rows[rows["kind"] == kind]


def test_sums_are_priced_by_hand(sums):
    """The second layer has 2 × 20 MAC. It reads 2, 1, 1, 0, then 1, 2, 2, 0: 9 spikes, 6 places."""
    (row,) = advice(sums, "sums as spikes").to_dict("records")
    assert (row["module"], row["certainty"], row["assumption"]) == ("second", "exact", "")
    assert row["energy_pj"] == pytest.approx(40 * 4.6)
    assert row["saving_pj"] == pytest.approx(40 * 4.6 - 9 * 5 * 0.9)
    assert row["how"] == "40 MAC → 45 AC"
    (row,) = advice(sums, "membrane shortcut").to_dict("records")
    assert row["certainty"] == "estimate"
    assert "must be trained again" in row["assumption"]
    assert row["saving_pj"] == pytest.approx(40 * 4.6 - 6 * 5 * 0.9)


@pytest.mark.parametrize("convention", ["unary", "spikformer"])
def test_a_convention_that_calls_sums_accumulates_saves_nothing_there(sums, convention):
    assert advice(sums, "sums as spikes", convention=convention).empty


def test_the_first_layer_gets_no_neurons_in_front():
    """It reads the input of the model, whose integers are no sums of spikes."""
    torch.manual_seed(0)
    x = torch.randint(0, 3, (T, 1, 4)).float()
    found = analyzer.advise(profile_of(nn.Sequential(nn.Linear(4, 4), IF()), x, name="first"))
    assert not set(found.rows["kind"]) & {"sums as spikes", "membrane shortcut"}


def test_integers_that_no_sum_of_spikes_reaches_are_no_sums():
    class Wide(Sums):
        def forward(self, x):
            current = self.first(x)
            return self.second(4 * self.one(current) + 3 * self.two(x))

    x = torch.tensor([[[1.5, 1.25, 1.0, -1.0]], [[1.0, 1.75, -1.0, 1.0]]])
    profile = profile_of(Wide(), x, name="wide")
    (site,) = (s for s in profile.contractions if s.module == "second")
    assert site.activations[0].values.high > 2
    assert advice(profile, "sums as spikes").empty


def test_what_repeats_is_computed_once():
    model = nn.Sequential(nn.Linear(4, 3), IF(), nn.Linear(3, 2))
    x = torch.tensor([[0.3, 0.7182, 3.1, 1.0]]).expand(T, 1, 4)
    profile = profile_of(model, x, name="repeats")
    row = advice(profile, "cache").set_index("module").loc["0"]
    assert row["certainty"] == "exact"
    assert row["saving_pj"] == pytest.approx(12 * 4.6)
    changing = x.clone()
    changing[1] += 0.5
    changed = profile_of(model, changing, name="changing")
    assert "0" not in advice(changed, "cache")["module"].tolist()


def test_a_looped_layer_that_repeats_is_computed_once():
    class Looped(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return sum(self.fc(x) for _ in range(3))

    profile = analyzer.profile(Looped().eval(), torch.rand(2, 4), timesteps=3, name="looped")
    (row,) = advice(profile, "cache").to_dict("records")
    assert row["saving_pj"] == pytest.approx(2 * 12 * 4.6)


class Silent(nn.Sequential):
    """A layer with 4 outputs of which the neurons of some never fire, and one behind it."""

    def __init__(self, *fires):
        super().__init__(nn.Linear(4, 4, bias=False), IF(), nn.Linear(4, 2))
        self[0].weight.data = torch.diag(torch.tensor([1.0 if f else -1.0 for f in fires]))


def test_channels_that_lead_to_silence_are_left_out():
    x = torch.ones(T, 3, 4)
    (row,) = advice(profile_of(Silent(True, False, True, False), x), "silent channels").to_dict(
        "records"
    )
    assert (row["module"], row["certainty"]) == ("0", "estimate")
    assert "2 of 4 output channels" in row["advice"]
    assert row["saving_pj"] == pytest.approx(T * 4 * 2 * 0.9)  # half of its accumulates
    (row,) = advice(profile_of(Silent(*[False] * 4), x), "silent channels").to_dict("records")
    assert row["saving_pj"] == pytest.approx(T * 4 * 4 * 0.9)
    assert row["how"] == "32 AC → nothing"
    assert advice(profile_of(Silent(*[True] * 4), x), "silent channels").empty


def test_channels_of_a_layer_whose_timesteps_differ_in_class_are_left_out():
    """It reads spikes of one size in one timestep, and of three in the other."""
    profile = profile_of(
        Silent(True, False, True, False), torch.tensor([[[1.0] * 4], [[1.0, 2.0, 3.0, 3.0]]])
    )
    whole = next(site for site in profile.contractions if site.module == "0")
    assert len({part.input_class for part in whole.parts}) == 2
    before = profile.energy().table.set_index("module").loc["0", "total_pj"].sum()
    (row,) = advice(profile, "silent channels").to_dict("records")
    assert row["saving_pj"] == pytest.approx(before / 2)


def test_a_kept_result_of_an_earlier_version_saves_all_but_one_timestep():
    model = nn.Sequential(nn.Linear(4, 3), IF(), nn.Linear(3, 2))
    x = torch.tensor([[0.3, 0.7182, 3.1, 1.0]]).expand(T, 1, 4)
    profile = profile_of(model, x, name="repeats")
    old = tuple(replace(site, passes=None, parts=None) for site in profile.contractions)
    row = advice(replace(profile, contractions=old), "cache").set_index("module").loc["0"]
    assert row["saving_pj"] == pytest.approx(12 * 4.6)


def test_costs_say_what_a_row_is(sums):
    def why(**options):
        costs = analyzer.advise(sums, **options).costs
        return dict(zip(zip(costs["module"], costs["op"], strict=True), costs["why"], strict=True))

    priced = why(convention="exact(elementwise=priced)")
    assert priced["one", "IF"] == "its updates"
    assert priced["", "add"] == "element-wise work"
    assert why(memory="spyx")["one", "IF"] == "its updates and what moves"
    spikes = profile_of(Silent(True, True, True, True), torch.ones(T, 3, 4))
    costs = analyzer.advise(spikes, convention="dense").costs.set_index("module")["why"]
    assert costs["2"].startswith("reads binary, and convention dense has spikes drive nothing")


def test_a_layer_that_reads_silent_neurons_is_not_what_feeds_them():
    """In a unit of neurons in front of a layer, the layer stands first in the tree."""

    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.neuron = IF()

        def forward(self, x):
            return self.layer(self.neuron(x))

    x = torch.tensor([1.0, -1.0, 1.0, -1.0]).expand(T, 1, 4)
    profile = profile_of(nn.Sequential(Unit()), x, name="membrane")
    assert len(profile.sent[0].silent) == 2
    assert advice(profile, "silent channels").empty


def test_silent_neurons_save_where_their_updates_are_charged():
    profile = profile_of(Silent(True, False, True, False), torch.ones(T, 3, 4))
    assert advice(profile, "silent neurons").empty
    priced = analyzer.advise(profile, convention="exact(elementwise=priced)")
    (row,) = (r for r in priced.rows.to_dict("records") if r["kind"] == "silent neurons")
    table = priced.report.table
    neurons = table[table["module"] == "1"]["elementwise_pj"].sum()
    assert row["saving_pj"] == pytest.approx(neurons / 2)
    assert row["certainty"] == "estimate"


def test_a_norm_in_front_keeps_a_layer_of_a_spiking_model_mac():
    model = nn.Sequential(nn.Linear(4, 4), IF(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    torch.manual_seed(1)
    profile = profile_of(model, torch.rand(T, 5, 4) * 3, name="norm")
    (row,) = advice(profile, "norm").to_dict("records")
    assert (row["module"], row["certainty"]) == ("4", "estimate")
    assert "reads reals behind 3 (LayerNorm)" in row["advice"]
    sent = profile.sent[0]
    rate = sent.nonzeros / sent.outputs
    assert row["saving_pj"] == pytest.approx(24 * (4.6 - rate * 0.9))
    dense = analyzer.profile(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)).eval(),
                             torch.rand(2, 4), name="dense")  # fmt: skip
    assert analyzer.advise(dense).rows.empty  # nothing in it spikes


@pytest.mark.parametrize("name", ["spikformer-tiny", "qkformer-tiny", "sdt-tiny"])
@pytest.mark.parametrize("memory", [None, "spyx"])
def test_advice_is_ranked_and_says_what_it_saves(name, memory):
    profile = analyzer.load(FASHION / f"{name}-s0.json.gz")
    found = analyzer.advise(profile, memory=memory)
    total = profile.energy(memory=memory).total_pj
    savings = found.rows["saving_pj"].tolist()
    assert savings == sorted(savings, reverse=True)
    for number, saving in enumerate(savings):
        after = found.followed(number).energy(memory=memory).total_pj
        assert total - after == pytest.approx(saving)
    estimates = found.rows[found.rows["certainty"] == "estimate"]
    assert (estimates["assumption"] != "").all()
    assert found.costs["energy_pj"].sum() == pytest.approx(total)
    if memory:  # nobody measured what would move
        assert (found.rows["certainty"] == "estimate").all()


def test_all_of_one_kind_are_priced_together():
    profile = analyzer.load(FASHION / "spikformer-tiny-s0.json.gz")
    found = analyzer.advise(profile)
    kind = found.together.set_index("kind").loc["sums as spikes"]
    numbers = found.rows.index[found.rows["kind"] == "sums as spikes"]
    after = found.followed(*numbers).energy().total_pj
    assert kind["layers"] == len(numbers) == 8
    assert kind["saving_pj"] == pytest.approx(found.report.total_pj - after)
    assert any("do not add up" in note for note in found.notes)


def test_ge2mst_has_nothing_to_save_in_arithmetic():
    """It adds potentials everywhere: each layer but the first reads binary spikes."""
    found = analyzer.advise(analyzer.load(FASHION / "ge2mst-tiny-s0.json.gz"))
    assert found.rows.empty
    assert "the facts suggest nothing that would save" in found.summary
    assert found.costs.iloc[0]["why"].startswith("reads binary, which cause 13.6 %")
    stem = found.costs[found.costs["module"] == "stem.conv"].iloc[0]
    assert stem["why"] == "reads graded (0 to 255), so 55.3 k MAC"
    with pytest.raises(AnalyzerError, match="there is no advice 0"):
        found.followed()


def test_what_was_not_measured_is_refused():
    counted = analyzer.from_rates(
        {"module": ["conv"], "op": ["conv2d"], "dense_macs": [10], "firing_rate": [1]}, name="rates"
    )
    with pytest.raises(AnalyzerError, match="'rates' was not measured"):
        analyzer.advise(counted)


def test_profiles_of_earlier_versions_get_the_advice_that_they_are_enough_for(sums):
    blind = replace(sums, sent=None, layers=None)
    assert set(analyzer.advise(blind).rows["kind"]) >= {"sums as spikes"}
