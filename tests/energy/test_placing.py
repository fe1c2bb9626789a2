"""Cores of layers and the layers' needs: by brute force, neuron by neuron."""

import itertools
from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_chips import spikes
from torch import nn

import analyzer
from analyzer.energy.fitting.limits import Chip
from analyzer.energy.fitting.placing import Need, assigned, needs, share
from analyzer.models.neurons import LIF


def layers_of(draw):
    """A layer of any shape: places, groups, channels a group, fan-in."""
    places, groups, size, fan_in = (draw(st.integers(1, n)) for n in (6, 3, 5, 4))
    disjoint = places * groups * fan_in
    need = Need(
        "layer", "conv2d", "binary", groups * size * fan_in,
        neurons=places * groups * size, blocks=places * groups, fan_in=fan_in, groups=groups,
        inputs=disjoint,
    )  # fmt: skip
    return need, places, size


def chips_of(draw):
    limit = st.none() | st.integers(1, 40)
    return Chip(
        "c", "C", "s", "", {}, cores=9, neurons=draw(limit), axons=draw(limit),
        weight_memory_bits=draw(st.none() | st.integers(1, 120)),
        shares_weights=draw(st.sampled_from([None, False, True])),
    )  # fmt: skip


def allowed(core, made, bits):
    """Whether neurons, each a triple of place, group and channel, are within the limits of a core.

    Every place has inputs of its own in each group. Shared weights are those of a channel.
    """
    fan_in = made["fan_in"]
    axons = {(place, group, i) for place, group, _ in core for i in range(fan_in)}
    stored = {
        ((group, channel) if made["shares"] else (place, group, channel), i)
        for place, group, channel in core
        for i in range(fan_in)
    }
    known = made["chip"]
    return (
        (known.neurons is None or len(core) <= known.neurons)
        and (known.axons is None or len(axons) <= known.axons)
        and (known.weight_memory_bits is None or len(stored) * bits <= known.weight_memory_bits)
    )


def filled(units, fits):
    """Cores that take whole units in order, the next one where another does not fit."""
    cores = []
    for unit in units:
        if cores and fits([*cores[-1], *unit]):
            cores[-1].extend(unit)
        else:
            cores.append(list(unit))
    return cores


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_cores_are_those_of_brute_force(data):
    """Neuron by neuron, with sets of inputs and of weights, by the rule that the page states."""
    need, places, size = layers_of(data.draw)
    known, bits = chips_of(data.draw), data.draw(st.integers(1, 4))
    made = {"fan_in": need.fan_in, "shares": bool(known.shares_weights), "chip": known}

    def fits(core):
        return allowed(core, made, bits)

    found = share(need, known, bits)
    if not fits([(0, 0, 0)]):
        assert found.refusal
        assert found.loads is None
        return
    assert not found.refusal
    if known.neurons is known.axons is known.weight_memory_bits is None:
        assert found.loads is None
        return
    blocks = [
        [(place, group, channel) for channel in range(size)]
        for place in range(places)
        for group in range(need.groups)
    ]
    everything = [neuron for block in blocks for neuron in block]
    memory = known.weight_memory_bits
    if known.shares_weights and memory is not None and need.weights * bits > memory:
        cores = []  # parts of channels whose weights fit, each over all places
        for group in range(need.groups):
            channels = filled([[(0, group, c)] for c in range(size)], fits)
            for part in ([c for _, _, c in one] for one in channels):
                units = [[(place, group, c) for c in part] for place in range(places)]
                cores += filled(units, fits)
    elif all(fits(block) for block in blocks):
        cores = filled(blocks, fits)
    else:
        cores = [core for block in blocks for core in filled([[n] for n in block], fits)]
    assert found.loads.tolist() == [len(core) for core in cores]
    assert all(map(fits, cores))
    assert sorted(n for core in cores for n in core) == sorted(everything)


def test_a_layer_with_few_inputs_is_not_limited_by_axons():
    """The places of a convolution read the same inputs, of which there are only so many."""
    known = Chip("c", "C", "s", "", {}, neurons=100, axons=20)
    need = Need("l", "conv2d", "binary", 9 * 4, neurons=64, blocks=16, fan_in=9, inputs=16)
    assert share(need, known, 1).loads.tolist() == [64]
    wide = replace(need, inputs=21)
    assert share(wide, known, 1).loads.tolist() == [8] * 8


def test_needs_are_those_of_the_layers():
    conv = nn.Conv2d(4, 6, (3, 2), padding=1, stride=2, groups=2)
    profile = analyzer.profile(conv.eval(), spikes(2, 4, 8, 8))
    (need,) = needs(profile)
    out = conv(torch.zeros(1, 4, 8, 8))
    assert need.neurons == out.numel()
    assert need.blocks == 2 * out[0, 0].numel()
    assert (need.fan_in, need.kernel, need.groups) == (2 * 3 * 2, 6, 2)
    assert need.inputs == 4 * 8 * 8
    tokens = analyzer.profile(nn.Linear(5, 7).eval(), spikes(2, 9, 5))
    (need,) = needs(tokens)
    assert (need.neurons, need.blocks, need.fan_in, need.inputs) == (63, 9, 5, 45)


class Loop(nn.Module):
    """One layer, run once a timestep, and another that is run twice in each."""

    def __init__(self):
        super().__init__()
        self.once, self.twice, self.neuron = nn.Linear(6, 6), nn.Linear(6, 6), LIF()

    def forward(self, x):
        return sum(self.twice(self.twice(self.once(step))) for step in x)


def test_a_layer_that_runs_once_a_timestep_is_there_once():
    profile = analyzer.profile(Loop().eval(), spikes(4, 2, 6), timesteps=4, layouts={"": "T B D"})
    once, twice = needs(profile)
    assert (once.module, once.neurons, once.inputs) == ("once", 6, 6)
    assert (twice.module, twice.neurons, twice.inputs) == ("twice", 12, 12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.integers(0, 3)), max_size=5))
def test_as_many_layers_as_possible_get_a_core(fitting):
    fitting = [sorted(cores) for cores in fitting]
    found = assigned(fitting)
    taken = [core for core in found if core is not None]
    assert len(taken) == len(set(taken))
    assert all(c is None or c in cores for c, cores in zip(found, fitting, strict=True))
    best = max(
        sum(choice is not None for choice in choices)
        for choices in itertools.product(*([None, *cores] for cores in fitting))
        if len({c for c in choices if c is not None}) == sum(c is not None for c in choices)
    )
    assert len(taken) == best
