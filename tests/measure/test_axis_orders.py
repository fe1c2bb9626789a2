"""Which of time and samples comes first in what modules read, where sizes do not tell."""

import pytest
import sinabs.layers
import torch
from frame_models import Call, fully_connected, spikes, spiking
from spikingjelly.activation_based import layer, neuron
from torch import nn
from torch.nn import functional as F

import analyzer


def data(batch, width=6):
    """Spikes ``[B, T, width]`` that are more in each timestep."""
    steps = [spikes(batch, width, seed=t) * (torch.arange(width) < t + 2) for t in range(4)]
    return torch.stack(steps, 1)


def by_step(profile, module):
    table = profile.sparsity("timestep").query("module == @module").sort_values("timestep")
    return [int(n) for n in table["nonzeros"]]


def wanted(x):
    return [int((x[:, t] != 0).sum()) for t in range(4)]


def merged(m, x):
    y = m.f(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    y = m.n(y.transpose(0, 1)).transpose(0, 1)
    return m.o(y.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)


def reshaped(m, x):
    y = m.f(x.reshape(-1, 6)).view(*x.shape[:2], -1).permute(1, 0, 2).contiguous()
    return m.o(m.n(y).permute(1, 0, 2).reshape(-1, 8)).view(*x.shape[:2], -1).mean(1)


def apart(m, x):
    return m.o(m.n(m.f(x).movedim(1, 0)).movedim(0, 1)).mean(1)


def through_attention(m, x):
    y = m.f(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    y = (y @ y.mT).softmax(-1) @ y
    y = m.n(y.transpose(0, 1)).transpose(0, 1)
    return m.o((y + 1 - 1).flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)


def parts():
    torch.manual_seed(0)
    return {
        "f": nn.Linear(6, 8), "n": neuron.IFNode(v_threshold=0.1, step_mode="m"),
        "o": nn.Linear(8, 3),
    }  # fmt: skip


@pytest.mark.parametrize("forward", [merged, reshaped, apart, through_attention])
@pytest.mark.parametrize("batch", [1, 3, 4, 5])
@pytest.mark.parametrize("layouts", [None, {"": "B T D"}])
def test_samples_first_within_a_multi_step_model(forward, batch, layouts):
    x, sent = data(batch), []
    model = Call(forward, **parts()).eval()
    model.n.register_forward_hook(lambda module, args, output: sent.append(output))
    profile = analyzer.profile(model, x, layouts=layouts)
    assert (profile.samples, profile.metadata["timesteps"]) == (batch, 4)
    if batch == 1 and forward is apart:
        return  # one sample [1, T, C] may as well be one of T positions
    assert by_step(profile, "f") == wanted(x)
    assert by_step(profile, "o") == [int((step != 0).sum()) for step in sent[0]]


@pytest.mark.parametrize("batch", [1, 3, 4, 5])
def test_time_first_is_read_as_before(batch):
    x = data(batch)
    model = Call(
        lambda m, x: m.o(m.n(m.f(x.flatten(0, 1)).unflatten(0, x.shape[:2])).flatten(0, 1)),
        **parts(),
    ).eval()
    for given in (x.mT.mT.transpose(0, 1), x.transpose(0, 1).contiguous()):
        assert by_step(analyzer.profile(model, given), "f") == wanted(x)


@pytest.mark.parametrize("batch", [3, 4])
def test_later_batches_follow_the_order_that_the_first_showed(batch):
    sizes = (batch, 2, batch)
    profile = analyzer.profile(Call(merged, **parts()).eval(), [data(n) for n in sizes])
    assert profile.samples == sum(sizes)
    assert by_step(profile, "f") == [
        sum(several) for several in zip(*(wanted(data(n)) for n in sizes), strict=True)
    ]


@pytest.mark.parametrize("batch", [3, 4])
def test_an_input_of_merged_samples_first(batch):
    x = data(batch)
    model = Call(
        lambda m, x: m.o(m.n(m.f(x).view(-1, 4, 8).transpose(0, 1))).mean(0), **parts()
    ).eval()
    given = [(x.flatten(0, 1), torch.zeros(batch, dtype=torch.long))]
    assert by_step(analyzer.profile(model, given, timesteps=4), "f") == wanted(x)


@pytest.mark.parametrize("batch", [3, 4])
def test_convolutions_of_spikingjelly_on_samples_first(batch):
    x = torch.stack([spikes(batch, 2, 5, 5, seed=t) * (t > 0) for t in range(4)], 1)
    net = spiking(layer.Conv2d(2, 3, 3), neuron.IFNode(), layer.Flatten(), layer.Linear(27, 3))
    model = Call(lambda m, x: m.net(x.transpose(0, 1)).mean(0), net=net).eval()
    assert by_step(analyzer.profile(model, x), "net.0") == wanted(x)
    own = Call(
        lambda m, x: m.n(
            F.conv2d(x.flatten(0, 1), m.w).unflatten(0, x.shape[:2]).transpose(0, 1)
        ).mean(0),
        n=neuron.IFNode(step_mode="m"),
        w=nn.Parameter(torch.rand(3, 2, 3, 3)),
    ).eval()
    assert by_step(analyzer.profile(own, x), "") == wanted(x)


@pytest.mark.parametrize("batch", [3, 4])
def test_a_layer_that_reads_both_orders_has_no_timesteps(batch):
    def forward(m, x):
        y = m.f(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return m.f(m.n(y.transpose(0, 1)).flatten(0, 1))

    model = Call(forward, f=nn.Linear(6, 6), n=neuron.IFNode(step_mode="m")).eval()
    with pytest.raises(analyzer.AnalyzerError, match="holds no timestep activity"):
        analyzer.profile(model, data(batch)).sparsity("timestep")


@pytest.mark.parametrize("batch", [3, 4])
def test_neurons_that_are_given_samples_first(batch):
    x = data(batch)
    for kind, given in (
        (sinabs.layers.LIF(tau_mem=5.0), x),
        (sinabs.layers.LIFSqueeze(tau_mem=5.0, batch_size=batch), x.flatten(0, 1)),
    ):
        model = nn.Sequential(nn.Linear(6, 8), kind, nn.Linear(8, 3)).eval()
        profile = analyzer.profile(model, given)
        assert (profile.samples, profile.metadata["timesteps"]) == (batch, 4)
        assert by_step(profile, "0") == wanted(x)


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_a_neuron_that_runs_on_from_sample_to_sample_is_refused(batch):
    model = Call(lambda m, x: m.o(m.n(m.f(x.flatten(0, 1)))), **parts()).eval()
    given = [(data(batch), torch.zeros(batch, dtype=torch.long))]
    with pytest.raises(analyzer.AnalyzerError, match=rf"'n' runs over {4 * batch}.*unflatten"):
        analyzer.profile(model, given)


def test_watch_reads_the_order_too():
    model, x = Call(merged, **parts()).eval(), data(3)
    with analyzer.watch(model) as watched, torch.no_grad():
        model(x)
    assert by_step(watched.profile(), "f") == wanted(x)


def test_one_sample_or_one_timestep_needs_no_order():
    for shape in ((1, 4, 6), (4, 1, 6)):
        profile = analyzer.profile(fully_connected(), spikes(*shape))
        assert (profile.samples, profile.metadata["timesteps"]) == (shape[1], shape[0])


@pytest.mark.parametrize("batch", [2, 4, 5])
def test_as_many_channels_as_timesteps_are_no_timesteps(batch):
    """A stem that reads images [B, 4, H, W] before they are repeated over four timesteps."""

    def forward(m, x):
        y = m.stem(x).expand(4, batch, 4, 3, 3)
        return m.net(y).mean(0)

    net = spiking(layer.Conv2d(4, 3, 3), neuron.IFNode(v_threshold=0.1))
    model = Call(forward, stem=nn.Conv2d(4, 4, 3), net=net).eval()
    profile = analyzer.profile(model, torch.rand(batch, 4, 5, 5))
    assert profile.samples == batch
    assert by_step(profile, "stem") == []
    assert len(set(by_step(profile, "net.0"))) == 1
