"""What a sample and a timestep are: declared, told by evidence, or refused."""

import numpy as np
import pytest
import sinabs.layers
import torch
from frame_models import Call, Loop, MeanOverTime, fully_connected, spikes
from spikingjelly.activation_based import neuron
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError


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


class WarmedUp(nn.Module):
    """A layer and a neuron in a loop of four timesteps, and the neuron before the first one too."""

    def __init__(self, before):
        super().__init__()
        self.layer, self.node, self.before = nn.Linear(6, 6), neuron.IFNode(v_reset=None), before

    def forward(self, x):
        for _ in range(self.before):
            self.node(torch.full_like(x, 0.4))
        return sum(self.node(self.layer(x)) for _ in range(4)) / 4


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_neurons_may_run_before_the_first_timestep(before):
    """All layers ran T times, which is what was declared."""
    model = WarmedUp(before).eval()
    profile = analyzer.profile(model, [torch.rand(3, 6)] * 2, timesteps=4)
    assert profile.metadata["timesteps"] == 4
    assert profile.totals["dense_macs"] == 2 * 3 * 4 * 36
    with pytest.raises(analyzer.AnalyzerError, match="nothing ran 9 times"):
        analyzer.profile(model, torch.rand(3, 6), timesteps=9)


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


@pytest.mark.parametrize("given", [{}, {"layouts": {"": "(B T) D"}}])
def test_squeezed_layers_tell_samples_and_timesteps_of_a_merged_axis(given):
    layers = pytest.importorskip("sinabs.layers")
    model = nn.Sequential(nn.Linear(6, 3), layers.IAFSqueeze(batch_size=2)).eval()
    profile = analyzer.profile(model, spikes(10, 6), **given)
    assert (profile.samples, profile.metadata["timesteps"]) == (2, 5)


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


def test_an_output_that_is_as_long_as_the_second_axis_by_chance_tells_no_samples():
    model = Call(lambda m, x: m.c(x).mean((0, 2, 3)).outer(torch.ones(3)), c=nn.Conv2d(3, 3, 3))
    assert analyzer.profile(model.eval(), torch.rand(4, 3, 5, 5)).samples == 4


@pytest.mark.parametrize("whole", [np.int64, torch.tensor])
def test_whole_numbers_of_numpy_and_tensors_are_taken(whole):
    x = list(torch.rand(4, 6, 3).split(3, 1))
    profiles = [
        analyzer.profile(
            nn.Linear(3, 2).eval(), x, layouts={"": "T B D"}, timesteps=number(4),
            samples=number(3), shard=(number(1), number(1)),
        ).metadata["frame"]
        for number in (int, whole)
    ]  # fmt: skip
    assert profiles[0] == profiles[1]


@pytest.mark.parametrize("number", [4.0, True, "4", 0, np.float32(4)])
def test_what_is_no_whole_number_of_timesteps_is_refused(number):
    with pytest.raises(AnalyzerError, match="timesteps must be a positive integer, not"):
        analyzer.profile(nn.Linear(3, 2).eval(), torch.rand(4, 3), timesteps=number)
