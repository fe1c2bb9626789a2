"""What a sample, a timestep and a reset are: declared, told by evidence, or refused."""

import warnings
from dataclasses import dataclass

import pytest
import sinabs.layers
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import analyzer


def spiking(*modules, mode="m"):
    net = nn.Sequential(*modules).eval()
    functional.set_step_mode(net, mode)
    return net


class MeanOverTime(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x).mean(0)


class Call(nn.Module):
    """A forward that a test writes."""

    def __init__(self, forward, **modules):
        super().__init__()
        self._call = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args, **kwargs):
        return self._call(self, *args, **kwargs)


def spikes(*shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def fully_connected(mode="m"):
    torch.manual_seed(0)
    return spiking(layer.Linear(6, 5), neuron.IFNode(), layer.Linear(5, 3), mode=mode)


@pytest.mark.parametrize("batch", [1, 3, 4, 8])
@pytest.mark.parametrize("targets", [True, False])
def test_samples_of_time_first_input_are_on_its_second_axis(batch, targets):
    x = spikes(4, batch, 6)
    model = MeanOverTime(fully_connected()).eval()
    given = [(x, torch.zeros(batch, dtype=torch.long))] if targets else x
    profile = analyzer.profile(model, given)
    assert (profile.samples, profile.metadata["timesteps"]) == (batch, 4)
    assert profile.metadata["input_shape"] == [4, 6]


def test_samples_of_time_first_output_are_told_by_the_neurons():
    """The output [T, B, 3] alone would say that T samples passed."""
    profile = analyzer.profile(fully_connected(), spikes(4, 7, 6))
    assert (profile.samples, profile.metadata["timesteps"]) == (7, 4)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_samples_of_sequence_first_modules(kind):
    profile = analyzer.profile(kind(4, 5).eval(), torch.randn(9, 2, 4))
    assert profile.samples == 2
    assert analyzer.profile(kind(4, 5, batch_first=True).eval(), torch.randn(9, 2, 4)).samples == 9


def test_token_numbers_sequence_first():
    model = Call(
        lambda m, ids: m.rnn(m.embed(ids))[0], embed=nn.Embedding(11, 4), rnn=nn.GRU(4, 5)
    ).eval()
    assert analyzer.profile(model, torch.randint(0, 11, (9, 2))).samples == 2


def test_an_input_without_batch_axis_is_one_sample():
    assert analyzer.profile(nn.Conv2d(3, 8, 3).eval(), torch.randn(3, 8, 8)).samples == 1
    assert analyzer.profile(nn.GRU(4, 5).eval(), torch.randn(9, 4)).samples == 1


def test_bags_hold_as_many_samples_as_they_have_offsets():
    model = nn.EmbeddingBag(11, 4).eval()
    ids, offsets = torch.randint(0, 11, (10,)), torch.tensor([0, 4, 5])
    assert analyzer.profile(model, (ids, offsets)).samples == 3


def test_the_first_of_several_inputs_may_have_no_batch_axis():
    model = Call(lambda m, grid, x: m.a(x) + m.b(grid).sum(0), a=nn.Linear(6, 4), b=nn.Linear(2, 4))
    assert analyzer.profile(model.eval(), (torch.rand(9, 2), torch.rand(5, 6))).samples == 5


def test_lists_of_images_of_different_sizes():
    model = Call(lambda m, xs: [m.c(x).mean((1, 2)) for x in xs], c=nn.Conv2d(3, 4, 3)).eval()
    images = [torch.rand(3, 8, 8), torch.rand(3, 9, 7)]
    targets = [{"labels": torch.tensor([1])}, {"labels": torch.tensor([0, 2])}]
    assert analyzer.profile(model, [(images, targets)]).samples == 2
    assert analyzer.profile(model, (images,)).samples == 2


def test_declared_samples_go_before_evidence():
    model, x = nn.Linear(6, 3).eval(), torch.rand(8, 6)
    assert analyzer.profile(model, x, samples=2).samples == 2
    found = analyzer.profile(
        model, [(x, torch.zeros(8).long())] * 3, samples=lambda b: len(b[0]) // 4
    )
    assert found.samples == 6
    assert found.metadata["frame"]["samples"] == "samples="
    with pytest.raises(analyzer.AnalyzerError, match="samples must be a number of samples"):
        analyzer.profile(model, x, samples="all")


def test_evidence_that_disagrees_is_refused_with_what_to_give():
    """A recurrent layer that is sequence first by oversight, on data that is batch first."""
    model = Call(lambda m, x: m.f(m.r(x)[0][:, -1]), r=nn.LSTM(4, 5), f=nn.Linear(5, 3)).eval()
    x, y = torch.randn(8, 6, 4), torch.zeros(8, dtype=torch.long)
    with pytest.raises(analyzer.AnalyzerError, match=r"batch_first=False.*layouts="):
        analyzer.profile(model, [(x, y)])
    assert analyzer.profile(model, [(x, y)], samples=8).samples == 8


def test_a_later_batch_that_disagrees_is_refused():
    model = nn.Linear(6, 3).eval()
    good, bad = torch.zeros(4, dtype=torch.long), torch.zeros(6, dtype=torch.long)
    with pytest.raises(analyzer.AnalyzerError, match="batch 1"):
        analyzer.profile(model, [(torch.rand(4, 6), good), (torch.rand(4, 6), bad)])


def test_merged_axes():
    model = Call(lambda m, x: m.f(x).view(4, -1, 3).mean(0), f=nn.Linear(6, 3)).eval()
    x = spikes(4 * 5, 6)
    declared = analyzer.profile(model, x, timesteps=4, layouts={"": "(T B) D"})
    told = analyzer.profile(model, [(x, torch.zeros(5, dtype=torch.long))], timesteps=4)
    assert declared.samples == told.samples == 5
    assert declared.per_sample() == told.per_sample()


def test_what_was_assumed_is_said():
    scalar = Call(lambda m, x: m.f(x).sum(), f=nn.Linear(6, 3)).eval()
    profile = analyzer.profile(scalar, torch.rand(5, 6))
    assert profile.samples == 5
    assert profile.metadata["frame"]["samples_assumed"]
    assert not analyzer.profile(nn.Linear(6, 3).eval(), torch.rand(5, 6)).metadata["frame"][
        "samples_assumed"
    ]


class Loop(nn.Module):
    """A time loop around a single-step network."""

    def __init__(self, net, steps=4):
        super().__init__()
        self.net, self.steps = net, steps
        self.eval()

    def forward(self, x):
        return sum(self.net(x) for _ in range(self.steps)) / self.steps


def test_timesteps_are_told_by_the_neurons():
    profile = analyzer.profile(Loop(fully_connected("s")), torch.rand(5, 6) * 2)
    assert profile.metadata["timesteps"] == 4
    assert "4 timesteps" in profile.metadata["frame"]["timesteps"]
    assert set(profile.sparsity("timestep")["timestep"]) == {0, 1, 2, 3}
    assert analyzer.profile(fully_connected("s"), torch.rand(5, 6)).metadata["timesteps"] == 1


def test_timesteps_that_nothing_tells_are_unknown():
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.ReLU(), shared).eval()
    assert analyzer.profile(model, torch.rand(5, 6)).metadata["timesteps"] is None
    plain = nn.Sequential(nn.Linear(6, 6), nn.ReLU()).eval()
    assert analyzer.profile(plain, torch.rand(5, 6)).metadata["timesteps"] == 1


@pytest.mark.parametrize("wrong", [2, 3, 8])
def test_timesteps_that_the_neurons_contradict_are_refused(wrong):
    with pytest.raises(analyzer.AnalyzerError, match=f"nothing ran {wrong} times|timesteps=4"):
        analyzer.profile(fully_connected(), spikes(4, 3, 6), timesteps=wrong)


def test_a_loop_over_a_single_step_network_is_the_multi_step_network():
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(3)) * 2
    inside = analyzer.profile(Loop(fully_connected("s")), x, timesteps=4)
    outside = analyzer.profile(fully_connected("s"), x, timesteps=4, loop=True)
    several = analyzer.profile(fully_connected("m"), x.expand(4, 5, 6), timesteps=4)
    assert inside.samples == outside.samples == several.samples == 5
    for key in ("ac", "mac", "events", "dense_macs"):
        assert inside.totals[key] == outside.totals[key] == several.totals[key]
    steps = [
        profile.sparsity("timestep").groupby("timestep")["nonzeros"].sum().tolist()
        for profile in (inside, outside, several)
    ]
    assert steps[0] == steps[1] == steps[2]


def test_a_loop_takes_one_slice_a_step_where_the_input_has_time():
    x = spikes(4, 5, 6)
    sliced = analyzer.profile(fully_connected("s"), x, loop=True, layouts={"": "T B D"})
    several = analyzer.profile(fully_connected("m"), x)
    assert (sliced.samples, sliced.metadata["timesteps"]) == (5, 4)
    assert sliced.totals["ac"] == several.totals["ac"]
    second = analyzer.profile(
        fully_connected("s"), x.transpose(0, 1), loop=True, layouts={"": "B T D"}
    )
    assert second.totals["ac"] == several.totals["ac"]


def test_a_loop_is_refused_where_it_can_not_be():
    with pytest.raises(analyzer.AnalyzerError, match="needs to know how often"):
        analyzer.profile(fully_connected("s"), torch.rand(5, 6), loop=True)
    with pytest.raises(analyzer.AnalyzerError, match="leave loop=True out"):
        analyzer.profile(fully_connected("m"), spikes(4, 5, 6), timesteps=4, loop=True)


def test_accuracy_of_a_loop_is_of_the_mean_over_time():
    x = torch.rand(5, 6) * 2
    model = fully_connected("s")
    with torch.no_grad():
        y = Loop(model)(x).argmax(1)
    functional.reset_net(model)
    assert analyzer.profile(model, [(x, y)], timesteps=4, loop=True).accuracy == 1


@pytest.mark.parametrize(
    ("wrap", "target"),
    [
        (lambda y: y, lambda y: y.argmax(1)),
        (lambda y: (y, y * 0), lambda y: y.argmax(1)),
        (lambda y: {"logits": y, "loss": y.sum()}, lambda y: y.argmax(1)),
        (lambda y: y, lambda y: nn.functional.one_hot(y.argmax(1), 3)),
        (lambda y: y, lambda y: nn.functional.one_hot(y.argmax(1), 3) * 0.9 + 0.1 / 3),
    ],
    ids=["logits", "tuple", "dict", "one-hot", "soft"],
)
def test_accuracy_of_usual_outputs_and_targets(wrap, target):
    net, x = nn.Linear(6, 3).eval(), torch.randn(8, 6)
    model = Call(lambda m, x: wrap(m.f(x)), f=net).eval()
    y = target(net(x).detach())
    assert analyzer.profile(model, [(x, y)]).accuracy == 1


def test_accuracy_by_predict_and_why_there_is_none():
    net, x = nn.Linear(6, 3).eval(), torch.randn(8, 6)
    odd = Call(lambda m, x: m.f(x).unsqueeze(-1), f=net).eval()
    y = net(x).argmax(1)
    lacking = analyzer.profile(odd, [(x, y)])
    assert lacking.accuracy is None
    assert "predict=" in lacking.metadata["accuracy"]
    assert analyzer.profile(odd, [(x, y)], predict=lambda o: o[..., 0].argmax(1)).accuracy == 1
    with pytest.raises(analyzer.AnalyzerError, match="class numbers of 8 samples"):
        analyzer.profile(odd, [(x, y)], predict=lambda o: o)


@dataclass
class Pair:
    x: torch.Tensor
    extra: torch.Tensor


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x, extra=None):
        return self.a(x) if extra is None else self.a(x) + self.b(extra)


X, E, Y = torch.rand(8, 6), torch.rand(8, 6), torch.zeros(8, dtype=torch.long)


@pytest.mark.parametrize(
    ("inputs", "macs"),
    [
        ([(X, Y)], 24),
        ([(X, E, Y)], 48),
        ([((X, E), Y)], 48),
        ([{"x": X, "extra": E, "label": Y}], 48),
        ([({"x": X, "extra": E}, Y)], 48),
        ([Pair(X, E)], 48),
        (Pair(X, E), 48),
        ((X, E), 48),
        ({"x": X}, 24),
        (DataLoader(TensorDataset(X, E, Y), 4), 48),
    ],
)
def test_batches_are_read_by_the_signature_of_the_forward(inputs, macs):
    profile = analyzer.profile(TwoInputs().eval(), inputs)
    assert (profile.samples, profile.per_sample()["dense_macs"]) == (8, macs)


def test_batches_that_can_be_read_in_two_ways_or_none_are_refused():
    model = TwoInputs().eval()
    with pytest.raises(analyzer.AnalyzerError, match=r"read in two ways.*forward="):
        analyzer.profile(model, [(X, E)])
    with pytest.raises(analyzer.AnalyzerError, match="4 parts"):
        analyzer.profile(model, [(X, E, X, Y)])
    with pytest.raises(analyzer.AnalyzerError, match="names other"):
        analyzer.profile(model, [{"x": X, "other": E}])
    both = analyzer.profile(model, [(X, E)], forward=lambda m, batch: m(*batch))
    assert both.per_sample()["dense_macs"] == 48


def test_forward_runs_anything():
    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(6, 6)

        def forward(self, x):
            return self.f(x)

        def generate(self, x, steps):
            for _ in range(steps):
                x = self(x)
            return x

    profile = analyzer.profile(
        Generator().eval(), [{"x": X}], forward=lambda m, batch: m.generate(batch["x"], 5)
    )
    assert (profile.samples, profile.per_sample()["dense_macs"]) == (8, 180)


class Leaky(nn.Module):
    """State of a module that no library knows."""

    def __init__(self, resets=False):
        super().__init__()
        self.v = None
        if resets:
            self.reset = self._to_rest

    def _to_rest(self):
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else 0.5 * self.v + x
        return (self.v > 0.6).float()


class Count(nn.Module):
    """A number that decides."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x if self.calls % 2 else x * 0


def test_state_that_nothing_resets_is_an_error_with_several_batches():
    x = torch.rand(2, 6)
    for module in (Leaky(), Count()):
        model = nn.Sequential(nn.Linear(6, 6), module, nn.Linear(6, 3)).eval()
        with pytest.raises(analyzer.AnalyzerError, match=r"module '1' keeps state.*reset="):
            analyzer.profile(model, [x, x])
        with pytest.warns(analyzer.AnalyzerWarning, match="keeps state"):
            analyzer.profile(model, x)


def test_a_reset_of_its_own_and_a_given_one_are_called():
    x = torch.rand(2, 6)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Leaky(resets=True), nn.Linear(6, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        three = analyzer.profile(model, [x, x, x])
        one = analyzer.profile(model, x)
        del model[1].reset
        given = analyzer.profile(model, [x, x, x], reset=lambda m: m[1]._to_rest())
    assert three.totals["ac"] == 3 * one.totals["ac"] == given.totals["ac"]
    assert three.metadata["frame"]["reset"] == "1 module before every batch"


class Cached(nn.Module):
    """Makes a table once, keeps its last output, counts its calls: no state."""

    def __init__(self):
        super().__init__()
        self.table, self.last, self.calls, self.seen = None, None, 0, []

    def forward(self, x):
        if self.table is None:
            self.table = torch.arange(6.0)
        self.calls += 1
        self.last = x * self.table
        self.seen.append(x.detach())
        return self.last


def test_what_is_made_anew_or_once_is_no_state():
    model = nn.Sequential(nn.Linear(6, 6), Cached(), nn.Linear(6, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            analyzer.profile(model, [torch.rand(2, 6)] * 3)
            with torch.no_grad():
                model(torch.rand(2, 6))
    assert model[1].calls == 2


def test_an_earlier_forward_changes_nothing():
    x = torch.rand(5, 6) * 2
    model = Loop(fully_connected("s"))
    fresh = analyzer.profile(model, x)
    with torch.no_grad():
        model(x)
    assert analyzer.profile(model, x) == fresh


def test_watch_counts_what_the_block_runs():
    torch.manual_seed(0)
    model = fully_connected()
    data = [spikes(4, n, 6, seed=n) for n in (3, 3, 2)]
    whole = analyzer.profile(model, data)
    with analyzer.watch(model, timesteps=4) as watched, torch.no_grad():
        for x in data:
            model(x)
            functional.reset_net(model)
    profile = watched.profile()
    assert (profile.samples, profile.totals) == (whole.samples, whole.totals)
    assert watched.profile(samples=8).per_sample() == whole.per_sample()


def test_watch_of_a_loop_over_time_of_the_callers():
    model, x = fully_connected("s"), torch.rand(5, 6) * 2
    inside = analyzer.profile(Loop(model), x)
    with analyzer.watch(model, timesteps=4) as watched:
        for _ in range(4):
            model(x)
    functional.reset_net(model)
    profile = watched.profile()
    assert (profile.samples, profile.metadata["timesteps"]) == (5, 4)
    assert profile.totals["ac"] == inside.totals["ac"]
    with analyzer.watch(model) as watched:
        model(x)
        model(x)
    functional.reset_net(model)
    with pytest.raises(analyzer.AnalyzerError, match=r"watch\(timesteps=\)"):
        watched.profile()
    assert watched.profile(samples=5).metadata["timesteps"] is None


def test_watch_leaves_training_as_it_is_and_no_trace():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    before = set(vars(ours))

    def train(model):
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        for at in range(3):
            optimiser.zero_grad()
            model(torch.rand(8, 6, generator=torch.Generator().manual_seed(at))).sum().backward()
            optimiser.step()

    with analyzer.watch(ours) as watched:
        train(ours)
    train(theirs)
    assert all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))
    assert set(vars(ours)) == before
    assert watched.profile().samples == 24
    assert watched.profile().totals["dense_macs"] == 24 * 45


def test_watch_ends_with_the_block_also_after_an_error():
    model = nn.Linear(6, 3).eval()
    seen = []

    def block():
        with analyzer.watch(model) as watched:
            seen.append(watched)
            model(torch.rand(2, 6))
            raise ValueError("of mine")

    with pytest.raises(ValueError, match="of mine"):
        block()
    model(torch.rand(2, 6))
    assert seen[0].profile().samples == 2
    assert analyzer.profile(model, torch.rand(2, 6)).samples == 2
    with analyzer.watch(model) as watched:
        pass
    with pytest.raises(analyzer.AnalyzerError, match="nothing was counted"):
        watched.profile()


def test_watch_sees_calls_through_other_modules_and_wrappers():
    model = nn.Linear(6, 3).eval()
    around = nn.DataParallel(nn.Sequential(nn.ReLU(), model))
    with analyzer.watch(model) as watched:
        around(torch.rand(2, 6))
        model.forward(torch.rand(2, 6))  # no call of the module
    assert watched.profile().samples == 2


def test_a_model_is_watched_once_at_a_time():
    model = nn.Linear(6, 3).eval()
    with analyzer.watch(model), pytest.raises(analyzer.AnalyzerError, match="being profiled"):
        analyzer.profile(model, torch.rand(2, 6))


class Sweeps(nn.Module):
    """A shared layer that runs over time, and once more over changed copies."""

    def __init__(self, each=1, sweeps=1, reverse=False):
        super().__init__()
        self.f, self.each, self.sweeps, self.reverse = nn.Linear(6, 3), each, sweeps, reverse
        self.node = neuron.IFNode()
        self.eval()

    def forward(self, x):
        out = 0
        for _ in range(self.sweeps):
            functional.reset_net(self.node)
            for t in reversed(range(4)) if self.reverse else range(4):
                for _ in range(self.each):
                    out = out + self.node(self.f(x[:, t].flip(-1)))
        return out


@pytest.mark.parametrize(("each", "sweeps"), [(1, 1), (2, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_layer_that_runs_more_than_once_a_timestep_adds_up_by_timestep(each, sweeps, reverse):
    x = torch.stack([spikes(5, 6, seed=t) * (torch.arange(6) < t + 2) for t in range(4)], 1)
    model = Sweeps(each, sweeps, reverse)
    found = analyzer.profile(model, x, timesteps=4, layouts={"": "B T D"}).sparsity("timestep")
    steps = found[found["module"] == "f"].sort_values("timestep")["nonzeros"].tolist()
    assert steps == [int((x[:, t] != 0).sum()) * each * sweeps for t in range(4)]


def test_timesteps_of_repeated_calls_that_nothing_tells_are_not_guessed():
    shared = nn.Linear(6, 6)
    model = Call(lambda m, x: sum(m.f(x * k) for k in range(8)), f=shared).eval()
    assert analyzer.profile(model, spikes(5, 6), timesteps=4).sparsity("module")["elements"].sum()
    with pytest.raises(analyzer.AnalyzerError, match="holds no timestep activity"):
        analyzer.profile(model, spikes(5, 6), timesteps=4).sparsity("timestep")


def test_verify_runs_the_model_in_the_same_frame():
    x = torch.rand(5, 6) * 2
    looped = analyzer.verify(fully_connected("s"), x, timesteps=4, loop=True)
    assert (looped.samples, looped.unexplained) == (5, ())
    sliced = analyzer.verify(
        fully_connected("s"), spikes(4, 5, 6), loop=True, layouts={"": "T B D"}
    )
    assert (sliced.samples, sliced.unexplained) == (5, ())
    assert {row.brute_force for row in sliced.rows if row.module} == {4 * 5 * 30, 4 * 5 * 15}
    twice = analyzer.verify(
        nn.Linear(6, 3).eval(), [{"x": X}], forward=lambda m, batch: m(batch["x"]) + m(batch["x"])
    )
    assert (twice.samples, twice.unexplained) == (8, ())
    assert [row.brute_force for row in twice.rows if row.brute_force] == [2 * 8 * 18]


def test_an_output_that_lies_across_the_input_tells_no_samples():
    """Queries come back sequence first from a model that is given samples first."""
    model = Call(lambda m, x: m.f(x).transpose(0, 1), f=nn.Linear(6, 3)).eval()
    profile = analyzer.profile(model, torch.randn(2, 5, 6))
    assert (profile.samples, profile.metadata["frame"]["samples_assumed"]) == (2, True)


def test_one_sample_without_a_batch_axis_in_layers_and_cells():
    for module in (nn.Linear(6, 3), nn.LSTMCell(6, 4), nn.GRUCell(6, 4)):
        profile = analyzer.profile(module.eval(), torch.randn(6))
        assert profile.samples == 1
        assert profile.totals["dense_macs"] >= 18


def test_samples_of_packed_sequences():
    def forward(m, x):
        return m.rnn(nn.utils.rnn.pack_padded_sequence(x, [5, 5, 3, 1]))

    assert (
        analyzer.profile(Call(forward, rnn=nn.GRU(6, 4)).eval(), torch.randn(5, 4, 6)).samples == 4
    )


def unrolled():
    """A network of one timestep a call that reads vectors."""
    return nn.Sequential(nn.Linear(6, 3), neuron.LIFNode(step_mode="s")).eval()


@pytest.mark.parametrize(("shape", "layout"), [((5, 2, 6), "T B D"), ((2, 5, 6), "B T D")])
def test_a_loop_does_not_take_a_sequence_whole_in_every_timestep(shape, layout):
    x, y = spikes(*shape), torch.zeros(2, dtype=torch.long)
    with pytest.raises(analyzer.AnalyzerError, match=f'give layouts={{"": "{layout}"}}'):
        analyzer.profile(unrolled(), [(x, y)], loop=True, timesteps=5)
    told = analyzer.profile(unrolled(), [(x, y)], loop=True, layouts={"": layout})
    assert told.totals["dense_macs"] == 2 * 5 * 18
    whole = analyzer.profile(
        unrolled(), [(spikes(2, 5, 6), y)], loop=True, timesteps=5, layouts={"": "B N D"}
    )
    assert whole.totals["dense_macs"] == 2 * 5 * 5 * 18


@pytest.mark.parametrize("given", [{}, {"layouts": {"": "(B T) D"}}])
def test_squeezed_layers_tell_samples_and_timesteps_of_a_merged_axis(given):
    layers = pytest.importorskip("sinabs.layers")
    model = nn.Sequential(nn.Linear(6, 3), layers.IAFSqueeze(batch_size=2)).eval()
    profile = analyzer.profile(model, spikes(10, 6), **given)
    assert (profile.samples, profile.metadata["timesteps"]) == (2, 5)


def test_layouts_and_functions_that_are_none_are_refused():
    model, x = fully_connected(), spikes(4, 7, 6)
    with pytest.raises(analyzer.AnalyzerError, match="layouts must be a dict such as"):
        analyzer.profile(model, x, layouts="T B D")
    with pytest.raises(analyzer.AnalyzerError, match=r"no module of .* is called so"):
        analyzer.profile(model, x, layouts={"block": "T B D"})
    with pytest.raises(analyzer.AnalyzerError, match="reset must be a function, not True"):
        analyzer.profile(model, x, reset=True)
    with pytest.raises(analyzer.AnalyzerError, match=r"give torch\.from_numpy"):
        analyzer.profile(model, x.numpy())
    with pytest.raises(analyzer.AnalyzerError, match="no layout names the axes"):
        analyzer.profile(model, x, groups={"temporal": 2})


class Past:
    """A cache that a forward adds to."""

    def __init__(self):
        self.seen = []


def test_watch_leaves_a_cache_of_the_callers_to_its_forwards():
    def forward(model, x, past):
        past.seen.append(model.key(x))
        keys = torch.cat(past.seen, 1)
        return model.query(x) @ keys.transpose(1, 2)

    model = Call(forward, key=nn.Linear(6, 4), query=nn.Linear(6, 4)).eval()
    past = Past()
    with analyzer.watch(model) as watched, torch.no_grad():
        for length in (3, 1):
            model(torch.rand(2, length, 6), past)
    assert len(past.seen) == 2
    products = watched.profile(samples=2).operations().query("op not in ['linear']")
    assert products["dense_macs"].sum() == 2 * 4 * (3 * 3 + 1 * 4)


def test_a_loop_is_refused_around_a_loop_of_single_steps():
    def forward(model, x):
        return sum(model.body(x[:, t]) for t in range(4))

    model = Call(forward, body=fully_connected("s")).eval()
    x, y = spikes(3, 4, 6), torch.zeros(3, dtype=torch.long)
    assert analyzer.profile(model, [(x, y)]).metadata["timesteps"] == 4
    with pytest.raises(analyzer.AnalyzerError, match="its own loop over time"):
        analyzer.profile(model, [(x, y)], loop=True, timesteps=4)


def test_a_pass_that_fails_on_time_says_what_to_give():
    model = spiking(layer.Conv2d(2, 3, 3), neuron.IFNode(), mode="s")
    for given in ({}, {"loop": True, "timesteps": 4}):
        with pytest.raises(RuntimeError, match="input of size") as failed:
            analyzer.profile(model, spikes(4, 3, 2, 5, 5), **given)
        assert 'layouts={"": "T B C H W"}' in failed.value.__notes__[-1]
    told = analyzer.profile(model, spikes(4, 3, 2, 5, 5), loop=True, layouts={"": "T B C H W"})
    assert (told.samples, told.metadata["timesteps"]) == (3, 4)


@pytest.mark.parametrize("width", [4, 6])
def test_later_batches_of_sequence_first_models_and_what_is_before_them(width):
    model = Call(lambda m, x: m.rnn(m.f(x))[0], f=nn.Linear(4, width), rnn=nn.LSTM(width, 5)).eval()
    batches = [torch.randn(9, 2, 4), torch.randn(9, 2, 4), torch.randn(7, 3, 4)]
    assert analyzer.profile(model, batches).samples == 7


def test_a_transposed_input_of_equal_lengths_is_no_sequence_first():
    model = Call(lambda m, x: m.rnn(x.transpose(0, 1))[0][-1], rnn=nn.LSTM(4, 5)).eval()
    assert analyzer.profile(model, [torch.randn(6, 6, 4), torch.randn(2, 6, 4)]).samples == 8


def test_later_batches_of_merged_timesteps():
    model = Call(
        lambda m, x: m.o(m.n(m.f(x).view(4, -1, 8)).flatten(0, 1)),
        f=nn.Linear(6, 8), n=neuron.IFNode(step_mode="m"), o=nn.Linear(8, 3),
    ).eval()  # fmt: skip
    profile = analyzer.profile(model, [spikes(12, 6), spikes(12, 6), spikes(8, 6)])
    assert (profile.samples, profile.metadata["timesteps"]) == (8, 4)


@pytest.mark.parametrize("timesteps", [None, 4])
def test_a_later_batch_of_another_number_of_timesteps_is_refused(timesteps):
    model = MeanOverTime(fully_connected()).eval()
    with pytest.raises(analyzer.AnalyzerError, match=r"batch 1.*6 timesteps"):
        analyzer.profile(model, [spikes(4, 3, 6), spikes(6, 3, 6)], timesteps=timesteps)


@pytest.mark.parametrize("first", [True, False])
def test_a_sequence_without_batch_axis_is_one_sample(first):
    x = torch.randn(9, 4)
    models = [
        nn.GRU(4, 5, batch_first=first),
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=first),
        nn.Sequential(nn.Linear(4, 6), nn.LSTM(6, 5, batch_first=first)),
    ]
    for model in models:
        assert analyzer.profile(model.eval(), x).samples == 1
        with pytest.raises(analyzer.AnalyzerError, match="without a batch axis"):
            analyzer.profile(model, [(x, torch.zeros(9, dtype=torch.long))])


def test_labels_of_each_position_are_no_samples():
    model = Call(lambda m, x: m.f(m.e(x)).flatten(0, 1), e=nn.Embedding(9, 4), f=nn.Linear(4, 9))
    ids = torch.randint(0, 9, (3, 7))
    assert analyzer.profile(model.eval(), [(ids, ids.flatten())] * 2).samples == 6


@pytest.mark.parametrize("boxes", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("images", [1, 2, 5])
def test_numbers_of_boxes_are_no_samples(boxes, images):
    def detect(m, xs):
        return [{"boxes": torch.zeros(boxes, 4), "map": m.c(x[None])} for x in xs]

    model = Call(detect, c=nn.Conv2d(3, 4, 3)).eval()
    given = [torch.rand(3, 8, 8 + i) for i in range(images)]
    assert analyzer.profile(model, (given,)).samples == images


class Remembers(nn.Module):
    """Adds what it reads to a memory that it is given, as language models do to their caches."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 3)

    def forward(self, x, memory):
        memory.append(x)
        return self.f(torch.cat(memory, 1)).mean(1)


def test_watch_runs_what_changes_its_arguments_as_often_as_the_block_does():
    model, memory, heard = Remembers().eval(), [], []
    model.register_forward_hook(lambda *args: heard.append(1))
    with analyzer.watch(model) as watched, torch.no_grad():
        for _ in range(3):
            model(torch.rand(2, 4, 6), memory)
    assert (len(memory), len(heard)) == (3, 3)
    assert watched.profile().totals["dense_macs"] == 2 * (4 + 8 + 12) * 6 * 3


def test_watch_undoes_a_first_forward_that_shows_another_frame():
    model = Call(
        lambda m, x: m.n(m.b(m.f(x).flatten(0, 1)).view(4, -1, 5)),
        f=nn.Linear(6, 5),
        b=nn.BatchNorm1d(5),
        n=neuron.IFNode(step_mode="m"),
    )
    with analyzer.watch(model) as watched:
        model(spikes(4, 3, 6)).sum().backward()
    assert model.b.num_batches_tracked == 1
    assert model.f.weight.grad is not None
    profile = watched.profile()
    assert (profile.samples, profile.metadata["timesteps"]) == (3, 4)


@pytest.mark.parametrize("timesteps", [1, 2, 4])
def test_one_timestep_is_no_batch_of_one(timesteps):
    for model in (fully_connected(), MeanOverTime(fully_connected()).eval()):
        profile = analyzer.profile(model, spikes(timesteps, 4, 6))
        assert (profile.samples, profile.metadata["timesteps"]) == (4, timesteps)


def test_timesteps_without_batch_axis_are_one_sample():
    profile = analyzer.profile(fully_connected(), spikes(4, 6))
    assert (profile.samples, profile.metadata["timesteps"]) == (1, 4)


def sinabs_net(**known):
    kind = sinabs.layers.LIFSqueeze if known else sinabs.layers.LIF
    return nn.Sequential(
        nn.Linear(6, 8), kind(tau_mem=10.0, **known), nn.Linear(8, 3), kind(tau_mem=10.0, **known)
    ).eval()


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_samples_of_neurons_that_merge_or_do_not_merge_samples_with_time(batch):
    x = 3 * torch.rand(batch, 3, 6)
    found = [
        analyzer.profile(sinabs_net(), [x, x]),
        analyzer.profile(sinabs_net(num_timesteps=3), [x.flatten(0, 1)] * 2),
        analyzer.profile(sinabs_net(batch_size=batch), [x.flatten(0, 1)] * 2),
    ]
    for profile in found:
        assert (profile.samples, profile.metadata["timesteps"]) == (2 * batch, 3)


def test_a_smaller_batch_after_one_of_as_many_samples_as_timesteps():
    batches = [(torch.rand(n, 4, 6), torch.zeros(n, dtype=torch.long)) for n in (4, 2)]
    assert analyzer.profile(sinabs_net(), batches).samples == 6


@pytest.mark.parametrize(
    ("layout", "order"), [("(T B) D", (0, 1)), ("(B T) D", (1, 0)), ("T B D", None)]
)
@pytest.mark.parametrize("groups", [None, {"temporal": 2}])
def test_a_loop_takes_one_slice_a_step_also_of_merged_time_and_by_groups(layout, order, groups):
    x = spikes(4, 5, 6)
    given = x if order is None else x.permute(*order, 2).flatten(0, 1)
    sliced = analyzer.profile(
        fully_connected("s"), given, loop=True, timesteps=4, layouts={"": layout}, groups=groups
    )
    several = analyzer.profile(fully_connected("m"), x, layouts={"": "T B D"}, groups=groups)
    assert (sliced.samples, sliced.metadata["timesteps"]) == (5, 4)
    for key in ("ac", "mac", "dense_macs"):
        assert sliced.totals[key] == several.totals[key]
    assert sliced.groups == several.groups


def test_an_output_that_is_as_long_as_the_second_axis_by_chance_tells_no_samples():
    model = Call(lambda m, x: m.c(x).mean((0, 2, 3)).outer(torch.ones(3)), c=nn.Conv2d(3, 3, 3))
    assert analyzer.profile(model.eval(), torch.rand(4, 3, 5, 5)).samples == 4


def test_time_first_input_of_a_loop_of_the_models_own():
    model = Call(lambda m, x: sum(m.f(step) for step in x), f=nn.Linear(6, 3)).eval()
    assert analyzer.profile(model, spikes(4, 7, 6)).samples == 7


def test_a_loop_takes_an_input_whose_timesteps_are_one_in_memory():
    x = torch.rand(5, 6).expand(4, 5, 6)
    profile = analyzer.profile(fully_connected("s"), x, loop=True, layouts={"": "T B D"})
    assert (profile.samples, profile.metadata["timesteps"]) == (5, 4)
