"""``per_sample=True``: what single samples did, held against profiles of single samples."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import image_of, small
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import analyzer
from analyzer.facts.reservoir import LARGEST

COUNTS = ["calls", "dense_macs", "events", "unary_events", "input_elements", "input_nonzeros"]
SUMMED = [
    *COUNTS, "adds", "multiplies", "compares", "specials", "output_elements", "left_macs",
    "left_events", "passes", "windows", "kernels", "stepped_weights", "once_weights", "outputs",
    "left_elements", "left_nonzeros", "left_first_read", "right_nonzeros", "state_elements",
]  # fmt: skip
KEY = ["module", "op", "input_class"]


def spikes(*shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def rows_of(profile):
    return pd.concat(profile.rows_of_samples(), ignore_index=True)


def check(together, apart, alone):
    """Holds a profile with single samples against a plain one, and each sample against its own.

    Returns how many rows that spikes drive were compared in all columns.
    """
    assert apart == together
    assert apart.totals == together.totals
    assert apart.rows.equals(together.rows)
    rows = rows_of(apart)
    for column in SUMMED:
        assert rows[column].sum() == apart.rows[column].sum(), column
    assert rows["profile"].drop_duplicates().tolist() == [str(i) for i in range(apart.samples)]
    compared = 0
    for number, profile in enumerate(alone):
        own = rows[rows["profile"] == str(number)]
        found = own.groupby(["module", "op"], sort=False)[COUNTS].sum()
        wanted = profile.rows.groupby(["module", "op"], sort=False)[COUNTS].sum()
        for column in ("dense_macs", "input_elements", "input_nonzeros"):
            assert found[column].to_dict() == wanted[column].to_dict(), column
        ours, theirs = (table.set_index(KEY) for table in (own, profile.rows))
        places = [key[:2] for key in ours.index]
        same = [key for key in ours.index.intersection(theirs.index) if places.count(key[:2]) == 1]
        assert ours.loc[same, "events"].to_dict() == theirs.loc[same, "events"].to_dict()
        driven = [key for key in same if "binary" in key[2]]
        compared += len(driven)
        for column in ("unary_events", "left_events", "windows", "left_nonzeros"):
            assert ours.loc[driven, column].to_dict() == theirs.loc[driven, column].to_dict()
    return compared


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 9, 5),
    ).eval()  # fmt: skip


def test_each_sample_has_the_figures_of_a_profile_of_its_own():
    model, x = conv_net(), spikes(7, 1, 6, 6)
    apart = analyzer.profile(model, [x[:3], x[3:6], x[6:]], per_sample=True)
    alone = [analyzer.profile(model, x[i : i + 1]) for i in range(7)]
    assert check(analyzer.profile(model, x), apart, alone)
    rows = rows_of(apart)
    for number, profile in enumerate(alone):  # one class in all samples, so all columns agree
        own = rows[rows["profile"] == str(number)].drop(columns="profile").reset_index(drop=True)
        pd.testing.assert_frame_equal(own[profile.rows.columns], profile.rows)


def multi_step():
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(6, 8), neuron.LIFNode(), layer.Linear(8, 3)).eval()
    functional.set_step_mode(net, "m")
    return net


class TimeLoop(nn.Module):
    """A single-step network that loops over time itself, samples first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 8), neuron.IFNode(), nn.Linear(8, 3))
        self.eval()

    def forward(self, x):
        return torch.stack([self.net(step) for step in x.unbind(1)]).mean(0)


def test_samples_behind_time_are_cut_along_their_own_axis():
    model, x = multi_step(), spikes(4, 5, 6)
    apart = analyzer.profile(model, x, per_sample=True)
    assert (apart.samples, apart.metadata["timesteps"]) == (5, 4)
    alone = [analyzer.profile(model, x[:, i : i + 1]) for i in range(5)]
    assert check(analyzer.profile(model, x), apart, alone)


@pytest.mark.parametrize("layout", ["(T B) D", "(B T) D"])
def test_samples_that_share_an_axis_with_time_are_cut_out_of_it(layout):
    class Merged(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = multi_step()

        def forward(self, x):
            if layout == "(T B) D":
                return self.net(x.unflatten(0, (4, -1)))
            return self.net(x.unflatten(0, (-1, 4)).transpose(0, 1))

    x = spikes(20, 6)
    declared = {"timesteps": 4, "layouts": {"": layout}}
    whole = x.unflatten(0, (4, 5) if layout == "(T B) D" else (5, 4))
    axis = 1 if layout == "(T B) D" else 0
    parts = [whole.narrow(axis, i, 1).flatten(0, 1) for i in range(5)]
    model = Merged().eval()
    apart = analyzer.profile(model, x, per_sample=True, **declared)
    alone = [analyzer.profile(model, part, **declared) for part in parts]
    assert check(analyzer.profile(model, x, **declared), apart, alone)


def test_a_model_that_loops_over_time_and_one_that_is_looped():
    model, x = TimeLoop(), spikes(5, 4, 6)
    apart = analyzer.profile(model, x, per_sample=True)
    alone = [analyzer.profile(model, x[i : i + 1]) for i in range(5)]
    assert check(analyzer.profile(model, x), apart, alone)
    step = nn.Sequential(nn.Linear(6, 8), neuron.IFNode(), nn.Linear(8, 3)).eval()
    looped = {"timesteps": 4, "loop": True, "layouts": {"": "T B D"}}
    frames = x.transpose(0, 1)
    apart = analyzer.profile(step, frames, per_sample=True, **looped)
    alone = [analyzer.profile(step, frames[:, i : i + 1], **looped) for i in range(5)]
    assert check(analyzer.profile(step, frames, **looped), apart, alone)


@pytest.mark.parametrize("name", ["spikformer-tiny", "qkformer-tiny", "vit-tiny", "ge2mst-tiny"])
def test_reference_networks(name):
    torch.manual_seed(0)
    model = small(name)
    x = image_of(model, 3)
    apart = analyzer.profile(model, x, per_sample=True)
    check(
        analyzer.profile(model, x),
        apart,
        [analyzer.profile(model, x[i : i + 1]) for i in (0, 1, 2)],
    )


LEVELS = torch.tensor(
    [[0, 2, 0, 2, 0, 0], [0, 1, 2, 3, 0, 0], [0, 0, 0, 0, 0, 0], [0, 3, 3, 0, 0, 3]]
).float()


def test_a_class_is_that_of_all_samples_and_levels_are_in_the_common_step():
    """Alone, the first sample is binary with one size, 2; beside the second it is graded."""
    model = nn.Linear(6, 5, bias=False).eval()
    apart = analyzer.profile(model, LEVELS, per_sample=True)
    kinds = [analyzer.profile(model, x[None]).contractions[0].input_class for x in LEVELS]
    assert kinds == ["binary", "graded", "zero", "binary"]
    assert apart.contractions[0].input_class == "graded"
    rows = rows_of(apart)
    assert rows["input_class"].tolist() == ["graded"] * 4
    assert rows["events"].tolist() == [2 * 5, 3 * 5, 0, 3 * 5]
    assert rows["unary_events"].tolist() == [4 * 5, 6 * 5, 0, 9 * 5]
    assert apart.spread(convention="unary").samples["ac"].tolist() == [20, 30, 0, 45]
    # in ``exact`` graded values drive nothing, so every sample costs its dense work
    assert apart.spread().samples["mac"].tolist() == [30] * 4
    mixed = analyzer.profile(model, torch.cat([LEVELS, torch.rand(1, 6)]), per_sample=True)
    assert rows_of(mixed)["input_class"].unique().tolist() == ["real"]
    assert rows_of(mixed)["unary_events"].tolist() == [0] * 5


class Product(nn.Module):
    def forward(self, a, b):
        return a @ b


def test_of_two_operands_the_classes_of_all_samples_say_which_drives():
    """Alone, sample 0 is spikes times spikes; with sample 1, whose left operand is real, only the
    right one drives: its non-zeros each meet the four rows of the left."""
    a, b = spikes(3, 4, 5, seed=1), spikes(3, 5, 2, seed=2)
    a[1] = torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
    apart = analyzer.profile(Product().eval(), (a, b), per_sample=True)
    assert apart.contractions[0].input_class == "real*binary"
    assert rows_of(apart)["events"].tolist() == [4 * int(x.sum()) for x in b]
    assert apart == analyzer.profile(Product().eval(), (a, b))


def test_timesteps_of_classes_of_their_own_are_kept_apart():
    """Spikes of another size in each timestep: each timestep is a row of its own class."""
    model = multi_step()
    x = torch.zeros(4, 3, 6)
    x[0, :, :3], x[1, :, 1:] = 1.0, 0.7
    x[2, 1] = torch.rand(6, generator=torch.Generator().manual_seed(0))
    together = analyzer.profile(model, x)
    apart = analyzer.profile(model, x, per_sample=True)
    kinds = together.rows.set_index("module").loc[["0"], "input_class"].tolist()
    assert sorted(kinds) == ["binary", "real"]
    check(together, apart, [analyzer.profile(model, x[:, i : i + 1]) for i in range(3)])
    first = rows_of(apart).query("module == '0'").set_index("input_class")
    nonzeros = [(x[:, i] != 0).sum(1).tolist() for i in range(3)]
    wanted = {
        "binary": [8 * (a + b + d) for a, b, _, d in nonzeros],
        "real": [8 * n[2] for n in nonzeros],
    }
    assert {kind: first.loc[kind, "events"].tolist() for kind in wanted} == wanted


@cache
def whole_spread():
    return analyzer.profile(conv_net(), spikes(9, 1, 6, 6), per_sample=True)


@given(cuts=st.sets(st.integers(1, 8)), watch=st.sampled_from(["first", "every"]))
@settings(max_examples=12, deadline=None)
def test_any_batches_give_the_same_figures(cuts, watch):
    edges = [0, *sorted(cuts), 9]
    x = spikes(9, 1, 6, 6)
    batches = [(x[a:b], torch.zeros(b - a).long()) for a, b in pairwise(edges)]
    found = analyzer.profile(conv_net(), batches, per_sample=True, watch=watch)
    assert found == analyzer.profile(conv_net(), batches)
    assert found.sampled == whole_spread().sampled


@given(data=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=7))
@settings(max_examples=40, deadline=None)
def test_any_data_add_up_to_the_totals(data):
    x = torch.tensor(data).float()
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)).eval()
    # In eighths, so that one sample and several round to the same value.
    nn.init.uniform_(model[0].weight, -8, 8).data.round_().div_(8)
    found = analyzer.profile(model, x, per_sample=True)
    assert found == analyzer.profile(model, x)
    rows = rows_of(found)
    for column in COUNTS:
        assert rows[column].sum() == found.counts[column].sum()
        assert (rows[column] >= 0).all()
    split = analyzer.profile(model, x[:1], per_sample=True)
    split += analyzer.profile(model, x[1:], per_sample=True)
    pd.testing.assert_frame_equal(rows_of(split), rows)


def test_a_file_keeps_it_and_one_without_it_is_as_it_was(tmp_path):
    profile = whole_spread()
    for name in ("p.json", "p.json.gz"):
        again = analyzer.load(profile.save(tmp_path / name))
        assert again.sampled == profile.sampled
        assert again.spread().frame.equals(profile.spread().frame)
    plain = analyzer.profile(conv_net(), spikes(9, 1, 6, 6))
    assert plain.sampled is None
    assert "sampled" not in json.loads(plain.save(tmp_path / "q.json").read_text())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s["indices"].reverse(), "samples"),
        (lambda s: s["indices"].append(99), "samples"),
        (lambda s: s.update(matrix="9 1 AAAA"), "figures"),
        (lambda s: s.update(matrix="nothing"), "damaged"),
        (lambda s: s.pop("digest"), "digest"),
        (lambda s: s["sites"][0].update(record=99), "record"),
        (lambda s: s["sites"][0]["columns"].append(0), "record"),
        (lambda s: s["sites"][0].update(step=0), "record"),
        (lambda s: s["tallies"][0]["columns"].__setitem__(0, 99), "record"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, says):
    path = whole_spread().save(tmp_path / "p.json")
    document = json.loads(path.read_text())
    change(document["sampled"])
    path.write_text(json.dumps(document))
    with pytest.raises(analyzer.AnalyzerError, match=says):
        analyzer.load(path)


def test_a_sum_knows_single_samples_where_both_do():
    model, x = conv_net(), spikes(9, 1, 6, 6)
    one, two = (analyzer.profile(model, part, per_sample=True) for part in (x[:4], x[4:]))
    pd.testing.assert_frame_equal(rows_of(one + two), rows_of(whole_spread()))
    assert (one + analyzer.profile(model, x[4:])).sampled is None
    assert (analyzer.profile(model, x[:4]) + two).sampled is None
    with pytest.raises(analyzer.AnalyzerError, match="does not know what single samples did"):
        (one + analyzer.profile(model, x[4:])).spread()


def test_a_sum_reads_single_samples_by_the_classes_of_both():
    model = nn.Linear(6, 5, bias=False).eval()
    parts = [analyzer.profile(model, x[None], per_sample=True) for x in LEVELS]
    whole = analyzer.profile(model, LEVELS, per_sample=True)
    pd.testing.assert_frame_equal(rows_of(sum(parts)), rows_of(whole))


def test_of_many_samples_a_uniform_choice_is_kept_and_totals_are_of_all():
    x = spikes(LARGEST + 200, 6)
    models = [nn.Linear(6, width).eval() for width in (2, 3)]
    one, two = (analyzer.profile(model, list(x.split(64)), per_sample=True) for model in models)
    assert one == analyzer.profile(models[0], x)
    assert len(one.sampled) == LARGEST
    assert one.sampled.indices == two.sampled.indices
    assert one.sampled.indices[-1] >= LARGEST
    kept = x[list(one.sampled.indices)]
    assert rows_of(one)["events"].tolist() == (2 * kept.sum(1)).int().tolist()
    assert (one + one).sampled is None  # not all of them are known
    assert "chosen at random" in one.spread().notes[0]


def test_batch_norm_over_the_batch_is_refused():
    model = conv_net().train()
    with (
        pytest.warns(analyzer.AnalyzerWarning),
        pytest.raises(analyzer.AnalyzerError, match="batch norm '1' takes the mean of the batch"),
    ):
        analyzer.profile(model, spikes(4, 1, 6, 6), per_sample=True)
    fixed = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    with pytest.raises(analyzer.AnalyzerError, match="keep running statistics"):
        analyzer.profile(fixed, spikes(4, 6), per_sample=True)


class Centred(nn.Module):
    """Takes the mean of the batch off every sample."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(x - x.mean(0))


def test_a_result_that_depends_on_the_batch_is_warned_of():
    with pytest.warns(analyzer.AnalyzerWarning, match="depends on the others of its batch"):
        found = analyzer.profile(Centred().eval(), spikes(8, 6), per_sample=True)
    assert found.metadata["alone"]["differs"] == 1.0
    assert whole_spread().metadata["alone"]["differs"] == 0


class Gram(nn.Module):
    """Multiplies each sample with all of its batch."""

    def forward(self, x):
        return x @ x.t()


def test_other_work_alone_is_refused():
    with pytest.raises(analyzer.AnalyzerError, match="leave per_sample=True out"):
        analyzer.profile(Gram().eval(), spikes(4, 6), per_sample=True)


class OfList(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, images):
        return [self.fc(image) for image in images]


def test_a_batch_that_can_not_be_cut_is_refused():
    images = [spikes(6, seed=i) for i in range(3)]
    with pytest.raises(analyzer.AnalyzerError, match="can not cut batch 0 into its 3 samples"):
        analyzer.profile(OfList().eval(), [[images]], per_sample=True)


def test_several_inputs_and_a_forward_of_ones_own_are_cut_alike():
    a, b = spikes(3, 4, 5, seed=1), spikes(3, 5, 2, seed=2)
    model = Product().eval()
    by_dict = analyzer.profile(model, {"a": a, "b": b}, per_sample=True)
    own = analyzer.profile(
        model, [{"a": a, "b": b}], forward=lambda m, batch: m(**batch), per_sample=True
    )
    together = analyzer.profile(model, (a, b))
    assert by_dict == together == own
    assert by_dict.sampled.matrix == own.sampled.matrix


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][-1])


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, tokens, mask):
        return self.head(self.layer(self.table(tokens), src_key_padding_mask=mask).mean(1))


def pooled():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))


MASK = torch.arange(9).expand(5, 9) > torch.tensor([8, 8, 4, 8, 2])[:, None]
OTHERS = {
    "a sequence first": (Recurrent, [spikes(7, 4, 6), spikes(7, 2, 6)], {}),
    "tokens and a mask": (Masked, [{"tokens": MASK.long() + 3, "mask": MASK}], {}),
    "images of two sizes": (pooled, [spikes(3, 1, 8, 8), spikes(2, 1, 9, 7)], {}),
    "as many timesteps as samples": (multi_step, [spikes(4, 4, 6), spikes(4, 3, 6)], {}),
    "one sample without an axis": (lambda: nn.Linear(6, 3), spikes(6), {}),
    "a number of samples": (lambda: nn.Linear(6, 3), [spikes(5, 6)], {"samples": 5}),
    "a function": (lambda: nn.Linear(6, 3), [spikes(5, 6), spikes(2, 6)], {"samples": len}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_inputs_are_read_as_without_it(name):
    build, data, declared = OTHERS[name]
    torch.manual_seed(0)
    model = build().eval()
    together = analyzer.profile(model, data, **declared)
    apart = analyzer.profile(model, data, per_sample=True, **declared)
    assert apart == together
    assert apart.metadata["frame"] == together.metadata["frame"]
    rows = rows_of(apart)
    for column in SUMMED:
        assert rows[column].sum() == apart.rows[column].sum(), column


def test_the_model_and_the_data_are_left_as_they_were():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(x.mul_(2).relu_())

    model, x = InPlace().eval(), spikes(4, 6)
    before, state = x.clone(), torch.random.get_rng_state()
    found = analyzer.profile(model, x, per_sample=True)
    assert torch.equal(x, before)
    assert found == analyzer.profile(model, before.clone())
    assert found.contractions[0].lhs.values.step == 2
    assert torch.equal(torch.random.get_rng_state(), state)
