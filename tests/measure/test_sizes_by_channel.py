"""Spikes that fixed factors scale channel by channel: the factors fold into a layer's weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer


def spikes(*shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


class Scaled(nn.Module):
    """A layer that reads the input times factors of some shape."""

    def __init__(self, layer, shape, way="mul", flat=False):
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.way, self.flat = layer, way, flat
        self.a = nn.Parameter(torch.rand(shape) + 0.3)

    def forward(self, x):
        y = {
            "mul": lambda: x * self.a,
            "left": lambda: self.a * x,
            "div": lambda: x / self.a,
            "in place": lambda: x.clone().mul_(self.a),
            "computed": lambda: x * nn.functional.softplus(self.a),
        }[self.way]()
        return self.layer(y.flatten(1) if self.flat else y)


FOLDS = {
    "linear": (lambda: nn.Linear(6, 4), (6,), (3, 6), False),
    "tokens": (lambda: nn.Linear(6, 4), (6,), (3, 5, 6), False),
    "conv": (lambda: nn.Conv2d(2, 3, 3, padding=1), (1, 2, 1, 1), (3, 2, 4, 4), False),
    "conv1d": (lambda: nn.Conv1d(2, 3, 2), (2, 1), (3, 2, 5), False),
    "flattened": (lambda: nn.Linear(32, 4), (1, 2, 1, 1), (3, 2, 4, 4), True),
    "places of a flattened map": (lambda: nn.Linear(32, 4), (4, 4), (3, 2, 4, 4), True),
}

STAYS = {
    "tokens": (lambda: nn.Linear(6, 4), (5, 1), (3, 5, 6), False),
    "samples": (lambda: nn.Linear(6, 4), (3, 1), (3, 6), False),
    "places": (lambda: nn.Conv2d(2, 3, 3), (4, 4), (3, 2, 4, 4), False),
}


@pytest.mark.parametrize("way", ["mul", "left", "div", "in place", "computed"])
@pytest.mark.parametrize("name", FOLDS)
def test_factors_of_channels_fold(name, way):
    layer, shape, size, flat = FOLDS[name]
    x = spikes(*size)
    plain = analyzer.profile(Scaled(layer(), (1,), "mul", flat).eval(), x).totals
    scaled = analyzer.profile(Scaled(layer(), shape, way, flat).eval(), x).totals
    for key in ("ac", "mac", "events", "unary_events", "input_nonzeros", "dense_macs"):
        assert scaled[key] == plain[key], key
    assert (scaled["mac"], scaled["ac"] > 0) == (0, True)


@pytest.mark.parametrize("name", STAYS)
def test_factors_that_no_weight_takes_over_stay(name):
    layer, shape, size, flat = STAYS[name]
    totals = analyzer.profile(Scaled(layer(), shape, "mul", flat).eval(), spikes(*size)).totals
    assert (totals["ac"], totals["mac"]) == (0, totals["dense_macs"])


def test_reals_that_are_scaled_stay_reals():
    """A single row of any numbers looks like spikes of as many sizes."""
    x = torch.randn(1, 6)
    totals = analyzer.profile(Scaled(nn.Linear(6, 4), (6,)).eval(), x).totals
    assert (totals["ac"], totals["mac"]) == (0, 24)


def test_factors_that_depend_on_the_input_stay():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            return self.layer(x * (x.mean(0) + torch.arange(1.0, 7)))

    totals = analyzer.profile(Gate().eval(), spikes(3, 6)).totals
    assert (totals["ac"], totals["mac"]) == (0, 3 * 24)


def test_a_write_after_the_factors_is_seen():
    class Writes(Scaled):
        def forward(self, x):
            y = x * self.a
            y[0, 0] = 3.3
            return self.layer(y)

    totals = analyzer.profile(Writes(nn.Linear(6, 4), (6,)).eval(), spikes(3, 6)).totals
    assert totals["ac"] == 0


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(sorted(FOLDS)),
    st.lists(st.tuples(st.sampled_from(("spikes", "counts", "reals", "silent")), st.integers(1, 3)),
             min_size=1, max_size=4),
    st.booleans(),
)  # fmt: skip
def test_batches_add_up(name, batches, every):
    layer, shape, (_, *size), flat = FOLDS[name]
    model = Scaled(layer(), shape, "mul", flat).eval()
    data = [
        {
            "spikes": spikes(n, *size, seed=i),
            "counts": spikes(n, *size, seed=i) + spikes(n, *size, seed=i + 9),
            "reals": torch.rand(n, *size) + 0.1,
            "silent": torch.zeros(n, *size),
        }[kind]
        for i, (kind, n) in enumerate(batches)
    ]
    watch = "every" if every else "first"
    whole = analyzer.profile(model, data, watch=watch)
    parts = [analyzer.profile(model, [x]) for x in data]
    assert sum(parts[1:], parts[0]) == whole
    sizes = torch.cat([x.flatten() for x in data]).unique()
    assert (whole.totals["mac"] == 0) == (int((sizes != 0).sum()) < 2)


@pytest.mark.parametrize("loop", [True, False])
def test_channels_and_timesteps_together(loop):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(6, 4)
            self.a = nn.Parameter(torch.rand(4, 1, 6) + 0.3)

        def forward(self, x):
            if loop:
                return torch.stack([self.layer(s * a) for s, a in zip(x, self.a, strict=True)]).sum(
                    0
                )
            return self.layer(x * self.a).sum(0)

    x = spikes(4, 3, 6)
    totals = analyzer.profile(Both().eval(), x, timesteps=4, layouts={"": "T B D"}).totals
    assert (totals["ac"], totals["mac"]) == (int(x.sum()) * 4, 0)
