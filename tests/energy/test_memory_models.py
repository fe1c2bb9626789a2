"""Memory models: against their formulas by hand, published thresholds, and SpikingJelly's code."""

import math
from dataclasses import replace

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter import estimate_simple_energy
from spikingjelly.activation_based.op_counter.analytical_energy import estimate_lemaire_energy
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError

T = 4
WORD = 32


class Spiking(nn.Module):
    """A convolution and two linear layers, each with a neuron behind it."""

    def __init__(self, node, kernel, stride, padding):
        super().__init__()
        side = (8 + 2 * padding - kernel) // stride + 1
        self.conv = layer.Conv2d(2, 6, kernel, stride, padding, step_mode="m")
        self.hidden = layer.Linear(6 * side**2, 20, step_mode="m")
        self.head = layer.Linear(20, 5, step_mode="m")
        self.neurons = nn.ModuleList(node(step_mode="m") for _ in range(3))
        self.outputs = 6 * side**2, 20, 5

    def forward(self, x):
        x = self.neurons[0](self.conv(x)).flatten(2)
        return self.neurons[2](self.head(self.neurons[1](self.hidden(x))))


def network(node=neuron.IFNode, kernel=2, stride=2, padding=0):
    torch.manual_seed(0)
    net = Spiking(node, kernel, stride, padding).eval()
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(3)
    return net


def spikes(batch=1):
    return (torch.rand(T, batch, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3).float()


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


class Rated(nn.Module):
    """Spikes of a given rate through 256-128-10, as Spyx does it."""

    def __init__(self, rate):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 10)])
        self.spikes = [torch.zeros(100, 256), torch.zeros(100, 128)]
        for x in self.spikes:
            x[: round(100 * rate)] = 1

    def forward(self, x):
        return sum(f(s + 0 * x.sum()).sum() for f, s in zip(self.layers, self.spikes, strict=True))


@pytest.mark.parametrize(
    ("timesteps", "percent"), [(5, 7.50), (6, 6.25), (7, 5.36), (8, 6.25), (9, 5.56), (10, 5.00)]
)
def test_thresholds_of_yan_as_spyx_reports_them(timesteps, percent):
    """The rate at which fetching 8-bit weights for spikes costs what ⌈log2(T+1)⌉ bits cost once."""
    profile = analyzer.profile(Rated(0.1).eval(), torch.rand(1, 1))
    spiking = profile.energy(memory="data-movement").components["weights_pj"]
    bits = math.ceil(math.log2(timesteps + 1))
    model = f"data-movement(weight_bits={bits})"
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
    equal = dense.energy(memory="data-movement").components["weights_pj"]
    assert equal / (a_spike * timesteps * synapses) == pytest.approx(1 / timesteps)


def test_what_decides_the_answer_is_a_setting():
    net, x = network(), spikes(3)
    profile = analyzer.profile(net, x, timesteps=T)
    weights = sum(p.numel() for name, p in net.named_parameters() if "weight" in name)
    biases = 6 + 20 + 5
    events = profile.totals["ac"] / 3

    def weights_pj(settings):
        return profile.energy(memory=f"data-movement({settings})").components["weights_pj"]

    assert weights_pj("") == pytest.approx(events * 8 * 20)
    assert weights_pj("weight_bits=4") == pytest.approx(events * 4 * 20)
    assert weights_pj("weight_reads=step") == pytest.approx(T * weights * 8 * 20)
    assert weights_pj("weight_reads=inference") == pytest.approx(weights * 8 * 20)
    assert weights_pj("weight_reads='inference', weight_level='sram_1MiB'") == pytest.approx(
        weights * 8 * 100 / 64
    )
    with_bias = weights_pj("weight_reads=inference, bias_reads=output")
    outputs = T * sum(net.outputs)
    assert with_bias == pytest.approx((weights + outputs) * 8 * 20)
    assert biases == sum(p.numel() for n, p in net.named_parameters() if "bias" in n)


def test_state_is_read_and_written_at_each_update():
    net = network(neuron.LIFNode)
    profile = analyzer.profile(net, spikes(2), timesteps=T)
    updates = T * sum(net.outputs)
    report = profile.energy(memory="state")
    assert report.components["state_pj"] == pytest.approx(2 * updates * WORD * 20 / 64)
    rows = report.table[report.table["reason"] == "neurons"]
    assert rows["module"].tolist() == [f"neurons.{i}" for i in range(3)]
    assert rows["total_pj"].sum() == report.components["state_pj"]
    kept = profile.energy(memory="state(neurons=dynamics)").components["neurons_pj"]
    totals = {k: sum(getattr(t, k) for t in profile.tallies) for k in ("adds", "compares")}
    multiplies = sum(t.multiplies for t in profile.tallies)
    by_hand = 0.9 * (totals["adds"] + totals["compares"]) + 3.7 * multiplies
    assert kept == pytest.approx(by_hand / 2)


def test_all_that_a_neuron_keeps_moves():
    import snntorch

    sizes = []
    for kind in (snntorch.Leaky(0.9), snntorch.Synaptic(0.9, 0.8)):
        kind.init_hidden = True
        net = nn.Sequential(nn.Linear(4, 6), kind).eval()
        profile = analyzer.profile(net, torch.rand(3, 4))
        sizes.append(profile.energy(memory="state").components["state_pj"])
    updates = 6 * 2 * WORD * 20 / 64  # of each figure: the potential, and the current
    assert sizes == pytest.approx([updates, 2 * updates])


def test_expg_if_is_charged_and_then_fires():
    """Over T timesteps each, so its potential moves twice as often as that of an IF neuron."""
    from analyzer import models

    model = models.build("ge2mst-tiny", groups=2, steps=3).eval()
    profile = analyzer.profile(model, torch.rand(1, 1, 32, 32))
    neurons = [tally for tally in profile.tallies if tally.op == "ExpGIF"]
    assert neurons
    assert all(tally.state_elements == 2 * 6 * tally.output_elements for tally in neurons)


def test_neurons_of_yan_compare_and_subtract():
    net, x = network(), spikes(2)
    profile = analyzer.profile(net, x, timesteps=T)
    compares = sum(tally.compares for tally in profile.tallies)
    fired = sum(o.nonzeros for site in profile.contractions for o in site.first_read_operands)
    assert compares >= 2 * T * sum(net.outputs)
    found = profile.energy("22nm", memory="data-movement", precision="int8").components
    assert found["neurons_pj"] == pytest.approx(0.05448 * (compares + fired) / 2)


def test_bits_of_a_dense_network_one_after_the_other():
    dense = analyzer.profile(nn.Linear(8, 4).eval(), torch.rand(5, 8))
    report = dense.energy(memory="bit-serial(activation_bits=4, bit_density=0.5)")
    assert report.components["mac_pj"] == pytest.approx(32 * 4 * 0.5 * 0.9)
    assert report.components["weights_pj"] == pytest.approx(32 * 8 * 3.12)
    assert report.components["activations_pj"] == pytest.approx(8 * 4 * 3.12)


def test_queries_keys_and_values_read_what_was_written_once():
    class Projections(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(3, 8)
            self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x):
            x = (self.embed(x) > 0).float()
            return (
                self.q(x).sum() + self.k(x.mT.contiguous().mT).sum() + self.v(x.mT.clone().mT).sum()
            )

    x = torch.rand(6, 3)
    net = Projections().eval()
    profile = analyzer.profile(net, x)
    fired = int((net.embed(x) > 0).sum())
    first_read = {
        site.module: sum(o.nonzeros for o in site.first_read_operands)
        for site in profile.contractions
    }
    assert first_read == {"embed": 0, "q": fired, "k": 0, "v": 0}


def test_memory_scales_with_activity_and_break_even_holds():
    """Energy is linear in what the neurons fire, whatever moves."""
    from analyzer.energy.price import price

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


def test_counted_shapes_move_as_measured_ones_do():
    """With the rates of a run, shapes alone give what the run gave."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, groups=2), nn.Flatten(), nn.Linear(64, 8)).eval()
    x = (torch.rand(1, 2, 8, 8) < 0.4).float()
    measured = analyzer.profile(net, x)
    rates = {s.module: s.lhs.nonzeros / s.lhs.elements for s in measured.contractions}
    counted = analyzer.count(net, (2, 8, 8), rates={"0": rates["0"], "2": None})
    ours, theirs = (
        p.energy(convention="rate", memory="lemaire").table for p in (counted, measured)
    )
    for column in ("weights_pj", "activations_pj", "state_pj", "addressing_pj", "neurons_pj"):
        assert ours[column].tolist() == pytest.approx(theirs[column].tolist())


def test_facts_that_are_not_there_are_asked_for():
    rated = rated_layer(0.5)
    with pytest.raises(AnalyzerError, match=r"no facts of .*weights.* charges") as refused:
        rated.energy(convention="rate", memory="lemaire")
    free = refused.value.args[0].split("'")[-2]
    assert rated.energy(convention="rate", memory=free).total_pj == 0.9 * 5
    free = "data-movement(input_reads=none, state=none, neurons=none)"
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


def rated_layer(rate):
    row = {"module": "a", "op": "linear", "dense_macs": 10, "firing_rate": rate, "driven": 1}
    return analyzer.from_rates([row])


def test_a_spiking_model_without_a_known_neuron_says_so():
    profile = analyzer.profile(Rated(0.5).eval(), torch.rand(1, 1))
    said = "no neuron of a known kind"
    assert any(said in note for note in profile.energy(memory="state").notes)
    assert not any(said in note for note in profile.energy().notes)


class Chain(nn.Module):
    """Two layers without a module of their own, and attention's two projections."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.randn(16, 8))
        self.b = nn.Parameter(torch.randn(100, 16))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        y = nn.functional.linear(nn.functional.linear(x, self.a), self.b)
        return y.sum() + self.attention(x, x, x)[0].sum()


def test_every_weight_is_read_once_an_inference():
    net = Chain().eval()
    profile = analyzer.profile(net, torch.rand(3, 5, 8))
    rows = profile.energy(memory="data-movement(weight_reads=inference)").table
    weights = rows.groupby("module")["weights_pj"].sum() / 160
    assert weights[""] == pytest.approx(16 * 8 + 100 * 16)
    inside = weights[[m for m in weights.index if m.startswith("attention")]].sum()
    assert inside == pytest.approx(4 * 64)


class Stepped(nn.Module):
    """The same spiking layers, called once a timestep or once for all."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode
        self.first = layer.Linear(6, 9, step_mode=mode)
        self.neuron = neuron.IFNode(step_mode=mode)
        self.second = layer.Linear(9, 4, step_mode=mode)

    def forward(self, x):  # [T, B, 6]
        if self.mode == "m":
            return self.second(self.neuron(self.first(x))).sum(0)
        return sum(self.second(self.neuron(self.first(step))) for step in x)


def stepped(mode, **given):
    torch.manual_seed(0)
    net = Stepped(mode).eval()
    x = (torch.rand(T, 3, 6, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    x[0] = 0  # so that the layers read silence first
    return analyzer.profile(net, x, layouts={"": "T B C"}, **given)


REUSE = ("inference", "step")


@pytest.mark.parametrize(
    "memory",
    ["lemaire", "bit-serial", "state", *(f"data-movement(weight_reads={r})" for r in REUSE)],
)
def test_a_loop_over_time_moves_what_one_call_moves(memory):
    loop, whole = (stepped(mode, timesteps=T).energy(memory=memory) for mode in "sm")
    assert loop.components == pytest.approx(whole.components)


class Mixed(nn.Module):
    """Spiking queries times real keys."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.q = (torch.rand(1, 5, 8, generator=generator) < 0.5).float()
        self.k = torch.rand(1, 8, 5, generator=generator) + 0.1

    def forward(self, x):
        return (self.q + 0 * x.sum()) @ (self.k + 0 * x.sum())


def test_reals_that_meet_spikes_are_no_spikes():
    profile = analyzer.profile(Mixed().eval(), torch.rand(1, 1))
    fired = int(Mixed().q.sum())
    moved = profile.energy(memory="data-movement").components
    assert moved["activations_pj"] == pytest.approx(40 * 8 * 0.25)
    assert moved["neurons_pj"] == pytest.approx(0.9 * fired)
    moved = profile.energy(memory="bit-serial").components["activations_pj"]
    assert moved == pytest.approx((40 * 8 + fired) * 3.12)


@pytest.mark.parametrize("memory", ["lemaire", "bit-serial", "data-movement"])
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


def test_what_a_convention_leaves_out_moves_nothing():
    profile = analyzer.profile(network(), spikes(2), timesteps=T)
    table = profile.energy(convention="spikingresformer", memory="lemaire").table
    rows = table[table["reason"].str.endswith("left out")]
    assert set(rows["module"]) == {"conv", "head"}
    assert rows["total_pj"].eq(0).all()


def test_a_layer_without_a_bias_reads_none():
    sizes = []
    for bias in (False, True):
        profile = analyzer.profile(nn.Linear(8, 4, bias=bias).eval(), torch.rand(3, 8))
        sizes.append(profile.energy(memory="spikingjelly").components["weights_pj"])
    assert sizes == pytest.approx([32 * 32 * 3.12, (32 + 4) * 32 * 3.12])


def test_bit_serial_prices_are_the_prices_that_are_shown():
    dense = analyzer.profile(nn.Linear(8, 4).eval(), torch.rand(5, 8))
    report = dense.energy("loihi", memory="bit-serial")
    assert report.constants == {"ac_pj": 23.6, "mac_pj": 8 * 23.6}
    assert report.unpriced_macs == 0
    assert report.components["mac_pj"] == pytest.approx(32 * 8 * 23.6)


def test_chips_without_multiplication():
    profile = analyzer.profile(network(neuron.LIFNode), spikes(2), timesteps=T)
    updates = T * sum(network().outputs)
    moved = profile.energy("loihi", memory="data-movement(neurons=dynamics)").components
    assert moved["neurons_pj"] == pytest.approx(81 * updates)
    with pytest.raises(AnalyzerError, match=r"'tianjic' has no multiplication.*neurons=none"):
        profile.energy("tianjic", memory="lemaire")
    cpu = profile.energy("cpu", memory="data-movement(neurons=dynamics)").components
    work = sum(t.adds + t.compares + t.multiplies for t in profile.tallies)
    assert cpu["neurons_pj"] == pytest.approx(8600 * work / 2)


def test_weights_without_a_multiplier_still_read_every_window(tmp_path):
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
