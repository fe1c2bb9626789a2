"""Spikes whose size differs by timestep: the same facts in a loop over time and in one call."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import analyzer

T = 3


class Layer(nn.Module):
    """One operation, called once for all timesteps or once for each.

    The values of each timestep are those of the input, or the sum of as many of its copies.
    """

    def __init__(self, kind, sizes, loop):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.loop = kind, loop
        self.linear, self.conv = nn.Linear(6, 5), nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.bare = nn.Conv2d(2, 3, 1)
        self.register_buffer("sizes", torch.tensor(sizes))

    def once(self, x):
        if self.kind == "linear":
            return self.linear(x.flatten(1)[:, :6])
        if self.kind == "tokens":
            return self.linear(x.flatten(1)[:, :12].unflatten(1, (2, 6)))
        if self.kind in ("conv", "bare"):
            return (self.conv if self.kind == "conv" else self.bare)(x)
        q = x.flatten(2)
        if self.kind == "product":
            return q @ q.mT
        if self.kind == "weighted":
            return self.linear.weight[:, :2] @ q
        return F.scaled_dot_product_attention(q[:, None], q[:, None], q[:, None])

    def forward(self, x):  # [T, B, 2, 4, 4]
        y = x * self.sizes.view(-1, 1, 1, 1, 1)
        if self.loop:
            return torch.stack([self.once(step) for step in y]).mean(0)
        return self.once(y.flatten(0, 1)).unflatten(0, (T, -1)).mean(0)


KINDS = ("linear", "tokens", "conv", "bare", "product", "weighted", "attention")
CONVENTIONS = ("exact", "unary", "spikingformer", "rate", "dense", "neurobench")


def told(profile):
    """All that does not say how often a layer was called."""
    table = profile.rows.drop(columns=["calls", "once_weights", "channels"]).set_index(
        ["module", "op", "input_class"]
    )
    energies = [
        profile.energy(convention=convention, memory=memory).total_pj
        for convention in CONVENTIONS
        for memory in (None, "spyx")
        if not (memory and convention != "exact")
    ]
    operations = {
        name: profile.operations(name)[["ac", "mac"]].sum().tolist() for name in CONVENTIONS
    }
    numbers = table.select_dtypes("number").drop(columns=["lhs_rate", "rhs_rate"]).sort_index()
    return numbers, operations, energies


def merged(table):
    """Silent timesteps told with those that spikes drive: a class of their own says no more."""
    table = table.reset_index()
    driven = [c for c in table["input_class"] if "binary" in c]
    silent = table["input_class"].map(lambda c: set(c.split("*")) == {"zero"})
    table["input_class"] = table["input_class"].mask(silent, driven[0] if driven else "zero")
    return table.groupby(["module", "op", "input_class"]).sum()


def profiled(kind, sizes, loop, batches, **options):
    model = Layer(kind, sizes, loop).eval()
    return analyzer.profile(
        model, batches, timesteps=T, layouts={"": "T B C H W"}, reset=lambda m: None, **options
    )


def check(kind, sizes, batches, **options):
    loop, call = (profiled(kind, sizes, way, batches, **options) for way in (True, False))
    (of_loop, ops, energies), (of_call, other_ops, other_energies) = told(loop), told(call)
    assert ops == other_ops
    assert energies == pytest.approx(other_energies)
    left, right = merged(of_loop), merged(of_call)
    weights = [c for c in left.columns if c.startswith("weight")]
    assert left.drop(columns=weights).equals(right.drop(columns=weights))
    return call


def values(sort, seed, batch):
    """What a timestep may hold: silence, spikes, signed spikes, counts, reals."""
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(T, batch, 2, 4, 4, generator=g) < 0.4).float()
    y = (torch.rand(T, batch, 2, 4, 4, generator=g) < 0.5).float()
    steps = {
        "silent": x * 0,
        "spikes": x,
        "signed": x * (2 * y - 1),
        "counts": x + y,
        "reals": torch.randn(T, batch, 2, 4, 4, generator=g),
    }
    return torch.stack([steps[name][t] for t, name in enumerate(sort)])


sorts = st.lists(
    st.sampled_from(("silent", "spikes", "spikes", "signed", "counts", "reals")),
    min_size=T,
    max_size=T,
)
sizes = st.lists(st.sampled_from((1.0, 0.5, 0.25, 0.93, 1.17)), min_size=T, max_size=T)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(KINDS),
    sizes,
    st.lists(st.tuples(sorts, st.integers(1, 2)), min_size=1, max_size=3),
    st.sampled_from(("first", "every")),
)
def test_a_loop_and_one_call_tell_the_same(kind, sizes, batches, watch):
    data = [values(sort, seed, size) for seed, (sort, size) in enumerate(batches)]
    whole = check(kind, sizes, data, watch=watch)
    parts = [profiled(kind, sizes, False, [x], watch=watch) for x in data]
    assert sum(parts[1:], parts[0]) == whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["one size", "powers of two", "learned"])
def test_spikes_of_any_size_drive(kind, name):
    sizes = {
        "one size": [1.0, 1.0, 1.0],
        "powers of two": [1.0, 0.5, 0.25],
        "learned": [0.93, 1.17, 0.81],
    }[name]
    x = values(["spikes"] * T, 0, 2)
    totals = check(kind, sizes, x).totals
    if kind != "attention":  # scores times values: spikes drive the values alone
        assert totals["mac"] == 0
    assert totals["ac"] == profiled(kind, [1.0] * T, False, x).totals["ac"] > 0


def test_a_profile_of_sizes_by_timestep_is_saved(tmp_path):
    profile = profiled("conv", [1.0, 0.5, 0.81], False, values(["spikes", "counts", "reals"], 0, 2))
    again = analyzer.load(profile.save(tmp_path / "p.json.gz"))
    assert again == profile
    assert again.totals == profile.totals


@pytest.mark.parametrize("way", ["weights first", "two activations"])
def test_matrices_whose_first_axis_is_no_time_tell_no_timestep(way):
    """Features that are a multiple of all timesteps of all samples are not taken for these."""

    class Mixes(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(5, 12))

        def forward(self, x):
            rows = x.flatten(0, 1)
            if way == "weights first":
                return (self.weight @ rows.mT).mT.unflatten(0, x.shape[:2])
            return (rows @ (rows.mT @ rows)).unflatten(0, x.shape[:2])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixes = Mixes()
            self.head = nn.Linear(5 if way == "weights first" else 12, 2)

        def forward(self, x):
            return self.head(self.mixes(x)).mean(0)

    x = (torch.rand(T, 2, 12, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    layouts = {"": "T B D", "mixes": "T B D", "head": "T B D"}
    found = analyzer.profile(Net().eval(), x, layouts=layouts).sparsity("timestep")
    assert found["module"].unique().tolist() == ["head"]
