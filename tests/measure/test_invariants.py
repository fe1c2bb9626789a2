"""The same work gives the same numbers, whatever way it is written or run."""

from __future__ import annotations

import norse.torch
import pytest
import sinabs.layers
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import analyzer

T, FEATURES = 4, 6
WORK = ("dense_macs", "events", "unary_events", "ac", "mac", "input_elements", "input_nonzeros")


def weights(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(FEATURES, 5), nn.Linear(5, 3)


def spikes(*shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


class InLoop(nn.Module):
    """A single-step network in a loop over the time axis of its input."""

    def __init__(self, net, axis=0):
        super().__init__()
        self.net, self.axis = net, axis
        self.eval()

    def forward(self, x):
        return torch.stack([self.net(step) for step in x.unbind(self.axis)]).mean(0)


class Across(nn.Module):
    """A network for all timesteps at once, time first, on another arrangement of its input."""

    def __init__(self, net, arrange):
        super().__init__()
        self.net, self.arrange = net, arrange
        self.eval()

    def forward(self, x):
        return self.net(self.arrange(x)).mean(0)


def spikingjelly_net(mode, node=neuron.IFNode):
    first, second = weights()
    net = nn.Sequential(first, node(), second)
    functional.set_step_mode(net, mode)
    return net.eval()


def spikingjelly_ways(x, node):
    s, m = (lambda mode=mode: spikingjelly_net(mode, node) for mode in "sm")
    yield "loop over steps", InLoop(s()), x, {}
    yield "all steps at once", Across(m(), lambda x: x), x, {}
    yield "loop=True", s(), x, {"loop": True, "layouts": {"": "T B D"}}
    second = x.transpose(0, 1).contiguous()
    yield "time second, transposed inside", Across(m(), lambda x: x.transpose(0, 1)), second, {}
    yield "time second, in a loop", InLoop(s(), 1), second, {"layouts": {"": "B T D"}}
    merged = x.flatten(0, 1)
    yield "merged", Across(m(), lambda x: x.unflatten(0, (T, -1))), merged, {}


class Hidden(nn.Module):
    """A network of snnTorch that hands its potential on."""

    def __init__(self, make):
        super().__init__()
        (self.a, self.b), self.n = weights(), make(init_hidden=False)
        self.eval()

    def forward(self, x):
        potential, out = self.n.reset_mem(), []
        for step in x:
            spiked, potential = self.n(self.a(step), potential)
            out.append(self.b(spiked))
        return torch.stack(out).mean(0)


def snntorch_ways(x, make):
    def hidden():
        first, second = weights()
        return nn.Sequential(first, make(init_hidden=True), second).eval()

    yield "state inside", InLoop(hidden()), x, {}
    yield "state handed on", Hidden(make).eval(), x, {}
    yield "loop=True", hidden(), x, {"loop": True, "layouts": {"": "T B D"}}


def sinabs_ways(x, plain, squeezed):
    x = x.transpose(0, 1).contiguous()  # samples first, as sinabs has it

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            (self.a, self.b), self.n = weights(), squeezed(num_timesteps=T)

        def forward(self, x):
            return self.b(self.n(self.a(x.flatten(0, 1)))).unflatten(0, (-1, T)).mean(1)

    first, second = weights()
    net = nn.Sequential(first, plain(), second)
    net.register_forward_hook(lambda m, a, out: out.mean(1))
    yield "time on its own axis", net.eval(), x, {}
    yield "squeezed", Squeezed().eval(), x, {}


def norse_ways(x):
    class Cells(nn.Module):
        def __init__(self, cell, loops):
            super().__init__()
            (self.a, self.b), self.n, self.loops = weights(), cell, loops

        def forward(self, x):
            if not self.loops:
                return self.b(self.n(self.a(x))[0]).mean(0)
            state, out = None, []
            for step in x:
                spiked, state = self.n(self.a(step), state)
                out.append(self.b(spiked))
            return torch.stack(out).mean(0)

    yield "cell in a loop", Cells(norse.torch.LIFCell(), True).eval(), x * 8, {}
    yield "all steps at once", Cells(norse.torch.LIF(), False).eval(), x * 8, {}


PARTNERS = {
    "SpikingJelly IF": lambda x: spikingjelly_ways(x, neuron.IFNode),
    "SpikingJelly LIF": lambda x: spikingjelly_ways(x, lambda: neuron.LIFNode(tau=1.5)),
    "snnTorch": lambda x: snntorch_ways(x, lambda **k: snntorch.Leaky(0.9, threshold=0.4, **k)),
    "sinabs": lambda x: sinabs_ways(
        x,
        lambda: sinabs.layers.IAF(spike_threshold=0.5),
        lambda **k: sinabs.layers.IAFSqueeze(spike_threshold=0.5, **k),
    ),
    "norse": norse_ways,
}


def figures(profile):
    """Work a sample, and what each layer reads at each timestep, whatever its name."""
    steps = profile.sparsity("timestep").groupby(["module", "timestep"], sort=False)
    by_step = sorted(
        tuple(table["nonzeros"].tolist())
        for _, table in steps["nonzeros"].sum().reset_index().groupby("module")
    )
    totals = profile.totals
    return {key: totals[key] / profile.samples for key in WORK}, by_step


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_written_each_way(partner, batch):
    x = spikes(T, batch, FEATURES)
    found = {}
    for name, model, given_x, options in PARTNERS[partner](x):
        profile = analyzer.profile(model, given_x, timesteps=T, **options)
        assert (profile.samples, profile.metadata["timesteps"]) == (batch, T), name
        found[name] = figures(profile)
        again = analyzer.profile(model, given_x, **options)
        assert (again.samples, again.metadata["timesteps"]) == (batch, T), name
        assert figures(again) == found[name], name
    first = next(iter(found.values()))
    assert found == dict.fromkeys(found, first)
    assert first[0]["events"] > 0
    assert len(first[1]) == 2


def plain_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()


def spiking_net(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        layer.BatchNorm2d(4),
        neuron.LIFNode(tau=1.2),
        layer.Flatten(),
        layer.Linear(64, 3),
    )
    functional.set_step_mode(net, "m")
    return net.eval()


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 6), min_size=1, max_size=4), data=st.data())
def test_batches_may_be_cut_and_ordered_in_any_way(cuts, data):
    order = data.draw(st.permutations(range(len(cuts))))
    for model, x, axis in (
        (plain_net(), spikes(sum(cuts), 2, 4, 4), 0),
        (spiking_net(), spikes(T, sum(cuts), 2, 4, 4), 1),
    ):
        whole = analyzer.profile(model, x)
        parts = x.split(cuts, axis)
        for watch in ("first", "every"):
            cut = analyzer.profile(model, [parts[i] for i in order], watch=watch)
            assert cut.samples == whole.samples == sum(cuts)
            assert cut.totals == whole.totals


@settings(max_examples=10, deadline=None)
@given(dtype=st.sampled_from(["float64", "int64", "int32", "uint8", "bool"]), n=st.integers(1, 4))
def test_values_may_come_in_any_type(dtype, n):
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain_net()

        def forward(self, x):
            return self.net(x.float())

    x = spikes(n, 2, 4, 4)
    as_floats = analyzer.profile(Cast().eval(), x).totals
    assert analyzer.profile(Cast().eval(), x.to(getattr(torch, dtype))).totals == as_floats


@pytest.mark.parametrize("wrap", [nn.Sequential, nn.DataParallel, torch.compile, "script", "trace"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_may_be_wrapped_compiled_scripted_or_traced(wrap):
    x = spikes(3, 2, 4, 4)
    plain = analyzer.profile(plain_net(), x)
    if wrap == "script":
        model = torch.jit.script(plain_net())
    elif wrap == "trace":
        model = torch.jit.trace(plain_net(), x)
    elif wrap is torch.compile:
        model = torch.compile(plain_net(), backend="eager")
    else:
        model = wrap(plain_net())
    found = analyzer.profile(model, [(x, torch.zeros(3, dtype=torch.long))])
    assert found.samples == 3
    for key in WORK:
        assert found.totals[key] == plain.totals[key], key


def test_an_earlier_forward_changes_nothing():
    for model, x in ((plain_net(), spikes(3, 2, 4, 4)), (spiking_net(), spikes(T, 3, 2, 4, 4))):
        fresh = analyzer.profile(model, x)
        with torch.no_grad():
            model(spikes(*x.shape, seed=1))
        assert analyzer.profile(model, x) == fresh
        with analyzer.watch(model, timesteps=fresh.metadata["timesteps"]) as watched:
            functional.reset_net(model)
            model(x)
        functional.reset_net(model)
        assert watched.profile().totals == fresh.totals
