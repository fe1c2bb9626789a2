"""Models that act on values in Python: seen, so that each of their batches counts as itself."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import dlpack

import analyzer

N = 6
GENERATOR = np.random.default_rng(0)
"""Of the file that defines a model, as many have it."""


def batches(n=5):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(4, N, generator=generator) for _ in range(n)]


class Takes(nn.Module):
    """Takes the exponential of as many columns as a function says."""

    calls = 0

    def __init__(self, number):
        super().__init__()
        self.a, self.number = nn.Linear(N, 3), number
        self.python, self.numpy = random.Random(1), np.random.RandomState(1)
        self.count = 0
        self.register_buffer("weight", torch.tensor([4.0, 2.0]))

    def forward(self, x):
        return self.a(x), x[:, : int(self.number(self, x)) % (N + 1)].exp()


def count_up(model, x):
    model.count += 1
    return model.count


def count_up_in_the_class(model, x):
    type(model).calls += 1
    return type(model).calls


READ = {
    "tolist": lambda m, x: x.tolist()[0][0] * N,
    "numpy": lambda m, x: x.numpy()[0, 0] * N,
    "numpy-of-a-result": lambda m, x: (x[:, 0] * N).detach().numpy().max(),
    "array": lambda m, x: np.asarray(x)[0, 0] * N,
    "dlpack": lambda m, x: np.from_dlpack(x)[0, 0] * N,
    "dlpack-capsule": lambda m, x: torch.from_dlpack(dlpack.to_dlpack(x))[0, 0].item() * N,
    "item": lambda m, x: x.max().item() * N,
    "float": lambda m, x: float(x[0, 0]) * N,
    "branch": lambda m, x: N if x.numpy().mean() > 0.5 else 0,
}
DRAW = {
    "random": lambda m, x: random.random() * N,
    "numpy.random": lambda m, x: np.random.rand() * N,
    "of-the-model": lambda m, x: m.python.random() * N,
    "of-the-model-in-numpy": lambda m, x: m.numpy.rand() * N,
    "of-the-file": lambda m, x: GENERATOR.random() * N,
    "torch.rand": lambda m, x: torch.rand(()).item() * N,
    "torch.rand-as-list": lambda m, x: torch.rand(2).tolist()[1] * N,
}
COUNT = {"attribute": count_up, "class": count_up_in_the_class}
ALL = READ | DRAW | COUNT


def profiled(number, **options):
    """A profile, and how many numbers the batches took, each run alone from the same state."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    GENERATOR.bit_generator.state = np.random.default_rng(0).bit_generator.state
    options["reset"] = lambda model: None  # a counter that goes on is what is tested
    return analyzer.profile(Takes(number).eval(), batches(), **options)


def taken(number):
    """What the model takes by itself, with no profile around it."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    GENERATOR.bit_generator.state = np.random.default_rng(0).bit_generator.state
    model, before = Takes(number).eval(), Takes.calls
    with torch.no_grad():
        sizes = [model(x)[1].numel() for x in batches()]
    Takes.calls = before
    return sum(sizes)


@pytest.mark.parametrize("number", ALL.values(), ids=ALL)
def test_each_batch_counts_as_itself(number):
    expected = taken(number)
    found = profiled(number)
    assert found.totals["specials"] == expected
    assert found.metadata["passes"] == {"full": 5, "replayed": 0, "missed": 0}
    assert profiled(number, watch="every").totals == found.totals
    assert Takes.calls == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: itertools.count(1),
        lambda: iter([1, 2, 3, 4, 5]),
        lambda: (i for i in range(1, 6)),
        lambda: map(abs, range(1, 6)),
    ],
)
def test_nobody_can_tell_whether_an_iterator_moved_on(make):
    model = Takes(lambda m, x: next(m.steps)).eval()
    model.steps = make()
    found = analyzer.profile(model, batches())
    assert found.totals["specials"] == 4 * (1 + 2 + 3 + 4 + 5)


@pytest.mark.parametrize(
    "number",
    [
        lambda m, x: m.weight.tolist()[0],
        lambda m, x: m.weight.numpy()[1],
        lambda m, x: torch.arange(N).tolist()[3],
        lambda m, x: np.asarray(m.a.bias.detach()).shape[0],
        lambda m, x: len(x),
    ],
)
def test_what_is_the_same_in_all_batches_leaves_later_passes_cheap(number):
    found = profiled(number)
    assert found.metadata["passes"] == {"full": 1, "replayed": 4, "missed": 0}
    assert found.totals["specials"] == taken(number)


class RoundTrip(nn.Module):
    """Has something outside of PyTorch compute, as SciPy does, and goes on with the result."""

    def __init__(self, back):
        super().__init__()
        self.a, self.back = nn.Linear(N, 3), back

    def forward(self, x):
        return self.a(self.back(x).exp())


@pytest.mark.parametrize(
    "back",
    [
        lambda x: torch.from_numpy(np.sqrt(x.numpy())),
        lambda x: torch.as_tensor(np.sqrt(np.asarray(x))),
        lambda x: torch.tensor(x.tolist()),
        lambda x: torch.from_dlpack(np.sqrt(np.from_dlpack(x))),
    ],
)
@pytest.mark.parametrize("watch", ["first", "every"])
def test_what_comes_back_from_python_depends_on_the_input(back, watch):
    found = analyzer.profile(RoundTrip(back).eval(), batches(), watch=watch)
    assert found.totals["specials"] == 5 * 4 * N
    (row,) = found.operations().query("dense_macs > 0").to_dict("records")
    assert (row["op"], row["dense_macs"], row["input_class"]) == ("linear", 5 * 4 * N * 3, "real")


def test_constants_made_after_a_length_was_read_stay_constants():
    """The lengths of sequences are read in many models, before anything else."""

    class Lengths(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(N, 3)

        def forward(self, x, lengths):
            parts = x.split(lengths.tolist())
            scale = torch.full((N,), 0.5).exp()
            return torch.cat([self.a(part * scale) for part in parts])

    model, x = Lengths().eval(), batches(1)[0]
    data = [(x, torch.tensor(n)) for n in ([1, 3], [2, 2], [4, 0], [1, 1, 2])]
    data = [{"x": a, "lengths": b} for a, b in data]
    found = analyzer.profile(model, data)
    assert found.totals["dense_macs"] == 4 * 4 * N * 3
    assert found.totals["specials"] == 0
