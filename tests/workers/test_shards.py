"""Shards of every cut make the profile of one run, to the byte, in any order."""

import gc
import itertools
import json
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import analyzer
from analyzer.cli import main
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.facts.correct import Correct
from analyzer.facts.records import Contraction
from analyzer.facts.shards import share_of
from analyzer.merging import merged_in_order
from analyzer.models.neurons import LIF


class Spikes(nn.Module):
    """Graded input, spikes over time, groups, and a module that runs now and then."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layouts = {"": "B D", "head": "T B D"}
        self.groups = {"temporal": 2, "structural": 2}
        self.first, self.lif, self.head = nn.Linear(6, 5), LIF(), nn.Linear(5, 2)
        self.rare = nn.Linear(6, 5, bias=False)
        self.first.weight.data *= 6

    def forward(self, x):
        now = self.first(x)
        if float(x.sum()) > 100:
            now = now + self.rare(x)
        return self.head(self.lif(now.expand(4, *now.shape))).mean(0)


def digits_of(number, seed=0):
    torch.manual_seed(seed)
    x = (torch.rand(number, 6) < 0.4).float() * torch.randint(1, 4, (number, 1))
    return TensorDataset(x, torch.randint(0, 2, (number,)))


def loader_of(number=1003, batch_size=32, seed=0):
    return DataLoader(digits_of(number, seed), batch_size=batch_size)


def shards_of(model, batches, of, **more):
    return [analyzer.profile(model, batches, shard=(i, of), **more) for i in range(1, of + 1)]


def assert_same(model, batches, of, **more):
    one = analyzer.profile(model, batches, **more)
    parts = shards_of(model, batches, of, **more)
    random.Random(of).shuffle(parts)
    whole = analyzer.merge(parts)
    assert json.loads(json.dumps(dict(whole.metadata))) == json.loads(json.dumps(one.metadata))
    assert whole.to_bytes() == one.to_bytes()
    return one, parts


@pytest.mark.parametrize("of", [1, 2, 3, 7, 31, 32, 40])
def test_shards_are_the_whole_to_the_byte(of):
    one, parts = assert_same(Spikes().eval(), loader_of(), of)
    assert sum(part.samples for part in parts) == one.samples == 1003
    assert one.correct is not None
    assert one.groups
    assert len(one.contractions) == 3


def test_every_order_of_the_shards_gives_the_same_bytes(tmp_path):
    parts = shards_of(Spikes().eval(), loader_of(100), 3)
    paths = [part.save(tmp_path / f"{i}.json.gz") for i, part in enumerate(parts)]
    found = {analyzer.merge(order).to_bytes() for order in itertools.permutations(paths)}
    assert len(found) == 1


def test_no_shard_is_held_once_it_is_added(tmp_path):
    parts = shards_of(Spikes().eval(), loader_of(200), 6)
    paths = [part.save(tmp_path / f"{i}.json") for i, part in enumerate(parts)]
    del parts
    held = []

    def shards():
        for path in paths:
            yield analyzer.load(path)
            gc.collect()
            held.append(sum(type(x) is Contraction for x in gc.get_objects()))

    merged_in_order(shards())
    assert held[0] > 0
    assert len(set(held[1:])) == 1


def test_classes_of_values_join_over_shards():
    """Spikes of size 1 in one shard and 3 in another are graded together."""
    x = torch.cat([torch.eye(6).repeat(4, 1), 3 * torch.eye(6).repeat(4, 1)])
    model = nn.Linear(6, 3).eval()
    _, parts = assert_same(model, list(x.split(6)), 2)
    assert {p.contractions[0].input_class for p in parts} == {"binary"}
    assert analyzer.merge(parts).contractions[0].lhs.values.high == 3


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.inner, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.relu(self.inner(x))).mean(1)


@pytest.mark.parametrize("of", [2, 3, 5])
def test_sequences_of_several_lengths_have_the_same_facts(of):
    """How often passes were watched in full depends on the cut, as each worker sees each length."""
    batches = [torch.rand(3, length, 4) for length in (5, 6, 5, 7, 6, 5)]
    one = analyzer.profile(Recurrent().eval(), batches)
    whole = analyzer.merge(shards_of(Recurrent().eval(), batches, of))
    assert whole == one
    assert whole.metadata["input_shape"] == one.metadata["input_shape"] == [5, 4]
    assert sum(whole.metadata["passes"].values()) == sum(one.metadata["passes"].values()) == 6


class OverTime(nn.Module):
    """Takes time first, and gives logits of each timestep."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.inner, self.lif, self.head = nn.Linear(6, 5), LIF(), nn.Linear(5, 3, bias=False)
        self.inner.weight.data *= 6
        self.head.weight.data *= 9

    def forward(self, x):
        return self.head(self.lif(self.inner(x)))


@pytest.mark.parametrize("of", [2, 4, 5])
def test_batches_as_long_as_t_are_told_by_a_later_shard(of):
    """Four timesteps of four samples: only the last batch, of three, tells which axis is which."""
    torch.manual_seed(5)
    batches = [
        [(torch.rand(4, n, 6) < 0.4).float(), torch.randint(0, 3, (n,))] for n in (4, 4, 4, 4, 3)
    ]
    one, parts = assert_same(OverTime().eval(), batches, of)
    assert one.correct is not None
    assert one.samples == 19
    assert any(part.correct is None for part in parts) or of == 5


def test_without_labels_there_is_no_accuracy():
    batches = list(torch.eye(6).split(2))
    one, _ = assert_same(nn.Linear(6, 3).eval(), batches, 2)
    assert one.correct is None


def test_why_there_is_no_accuracy_is_told_as_by_one_run():
    batches = [[torch.eye(6), torch.zeros(6, dtype=torch.long)] for _ in range(3)]
    batches.append([torch.eye(6), torch.full((6, 2), -1.0)])
    one, _ = assert_same(nn.Linear(6, 3).eval(), batches, 3)
    assert "class numbers" in one.metadata["accuracy"]


def test_a_frame_of_one_odd_batch_is_the_frame_of_the_first():
    """The last batch holds one sample, which by itself says nothing of the first axis."""
    batches = list(torch.eye(6).split(5))
    one, parts = assert_same(nn.Linear(6, 3).eval(), batches, 2)
    assert sorted(part.samples for part in parts) == [1, 5]
    assert len({json.dumps(part.metadata["frame"]) for part in (one, *parts)}) == 1


def test_only_the_samples_of_the_share_are_read():
    class Counted(TensorDataset):
        read: list

        def __getitem__(self, index):
            self.read.append(index)
            return super().__getitem__(index)

    data = Counted(torch.eye(12))
    data.read = []
    analyzer.profile(nn.Linear(12, 3).eval(), DataLoader(data, batch_size=2), shard=(3, 3))
    assert sorted(set(data.read)) == [0, 1, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (torch.eye(6), "inputs are one batch: give several"),
        ((x for x in torch.eye(6).split(2)), "generator has no length"),
        (DataLoader(digits_of(9), shuffle=True), "a loader that shuffles"),
    ],
    ids=["tensor", "generator", "shuffled"],
)
def test_what_can_not_be_shared_out_is_refused(inputs, sentence):
    with pytest.raises(AnalyzerError, match=sentence):
        analyzer.profile(nn.Linear(6, 3).eval(), inputs, shard=(1, 2))


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 2, 3), 2, "1/2", (1.0, 2), (True, 2)])
def test_shards_that_can_not_be_are_refused(shard):
    with pytest.raises(AnalyzerError, match="shard must be"):
        analyzer.profile(nn.Linear(6, 3).eval(), [torch.eye(6)], shard=shard)


def test_a_loader_with_a_wrong_length_is_refused():
    class Short(list):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return list(self)[index]

    batches = Short(torch.eye(6).split(2))
    with pytest.raises(
        AnalyzerError, match="say that they are 4 batches, and batches 2 to 4 are 1"
    ):
        analyzer.profile(nn.Linear(6, 3).eval(), batches, shard=(2, 2))


def test_a_model_that_draws_random_numbers_is_warned_of():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward((torch.rand_like(x) < x).float())

    with pytest.warns(AnalyzerWarning, match="draws random numbers"):
        analyzer.profile(Noisy(6, 3).eval(), list(torch.eye(6).split(2)), shard=(1, 2))


@pytest.fixture(scope="module")
def parts():
    return shards_of(Spikes().eval(), loader_of(100), 3)


def test_a_missing_shard_is_named(parts):
    with pytest.raises(AnalyzerError, match="shard 2 of 3 is missing: measure it"):
        analyzer.merge([parts[0], parts[2]])
    with pytest.raises(AnalyzerError, match="shards 1, 3 of 3 are missing: measure them"):
        analyzer.merge([parts[1]])


def test_a_shard_that_is_there_twice_is_named(parts, tmp_path):
    paths = [part.save(tmp_path / f"{i}.json") for i, part in enumerate([*parts, parts[1]])]
    with pytest.raises(
        AnalyzerError, match=r"shard 2 of 3 is given twice, as .*1\.json and .*3\.j"
    ):
        analyzer.merge(paths)


def test_shards_of_other_runs_are_refused(parts):
    other = shards_of(Spikes().eval(), loader_of(100), 2)
    with pytest.raises(AnalyzerError, match=r"of one run in as many shards \(3 and 2\)"):
        analyzer.merge([*parts[:2], other[0]])
    other = shards_of(Spikes().eval(), loader_of(100, seed=1), 3)
    with pytest.raises(AnalyzerError, match="of one run on the same data"):
        analyzer.merge([*parts[:2], other[2]])
    model = Spikes().eval()
    model.head.weight.data += 1
    other = shards_of(model, loader_of(100), 3)
    with pytest.raises(AnalyzerError, match="are of different runs: weights_digest"):
        analyzer.merge([*parts[:2], other[2]])


class Thresholds(nn.Linear):
    """What it does depends on more than its weights."""

    def __init__(self, threshold=0.5, mean=0.0):
        super().__init__(6, 3, bias=False)
        nn.init.constant_(self.weight, 0.5)
        self.threshold = threshold
        self.register_buffer("mean", torch.tensor(mean))

    def forward(self, x):
        return super().forward((x - self.mean > self.threshold).float())


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ({"threshold": 1.5}, {}),
        ({"mean": 1.0}, {}),
        ({}, {"groups": {"structural": 3}}),
    ],
    ids=["threshold", "buffer", "groups"],
)
def test_shards_of_models_with_equal_weights_are_told_apart(model, more):
    batches = list(torch.arange(48.0).remainder(3).reshape(8, 6).split(2))
    one = {"layouts": {"": "B D"}, "groups": {"structural": 2}}
    first = analyzer.profile(Thresholds().eval(), batches, shard=(1, 2), **one)
    second = analyzer.profile(Thresholds(**model).eval(), batches, shard=(2, 2), **one | more)
    with pytest.raises(AnalyzerError, match="did not do the same in the first batch of all"):
        analyzer.merge([second, first])


def test_what_the_first_batch_did_is_not_compared_where_it_may_differ(parts):
    """Files of earlier versions do not say it, and devices of two kinds round in two ways."""

    def changed(part, counted, device):
        shard = {k: v for k, v in part.metadata["shard"].items() if k != "first_counted"}
        shard |= {} if counted is None else {"first_counted": counted}
        return replace(part, metadata={**part.metadata, "shard": shard, "device": device})

    known = parts[0].metadata["shard"]["first_counted"]
    assert known
    for counted, devices, joined in (
        ([known, None, known], ["cpu", "cpu", "cpu"], "cpu"),
        (["a", "b", "a"], ["cpu", "cuda:0", "cpu"], ["cpu", "cuda:0"]),
        ([known] * 3, ["cuda:0", "cuda:1", "cuda:2"], "cuda:0"),
        ([known] * 3, ["cpu", "cuda:1", "cuda:0"], ["cpu", "cuda:1"]),
    ):
        shards = map(changed, parts, counted, devices)
        assert analyzer.merge(shards).metadata["device"] == joined


def test_shards_of_a_model_that_draws_numbers_are_merged():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward((torch.rand_like(x) < x).float())

    batches, parts = list(torch.full((6, 6), 0.5).split(2)), []
    for index in (1, 2):
        torch.manual_seed(index)
        model = Noisy(6, 3).eval()
        nn.init.ones_(model.weight)
        nn.init.ones_(model.bias)
        with pytest.warns(AnalyzerWarning, match="draws random numbers"):
            parts.append(analyzer.profile(model, batches, shard=(index, 2)))
    assert analyzer.merge(parts).samples == 6


def test_shards_that_do_not_follow_one_another_are_refused(parts):
    a, b, c = parts
    two = shards_of(Spikes().eval(), loader_of(100), 2)
    other = shards_of(Spikes().eval(), loader_of(100, seed=1), 3)
    longer = shards_of(Spikes().eval(), loader_of(200), 3)
    for shards, sentence in (
        (
            [a, a, b, c],
            "batches 0 to 1 is not the next one, which begins with batch 1",
        ),
        ([b, c], "shard 2 of 3, batches 1 to 2 is not the next one, which begins with batch 0"),
        ([a, c], "is not the next one, which begins with batch 1"),
        ([a, b], "the shards end at batch 2 of 4: give all shards"),
        (
            [a, two[1]],
            "batches 2 to 4 is not the next one, which begins with batch 1",
        ),
        ([a, other[1]], "are not of one run on the same data"),
        ([a, longer[1]], r"are not of one run with as many batches \(4 and 7\)"),
    ):
        with pytest.raises(AnalyzerError, match=sentence):
            merged_in_order(shards)
    assert merged_in_order(parts) == analyzer.merge(parts)


def test_shards_do_not_add_up(parts):
    with pytest.raises(AnalyzerError, match=r"is a shard of a run.* to analyzer.merge"):
        sum(parts)
    with pytest.raises(AnalyzerError, match="is a shard of a run"):
        analyzer.merge(parts) + parts[0]


def test_what_is_no_shard_is_refused(parts, tmp_path):
    whole = analyzer.merge(parts)
    with pytest.raises(AnalyzerError, match="is no shard of a run: measure it with --shard I/N"):
        analyzer.merge([whole])
    with pytest.raises(AnalyzerError, match="there is no profile to merge"):
        analyzer.merge([])
    with pytest.raises(AnalyzerError, match="no profile at"):
        analyzer.merge([tmp_path / "absent.json"])


@pytest.mark.parametrize(
    "change",
    [{"index": 0}, {"stop": 99}, {"start": 1}, {"place": "x"}, {"correct": None}, {"more": 1}],
)
def test_a_damaged_shard_is_refused(change, parts):
    shard = parts[0].metadata["shard"] | change
    damaged = replace(parts[0], metadata={**parts[0].metadata, "shard": shard})
    with pytest.raises(AnalyzerError, match="is damaged"):
        analyzer.merge([damaged, *parts[1:]])


def test_merging_loads_no_torch(parts, tmp_path):
    paths = [str(part.save(tmp_path / f"{i}.json.gz")) for i, part in enumerate(parts)]
    code = "import sys, analyzer\nanalyzer.merge(sys.argv[1:])\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_that_others_wrote_anew_are_read(parts, tmp_path):
    """With their keys in another order, metadata are not at the beginning."""
    paths = []
    for i, part in enumerate(parts):
        path = part.save(tmp_path / f"{i}.json")
        path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
        paths.append(path)
    assert analyzer.merge(paths) == analyzer.merge(parts)


@given(st.integers(1, 50), st.integers(0, 200))
def test_shares_cover_all_batches_once(of, batches):
    shares = [share_of(i, of, batches) for i in range(1, of + 1)]
    assert [b for start, stop in shares for b in range(start, stop)] == list(range(batches))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


CORRECT = st.builds(
    Correct,
    st.none() | st.integers(0, 9),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([None, 0, 1]),
    st.sampled_from(["", "why"]),
)


@settings(max_examples=300)
@given(CORRECT, CORRECT, CORRECT)
def test_numbers_of_correct_samples_add_up_in_any_grouping(a, b, c):
    left, right = (a + b) + c, a + (b + c)
    assert left.number == right.number
    assert (left.time_first, left.axis) == (right.time_first, right.axis)


def test_a_folder_is_merged_again_without_the_file_that_was_written(tmp_path):
    for index, part in enumerate(shards_of(Spikes().eval(), loader_of(64), 2), 1):
        part.save(tmp_path / f"{index}.json")
    for _ in range(2):
        with pytest.raises(SystemExit) as done:
            main(["merge", str(tmp_path), "-o", str(tmp_path / "whole.json")])
        assert not done.value.code
    assert analyzer.load(tmp_path / "whole.json").samples == 64


def test_shards_of_machines_that_round_otherwise_are_merged_when_asked():
    model = torch.nn.Linear(6, 3).eval()
    batches = list(torch.eye(6).split(2))
    parts = [analyzer.profile(model, batches, shard=(i, 2)) for i in (1, 2)]
    whole = analyzer.merge(parts)
    about = {**parts[1].metadata["shard"], "first_counted": "0" * 16}
    parts[1] = replace(parts[1], metadata={**parts[1].metadata, "shard": about})
    with pytest.raises(AnalyzerError, match="or merge shards with --anyway"):
        analyzer.merge(parts)
    assert analyzer.merge(parts, anyway=True) == whole
