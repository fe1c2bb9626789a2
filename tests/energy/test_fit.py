"""Whether models fit on chips: verdicts, what is unknown, shipped chips, and bad files."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from small_chips import ABOUT, spikes, written
from torch import nn

import analyzer
from analyzer.energy.answer import Answer
from analyzer.energy.fitting.limits import chip
from analyzer.energy.fitting.placing import entries, needs
from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF

ROOT = Path(__file__).parents[2]
EACH = f"[each_core]\n{ABOUT}"


def net(layer):
    """A profile of a layer that reads spikes."""
    return analyzer.profile(layer.eval(), spikes(2, 16), name="net")


def test_every_limit_refuses_by_name(tmp_path):
    profile = net(nn.Linear(16, 10))
    full = {"neurons": 10, "axons": 16, "weight_memory_bits": 1280, "weight_bits": 8}
    fits = analyzer.fit(profile, written(tmp_path, spikes='["binary"]', **full)).rows.iloc[0]
    assert (fits["fits"], fits["cores"], fits["lower_bound"], fits["why"]) == ("yes", 1, False, "")
    for key, value, cores, why in (
        ("neurons", 9, 2, ""),
        ("axons", 15, None, "fan-in 16, a core has 15 inputs"),
        ("weight_memory_bits", 1279, 2, ""),
        ("weight_memory_bits", 127, None, "16 weights of a neuron, a core holds 15"),
    ):
        row = analyzer.fit(profile, written(tmp_path, **(full | {key: value}))).rows.iloc[0]
        assert (row["why"], row["fits"]) == (why, "no" if why else "yes")
        assert (None if pd.isna(row["cores"]) else row["cores"]) == cores
    bits = analyzer.fit(profile, written(tmp_path, **(full | {"weight_memory_bits": 640})))
    assert bits.cores == 2
    fewer = analyzer.fit(
        profile, written(tmp_path, **(full | {"weight_memory_bits": 640})), weight_bits=4
    )
    assert fewer.cores == 1


@pytest.mark.parametrize("gone", ["neurons", "axons", "weight_memory_bits", "weight_bits"])
def test_what_no_source_gives_is_unknown_and_never_guessed(tmp_path, gone):
    full = {"neurons": 4, "axons": 16, "weight_memory_bits": 1280, "weight_bits": 8}
    less = {key: value for key, value in full.items() if key != gone}
    found = analyzer.fit(net(nn.Linear(16, 10)), written(tmp_path, **less))
    row = found.rows.iloc[0]
    assert row["fits"] == "unknown"
    assert row["lower_bound"]
    assert row["cores"] == {"neurons": 1}.get(gone, 3)
    words = {"axons": "inputs", "weight_memory_bits": "weight memory", "weight_bits": "weight bits"}
    assert row["why"] == f"unknown: {words.get(gone, gone)}"
    assert "at least" in found.summary
    assert found.shown()["Cores"].tolist()[0].startswith("≥ ")
    given = analyzer.fit(net(nn.Linear(16, 10)), written(tmp_path, **less), weight_bits=8)
    assert (given.rows.iloc[0]["fits"] == "yes") == (gone == "weight_bits")


def test_nothing_known_but_the_number_of_cores(tmp_path):
    found = analyzer.fit(net(nn.Linear(16, 10)), written(tmp_path))
    assert found.rows["cores"].isna().all()
    assert found.rows["fits"].tolist() == ["unknown"]
    assert found.cores == 0
    assert found.mean_hops is None
    assert "Hops are unknown" in " ".join(found.notes)


def test_values_that_spikes_do_not_carry_are_for_a_host(tmp_path):
    levels = torch.randint(0, 4, (2, 16), generator=torch.Generator().manual_seed(0)).float()
    layer = nn.Linear(16, 10).eval()
    graded = analyzer.profile(layer, levels)
    real = analyzer.profile(layer, torch.rand(2, 16))
    full = {"neurons": 10, "axons": 16, "weight_memory_bits": 1280, "weight_bits": 8}
    for carried, verdicts in (
        ('["binary"]', ("no", "no")),
        ('["binary", "graded"]', ("yes", "no")),
        (None, ("unknown", "unknown")),
    ):
        given = full | ({"spikes": carried} if carried else {})
        path = written(tmp_path, **given)
        found = tuple(analyzer.fit(p, path).rows.iloc[0]["fits"] for p in (graded, real))
        assert found == verdicts
    row = analyzer.fit(real, written(tmp_path, **full, spikes='["binary"]')).rows.iloc[0]
    assert row["why"] == "reads real values: for a host"


def test_more_cores_than_a_chip_has_are_chips(tmp_path):
    path = written(tmp_path, mesh=(2, 2, 1), neurons=3, axons=30)
    torch.manual_seed(0)
    layers = nn.Linear(16, 10), LIF(), nn.Linear(10, 9)
    nn.init.uniform_(layers[0].weight, 0, 1)
    profile = analyzer.profile(
        nn.Sequential(*layers).eval(), spikes(4, 2, 16), timesteps=4, layouts={"": "T B D"}
    )
    found = analyzer.fit(profile, path)
    assert found.rows["cores"].tolist() == [4, 3]
    assert (found.cores, found.chips) == (7, 2)
    assert found.rows["leaving"].iloc[1] == 1
    assert found.mean_hops is None
    assert "2 chips of 4" in found.summary
    assert "Ways to another chip" in " ".join(found.notes)


def test_copies_that_a_chip_needs_are_named(tmp_path):
    path = written(tmp_path, neurons=3, axons=30, destinations=2)
    found = " ".join(analyzer.fit(net(nn.Linear(16, 9)), path).notes)
    assert "sends to 2 cores at most" in found
    path = written(tmp_path, neurons=3, axons=30, destinations=3)
    assert "at most" not in " ".join(analyzer.fit(net(nn.Linear(16, 9)), path).notes)


def test_the_worked_example_of_speck():
    """By the documentation of sinabs: 8 Ki weights are kept, and 128 Ki neurons fit in no core."""
    layer = nn.Conv2d(16, 32, 3, padding=1, bias=False).eval()
    (need,) = needs(analyzer.profile(layer, spikes(1, 16, 64, 64)))
    assert entries(need, rounded=True) == 8 * 1024
    assert need.neurons == 128 * 1024
    row = analyzer.fit(analyzer.profile(layer, spikes(1, 16, 64, 64)), "speck").rows.iloc[0]
    assert (row["fits"], row["why"]) == ("no", "131,072 neurons, a core has 65,536")
    small = analyzer.fit(analyzer.profile(layer, spikes(1, 16, 32, 32)), "speck").rows.iloc[0]
    assert (small["fits"], small["cores"]) == ("yes", 1)


def test_a_tenth_layer_finds_no_core_of_speck():
    layers = [part for _ in range(10) for part in (nn.Linear(8, 8), LIF())]
    torch.manual_seed(0)
    for layer in layers[::2]:
        nn.init.uniform_(layer.weight, 0, 1)
    profile = analyzer.profile(
        nn.Sequential(*layers).eval(), spikes(4, 2, 8), timesteps=4, layouts={"": "T B D"}
    )
    found = analyzer.fit(profile, "speck")
    assert found.rows["fits"].tolist() == ["yes"] * 9 + ["no"]
    assert found.rows["why"].iloc[9] == "no core is left"
    assert len(set(found.rows["why"])) == 10


def test_products_of_activations_and_what_stands_beside_them():
    profile = analyzer.load(ROOT / "profiles" / "vit-tiny.json.gz")
    loihi, speck = (analyzer.fit(profile, name) for name in ("loihi", "speck"))
    pairs = loihi.rows["op"].str.startswith("attention")
    assert loihi.rows.loc[pairs, "fits"].unique().tolist() == ["unknown"]
    assert "softmax" in " ".join(loihi.notes)
    assert "native_layer_norm" in " ".join(loihi.notes)
    assert speck.rows.loc[pairs, "fits"].unique().tolist() == ["no"]
    assert speck.rows.loc[pairs, "why"].str.contains("lists conv2d, linear").all()


def test_shipped_chips_agree_with_what_is_published_of_whole_chips():
    speck = chip("speck")
    assert sum(n for n, _ in speck.each_core) == 327_680  # neurons: "0.32M"
    assert sum(bits for _, bits in speck.each_core) == 8 * 278_528
    truenorth = chip("truenorth")
    assert truenorth.cores * truenorth.neurons == 1_048_576  # "1 million"
    assert truenorth.neurons * truenorth.axons == truenorth.weight_memory_bits
    assert chip("loihi").cores * chip("loihi").neurons == 131_072
    assert chip("loihi").cores * chip("loihi").weight_memory_bits == 16 * 2**20 * 8  # "16 MB"
    assert chip("loihi2").cores * chip("loihi2").neurons == 2**20  # "1 million"
    assert round(chip("tianjic").cores * chip("tianjic").neurons, -3) == 40_000
    for name in analyzer.hardware():
        assert all(
            limit.source and limit.confidence in "ABC" for limit in chip(name).limits.values()
        )


@pytest.mark.parametrize("name", ["ge2mst-tiny", "spikformer-tiny"])
@pytest.mark.parametrize("on", ["loihi", "loihi2", "speck", "tianjic", "truenorth"])
def test_an_answer_shows_itself(name, on):
    found = analyzer.fit(analyzer.load(ROOT / "profiles" / f"{name}.json.gz"), on)
    assert isinstance(found, Answer)
    assert found.summary in repr(found)
    assert set(found.rows["fits"]) <= {"yes", "no", "unknown"}
    assert found.rows.loc[found.rows["fits"] == "no", "cores"].isna().all()
    assert found.rows.loc[found.rows["fits"] == "yes", "cores"].gt(0).all()
    assert found.to_markdown().count("\n") == len(found.rows) + 1
    assert len(found.shown().columns) == found._repr_html_().count("<th ")
    assert found.frame.equals(found.rows)
    assert found.plot().has_data()


def test_shapes_alone_say_what_they_can():
    counted = analyzer.count("vit-tiny")
    found = analyzer.fit(counted, "loihi2")
    measured = analyzer.fit(analyzer.load(ROOT / "profiles" / "vit-tiny.json.gz"), "loihi2")
    assert counted.shapes
    columns = ["module", "neurons", "fan_in", "weights"]
    weighted = [table.rows.dropna(subset="neurons")[columns] for table in (found, measured)]
    assert weighted[0].to_dict("records") == weighted[1].to_dict("records")
    rated = analyzer.from_rates(
        {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    )
    row = analyzer.fit(rated, "loihi").rows.iloc[0]
    assert (row["fits"], row["why"]) == ("unknown", "the profile does not say its shape")


def test_cores_that_differ_and_weights_of_unknown_bits(tmp_path):
    each = f"{EACH}neurons = [9, 10, 10, 9]\nweight_memory_bits = [9999, 1279, 1280, 9999]\n"
    path = written(tmp_path, each)
    row = analyzer.fit(net(nn.Linear(16, 10)), path).rows.iloc[0]
    assert (row["fits"], row["why"]) == ("unknown", "unknown: weight bits")
    for bits, fits, why in (
        (8, "yes", "core 2"),
        (7, "yes", "core 1"),
        (9, "no", "no core has room for its neurons and its weights"),
        (99, "no", "15,840 bits of weights, a core has 9,999"),
    ):
        row = analyzer.fit(net(nn.Linear(16, 10)), path, weight_bits=bits).rows.iloc[0]
        assert (row["fits"], row["why"]) == (fits, why)


def test_what_can_not_be_asked():
    profile = net(nn.Linear(16, 10))
    for given, words in (
        ({"chip": "loihy"}, "did you mean 'loihi'"),
        ({"chip": "none.toml"}, "none.toml is no readable chip"),
        ({"chip": "loihi", "weight_bits": 10}, "at most 9: give fewer"),
        ({"chip": "loihi", "weight_bits": 0}, "give a whole number from 1"),
        ({"chip": "loihi", "weight_bits": True}, "give a whole number from 1"),
    ):
        with pytest.raises(AnalyzerError, match=words):
            analyzer.fit(profile, **given)
    with pytest.raises(AnalyzerError, match="holds no products"):
        analyzer.fit(analyzer.profile(nn.ReLU().eval(), spikes(2, 4)), "loihi")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[neurons]\nvalue = 4\n", "lacks the key 'neurons.source'"),
        ('[neurons]\nvalue = 0\nsource = "t"\nconfidence = "A"\n', "a whole number from 1"),
        ('[neurons]\nvalue = 4\nsource = "t"\nconfidence = "D"\n', "choose of A, B, C"),
        ('[synapses]\nvalue = 4\nsource = "t"\nconfidence = "A"\n', "not know the key 'synapses'"),
        ('[spikes]\nvalue = ["big"]\nsource = "t"\nconfidence = "A"\n', "'big': choose of binary"),
        (
            '[mesh]\ncolumns = 3\nrows = 1\ncores = 1\nsource = "t"\nconfidence = "A"\n',
            "has 4 cores, but a mesh of 3 × 1 tiles with 1 a tile, which are 3",
        ),
        (
            EACH + "neurons = [1, 2]\nweight_memory_bits = [1, 2, 3, 4]\n",
            "2 figures in each_core.n",
        ),
        (
            EACH
            + "neurons = [1, 2, 3, 4]\nweight_memory_bits = [1, 2, 3, 4]\n"
            + '[neurons]\nvalue = 4\nsource = "t"\nconfidence = "A"\n',
            r"both \[neurons\] and \[each_core\]",
        ),
        ("[neurons\n", "is no readable chip"),
    ],
)
def test_a_bad_file_is_a_sentence(tmp_path, text, words):
    with pytest.raises(AnalyzerError, match=words) as raised:
        chip(written(tmp_path, text))
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value).strip()
