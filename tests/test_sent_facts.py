"""Sets of neurons, records of what layers sent, and their file."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.facts.sent import NeuronSet, Sent, in_words
from analyzer.facts.values import Values
from analyzer.profiles import Profile

SPIKES, REALS, ZERO = Values(1.0, 0, 1), Values(real=True), Values()
METADATA = {"model": "net", "parameters": 3, "input_shape": [4], "timesteps": 2, "dtype": ""}


def masks(size):
    return st.lists(st.booleans(), min_size=size, max_size=size).map(np.array)


pairs = st.integers(1, 40).flatmap(lambda n: st.tuples(masks(n), masks(n)))


@given(pairs)
def test_sets_are_their_masks(both):
    a, b = both
    x, y = NeuronSet(a), NeuronSet(b)
    assert (len(x), x.size) == (a.sum(), len(a))
    assert (x.mask == a).all()
    assert ((x & y).mask == (a & b)).all()
    assert (x == y) == bool((a == b).all())
    assert NeuronSet.of_text(x.text) == x
    assert hash(NeuronSet.of_text(x.text)) == hash(x)


def test_a_set_takes_a_bit_a_neuron_at_most():
    rng = np.random.default_rng(0)
    noise = NeuronSet(rng.random(80_000) < 0.5)
    assert len(noise.text) < 80_000 / 6 * 1.01
    assert len(NeuronSet(np.zeros(80_000, bool)).text) < 100


def packed(size):
    """The bits of a set of all of so many neurons, as text has them."""
    return NeuronSet(np.ones(size, bool)).text.partition(" ")[2]


@pytest.mark.parametrize(
    "text",
    ["", "8", "x AA==", "8 !", "8 eJw=", f"-1 {packed(8)}", f"99 {packed(8)}", f"8 {packed(99)}"],
)
def test_text_that_is_no_set(text):
    with pytest.raises(ValueError):  # noqa: PT011
        NeuronSet.of_text(text)


def record(mask, nonzeros, **other):
    silent, size = NeuronSet(np.array(mask)), len(mask)
    kind = SPIKES if nonzeros else ZERO
    found = Sent("a", "LIF", kind, 2 * size, nonzeros, size, 2, silent)
    return replace(found, **other)


def test_silence_of_a_sum_is_what_both_share():
    both = record([True, True, False], 1) + record([True, False, True], 2)
    assert (both.outputs, both.nonzeros, both.neurons, both.steps) == (12, 3, 3, 2)
    assert both.silent == NeuronSet(np.array([True, False, False]))
    assert not both.unknown


def test_a_sum_of_what_does_not_fit_says_so():
    other = record([True, False], 1) + record([True, False, True], 2)
    assert (other.nonzeros, other.neurons, other.silent) == (3, None, None)
    assert "several sizes" in other.unknown
    real = record([True, False], 1) + record([True, False], 2, values=REALS, silent=None)
    assert (real.spikes, real.silent, real.neurons) == (None, None, 2)
    longer = record([True, False], 1) + record([True, False], 1, steps=4)
    assert (longer.steps, longer.neurons) == (None, 2)


def test_sums_do_not_depend_on_the_order():
    rng = random.Random(0)
    parts = [record([rng.random() < 0.6 for _ in range(9)], rng.randint(0, 3)) for _ in range(6)]
    whole = Profile(6, METADATA, sent=(parts[0] + parts[1] + parts[2] + parts[3],))
    for _ in range(5):
        rng.shuffle(four := parts[:4])
        found = sum(Profile(1, METADATA, sent=(part,)) for part in four)
        assert found.sent == whole.sent


def test_a_file_keeps_it_and_files_of_the_first_versions_lack_it(tmp_path):
    layers = (record([True, False, True], 1), record([True], 0, module="b"),
              record([False], 2, module="c", values=REALS, silent=None, unknown="why"))  # fmt: skip
    profile = Profile(1, METADATA, sent=layers)
    path = profile.save(tmp_path / "p.json")
    again = analyzer.load(path)
    assert again == profile
    assert again.spikes().equals(profile.spikes())
    assert again.spikes()["silent"].tolist()[:2] == [2, 1]
    document = json.loads(path.read_text())
    assert document["schema"] == 2
    old = {key: value for key, value in document.items() if key != "sent"} | {"schema": 1}
    path.write_text(json.dumps(old))
    older = analyzer.load(path)
    assert older.sent is None
    assert older != profile
    with pytest.raises(AnalyzerError, match=r"written by an earlier version, .*: measure it again"):
        older.spikes()
    assert (older + profile).sent is None
    document["sent"][0]["silent"] = "3 AAAA"
    path.write_text(json.dumps(document))
    with pytest.raises(AnalyzerError, match="is damaged: neurons can not be read"):
        analyzer.load(path)


def test_in_words():
    layers = (record([True, False, True, False], 3), record([True], 0, module="b"))
    assert in_words(layers) == (
        "2 spiking layers, 5 neurons, firing rate 30 %, 60 % of the neurons silent; "
        "1 spiking layer never fired (b)"
    )
    assert in_words((record([False], 2),)) == (
        "1 spiking layer, 1 neuron, firing rate 100 %, 0 % of the neurons silent"
    )
    assert in_words((record([False], 2, values=REALS, silent=None),)) == in_words(()) == ""
    some = (layers[0], replace(layers[1], neurons=None, silent=None))
    assert "50 % of the neurons of 1 layer silent" in in_words(some)
