"""Budgets: what a file may say, what is over, and that what is unknown is no pass."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.tables.budget import Budget
from analyzer.errors import AnalyzerError

FASHION = Path(__file__).parents[2] / "reports" / "fashion" / "profiles"


@pytest.fixture(scope="module")
def profile():
    return analyzer.load(FASHION / "ge2mst-tiny-s0.json.gz")


@pytest.fixture
def checked(tmp_path):
    """Holds a profile against the text of a budget."""

    def check(profile, text, **options):
        path = tmp_path / "budget.toml"
        path.write_text(text, "utf-8")
        return analyzer.check(profile, path, **options)

    return check


def verdicts(found):
    return dict(zip(found.rows["key"], found.rows["verdict"], strict=True))


def test_every_limit_has_its_value_and_margin(profile, checked):
    found = checked(
        profile,
        "energy_mj = 0.006\nac = 6_000_000\nmac = 50_000\nparameters = 200_000\n"
        "firing_rate = 0.25\naccuracy = 0.9\n",
    )
    read = profile.operations("exact")
    sent = [s for s in profile.sent if not s.values.real]
    values = {
        "energy_mj": profile.energy().total_mj,
        "ac": read["ac"].sum() / profile.samples,
        "mac": read["mac"].sum() / profile.samples,
        "parameters": profile.parameters,
        "firing_rate": sum(s.nonzeros for s in sent) / sum(s.outputs for s in sent),
        "accuracy": profile.correct / profile.samples,
    }
    rows = found.rows.set_index("key")
    for key, value in values.items():
        assert rows.loc[key, "value"] == pytest.approx(value)
        margin = rows.loc[key, "limit"] - value
        assert rows.loc[key, "margin"] == pytest.approx(-margin if key == "accuracy" else margin)
    assert verdicts(found) == dict.fromkeys(values, "ok") | {"mac": "over", "accuracy": "under"}
    assert not found.ok
    assert "2 of 6 limits" in found.summary


def test_a_limit_that_is_met_exactly_is_kept(profile, checked):
    assert checked(profile, f"parameters = {profile.parameters}\n").ok
    assert not checked(profile, f"parameters = {profile.parameters - 1}\n").ok


def test_layers_are_modules_with_all_below_them(profile, checked):
    found = checked(profile, '[layers."stages.?"]\nac = 1\n[layers."stages.2.*"]\nfiring_rate=1\n')
    read = profile.operations("exact")
    stage = read[read["module"].str.startswith("stages.2.")]["ac"].sum() / profile.samples
    row = found.rows.iloc[0]
    assert (row["module"], row["verdict"]) == ("stages.2", "over")
    assert row["value"] == pytest.approx(stage)
    fastest = max(
        (s for s in profile.sent if s.module.startswith("stages.2.")),
        key=lambda s: s.nonzeros / s.outputs,
    )
    assert found.rows.iloc[1]["value"] == pytest.approx(fastest.nonzeros / fastest.outputs)
    assert found.rows.iloc[1]["verdict"] == "ok"


def test_what_is_unknown_is_no_pass(profile, checked):
    blind = replace(profile, correct=None, sent=None)
    found = checked(blind, "accuracy = 0\nfiring_rate = 1\n[layers.nowhere]\nac = 1e12\n")
    assert found.rows["verdict"].tolist() == ["unknown"] * 3
    assert found.rows["value"].map(math.isnan).all()
    assert not found.ok
    assert "No module matches 'nowhere', so its limits are not kept: mend the pattern." in (
        found.notes
    )
    assert any("does not tell its accuracy" in note for note in found.notes)


def test_a_lower_bound_is_no_pass(checked):
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x) @ torch.ones(4, 2)

    with pytest.warns(analyzer.AnalyzerWarning):
        profile = analyzer.profile(Sorts().eval(), torch.rand(1, 4), name="sorts")
    found = checked(profile, "mac = 1e9\n")
    assert verdicts(found) == {"mac": "unknown"}
    assert any("lower bound" in note for note in found.notes)
    assert verdicts(checked(profile, "mac = 1\n")) == {"mac": "over"}


def test_an_exact_count_is_held_where_its_energy_is_a_lower_bound(profile, checked):
    """Loihi has no price of a multiplication, and every MAC is counted all the same."""
    found = checked(profile, "energy_mj = 1e9\nac = 1e12\nmac = 1e12\n", technology="loihi")
    assert found.report.is_lower_bound
    assert verdicts(found) == {"energy_mj": "unknown", "ac": "ok", "mac": "ok"}


def test_neurons_of_no_known_kind_have_no_known_rate(profile, checked):
    text = 'firing_rate = 1\n[layers."*"]\nfiring_rate = 1\n'
    assert set(checked(profile, text).rows["verdict"]) == {"ok"}
    module = profile.sent[0].module
    hidden = replace(profile, metadata={**profile.metadata, "unknown_neurons": [module]})
    found = checked(hidden, text)
    assert found.rows["verdict"].tolist() == ["unknown"] * 2
    assert any(f"neurons of no known kind in {module}" in note for note in found.notes)


def test_a_memory_model_of_the_file_can_be_left_out(profile, checked):
    text = 'energy_mj = 1\n[price]\nmemory = "spyx"\n'
    arithmetic = pytest.approx(profile.energy().total_mj)
    assert checked(profile, text, memory="none").rows.iloc[0]["value"] == arithmetic
    assert checked(profile, text.replace("spyx", "none")).rows.iloc[0]["value"] == arithmetic


def test_a_budget_of_ones_own_with_an_unknown_key_is_one_sentence(profile):
    for limits, layers in (({"energy": 1}, {}), ({}, {"stem": {"accuracy": 1}})):
        with pytest.raises(
            AnalyzerError, match=r"mine limits '(energy|accuracy)': choose energy_mj"
        ):
            analyzer.check(profile, Budget("mine", limits, layers, {}))


def test_prices_are_those_of_the_file_unless_others_are_given(profile, checked):
    text = 'energy_mj = 1\n[price]\ntechnology = "7nm"\nprecision = "int8"\nconvention = "rate"\n'
    found = checked(profile, text)
    assert found.rows.iloc[0]["value"] == pytest.approx(
        profile.energy("7nm", "rate", "int8").total_mj
    )
    other = checked(profile, text, technology="45nm", memory="spyx")
    assert other.rows.iloc[0]["value"] == pytest.approx(
        profile.energy("45nm", "rate", "int8", "spyx").total_mj
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "limits nothing: give energy_mj, ac, mac, parameters, firing_rate or accuracy"),
        ("[layers.stem]\n", "limits nothing of layers 'stem'"),
        ("energy = 1\n", "does not know the key 'energy': it knows energy_mj"),
        ('ac = "many"\n', "has ac = 'many', a text: it must be a number from 0"),
        ("ac = -1\n", "must be a number from 0"),
        ("accuracy = 85\n", "must be a number from 0 to 1"),
        ("firing_rate = nan\n", "must be a number from 0 to 1"),
        ("[layers.stem]\naccuracy = 0.5\n", "does not know the key 'layers.stem.accuracy'"),
        ('[price]\ncurrency = "€"\n', "does not know the key 'price.currency'"),
        ("layers = 3\n", "it must be a table"),
        ("ac = \n", "is no readable budget"),
    ],
)
def test_a_bad_file_is_one_sentence(profile, checked, text, said):
    with pytest.raises(AnalyzerError) as refused:
        checked(profile, text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_is_refused(profile):
    with pytest.raises(AnalyzerError, match="no readable budget"):
        analyzer.check(profile, "missing.toml")
    with pytest.raises(AnalyzerError, match=r"give one that ends in \.toml"):
        analyzer.check(profile, "budget.json")
