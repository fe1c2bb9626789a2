"""Counts of a profile for every reading; the sizes of its memories belong to no reading."""

import itertools

import numpy as np
import pytest
from spiking_networks import T, network, spikes

import analyzer
from analyzer.energy.declared.memory import memory_model
from analyzer.energy.pricing.coefficients import coefficients


@pytest.fixture(scope="module")
def measured():
    return analyzer.profile(network(), spikes(), timesteps=T, name="measured")


@pytest.fixture(scope="module")
def rated():
    table = {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    return analyzer.from_rates(table, name="rated")


def test_memories_hold_the_biases_of_a_layer_that_a_convention_omits(measured):
    (found,) = coefficients([measured], ["spikingresformer", "exact"])
    first = network().conv
    weights = first.weight.numel()
    assert found.held["weights"][0] == weights
    for rule in ("output", "bias"):
        assert found.held[f"weights.{rule}"][0] == weights + first.bias.numel()
    assert found.readings["spikingresformer"].counts["bias_reads.output"].still[0] == 0
    model = memory_model("lemaire")
    priced = measured.energy("45nm", "exact", memory=model).table
    pj_per_bit = found.pj_per_bit(model, "sram", "weights.output", model.weight_bits)
    counts = found.readings["exact"].counts
    reads = sum(sum(counts[name]) for name in ("weight_reads.window", "bias_reads.output"))
    np.testing.assert_allclose(
        reads / measured.samples * model.weight_bits * pj_per_bit,
        priced["weights_pj"],
        rtol=1e-12,
    )


@pytest.mark.parametrize("names", [*itertools.permutations(["spikingresformer", "exact", "rate"])])
def test_sizes_do_not_depend_on_what_reads_first(measured, rated, names):
    """Also not where only a later convention reads all profiles."""
    (alone,) = coefficients([measured], ["exact"])
    for profiles in ([measured, rated], [rated, measured]):
        both = coefficients(profiles, names)
        at = profiles.index(measured)
        found, other = both[at].held, both[1 - at].held
        assert found.keys() == alone.held.keys() == other.keys()
        for key, items in found.items():
            np.testing.assert_array_equal(items, alone.held[key])
        assert {len(items) for items in other.values()} == {1}
