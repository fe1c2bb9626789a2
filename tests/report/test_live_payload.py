"""What a page embeds, priced by multiplying and adding alone, against ``Profile.energy``."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from report_profiles import dense, silent, spiking
from repriced import Embedded

import analyzer
from analyzer.energy.declared.memory import memory_model
from analyzer.energy.pricing.price import price
from analyzer.entries import collect
from analyzer.errors import AnalyzerError
from analyzer.report.live.payload import pack, payload, unpack

DIGITS = 1e-12


@pytest.fixture(scope="module")
def profiles():
    folder = Path(__file__).parents[2] / "profiles"
    return [analyzer.load(path) for path in sorted(folder.glob("*.json.gz"))]


@pytest.fixture(scope="module")
def data(profiles):
    entries = collect(profiles, "45nm", "exact")
    whole = payload(
        entries, title="t", technology="45nm", convention="exact", precision="fp32", memory=None
    )
    return json.loads(unpack(pack(whole)))


def check(data, index, profile, technology, convention, precision, memory, activity=1.0, **changed):
    """Holds each component of each row against the package's own."""
    model = None if memory is None else memory_model(memory).with_settings(changed)
    try:
        report = price(profile, technology, convention, precision, model, activity)
    except AnalyzerError:
        return 0
    found = Embedded(data, index).energy(
        technology, convention, precision, memory, activity, **changed
    )
    rows = len(report.table)
    for component, pj in found.items():
        wanted = report.table[component].to_numpy(float)
        np.testing.assert_allclose(pj[:rows], wanted, rtol=DIGITS, err_msg=component)
    total = sum(pj[:rows].sum() for pj in found.values())
    assert total == pytest.approx(report.total_pj, rel=DIGITS)
    return rows


def test_every_convention_and_memory_model(data, profiles):
    checked = 0
    for index, profile in enumerate(profiles):
        for convention in analyzer.conventions():
            for memory in (None, *analyzer.memory_models()):
                checked += check(data, index, profile, "45nm", convention, "fp32", memory) > 0
    memories = len(analyzer.memory_models()) + 1
    assert checked == len(profiles) * len(analyzer.conventions()) * memories


@pytest.mark.parametrize("own", ["spikingresformer", "lmht"])
def test_a_report_by_a_convention_that_omits_the_first_layer(profiles, own):
    """Another convention on its page prices that layer's memory with its biases."""
    read = collect(profiles, "45nm", own)
    whole = payload(
        read, title="t", technology="45nm", convention=own, precision="fp32", memory="lemaire"
    )
    found = json.loads(unpack(pack(whole)))
    for index, profile in enumerate(profiles):
        for convention in analyzer.conventions():
            for biases in ("output", "bias", "none"):
                assert check(
                    found, index, profile, "45nm", convention, "fp32", "lemaire", bias_reads=biases
                )


def test_element_wise_work_is_priced_where_the_convention_does(profiles):
    own = "exact(elementwise=priced, special_multiplies=5)"
    entries = collect(profiles, "45nm", own)
    whole = payload(
        entries, title="t", technology="45nm", convention=own, precision="fp32", memory=None
    )
    data = json.loads(unpack(pack(whole)))
    for index, profile in enumerate(profiles):
        for memory in (None, *analyzer.memory_models()):
            for convention in (own, "exact", "rate"):
                assert check(data, index, profile, "45nm", convention, "fp32", memory)
            for neurons in ("none", "leak", "dynamics") if memory else ():
                check(data, index, profile, "45nm", own, "fp32", memory, 0.5, neurons=neurons)


def test_every_technology_and_precision(data, profiles):
    checked = 0
    for tech in data["technologies"]:
        for precision in tech["precisions"]:
            for memory in (None, "lemaire", "spyx", "bit-serial", "spikingjelly"):
                for convention in ("exact", "spikformer"):
                    checked += bool(
                        check(data, 0, profiles[0], tech["spec"], convention, precision, memory)
                    )
    assert checked > 150


def test_settings_and_activity_at_random(data, profiles):
    draw = random.Random(18)
    memories = {m["spec"]: m for m in data["memories"]}
    checked = 0
    for _ in range(120):
        memory = draw.choice(list(memories))
        facts = memories[memory]
        changed = {key: draw.choice(values) for key, values in facts["choices"].items()}
        for key in ("weight_bits", "activation_bits", "state_bits"):
            changed[key] = draw.choice([8, 16, 32])
        levels = [*facts["levels"], "dram", "sram_32KiB"]
        changed["weight_level"], changed["spike_level"] = draw.choice(levels), draw.choice(levels)
        changed["hops"] = draw.choice([0.64, 1, 4.75])
        index = draw.randrange(len(profiles))
        convention = draw.choice(list(analyzer.conventions()))
        activity = draw.choice([0, 0.25, 0.7, 1, 1.9, 4])
        checked += bool(
            check(
                data,
                index,
                profiles[index],
                "45nm",
                convention,
                "fp32",
                memory,
                activity,
                **changed,
            )
        )
    assert checked > 100


def test_counts_are_whole_where_the_convention_counts(data):
    for model in data["models"]:
        for still, spikes in model["readings"]["exact"]["counts"].values():
            for at in (still, spikes):
                assert at < 0 or all(isinstance(x, int) for x in model["columns"][at])


def test_what_can_not_be_read_says_why():
    table = {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    rated = analyzer.from_rates(table, name="paper")
    found = payload(
        collect([rated], "45nm", "rate"),
        title="t", technology="45nm", convention="rate", precision="fp32", memory=None,
    )  # fmt: skip
    assert "holds only firing rates" in found["models"][0]["readings"]["exact"]
    assert found["models"][0]["readings"]["rate"]["counts"]["ac"] == [-1, 0]


def test_the_same_profiles_give_the_same_payload():
    entries = collect([spiking(), dense(), silent()], "45nm", "exact")
    prices = {"technology": "45nm", "convention": "exact", "precision": "fp32", "memory": None}
    once, twice = (pack(payload(entries, title="t", **prices)) for _ in range(2))
    assert once == twice
