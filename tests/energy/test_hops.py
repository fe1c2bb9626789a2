"""Hops between cores of a mesh, pair by pair and message by message."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_chips import spikes, written
from torch import nn

import analyzer
from analyzer.energy.fitting.hops import way
from analyzer.energy.fitting.placing import needs
from analyzer.models.neurons import LIF


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(0, 20),
    st.integers(0, 40),
    st.integers(1, 12),
)
def test_hops_are_those_of_brute_force(mesh, loads, source, gap, cores):
    columns, rows, each = mesh
    size = columns * rows * each

    def place(core):
        number, tile = core // size, core % size // each
        return number, tile % columns, tile // columns

    target = source + len(loads) + gap
    pairs = on_chip = hops = 0
    for at, load in enumerate(loads):
        for reader in range(target, target + cores):
            (a, x, y), (b, u, v) = place(source + at), place(reader)
            pairs += load
            if a == b:
                on_chip += load
                hops += load * (abs(x - u) + abs(y - v))
    found = way(np.array(loads), source, target, cores, mesh)
    assert (found.pairs, found.on_chip, found.hops) == (pairs, on_chip, hops)
    assert found.leaving == 1 - Fraction(on_chip, pairs)
    assert found.mean == (Fraction(hops, on_chip) if on_chip else None)


def test_the_mean_over_layers_is_that_of_all_messages(tmp_path):
    """Message by message: each spike, from a core chosen by its neurons, to each core."""
    path = written(
        tmp_path, cores=8, mesh=(4, 2, 1), neurons=8, axons=99, weight_memory_bits=100_000,
        weight_bits=8, spikes='["binary"]',
    )  # fmt: skip
    torch.manual_seed(0)
    layers = nn.Linear(6, 20), LIF(), nn.Linear(20, 12), LIF(), nn.Linear(12, 5)
    for layer in layers[::2]:
        nn.init.uniform_(layer.weight, -0.2, 1.0)
    x = spikes(4, 3, 6)
    profile = analyzer.profile(
        nn.Sequential(*layers).eval(), x, timesteps=4, layouts={"": "T B D"}, name="net"
    )
    found = analyzer.fit(profile, path)
    assert found.rows["cores"].tolist() == [3, 2, 1]  # of 8 neurons: 0 to 2, 3 and 4, 5
    loads = {0: [8, 8, 4], 1: [8, 4]}
    spots = [(core % 4, core // 4) for core in range(8)]
    total = messages = 0.0
    for reader, start, cores in ((1, 0, [3, 4]), (2, 3, [5])):
        site = profile.contractions[reader]
        for (at, load), target in itertools.product(enumerate(loads[reader - 1]), cores):
            (x0, y0), (x1, y1) = spots[start + at], spots[target]
            sent = site.lhs.nonzeros * load / sum(loads[reader - 1])
            total += sent * (abs(x0 - x1) + abs(y0 - y1))
            messages += sent
    assert messages
    assert found.mean_hops == pytest.approx(total / messages)
    assert f"yan(hops={found.mean_hops:.3g})" in " ".join(found.notes)


def test_layers_that_read_the_same_have_one_source(tmp_path):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.q, self.k = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.neuron = LIF()

        def forward(self, x):
            inner = self.neuron(self.first(x))
            return self.q(inner) + self.k(inner)

    torch.manual_seed(0)
    model = Heads().eval()
    nn.init.uniform_(model.first.weight, -0.2, 1.0)
    profile = analyzer.profile(model, spikes(4, 3, 6), timesteps=4, layouts={"": "T B D"})
    assert [need.again for need in needs(profile)] == [False, False, True]
    path = written(tmp_path, mesh=(4, 1, 1), neurons=8, axons=9)
    found = analyzer.fit(profile, path)
    assert found.rows["hops"].fillna(-1).tolist() == [-1, 1, 2]  # core 0 sends to 1 and to 2
