"""What layers send, against outputs that are known by hand or taken by hooks on the modules."""

from dataclasses import replace

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

import analyzer
from analyzer import models
from analyzer.data import digits
from analyzer.measure.neurons.registry import dynamics
from analyzer.models.neurons import IF, LIF

T = 3


class Given(nn.Module):
    """A neuron that sends what it is told; taught, one timestep a call."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = outputs
        self.at = 0

    def forward(self, x):
        self.at += 1
        return self.outputs[(self.at - 1) % len(self.outputs)] + 0 * x


@pytest.fixture(autouse=True)
def taught():
    with analyzer.neuron.temporarily():
        analyzer.neuron(Given, lambda module, x: (x >= 1,), state=0)
        yield


def rows(profile):
    return profile.spikes().set_index("module")


def sent(*outputs):
    """The row of a layer that sends these, one a batch."""
    model = nn.Sequential(nn.Identity(), Given(*outputs)).eval()
    inputs = [torch.ones(out.shape) for out in outputs]
    profile = analyzer.profile(model, inputs, reset=lambda _: None, watch="every")
    return rows(profile).loc["1"]


def test_silence_is_that_of_all_batches_together():
    first = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]])
    second = torch.tensor([[0, 0, 1.0, 0], [1, 0, 0, 0]])
    row = sent(first, second)
    assert (row["neurons"], row["spikes"], row["silent"]) == (4, 3, 2)
    assert row["firing_rate"] == 3 / 16
    assert (sent(first)["silent"], sent(second)["silent"]) == (3, 2)


def test_values_that_are_no_spikes_are_said_to_be_none():
    row = sent(torch.tensor([[0.5, 0.123, 0]]))
    assert (row["values"], row["neurons"]) == ("real", 3)
    assert row[["spikes", "firing_rate", "silent"]].isna().all()
    assert row["note"] == "sends reals, not spikes"
    later = sent(torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.5, 0.123, 0]]))
    assert later["values"] == "real"
    assert later[["spikes", "silent"]].isna().all()


def test_graded_and_signed_values_are_spikes():
    row = sent(torch.tensor([[3.0, 1, 0], [2.0, 0, 0]]))
    assert (row["values"], row["spikes"], row["silent"]) == ("graded", 3, 1)
    row = sent(torch.tensor([[-0.5, 0.5, 0], [0.5, 0, 0]]))
    assert (row["values"], row["spikes"], row["silent"]) == ("ternary", 3, 1)
    assert row["firing_rate"] == 0.5


def test_a_value_that_is_no_number_costs_only_this_row():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Given(torch.tensor([[1.0, torch.nan]]))
            self.head = nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.layer(x).nan_to_num() + x)

    profile = analyzer.profile(Hidden().eval(), torch.rand(1, 2) + 0.1)
    row = rows(profile).loc["layer"]
    assert "NaN or infinite" in row["note"]
    assert row[["spikes", "silent"]].isna().all()
    assert profile.totals["mac"] == 4


def test_inputs_of_several_sizes_have_no_one_number_of_neurons():
    a, b = torch.tensor([[1.0, 0, 0]]), torch.tensor([[1.0, 0]])
    row = sent(a, b)
    assert (row["spikes"], row["firing_rate"]) == (2, 0.4)
    assert row[["neurons", "silent"]].isna().all()
    assert "sizes" in row["note"]
    one = analyzer.profile(nn.Sequential(nn.Identity(), IF()).eval(), a[None], timesteps=1)
    other = analyzer.profile(nn.Sequential(nn.Identity(), IF()).eval(), b[None], timesteps=1)
    assert "sizes" in rows(replaced(one) + replaced(other)).loc["1", "note"]


def replaced(profile):
    """Without the shape of the input, which must agree before profiles add up."""
    return replace(profile, metadata={**profile.metadata, "input_shape": None})


@pytest.mark.parametrize(
    ("shape", "layouts", "silent"),
    [
        ((5, 2, 3), {"": "N B D"}, 1),  # sequence first
        ((5, 2, 3), {"1": "N B D"}, 1),
        ((2, 5, 3), {}, 1),
        ((5, 3, 2), {"1": "N D B"}, 1),
        ((10, 3), {"": "N B D"}, None),  # merged in an order that nothing tells
    ],
)
def test_where_samples_lie(shape, layouts, silent):
    out = torch.ones(shape)
    samples = shape[-1] if layouts.get("1") == "N D B" else 2
    if silent:
        axis = shape.index(2)
        out.moveaxis(axis, 0)[:, 3, 1] = 0
    model = nn.Sequential(nn.Identity(), Given(out)).eval()

    class Reshaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            return self.net(torch.ones(shape) * x.sum().sign())

    given = {f"net.{k}" if k else "": v for k, v in layouts.items()}
    first = torch.ones(5, 2, 3) if "" in layouts else torch.ones(samples, 5)
    row = rows(analyzer.profile(Reshaped().eval(), first, layouts=given)).loc["net.1"]
    assert row["neurons"] == out.numel() // 2
    if silent is None:
        assert row["silent"] is None or row.isna()["silent"]
        assert "hold the samples" in row["note"]
    else:
        assert row["silent"] == silent


class Net(nn.Module):
    """Three layers and their neurons, over time in one call or step by step."""

    def __init__(self, multi, steps=T):
        super().__init__()
        torch.manual_seed(1)
        mode = "m" if multi else "s"
        self.layers = nn.ModuleList([nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)])
        self.neurons = nn.ModuleList(
            [neuron.LIFNode(step_mode=mode, v_threshold=0.15, v_reset=None) for _ in self.layers]
        )
        self.multi, self.steps = multi, steps

    def forward(self, x):
        if not self.multi:
            return sum(self.once(x) for _ in range(self.steps))
        x = x.expand(self.steps, *x.shape)
        for conv, lif in zip(self.layers, self.neurons, strict=True):
            x = lif(conv(x.flatten(0, 1)).unflatten(0, (self.steps, -1)))
        return x.sum(0)

    def once(self, x):
        for conv, lif in zip(self.layers, self.neurons, strict=True):
            x = lif(conv(x))
        return x


def test_the_same_network_however_it_is_run():
    x = torch.rand(5, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    profiles = [
        analyzer.profile(Net(multi).eval(), inputs, timesteps=T, watch=watch)
        for multi in (True, False)
        for inputs in (x, list(x.split(1)), list(x.split(2)), list(x.flip(0).split(2)))
        for watch in ("first", "every")
    ]
    first = profiles[0].spikes()
    assert first["neurons"].tolist() == [3 * 49, 4 * 25, 2 * 9]
    assert first["timesteps"].tolist() == [T] * 3
    assert (first["silent"] > 0).any()
    assert (first["spikes"] > 0).any()
    assert any(p.metadata["passes"]["replayed"] for p in profiles)
    for profile in profiles[1:]:
        assert profile.sent == profiles[0].sent
    halves = [analyzer.profile(Net(True).eval(), x[i:j], timesteps=T) for i, j in ((0, 2), (2, 5))]
    assert sum(halves).sent == profiles[0].sent
    assert len((halves[0] + halves[1]).sent[0].silent) <= min(len(p.sent[0].silent) for p in halves)


def test_a_pass_that_goes_another_way_counts_once():
    class Turns(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif, self.a, self.b = IF(), nn.Linear(4, 3), nn.Linear(4, 3)
            self.times = 0

        def forward(self, x):
            self.times += 1
            spikes = self.lif(x[None])[0]
            return (self.a if x.sum() < 100 else self.b)(spikes)

    x = torch.tensor([[2.0, 0, 0, 2], [0, 0, 2, 0]])
    batches = [x, x, x * 100, x]
    profile = analyzer.profile(Turns().eval(), batches, reset=lambda _: None)
    row = rows(profile).loc["lif"]
    assert (row["spikes"], row["silent"]) == (12, 1)


def test_a_neuron_within_a_neuron_and_a_shared_one():
    shared = IF()

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = shared

        def forward(self, x):
            return self.lif(self.lif(x[None])[:, :, :2])

    row = rows(analyzer.profile(Twice().eval(), torch.tensor([[2.0, 0, 2]]))).loc["lif"]
    assert row["spikes"] == 3
    assert row[["neurons", "silent"]].isna().all()
    assert row["note"] == "it runs on inputs of several sizes"


def test_timesteps_that_nothing_tells_are_left_empty():
    model = nn.Sequential(nn.Linear(3, 4), neuron.IFNode()).eval()
    profile = analyzer.profile(model, torch.rand(2, 3))
    unknown = replace(profile, metadata={**profile.metadata, "timesteps": None})
    assert rows(unknown).isna().loc["1", "timesteps"]
    multi = nn.Sequential(nn.Linear(3, 4), LIF()).eval()
    profile = analyzer.profile(multi, torch.rand(T, 2, 3), layouts={"": "T B D"}, timesteps=T)
    unknown = replace(profile, metadata={**profile.metadata, "timesteps": None})
    assert rows(unknown).loc["1", "timesteps"] == T


def test_layers_that_never_fire_are_said_wherever_figures_are_shown(tmp_path):
    model = Net(True).eval()
    model.neurons[1].v_threshold = 1e6
    profile = analyzer.profile(model, torch.rand(2, 1, 9, 9), timesteps=T, name="quiet")
    said = "2 spiking layers never fired (neurons.1, neurons.2)"
    assert profile.silent_layers == ("neurons.1", "neurons.2")
    assert repr(profile.summary()).count(said) == 1
    energy = profile.energy()
    for text in (repr(energy), energy.to_markdown(), energy.to_latex().replace("\\_", "_")):
        assert said in text
    assert said not in repr(analyzer.profile(Net(True).eval(), torch.rand(2, 1, 9, 9) * 9).energy())


def test_a_profile_without_it_says_why():
    counted = analyzer.count(nn.Linear(3, 2), (3,))
    with pytest.raises(analyzer.AnalyzerError, match="counted without running the model"):
        counted.spikes()
    assert counted.silent_layers == ()
    assert "pikes" not in repr(counted.summary())
    dense = analyzer.profile(nn.Linear(3, 2).eval(), torch.rand(1, 3))
    assert dense.spikes().empty


@pytest.mark.parametrize("name", ["spikformer-tiny", "ge2mst-tiny", "ge2mst-tiny-stbp"])
def test_trained_networks_sample_by_sample(name):
    model = models.build(name, pretrained=True).eval()
    x = digits()[1].tensors[0][:5]
    outputs = {path: [] for path, m in model.named_modules() if dynamics(m) is not None}
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda _, args, out, to=given: to.append(out.flatten())
        )
        for path, given in outputs.items()
    ]
    with torch.no_grad():
        for sample in x.split(1):
            model(sample)
    for handle in handles:
        handle.remove()
    found = [analyzer.profile(model, list(x.split(n))) for n in (5, 2)]
    assert found[0].sent == found[1].sent
    table = rows(found[0])
    assert list(table.index) == list(outputs)
    assert table["silent"].between(1, table["neurons"] - 1).any()
    for path, row in table.iterrows():
        given = torch.stack(outputs[path]).reshape(5, row["timesteps"], row["neurons"])
        assert row["timesteps"] == model.timesteps
        assert row["spikes"] == given.count_nonzero().item()
        assert row["silent"] == (given == 0).all(0).all(0).sum().item()


def test_samples_merged_with_windows_are_not_told_apart_by_chance():
    """Three samples, and windows of three tokens."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = IF()

        def forward(self, x):
            return self.lif(x.reshape(1, len(x) * 2, 3, 4)).reshape(len(x), -1)

    x = (torch.rand(3, 6, 4, generator=torch.Generator().manual_seed(0)) < 0.3) * 2.0
    row = rows(analyzer.profile(Windows().eval(), x)).loc["lif"]
    assert (row["neurons"], row["spikes"]) == (24, x.count_nonzero())
    assert row.isna()["silent"]
    assert "hold the samples" in row["note"]
    one = rows(analyzer.profile(Windows().eval(), list(x.split(1)))).loc["lif"]
    assert one["silent"] == (x == 0).all(0).sum()
