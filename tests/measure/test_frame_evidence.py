"""Evidence that fits by chance, that comes late, and that contradicts what was declared."""

import pytest
import snntorch
import torch
from frame_models import Call, Loop, MeanOverTime, fully_connected, spikes, spiking
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import analyzer


def gram(kind):
    def forward(m, x):
        features = m.c(x).flatten(2).mean(0)
        return features @ features.mT

    return Call(forward, c=kind(3, 3, 3)).eval()


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(("kind", "axes"), [(nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3)])
@pytest.mark.parametrize("timesteps", [None, 4])
def test_outputs_as_long_as_the_channels_tell_no_samples(batch, kind, axes, timesteps):
    x = torch.rand(batch, 3, *(5,) * axes)
    assert analyzer.profile(gram(kind), x, timesteps=timesteps).samples == batch
    assert analyzer.profile(gram(kind), [x, torch.rand(2, *x.shape[1:])]).samples == batch + 2


def test_a_layer_that_runs_as_often_as_the_batch_is_long_makes_no_time_of_it():
    def forward(m, x):
        return sum(m.n(m.c(x)) for _ in range(4)).mean(0)

    for more in ({"n": nn.ReLU()}, {"n": neuron.IFNode()}):
        model = Call(forward, c=nn.Conv2d(3, 3, 3), **more).eval()
        assert analyzer.profile(model, torch.rand(4, 3, 6, 6)).samples == 4


def test_outputs_alone_do_not_merge_time_with_samples():
    """Two rows of statistics over a batch of eight, in four timesteps."""
    model = Loop(fully_connected("s"))
    both = Call(lambda m, x: torch.stack(torch.std_mean(m.f(x), 0)), f=model).eval()
    assert analyzer.profile(both, spikes(8, 6)).samples == 8


def test_frames_of_which_nothing_tells_the_axis_are_asked_for():
    model = Call(lambda m, x: m.f(x.flatten(2)).mean(0), f=nn.Linear(50, 3)).eval()
    x = spikes(4, 2, 2, 5, 5)
    with pytest.raises(analyzer.AnalyzerError, match=r"may hold 2 or 4 samples.*layouts="):
        analyzer.profile(model, x)
    assert analyzer.profile(model, x, layouts={"": "T B C H W"}).samples == 2
    assert analyzer.profile(model, x, layouts={"": "B N C H W"}).samples == 4


def time_first():
    return MeanOverTime(fully_connected()).eval()


def samples_first():
    return Call(lambda m, x: m.b(x.transpose(0, 1)).mean(0), b=fully_connected()).eval()


def one_step_at_a_time(axis):
    def forward(m, x):
        return sum(m.b(x.select(axis, t)) for t in range(4))

    return Call(forward, b=fully_connected("s")).eval()


def static():
    torch.manual_seed(0)
    net = spiking(layer.Conv2d(4, 4, 3), neuron.IFNode(), layer.Flatten(), layer.Linear(16, 3))
    return Call(lambda m, x: m.b(x.expand(4, *x.shape)).mean(0), b=net).eval()


MODELS = {
    "time first": (time_first, lambda n: (4, n, 6)),
    "samples first": (samples_first, lambda n: (n, 4, 6)),
    "steps of time first": (lambda: one_step_at_a_time(0), lambda n: (4, n, 6)),
    "steps of samples first": (lambda: one_step_at_a_time(1), lambda n: (n, 4, 6)),
    "static": (static, lambda n: (n, 4, 4, 4)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("targets", [True, False])
@pytest.mark.parametrize("sizes", [(4, 2), (4, 4, 5), (4, 1, 4)])
def test_as_many_samples_as_timesteps_are_told_by_a_batch_of_another_size(name, targets, sizes):
    model, shape = MODELS[name]
    data = [spikes(*shape(n), seed=at) for at, n in enumerate(sizes)]
    given = [
        (x, torch.zeros(n, dtype=torch.long)) if targets else x
        for x, n in zip(data, sizes, strict=True)
    ]
    found = analyzer.profile(model(), given)
    assert (found.samples, found.metadata["timesteps"]) == (sum(sizes), 4)
    apart = sum(analyzer.profile(model(), x).totals["events"] for x in data)
    assert found.totals["events"] == apart


def test_a_batch_that_must_tell_first_leaves_no_trace():
    draws = []

    class Noisy(nn.Module):
        def forward(self, x):
            draws.append(torch.rand(1).item())
            return x

    norm = nn.BatchNorm1d(6).train()
    model = Call(
        lambda m, x: m.b(m.noisy(m.norm(x.mT).mT).transpose(0, 1)).mean(0),
        b=fully_connected(), noisy=Noisy(), norm=norm,
    )  # fmt: skip
    with pytest.warns(analyzer.AnalyzerWarning, match="training mode"):
        analyzer.profile(model, [spikes(4, 4, 6), spikes(2, 4, 6)])
    assert norm.num_batches_tracked == 0
    assert draws[-1] == draws[-2] != draws[-3]


@pytest.mark.parametrize("wrong", [1, 2, 3, 8])
@pytest.mark.parametrize("way", ["profile", "watch"])
@pytest.mark.parametrize(
    ("model", "shape"), [(lambda: Loop(fully_connected("s")), (5, 6)), (fully_connected, (4, 5, 6))]
)
def test_timesteps_that_divide_what_neurons_ran_are_refused_too(wrong, way, model, shape):
    run = watch if way == "watch" else analyzer.profile
    with pytest.raises(analyzer.AnalyzerError, match=f"T = {wrong}.*give timesteps=4"):
        run(model(), spikes(*shape), timesteps=wrong)


def watch(model, x, timesteps):
    with analyzer.watch(model, timesteps=timesteps):
        model(x)


def test_timesteps_of_a_loop_without_neurons_may_be_shared_but_not_broken():
    model = Call(lambda m, x: sum(m.f(x) for _ in range(4)), f=nn.Linear(6, 3)).eval()
    for fits in (1, 2, 4, 8):
        assert analyzer.profile(model, spikes(5, 6), timesteps=fits).samples == 5
    with pytest.raises(analyzer.AnalyzerError, match=r"every layer ran 4 times.*timesteps=4"):
        analyzer.profile(model, spikes(5, 6), timesteps=3)


def test_a_layer_outside_of_the_loop_confirms_timesteps():
    """The readout runs once a timestep, and the neuron twice."""

    def forward(m, x):
        return sum(m.o(m.n(m.f(m.n(m.f(x))))) for _ in range(4))

    model = Call(forward, f=nn.Linear(6, 6), n=neuron.IFNode(), o=nn.Linear(6, 3)).eval()
    assert analyzer.profile(model, spikes(5, 6), timesteps=4).metadata["timesteps"] == 4
    with pytest.raises(analyzer.AnalyzerError, match="T = 2"):
        analyzer.profile(model, spikes(5, 6), timesteps=2)


def test_neurons_that_ran_once_and_several_times_tell_no_timesteps():
    def forward(m, x):
        return sum(m.a(m.f(x)) for _ in range(4)) + m.b(m.g(x))

    parts = {"f": nn.Linear(6, 3), "g": nn.Linear(6, 3)}
    model = Call(forward, **parts, a=neuron.IFNode(), b=neuron.IFNode()).eval()
    found = analyzer.profile(model, spikes(5, 6)).metadata
    assert found["timesteps"] is None
    assert "4 times" in found["frame"]["timesteps"]


class Two(nn.Module):
    """Two parts that may be in different step modes."""

    def __init__(self, first, second, join=lambda m, x: m.b(m.a(x))):
        super().__init__()
        self.a = spiking(layer.Linear(6, 6), neuron.IFNode(v_threshold=0.1), mode=first)
        self.b = spiking(layer.Linear(6, 3), neuron.IFNode(), mode=second)
        self.join = join
        self.eval()

    def forward(self, x):
        return self.join(self, x)


@pytest.mark.parametrize("modes", ["ms", "sm"])
@pytest.mark.parametrize("timesteps", [None, 4])
@pytest.mark.parametrize("batch", [4, 5])
def test_a_step_mode_that_was_forgotten_is_refused_with_the_module(modes, timesteps, batch):
    forgotten = "ab"[modes.index("s")]
    with pytest.raises(analyzer.AnalyzerError, match=rf"neuron '{forgotten}\.1'.*set_step_mode"):
        analyzer.profile(Two(*modes), spikes(4, batch, 6), timesteps=timesteps)


def loops_second(m, x):
    return torch.stack([m.b(step) for step in m.a(x)])


def loops_first(m, x):
    return m.b(torch.stack([m.a(step) for step in x]))


@pytest.mark.parametrize(("modes", "join"), [("ms", loops_second), ("sm", loops_first)])
@pytest.mark.parametrize("batch", [4, 5])
def test_step_modes_that_are_mixed_on_purpose_are_counted_by_timestep(modes, join, batch):
    x = torch.stack([spikes(batch, 6, seed=t) * (torch.arange(6) < t + 2) for t in range(4)])
    torch.manual_seed(0)
    mixed = Two(*modes, join)
    torch.manual_seed(0)
    plain = Two("m", "m")
    found, wanted = (analyzer.profile(model, x, timesteps=4) for model in (mixed, plain))
    tables = [p.sparsity("timestep")[["module", "timestep", "nonzeros"]] for p in (found, wanted)]
    assert found.samples == batch
    assert tables[0].values.tolist() == tables[1].values.tolist()
    assert [int(n) for n in tables[0].query("module == 'a.0'")["nonzeros"]] == [
        int(step.sum()) for step in x
    ]


def test_a_neuron_before_time_runs_once_and_leaves_t_to_the_others():
    model = Two("s", "m", lambda m, x: m.b(m.a(x).expand(4, *x.shape)))
    profile = analyzer.profile(model, spikes(5, 6))
    assert (profile.samples, profile.metadata["timesteps"]) == (5, 4)


def test_watch_of_as_many_samples_as_timesteps():
    model = samples_first()
    data = [spikes(n, 4, 6, seed=n) for n in (4, 2)]
    with analyzer.watch(model) as watched, torch.no_grad():
        for x in data:
            model(x)
            functional.reset_net(model)
    assert watched.profile().samples == 6
    assert watched.profile().totals == analyzer.profile(model, data).totals


class Stacks(nn.Module):
    """The usual loop of snnTorch over ``[T, B, ...]``: spikes of all steps, stacked."""

    def __init__(self):
        super().__init__()
        self.layer, self.neuron = nn.Linear(6, 10, bias=False), snntorch.Leaky(beta=0.9)

    def forward(self, x):
        memory, spikes = self.neuron.reset_mem(), []
        for step in x:
            spike, memory = self.neuron(self.layer(step), memory)
            spikes.append(spike)
        return torch.stack(spikes)


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_stacked_outputs_of_a_loop_over_the_first_axis_tell_samples_on_the_second(samples):
    profile = analyzer.profile(Stacks().eval(), torch.rand(4, samples, 6))
    assert (profile.samples, profile.metadata["timesteps"]) == (samples, 4)
    assert profile.totals["dense_macs"] == samples * 4 * 60


class EncodesLater(nn.Module):
    """Neurons over time, then one that runs once, on the mean over time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 10, bias=False)
        self.steps, self.once = neuron.IFNode(step_mode="m"), neuron.IFNode()

    def forward(self, x):
        return self.once(self.steps(self.layer(x.unsqueeze(0).repeat(4, 1, 1, 1))).mean(0)).mean(1)


@pytest.mark.parametrize("shape", [(4, 4, 6), (4, 5, 6), (3, 5, 6)])
def test_axes_of_one_length_are_no_sign_of_another_step_mode(shape):
    profile = analyzer.profile(EncodesLater().eval(), torch.rand(shape))
    assert profile.totals["dense_macs"] == 4 * shape[0] * shape[1] * 60


class MovesTime(nn.Module):
    """Frames ``[B, C, T, H, W]``, convolved all at once with the samples outermost."""

    def __init__(self):
        super().__init__()
        self.conv, self.layer = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.Linear(48, 10)
        self.neuron = snntorch.Leaky(beta=0.9)

    def forward(self, x):
        x = x.permute(0, 2, 1, 3, 4)
        frames = self.conv(x.flatten(0, 1)).view(*x.shape[:2], -1)
        memory, spikes = self.neuron.reset_mem(), []
        for t in range(x.shape[1]):
            spike, memory = self.neuron(self.layer(frames[:, t]), memory)
            spikes.append(spike)
        return torch.stack(spikes).sum(0)


@pytest.mark.parametrize("samples", [3, 4])
def test_frames_behind_a_moved_axis_are_not_read_time_first(samples):
    x = torch.zeros(samples, 2, 4, 4, 4)
    for t in range(4):
        x[:, 0, t].flatten(1)[:, : t + 1] = 1
    table = analyzer.profile(MovesTime().eval(), x).sparsity("timestep")
    found = table[table.module == "conv"].nonzeros.tolist()
    assert found in ([], [samples * (t + 1) for t in range(4)])


class Potentials(nn.Module):
    """A neuron of a user's that goes over time itself, time first."""

    def forward(self, x):
        v, out = 0.0, []
        for t in range(len(x)):
            v = v * 0.5 + x[t]
            out.append((v >= 0.5).float())
            v = v * (1 - out[-1])
        return torch.stack(out)


class Kept(nn.Module):
    """A neuron of a user's that keeps its potential from call to call."""

    v = None

    def reset(self):
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else self.v * 0.5 + x
        out = (self.v >= 0.5).float()
        self.v = self.v * (1 - out)
        return out


def of_users_own(kind):
    torch.manual_seed(0)
    parts = {"a": nn.Linear(6, 10), "b": nn.Linear(10, 5)}
    if kind == "over time":
        return Call(lambda m, x: m.b(m.n(m.a(x))), n=Potentials(), **parts).eval()
    if kind == "cell":
        cell = nn.GRUCell(10, 10)

        def forward(m, x):
            state, out = None, []
            for step in x:
                state = m.n(m.a(step), state)
                out.append(m.b(state))
            return torch.stack(out)

        return Call(forward, n=cell, **parts).eval()
    return Call(
        lambda m, x: torch.stack([m.b(m.n(m.a(step))) for step in x]), n=Kept(), **parts
    ).eval()


OWN = ("over time", "step by step", "cell")


@pytest.mark.parametrize("kind", OWN)
def test_time_first_inputs_of_neurons_of_users_are_asked_for(kind):
    with pytest.raises(analyzer.AnalyzerError, match=r"may hold 3 or 4 samples.*layouts="):
        analyzer.profile(of_users_own(kind), spikes(4, 3, 6))
    with pytest.raises(analyzer.AnalyzerError, match=r"may hold 3 or 4 samples.*layouts="):
        analyzer.training_memory(of_users_own(kind), spikes(4, 3, 6))
    layouts = {"": "T B D"}
    found = analyzer.profile(of_users_own(kind), spikes(4, 3, 6), layouts=layouts)
    assert (found.samples, found.metadata["timesteps"]) == (3, 4)
    assert (
        analyzer.training_memory(of_users_own(kind), spikes(4, 3, 6), layouts=layouts).samples == 3
    )


@pytest.mark.parametrize("kind", OWN)
def test_time_first_inputs_of_neurons_of_users_are_told_by_targets(kind):
    data = [(spikes(4, n, 6), torch.zeros(n, dtype=torch.long)) for n in (3, 2)]
    found = analyzer.profile(of_users_own(kind), data)
    assert (found.samples, found.metadata["timesteps"]) == (5, None)
    assert analyzer.verify(of_users_own(kind), data).samples == 5


@pytest.mark.parametrize("kind", OWN)
def test_as_many_samples_as_timesteps_of_users_neurons_leave_it_open(kind):
    """A batch of another size tells, or is asked about."""
    data = [spikes(4, n, 6) for n in (4, 3)]
    assert analyzer.profile(of_users_own(kind), data[:1]).samples == 4
    with pytest.raises(analyzer.AnalyzerError, match=r"batch 1 may hold 3 or 4 samples"):
        analyzer.profile(of_users_own(kind), data)
    told = [(x, torch.zeros(x.shape[1], dtype=torch.long)) for x in data]
    assert analyzer.profile(of_users_own(kind), told).samples == 7


def test_a_loop_over_samples_without_state_is_no_time():
    model = Call(lambda m, x: torch.stack([m.f(one) for one in x]), f=nn.Conv2d(3, 3, 1)).eval()
    assert analyzer.profile(model, torch.rand(4, 3, 5, 5)).samples == 4


@pytest.mark.parametrize("neuron", [Potentials(), Kept()])
def test_timesteps_of_a_neuron_of_a_users_that_runs_once_are_unknown(neuron):
    model = Call(lambda m, x: m.n(m.f(x)).mean(1), f=nn.Linear(6, 10), n=neuron).eval()
    metadata = analyzer.profile(model, spikes(4, 3, 6)).metadata
    assert metadata["timesteps"] is None
    assert "'n' is of no known kind" in metadata["frame"]["timesteps"]


def test_outputs_move_samples_to_no_other_input_than_layers_read():
    """Boxes in images, as detectors are given them: results are as many as boxes."""

    def forward(m, x, boxes):
        y = m.c(x)
        return torch.stack([y[image, :, at] for image, at in boxes.tolist()]).mean(-1)

    model, x = Call(forward, c=nn.Conv2d(2, 3, 3, padding=1)).eval(), torch.rand(3, 2, 6, 6)
    boxes = torch.tensor([[0, 1], [1, 2], [1, 0], [2, 3]])
    with pytest.raises(analyzer.AnalyzerError, match=r"outputs: 4; Conv2d 'c', .*: 3\).*samples="):
        analyzer.profile(model, (x, boxes))
    assert analyzer.profile(model, (x, boxes), samples=3).samples == 3
    assert analyzer.profile(model, (x, boxes[:3])).samples == 3


def test_a_list_of_images_holds_as_many_samples():
    model = Call(lambda m, xs: torch.cat([m.c(x).mean((2, 3)) for x in xs]), c=nn.Conv2d(2, 3, 3))
    assert (
        analyzer.profile(model.eval(), ([torch.rand(1, 2, 6, 6) for _ in range(3)],)).samples == 3
    )
