"""Memory models: against their formulas by hand, published thresholds, and SpikingJelly's code."""

import math

import pytest
import torch
from spiking_networks import Rated, T, network, spikes
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.op_counter import estimate_simple_energy
from spikingjelly.activation_based.op_counter.analytical_energy import estimate_lemaire_energy
from torch import nn

import analyzer
from analyzer.energy.declared.memory import memory_model


@pytest.mark.parametrize("node", [neuron.IFNode, neuron.LIFNode])
@pytest.mark.parametrize("geometry", [(2, 2, 0), (3, 1, 1), (3, 2, 1)])
def test_spikingjelly_prices_the_same_network_alike(node, geometry):
    net, x = network(node, *geometry), spikes()
    profile = analyzer.profile(net, x, timesteps=T)
    with torch.no_grad():
        functional.reset_net(net)
        last = net(x).count_nonzero().item()
        functional.reset_net(net)
        theirs = estimate_lemaire_energy(net, x)
        functional.reset_net(net)
        simple = estimate_simple_energy(net, x)
        functional.reset_net(net)
    report = profile.energy(memory="lemaire", precision="int32")
    ours = report.components
    assert ours["weights_pj"] == pytest.approx(theirs.breakdown_pj["params_pj"])
    assert ours["state_pj"] == pytest.approx(theirs.breakdown_pj["potential_pj"])
    assert ours["addressing_pj"] == pytest.approx(theirs.breakdown_pj["addressing_pj"])
    # What leaves the model is written by its last layer, and read by none of it.
    queue_word = 1000 * 4 / 8192 * 10
    moved = ours["activations_pj"] + last * queue_word
    assert moved == pytest.approx(theirs.breakdown_pj["inout_pj"])
    # Its accumulates reach over borders; ours are exact.
    beyond = theirs.counts["synop"] - sum(report.table["ac"])
    assert beyond == 0 or geometry[2]
    computed = ours["ac_pj"] + ours["mac_pj"] + ours["neurons_pj"] + 0.1 * (beyond + last)
    assert computed == pytest.approx(theirs.breakdown_pj["ops_pj"])

    ours = profile.energy(memory="spikingjelly").components
    assert ours["weights_pj"] == pytest.approx(simple.breakdown_pj["parameter_memory_pj"])
    assert ours["state_pj"] == pytest.approx(simple.breakdown_pj["neuron_state_memory_pj"])


def test_a_dense_network_by_the_formulas_of_lemaire():
    """The formal column: a convolution 3 -> 4, 3×3, on 6×6, and a linear layer of 7."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(144, 7))
    profile = analyzer.profile(net.eval(), torch.rand(2, 3, 6, 6))
    found = profile.energy(memory="lemaire", precision="int32")

    def word(items):  # up to 8 KiB
        assert 4 * items <= 8192
        return 10 * 4 * items / 8192

    macs, outputs, weights = (4 * 36 * 27, 144 * 7), (144, 7), (108, 1008)
    inputs = (108, 144)
    parameters = [
        (m + o) * word(w + b) for m, o, w, b in zip(macs, outputs, weights, (4, 7), strict=True)
    ]
    assert found.table["weights_pj"].tolist() == pytest.approx(parameters)
    reads = [macs[0] * word(inputs[0]), (144 + 144) * word(inputs[1])]  # the second was written
    assert found.table["activations_pj"].tolist() == pytest.approx(reads)
    addresses = [0.1 * (108 + 144 + 4 * 9), 0.1 * (144 + 7)]
    assert found.table["addressing_pj"].tolist() == pytest.approx(addresses)
    assert found.table["neurons_pj"].tolist() == pytest.approx([0.1 * n for n in outputs])
    assert found.components["state_pj"] == 0


def test_energy_per_sample_does_not_grow_with_the_batch():
    """As SpikingJelly's does, whose memories are sized by tensors with their batch."""
    net, one = network(), spikes()
    many = one.expand(T, 8, 2, 8, 8).contiguous()
    ours = [
        analyzer.profile(net, x, timesteps=T).energy(memory="lemaire", precision="int32")
        for x in (one, many)
    ]
    assert ours[0].total_pj == pytest.approx(ours[1].total_pj)
    with torch.no_grad():
        functional.reset_net(net)
        theirs = estimate_lemaire_energy(net, many).total_pj / 8
        functional.reset_net(net)
    assert theirs > 1.2 * ours[1].total_pj


@pytest.mark.parametrize(
    ("timesteps", "percent"), [(5, 7.50), (6, 6.25), (7, 5.36), (8, 6.25), (9, 5.56), (10, 5.00)]
)
def test_thresholds_of_yan_as_spyx_reports_them(timesteps, percent):
    """The rate at which fetching 8-bit weights for spikes costs what ⌈log2(T+1)⌉ bits cost once."""
    profile = analyzer.profile(Rated(0.1).eval(), torch.rand(1, 1))
    spiking = profile.energy(memory="spyx").components["weights_pj"]
    bits = math.ceil(math.log2(timesteps + 1))
    model = f"spyx(weight_bits={bits})"
    dense = analyzer.profile(
        nn.Sequential(nn.Linear(256, 128), nn.GELU(), nn.Linear(128, 10)).eval(),
        torch.rand(1, 256),
    )
    twin = dense.energy(memory=model).components["weights_pj"]
    synapses = 256 * 128 + 128 * 10
    assert twin == pytest.approx(synapses * bits * 20)
    # 100 rows of spikes at 10 % stand for 10 spikes a synapse.
    a_spike = spiking / (0.1 * 100 * synapses)
    threshold = twin / (a_spike * timesteps * synapses)
    assert round(100 * threshold, 2) == percent
    # At equal widths it is 1/T, whatever else is said of it.
    equal = dense.energy(memory="spyx").components["weights_pj"]
    assert equal / (a_spike * timesteps * synapses) == pytest.approx(1 / timesteps)


def moved(profile, memory):
    return profile.energy("22nm", memory=memory, precision="int8").components["activations_pj"]


@pytest.fixture(scope="module")
def sources():
    """A layer of 256 inputs: real ones, and spikes at 10 %."""
    layer = nn.Linear(256, 8).eval()
    x = torch.zeros(10, 256)
    x[torch.arange(256) % 10, torch.arange(256)] = 1.0
    dense = analyzer.profile(layer, torch.randn(10, 256))
    spiking = analyzer.profile(layer, x)
    assert spiking.counts["input_nonzeros"].sum() == 256
    return dense, spiking


def test_movement_of_yan_decides_at_five_per_cent(sources):
    """Version 4: ⌈log2(T+1)⌉·0.25 / (T·3.0), movement alone, is 5.0 % at T = 5."""
    dense, spiking = sources
    twin = moved(dense, "yan(activation_bits=3)")
    assert twin == pytest.approx(256 * 3 * 0.25)
    a_spike = moved(spiking, "yan") / (0.1 * 256)
    assert a_spike == pytest.approx(3.0)
    assert round(100 * twin / (5 * 256 * a_spike), 1) == 5.0


@pytest.mark.parametrize("timesteps", [3, 5, 7, 15])
def test_a_dense_mode_of_yan_costs_timesteps_by_bits(sources, timesteps):
    """Where events cost what dense messages do, every neuron that always fires costs T / bits."""
    dense, spiking = sources
    bits = math.ceil(math.log2(timesteps + 1))
    a_spike = moved(spiking, "yan(spike_level=dense)") / (0.1 * 256)
    always = timesteps * 256 * a_spike
    assert always / moved(dense, f"yan(activation_bits={bits})") == pytest.approx(timesteps / bits)


@pytest.mark.parametrize("hops", [0.64, 1.5, 4.75])
def test_each_hop_of_yan_costs_as_much_as_the_first(sources, hops):
    for profile in sources:
        assert moved(profile, f"yan(hops={hops})") == pytest.approx(hops * moved(profile, "yan"))
    whole = [p.energy(memory=m).components for p in sources for m in ("yan", f"yan(hops={hops})")]
    for one, other in (whole[:2], whole[2:]):
        rest = {key for key in one if key != "activations_pj"}
        assert {key: one[key] for key in rest} == {key: other[key] for key in rest}


def test_yan_fetches_weights_once(sources):
    for profile in sources:
        weights = profile.energy(memory="yan").components["weights_pj"]
        assert weights == pytest.approx(256 * 8 * 4 * 20)


def test_the_range_of_yan_is_that_of_its_settings():
    model = memory_model("yan")
    prices = {n: [f * level.pj_per_bit for f in model.range["levels"][n]]
              for n, level in model.levels.items() if n != "dram"}  # fmt: skip
    assert prices["sparse"] == pytest.approx([0, 1300])
    assert prices["dense"] == pytest.approx([0, 20.3])


def test_data_movement_is_spyx_and_says_so():
    with pytest.warns(analyzer.AnalyzerWarning, match="'data-movement' is called 'spyx': .*'yan'"):
        old = memory_model("data-movement(weight_bits=4)")
    assert old == memory_model("spyx(weight_bits=4)")


def test_neurons_of_yan_compare_and_subtract():
    net, x = network(), spikes(2)
    profile = analyzer.profile(net, x, timesteps=T)
    compares = sum(tally.compares for tally in profile.tallies)
    fired = sum(o.nonzeros for site in profile.contractions for o in site.first_read_operands)
    assert compares >= 2 * T * sum(net.outputs)
    found = profile.energy("22nm", memory="spyx", precision="int8").components
    assert found["neurons_pj"] == pytest.approx(0.05448 * (compares + fired) / 2)


def test_bit_serial_multiplies_a_dense_network_bit_by_bit():
    dense = analyzer.profile(nn.Linear(8, 4).eval(), torch.rand(5, 8))
    report = dense.energy(memory="bit-serial(activation_bits=4, bit_density=0.5)")
    assert report.components["mac_pj"] == pytest.approx(32 * 4 * 0.5 * 0.9)
    assert report.components["weights_pj"] == pytest.approx(32 * 8 * 3.12)
    assert report.components["activations_pj"] == pytest.approx(8 * 4 * 3.12)


def test_a_bit_serial_report_shows_the_prices_it_used():
    dense = analyzer.profile(nn.Linear(8, 4).eval(), torch.rand(5, 8))
    report = dense.energy("loihi", memory="bit-serial")
    assert report.constants == {"ac_pj": 23.6, "mac_pj": 8 * 23.6}
    assert report.unpriced_macs == 0
    assert report.components["mac_pj"] == pytest.approx(32 * 8 * 23.6)
