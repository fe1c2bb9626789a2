"""Records add up; profiles add, and refuse what is not theirs."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.facts.records import Contraction, GroupCount, Operand, Tally, merge
from analyzer.facts.values import Values
from analyzer.profiles import Profile

FAST = settings(max_examples=60, deadline=None, derandomize=True)

counts = st.integers(0, 2**50)
values = st.one_of(
    st.just(Values()),
    st.just(Values(real=True)),
    st.builds(lambda n, top: Values(n * top / 4, 0, top), st.integers(1, 8), st.integers(1, 5)),
)
weights = st.just(Operand(True, Values(real=True), 12, 11, 0, 0))


@st.composite
def operands(draw):
    """Facts as a measurement gives them: no events without non-zeros, no levels of reals."""
    found, size = draw(values), draw(counts)
    if found.kind == "zero":
        return Operand(False, found, size, 0, 0, 0)
    events = draw(counts)
    return Operand(False, found, size, size // 2, events, 0 if found.real else 3 * events)


def sites(rhs):
    return st.builds(
        Contraction,
        module=st.just("a"),
        op=st.just("matmul"),
        call=st.just(0),
        calls=counts,
        dense_macs=counts,
        lhs=operands(),
        rhs=rhs,
        pair_events=counts,
        pair_levels=counts,
        step_elements=counts,
        step_nonzeros=st.tuples(counts, counts),
    ).map(without_impossible_pairs)


def without_impossible_pairs(site):
    if site.lhs.nonzeros and site.rhs.nonzeros:
        real = site.lhs.values.real or site.rhs.values.real
        return replace(site, pair_levels=0) if real else site
    return replace(site, pair_events=0, pair_levels=0)


@pytest.mark.parametrize("rhs", [operands(), weights], ids=["activation", "weight"])
def test_contractions_add_in_any_order(rhs):
    @FAST
    @given(st.lists(sites(rhs), min_size=3, max_size=3))
    def check(parts):
        a, b, c = parts
        assert a + b == b + a
        assert (a + b) + c == a + (b + c)

    check()


def test_a_class_that_appears_later_changes_how_earlier_data_reads():
    """One silent sample, one binary, one graded: the site is graded for all three."""
    model = nn.Linear(4, 3).eval()
    x = torch.tensor([[0.0, 0, 0, 0], [0, 1, 1, 0], [2, 1, 0, 0]])
    whole = analyzer.profile(model, x)
    parts = [analyzer.profile(model, row[None]) for row in x]
    assert [set(p.operations()["input_class"]) for p in parts] == [{"zero"}, {"binary"}, {"graded"}]
    assert whole.totals["ac"] == 0
    assert whole.totals["unary_events"] == (2 + 3) * 3
    assert parts[0] + parts[1] + parts[2] == whole
    assert parts[2] + parts[0] + parts[1] == whole


NASTY = {
    "two-scales": [[[0, 1.0]], [[0, 2.0]]],
    "two-scales-apart": [[[0, 2.0]], [[0, 3.0]]],
    "sign": [[[0, 1.0]], [[0, -1.0]]],
    "silent-and-real": [[[0, 0.0]], [[0.3183, 1]]],
    "beyond-levels": [[[1.0, 2]], [[400.0, 0]]],
    "ninths": [[[1 / 9, 0]], [[3 / 9, 7 / 9]], [[2 / 9, 5 / 9]]],
}


@pytest.mark.parametrize("parts", NASTY.values(), ids=NASTY)
def test_classes_join_over_batches(parts):
    model = nn.Linear(2, 3).eval()
    batches = [torch.tensor(p) for p in parts]
    whole = analyzer.profile(model, torch.cat(batches))
    assert analyzer.profile(model, batches) == whole
    assert analyzer.profile(model, batches[::-1]) == whole
    assert analyzer.profile(model, batches[::-1]).totals == whole.totals


class Pairs(nn.Module):
    def forward(self, x):
        return x @ x.mT


@pytest.mark.parametrize("kinds", ["zero-binary", "binary-graded", "graded-real", "scales"])
def test_pairs_of_activations_join_over_batches(kinds):
    g = torch.Generator().manual_seed(0)
    fire = (torch.rand(4, 3, 5, generator=g) < 0.4).float()
    x = {
        "zero-binary": torch.cat([fire[:2] * 0, fire[2:]]),
        "binary-graded": torch.cat([fire[:2], fire[2:] + fire[:2]]),
        "graded-real": torch.cat([fire[:2] + fire[2:], torch.randn(2, 3, 5, generator=g)]),
        "scales": torch.cat([fire[:2] * 0.5, fire[2:] * 0.75]),
    }[kinds]
    model = Pairs().eval()
    whole = analyzer.profile(model, x)
    for size in (1, 2, 3):
        assert analyzer.profile(model, list(x.split(size))) == whole


def test_merge_keeps_the_order_of_first_sight():
    rows = [Tally("b", "add", 1, 2), Tally("a", "add", 1, 2), Tally("b", "add", 3, 4, adds=5)]
    assert merge(rows) == (Tally("b", "add", 4, 6, adds=5), Tally("a", "add", 1, 2))
    groups = [GroupCount("a", "temporal", 0, 4, 1), GroupCount("a", "temporal", 0, 4, 2)]
    assert merge(groups) == (GroupCount("a", "temporal", 0, 8, 3),)


@pytest.fixture(scope="module")
def profile():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x = (torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    return analyzer.profile(
        model.eval(),
        [(x, torch.zeros(6, dtype=torch.long))],
        layouts={"0": "B C H W"},
        groups={"spatial": 2},
    )


def test_work_that_an_old_file_lacks_is_not_made_up():
    """Files once held a folded batch norm without its work."""
    old = Profile(samples=1, metadata={"parameters": 0}, tallies=(Tally("bn", "batch_norm", 1, 8),))
    assert old.folding(True).counts["adds"].sum() == 0
    with pytest.raises(AnalyzerError, match="measure it again"):
        old.folding(False)


def test_profiles_of_different_models_do_not_add(profile):
    other = analyzer.profile(nn.Linear(4, 3).eval(), torch.ones(2, 4))
    with pytest.raises(AnalyzerError, match=r"model is 'Sequential'.*'Linear'"):
        profile + other
    with pytest.raises(TypeError):
        profile + 1


def named(profile, **metadata):
    return replace(profile, metadata={**profile.metadata, **metadata})


def test_sum_adds_profiles(profile):
    assert sum([profile]) is profile
    assert sum([profile, profile]) == profile + profile
    with pytest.raises(TypeError):
        1 + profile


def test_names_that_differ_are_joined(profile):
    a, b, c = (named(profile, name=name) for name in "abc")
    assert (a + a).name == "a"
    assert (b + a).name == (a + b).name == ((a + b) + a).name == "a + b"
    assert ((c + a) + b).name == (c + (a + b)).name == "a + b + c"


def test_profiles_of_different_weights_do_not_add(profile):
    a, b = (named(profile, weights_digest=digest) for digest in ("0f", "1f"))
    assert (a + a).metadata["weights_digest"] == "0f"
    with pytest.raises(AnalyzerError, match=r"different weights .*'0f'.*'1f'"):
        a + b
    assert a != b
    old = {k: v for k, v in profile.metadata.items() if k != "weights_digest"}
    old = replace(profile, metadata=old)
    assert (old + old).samples == 2 * profile.samples


def test_metadata_that_differs_is_listed_and_may_be_nested(profile):
    """Nested metadata that differed made the addition fail as unhashable."""
    a, b = (
        Profile(1, {**profile.metadata, "device": d, "versions": {"x": d}}) for d in ("cpu", "cuda")
    )
    assert (b + a).metadata["device"] == ["cpu", "cuda"]
    assert (b + a).metadata["versions"] == [{"x": "cpu"}, {"x": "cuda"}]
    assert ((a + b) + a).metadata == (a + b).metadata


def test_tables_are_exact_and_callers_own_them(profile):
    numbers = profile.counts.drop(columns=["module", "op", "input_class", "weight_class"])
    assert set(map(str, numbers.dtypes)) == {"int64"}
    mine = profile.counts
    mine["events"] = -1
    assert (profile.counts["events"] >= 0).all()
    assert all(type(v) is int for v in profile.totals.values())
    assert profile.per_sample() == {k: v / 6 for k, v in profile.totals.items()}
    assert not profile.counts.duplicated(["module", "op", "input_class"]).any()


def test_totals_by_hand(profile):
    conv, linear = (profile.operations().set_index("module").loc[m] for m in ("0", "3"))
    assert (conv.dense_macs, linear.dense_macs) == (6 * 16 * 4 * 9, 6 * 64 * 3)
    assert (conv.ac, conv.mac, conv.mac_events) == (conv.events, 0, 0)
    assert (linear.ac, linear.mac) == (0, linear.dense_macs)
    assert profile.totals["dense_macs"] == conv.dense_macs + linear.dense_macs
    assert profile.parameters == 4 * 9 + 4 + 64 * 3 + 3
    assert profile.memory["parameters_bytes"] == 4 * profile.parameters


def test_a_profile_without_samples():
    model = nn.Linear(4, 3).eval()
    empty = analyzer.profile(model, torch.ones(0, 4))
    assert empty.samples == 0
    assert empty.totals["dense_macs"] == 0
    some = analyzer.profile(model, torch.ones(2, 4))
    assert (empty + some).totals == some.totals
    with pytest.raises(AnalyzerError, match="no sample"):
        empty.per_sample()
    with pytest.raises(AnalyzerError, match="no sample"):
        empty.energy()


def test_sparsity_that_was_not_measured_is_refused(profile):
    with pytest.raises(AnalyzerError, match="no timestep activity"):
        profile.sparsity("timestep")
    with pytest.raises(AnalyzerError, match="'colour' is not known"):
        profile.sparsity("colour")
    spatial = profile.sparsity("spatial")
    assert spatial["elements"].tolist() == [24] * 4
    module = profile.sparsity().set_index("module").loc["0"]
    assert spatial["nonzeros"].sum() == module.nonzeros
    assert module.sparsity == 1 - module.nonzeros / 96


def test_reading_and_comparing_need_no_torch(profile, tmp_path):
    path = profile.save(tmp_path / "p.json")
    code = (
        "import sys, analyzer\n"
        f"p = analyzer.load({str(path)!r})\n"
        "analyzer.compare([p, p + p]); p.energy().to_latex(); p.sparsity()\n"
        "analyzer.conventions(); analyzer.models.names()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
