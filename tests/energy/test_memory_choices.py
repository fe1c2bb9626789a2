"""Memory models with conventions, chips and break-even, and where a fact they need is missing."""

from dataclasses import replace

import pytest
import torch
from spiking_networks import Rated, T, network, spikes
from spikingjelly.activation_based import neuron
from torch import nn

import analyzer
from analyzer.energy.pricing.price import price
from analyzer.errors import AnalyzerError


def test_what_a_convention_leaves_out_moves_nothing():
    profile = analyzer.profile(network(), spikes(2), timesteps=T)
    table = profile.energy(convention="spikingresformer", memory="lemaire").table
    rows = table[table["reason"].str.endswith("left out")]
    assert set(rows["module"]) == {"conv", "head"}
    assert rows["total_pj"].eq(0).all()


def test_graded_spikes_are_as_many_messages_as_they_are_accumulates():
    """Under ``unary`` a three is three spikes; under ``spikformer`` by its mean level."""
    net = nn.Linear(8, 4, bias=False).eval()
    x = torch.tensor([[3.0, 1, 0, 2, 0, 0, 1, 3]])
    profile = analyzer.profile(net, x)
    unary = profile.energy(convention="unary", memory="bit-serial(input_reads=once, spike_bits=1)")
    assert unary.table["ac"].tolist() == [10 * 4]
    assert unary.components["activations_pj"] == pytest.approx(10 * 3.12)
    windows = profile.energy(convention="unary", memory="lemaire(bias_reads=none)").table
    assert windows["addressing_pj"].tolist() == pytest.approx([0.9 * 10 * 4])


def test_a_convolution_that_only_adds_reads_as_many_inputs(tmp_path):
    path = tmp_path / "add.toml"
    path.write_text(
        'name = "add"\ntitle = "t"\nsource = "me"\nsummary = "s"\n'
        'driving = ["binary"]\nadditive_weights = ["binary"]\n'
    )
    net = nn.Conv2d(2, 3, 3, bias=False).eval()
    with torch.no_grad():
        net.weight.fill_(0.5)
    profile = analyzer.profile(net, torch.rand(1, 2, 6, 6) + 0.1)
    both = [profile.energy(convention=c, memory="lemaire") for c in (str(path), "exact")]
    assert both[0].table["mac"].tolist() == [0]
    moved = [report.components["activations_pj"] for report in both]
    assert moved[0] == moved[1] > 0


def test_a_chip_without_multiplication_prices_neurons_as_a_whole_or_refuses():
    profile = analyzer.profile(network(neuron.LIFNode), spikes(2), timesteps=T)
    updates = T * sum(network().outputs)
    moved = profile.energy("loihi", memory="spyx(neurons=dynamics)").components
    assert moved["neurons_pj"] == pytest.approx(81 * updates)
    with pytest.raises(AnalyzerError, match=r"'tianjic' has no multiplication.*neurons=none"):
        profile.energy("tianjic", memory="lemaire")
    cpu = profile.energy("cpu", memory="spyx(neurons=dynamics)").components
    work = sum(t.adds + t.compares + t.multiplies for t in profile.tallies)
    assert cpu["neurons_pj"] == pytest.approx(8600 * work / 2)


def test_energy_is_linear_in_activity_and_equal_at_break_even():
    """Under every memory model."""
    profile = analyzer.profile(network(), spikes(2), timesteps=T)
    for name in analyzer.memory_models():
        silent, half, now = (
            price(profile, "45nm", "exact", memory=name, activity=a).total_pj for a in (0, 0.5, 1)
        )
        assert half == pytest.approx((silent + now) / 2)
        dense = analyzer.profile(nn.Linear(400, 20).eval(), torch.rand(1, 400))
        found = analyzer.break_even(profile, dense, memory=name)
        if found.break_even_rate is not None:
            factor = found.break_even_rate / found.rate
            equal = price(profile, "45nm", "exact", memory=name, activity=factor).total_pj
            assert equal == pytest.approx(found.dense.total_pj)


@pytest.mark.parametrize("memory", ["lemaire", "bit-serial", "spyx"])
def test_break_even_of_rates_does_not_depend_on_the_rate_now(memory):
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 8)).eval()
    dense = analyzer.count(net, (2, 8, 8), rates={"0": None, "2": None})
    found = [
        analyzer.break_even(
            analyzer.count(net, (2, 8, 8), rates={"0": rate, "2": rate}),
            dense, convention="rate", memory=memory,
        ).break_even_rate
        for rate in (0.05, 0.2, 0.8)
    ]  # fmt: skip
    assert found[1:] == pytest.approx(found[:1] * 2)


def rated_layer(rate):
    row = {"module": "a", "op": "linear", "dense_macs": 10, "firing_rate": rate, "driven": 1}
    return analyzer.from_rates([row])


def test_a_missing_fact_is_named_with_the_setting_that_does_without():
    rated = rated_layer(0.5)
    with pytest.raises(AnalyzerError, match=r"no facts of .*weights.* charges") as refused:
        rated.energy(convention="rate", memory="lemaire")
    free = refused.value.args[0].split("'")[-2]
    assert rated.energy(convention="rate", memory=free).total_pj == 0.9 * 5
    free = "spyx(input_reads=none, state=none, neurons=none)"
    assert rated.energy(convention="rate", memory=free).components["weights_pj"] == 5 * 160
    profile = analyzer.profile(network(), spikes(), timesteps=T)
    old = replace(
        profile,
        tallies=tuple(replace(t, state_elements=None, state_size=None) for t in profile.tallies),
        contractions=tuple(
            replace(c, outputs=None, passes=None, layer=None, first_read=None)
            for c in profile.contractions
        ),
    )
    with pytest.raises(AnalyzerError, match=r"no facts of states.*state\(state=none\)"):
        old.energy(memory="state")
    with pytest.raises(AnalyzerError, match=r"neurons=none.*state=none"):
        old.energy(memory="lemaire")
    assert old.energy().total_pj == profile.energy().total_pj


def test_a_spiking_model_without_a_known_neuron_says_so():
    profile = analyzer.profile(Rated(0.5).eval(), torch.rand(1, 1))
    said = "no neuron of a known kind"
    assert any(said in note for note in profile.energy(memory="state").notes)
    assert not any(said in note for note in profile.energy().notes)
