"""Forwards that the code of a block runs."""

import pytest
import torch
from frame_models import Call, Loop, fully_connected, spikes
from spikingjelly.activation_based import functional, neuron
from torch import nn

import analyzer


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
