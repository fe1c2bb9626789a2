"""What moves between memory and arithmetic, and how often: weights, inputs, outputs and state."""

import pytest
import snntorch
import torch
from random_spikes import random_spikes
from spiking_networks import WORD, T, network, spikes
from spikingjelly.activation_based import layer, neuron
from torch import nn

import analyzer
from analyzer import models


def test_widths_levels_and_reuse_of_weights_are_settings():
    net, x = network(), spikes(3)
    profile = analyzer.profile(net, x, timesteps=T)
    weights = sum(p.numel() for name, p in net.named_parameters() if "weight" in name)
    biases = 6 + 20 + 5
    events = profile.totals["ac"] / 3

    def weights_pj(settings):
        return profile.energy(memory=f"spyx({settings})").components["weights_pj"]

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
    rows = profile.energy(memory="spyx(weight_reads=inference)").table
    weights = rows.groupby("module")["weights_pj"].sum() / 160
    assert weights[""] == pytest.approx(16 * 8 + 100 * 16)
    inside = weights[[m for m in weights.index if m.startswith("attention")]].sum()
    assert inside == pytest.approx(4 * 64)


def test_a_layer_without_a_bias_reads_none():
    sizes = []
    for bias in (False, True):
        profile = analyzer.profile(nn.Linear(8, 4, bias=bias).eval(), torch.rand(3, 8))
        sizes.append(profile.energy(memory="spikingjelly").components["weights_pj"])
    assert sizes == pytest.approx([32 * 32 * 3.12, (32 + 4) * 32 * 3.12])


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


def test_every_state_variable_of_a_neuron_moves():
    sizes = []
    for kind in (snntorch.Leaky(0.9), snntorch.Synaptic(0.9, 0.8)):
        kind.init_hidden = True
        net = nn.Sequential(nn.Linear(4, 6), kind).eval()
        profile = analyzer.profile(net, torch.rand(3, 4))
        sizes.append(profile.energy(memory="state").components["state_pj"])
    updates = 6 * 2 * WORD * 20 / 64  # of each figure: the potential, and the current
    assert sizes == pytest.approx([updates, 2 * updates])


def test_the_potential_of_expg_if_moves_while_it_is_charged_and_while_it_fires():
    """Over T timesteps each, so it moves twice as often as that of an IF neuron."""
    model = models.build("ge2mst-tiny", groups=2, steps=3).eval()
    profile = analyzer.profile(model, torch.rand(1, 1, 32, 32))
    neurons = [tally for tally in profile.tallies if tally.op == "ExpGIF"]
    assert neurons
    assert all(tally.state_elements == 2 * 6 * tally.output_elements for tally in neurons)


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


class Mixed(nn.Module):
    """Spiking queries times real keys."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.q = (torch.rand(1, 5, 8, generator=generator) < 0.5).float()
        self.k = torch.rand(1, 8, 5, generator=generator) + 0.1

    def forward(self, x):
        return (self.q + 0 * x.sum()) @ (self.k + 0 * x.sum())


def test_reals_that_are_multiplied_by_spikes_are_not_priced_as_spikes():
    profile = analyzer.profile(Mixed().eval(), torch.rand(1, 1))
    fired = int(Mixed().q.sum())
    moved = profile.energy(memory="spyx").components
    assert moved["activations_pj"] == pytest.approx(40 * 8 * 0.25)
    assert moved["neurons_pj"] == pytest.approx(0.9 * fired)
    moved = profile.energy(memory="bit-serial").components["activations_pj"]
    assert moved == pytest.approx((40 * 8 + fired) * 3.12)


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
    x = random_spikes(T, 3, 6)
    x[0] = 0  # so that the layers read silence first
    return analyzer.profile(net, x, layouts={"": "T B C"}, **given)


REUSE = ("inference", "step")


@pytest.mark.parametrize(
    "memory",
    ["lemaire", "bit-serial", "state", *(f"spyx(weight_reads={r})" for r in REUSE)],
)
def test_a_loop_over_time_moves_what_one_call_moves(memory):
    loop, whole = (stepped(mode, timesteps=T).energy(memory=memory) for mode in "sm")
    assert loop.components == pytest.approx(whole.components)


def test_shapes_with_the_rates_of_a_run_move_what_the_run_moved():
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
