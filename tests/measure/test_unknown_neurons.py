"""Neurons of users beside known ones: memory models say whose state is missing."""

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

import analyzer

T = 3


class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()


class Surrogate(nn.Module):
    def forward(self, x):
        return Step.apply(x)


class Holds(nn.Module):
    """Keeps its potential in an attribute, and fires in a module within."""

    def __init__(self):
        super().__init__()
        self.surrogate = Surrogate()
        self.v = 0.0

    def forward(self, x):
        self.v = self.v * 0.5 + x
        spikes = self.surrogate(self.v - 0.2)
        self.v = self.v - spikes
        return spikes

    def reset(self):
        self.v = 0.0


class HandedOn(nn.Module):
    """Is given its potential, and gives it back."""

    def forward(self, x, v):
        v = v * 0.5 + x
        spikes = torch.heaviside(v - 0.2, torch.tensor(0.0))
        return spikes, v - spikes


class Loops(nn.Module):
    """Loops over time."""

    def forward(self, x):
        v, out = torch.zeros_like(x[0]), []
        for now in x:
            v = v + now
            out.append(Step.apply(v - 0.2))
            v = v - out[-1]
        return torch.stack(out)


class Subclass(neuron.LIFNode):
    """Redefines a method of a known neuron."""

    def single_step_functional_forward(self, *args, **kwargs):
        return super().single_step_functional_forward(*args, **kwargs)


class Binary(nn.Module):
    """Keeps nothing from one timestep to the next."""

    def forward(self, x):
        return torch.sign(x)


class Net(nn.Module):
    """A neuron that may be known, then another."""

    def __init__(self, own, known=True, mode="s", steps=T):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.lif = neuron.LIFNode(step_mode=mode, v_threshold=0.05) if known else nn.Identity()
        self.own = own
        self.steps = steps

    def forward(self, x):
        if isinstance(self.own, Loops):
            x = self.lif(self.first(x.expand(self.steps, *x.shape)))
            return self.head(self.own(self.second(x))).mean(0)
        out, v = 0, torch.zeros(len(x), 8)
        for _ in range(self.steps):
            current = self.second(self.lif(self.first(x)))
            spikes = self.own(current, v) if isinstance(self.own, HandedOn) else self.own(current)
            spikes, v = spikes if isinstance(spikes, tuple) else (spikes, v)
            out = out + self.head(spikes)
        return out


def reset(model):
    for module in model.modules():
        if hasattr(module, "reset"):
            module.reset()


def profiled(model, **settings):
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) * 3
    settings = {"reset": reset, "name": "net"} | settings
    return analyzer.profile(model.eval(), x, timesteps=getattr(model, "steps", 1), **settings)


CASES = {
    "held": (lambda: Net(Holds()), ["own"]),
    "held once": (lambda: Net(Holds(), steps=1), ["own"]),
    "handed on": (lambda: Net(HandedOn(), steps=1), ["own"]),
    "loop": (lambda: Net(Loops(), mode="m"), ["own"]),
    "no known one": (lambda: Net(Holds(), known=False), ["own"]),
    "subclass": (lambda: Net(Subclass()), ["own"]),
    "binary": (lambda: Net(Binary(), steps=1), []),
    "known": (lambda: Net(neuron.IFNode()), []),
    "smooth": (lambda: Net(neuron.IFNode(surrogate_function=surrogate.ATan(spiking=False))), []),
}


@pytest.mark.parametrize("name", CASES)
def test_whose_state_is_missing(name, tmp_path):
    make, expected = CASES[name]
    profile = profiled(make())
    assert profile.metadata["unknown_neurons"] == expected
    report = profile.energy(memory="state")
    said = [note for note in report.notes if "no known kind fire in own" in note]
    assert len(said) == len(expected)
    assert report.total_text.startswith("≥ ") == bool(expected) == report.is_lower_bound
    assert not profile.energy().is_lower_bound
    assert not profile.energy(memory="state(state=none)").is_lower_bound
    loaded = analyzer.load(profile.save(tmp_path / "p.json"))
    assert loaded.energy(memory="state").total_text == report.total_text
    assert (profile + loaded).metadata["unknown_neurons"] == expected


@pytest.mark.parametrize("name", CASES)
def test_the_table_of_spikes_says_who_is_missing(name, tmp_path):
    make, expected = CASES[name]
    profile = profiled(make())
    loaded = analyzer.load(profile.save(tmp_path / "p.json"))
    for table in (profile.spikes(), loaded.spikes(), (profile + loaded).spikes()):
        rows = table[table["neuron"] == ""]
        assert rows["module"].tolist() == expected
        assert rows["note"].str.contains("analyzer.neuron").all()
        assert rows[["neurons", "spikes", "firing_rate", "silent"]].isna().all(axis=None)


def test_a_neuron_that_is_taught_is_known():
    with analyzer.neuron.temporarily():
        analyzer.neuron(Holds, lambda m, x, v: _held(x, v), state=["v"], reset="reset")
        profile = profiled(Net(Holds()))
    assert profile.metadata["unknown_neurons"] == []
    assert profile.energy(memory="state").total_text[0] != "≥"


def _held(x, v):
    v = v * 0.5 + x
    spike = v > 0.2
    return spike, v - spike


def test_what_no_spikes_drive_lacks_no_state():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x):
            for _ in range(2):
                x = torch.where(x > 0.1, x, x * 0.5)
            return self.layer(x + 0.1)

    profile = profiled(Masked())
    assert profile.metadata["unknown_neurons"] == [""]
    assert not profile.energy(memory="state").is_lower_bound


def test_there_is_no_break_even_with_a_lower_bound():
    spiking, dense = profiled(Net(Holds())), profiled(Net(nn.ReLU(), known=False))
    with pytest.raises(
        analyzer.AnalyzerError, match=r"no break-even with a lower bound: .* in own"
    ):
        analyzer.break_even(spiking, dense, memory="state")
    found = analyzer.beyond_arithmetic(dense, [spiking])
    assert any("state is left out: there is no break-even" in note for note in found.skipped)


def test_one_batch_says_what_many_do():
    model, x = Net(Holds()).eval(), torch.rand(6, 6)
    whole = analyzer.profile(model, x, timesteps=T, reset=reset)
    parts = analyzer.profile(model, list(x.split(2)), timesteps=T, reset=reset)
    assert whole.metadata["unknown_neurons"] == parts.metadata["unknown_neurons"] == ["own"]
