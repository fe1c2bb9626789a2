"""Passes that follow the plan of the first one count what a fully watched pass counts."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure.read import openmp as team


class WholeWeights(nn.Module):
    """Weights of a few integers that are no parameters: they are read in every pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.arange(-384, 384).remainder(7).view(48, 16) - 3)

    def forward(self, x):
        return ((x > 0.5).long() @ self.weight).float()


class MadeKernel(nn.Module):
    """Two activations that meet in a convolution, one graded, and padding on one side of it."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Linear(48, 3 * 3 * 3)

    def forward(self, x):
        kernel = (self.kernel(x.mean((0, 1))) > 0).float().view(3, 1, 3, 3)
        image = (x[:, :3, :48].unflatten(2, (6, 8)) * 3).round()
        return nn.functional.conv2d(image, kernel, padding=(1, 0), groups=3)


class Spikes(nn.Module):
    """Attention of spikes that are not one size, a mean of them, and a head."""

    def __init__(self):
        super().__init__()
        self.qkv, self.head = nn.Linear(48, 96), nn.Linear(32, 5)

    def forward(self, x):
        q, k, v = (self.qkv(x) > 0).float().chunk(3, -1)
        scores = q @ k.transpose(-2, -1)
        return self.head((scores @ (v - 0.5 * q)).mean(1))


@pytest.fixture(params=[(0, 3), (0, 2), (1 << 17, 2)], ids=str)
def sizes(request, monkeypatch):
    """By how many threads operands are read, from which size on."""
    least, threads = request.param
    before = torch.get_num_threads()
    monkeypatch.setattr(team, "_LEAST", least)
    torch.set_num_threads(threads)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("build", [WholeWeights, MadeKernel, Spikes])
def test_replayed_passes_count_as_watched_ones(build, sizes):
    torch.manual_seed(0)
    model = build().eval()
    batches = [torch.rand(4, 4, 48) for _ in range(4)]
    replayed = analyzer.profile(model, batches)
    watched = analyzer.profile(model, batches, watch="every")
    assert replayed.metadata["passes"] == {"full": 1, "replayed": 3, "missed": 0}
    assert replayed.contractions == watched.contractions
    assert replayed.tallies == watched.tallies


def test_the_number_of_threads_may_change(sizes):
    torch.manual_seed(0)
    model = Spikes().eval()
    batches = [torch.rand(4, 4, 48) for _ in range(5)]

    def changing():
        for threads, batch in zip((4, 1, 5, 2, 3), batches, strict=True):
            torch.set_num_threads(threads)
            yield batch

    watched = analyzer.profile(model, batches, watch="every")
    assert analyzer.profile(model, changing()).contractions == watched.contractions


class SmallAndLarge(nn.Module):
    """A layer that reads little and one that reads much of what it gives."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(8, 64), nn.Linear(64, 16)

    def forward(self, x):
        return self.large(self.small(x).repeat(500, 1)).mean(0, keepdim=True).expand(len(x), -1)


class Branch(nn.Module):
    """One of two boxes around the same layer, as values say without PyTorch's seeing it."""

    class Box(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)

    def __init__(self):
        super().__init__()
        layer = nn.Linear(8, 8)
        self.a, self.b = self.Box(layer), self.Box(layer)

    def forward(self, x):
        if np.asarray(x)[0, 0] > 0:
            return self.a(x)
        return self.b(x.unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize(
    ("build", "first", "place"), [(SmallAndLarge, 0.5, "small"), (Branch, -0.5, "b.layer")]
)
def test_what_is_not_finite_is_named_where_it_is(build, first, place):
    batches = [torch.rand(4, 8), torch.rand(4, 8)]
    batches[1][0, 0], batches[1][1, 1] = first, math.nan
    with pytest.raises(AnalyzerError, match=f"module '{place}'.*NaN or infinite"):
        analyzer.profile(build().eval(), batches)


def test_groups_of_a_pass_that_goes_another_way():
    """What does not fit the layout of the module expected there is no reason to refuse it."""
    layouts = {"a.layer": "B D", "b.layer": "B N D"}
    batches = [torch.rand(4, 8), torch.rand(4, 8) - 2, torch.rand(4, 8)]
    groups = {"structural": 2, "spatial": 2}
    model = Branch().eval()
    found = analyzer.profile(model, batches, layouts=layouts, groups=groups)
    watched = analyzer.profile(model, batches, layouts=layouts, groups=groups, watch="every")
    assert found.metadata["passes"]["missed"] == 1
    assert found.groups == watched.groups


def test_groups_of_a_tensor_that_numpy_fills_again():
    x = torch.zeros(4, 8)

    def batches():
        for fill in (1, 2, 3):
            x.numpy()[:, :fill] = 1
            yield x

    model = nn.Linear(8, 4).eval()
    found = analyzer.profile(model, batches(), layouts={"": "B D"}, groups={"structural": 1})
    assert [row.nonzeros for row in found.groups] == [4 * (1 + 2 + 3)]


def test_a_plan_keeps_no_tables():
    """What was counted position by position, as wide as a tensor, is kept as little as may be."""
    from analyzer.measure.read.activity import Activity

    q = (torch.rand(4, 8, 64, 64) < 0.3).float()
    found = Activity.read(q, (0, 1, 3))
    assert sum(memoryview(known.table).nbytes for known in found._counts.values()) <= q.nbytes / 16
    assert not Activity.read(q + 1, (0, 1, 3))._counts
