"""Loops over time: of the model, and around a network of one timestep a call."""

import pytest
import torch
from frame_models import Call, Loop, fully_connected, spikes, spiking
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import analyzer


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
        nn.Linear(6, 3).eval(),
        [{"x": torch.rand(8, 6)}],
        forward=lambda m, batch: m(batch["x"]) + m(batch["x"]),
    )
    assert (twice.samples, twice.unexplained) == (8, ())
    assert [row.brute_force for row in twice.rows if row.brute_force] == [2 * 8 * 18]


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


def test_time_first_input_of_a_loop_of_the_models_own():
    model = Call(lambda m, x: sum(m.f(step) for step in x), f=nn.Linear(6, 3)).eval()
    assert analyzer.profile(model, spikes(4, 7, 6)).samples == 7


def test_a_loop_takes_an_input_whose_timesteps_are_one_in_memory():
    x = torch.rand(5, 6).expand(4, 5, 6)
    profile = analyzer.profile(fully_connected("s"), x, loop=True, layouts={"": "T B D"})
    assert (profile.samples, profile.metadata["timesteps"]) == (5, 4)
