"""Facts add up; profiles add, save, load and refuse."""

import gzip
import json
import os
import subprocess
import sys
import time
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.facts import file
from analyzer.facts.codec import PARTS
from analyzer.facts.file import SCHEMA
from analyzer.facts.records import Contraction, GroupCount, Operand, Tally, merge
from analyzer.facts.values import Values
from analyzer.profiles import Profile, load

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


def test_save_and_load_give_the_same_profile(profile, tmp_path):
    path = profile.save(tmp_path / "deep" / "p.json")
    again = load(path)
    assert again == profile
    assert again.counts.equals(profile.counts)
    assert dict(again.metadata) == dict(profile.metadata)
    assert (again.correct, again.groups) == (profile.correct, profile.groups)
    assert again.save(tmp_path / "q.json").read_bytes() == path.read_bytes()


def test_a_file_holds_what_a_profile_holds_under_the_keys_of_its_first_version(profile, tmp_path):
    assert list(PARTS) == [f.name for f in fields(Profile)]
    path = profile.save(tmp_path / "p.json")
    document = json.loads(path.read_text())
    site = document["contractions"][0]
    assert site["fresh"] == [False, True]  # the input is given, the weights are read once
    assert site["extent"] == {"channels": 4, "fan_out": 36, "groups": 1, "bias": True}
    site["layer"] = site.pop("extent")
    path.write_text(json.dumps(document))
    with pytest.raises(AnalyzerError, match=r"contractions\[0\].layer is unknown"):
        load(path)


def test_work_that_an_old_file_lacks_is_not_made_up():
    """Files once held a folded batch norm without its work."""
    old = Profile(samples=1, metadata={"parameters": 0}, tallies=(Tally("bn", "batch_norm", 1, 8),))
    assert old.folding(True).counts["adds"].sum() == 0
    with pytest.raises(AnalyzerError, match="measure it again"):
        old.folding(False)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(profile, tmp_path, monkeypatch):
    path = profile.save(tmp_path / "p.json")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(AnalyzerError, match="disk full"):
        (profile + profile).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        profile.save(path)
    assert list(tmp_path.iterdir()) == [path]


def damaged(document, how):
    if how == "truncated":
        return json.dumps(document)[:-40]
    if how == "not-json":
        return "PK\x03\x04"
    if how == "other-json":
        return json.dumps([1, 2])
    if how == "other-kind":
        return json.dumps({"kind": "nodes", "schema": 1})
    if how == "schema":
        return json.dumps(document | {"schema": SCHEMA + 1})
    if how == "missing-key":
        return json.dumps({k: v for k, v in document.items() if k != "tallies"})
    if how == "unknown-field":
        document["tallies"][0]["colour"] = "red"
    if how == "bad-row":
        document["contractions"][0]["lhs"] = None
    if how == "bad-metadata":
        document["metadata"] = "none"
    if how == "text-for-a-number":
        document["contractions"][0]["dense_macs"] = "many"
    return json.dumps(document)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "no readable JSON"),
        ("not-json", "no readable JSON"),
        ("other-json", "no profile"),
        ("other-kind", "no profile"),
        ("schema", "schema"),
        ("missing-key", "damaged"),
        ("unknown-field", "damaged"),
        ("bad-row", "damaged"),
        ("bad-metadata", "damaged"),
        ("text-for-a-number", "damaged"),
    ],
    ids=lambda p: p if " " not in p else "",
)
def test_files_that_are_no_profiles_are_refused(profile, tmp_path, how, message):
    path = tmp_path / "p.json"
    document = json.loads(profile.save(path).read_text())
    path.write_text(damaged(document, how))
    with pytest.raises(AnalyzerError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_compressed_file_is_told_by_its_content(profile, tmp_path):
    plain, packed = profile.save(tmp_path / "p.json"), profile.save(tmp_path / "p.json.gz")
    content = packed.read_bytes()
    assert gzip.decompress(content) == plain.read_bytes()
    assert len(content) < len(plain.read_bytes()) / 3
    assert load(packed).save(packed).read_bytes() == content
    plain.write_bytes(content)
    packed.write_bytes(gzip.decompress(content))
    assert load(plain) == load(packed) == profile


def test_a_compressed_file_holds_no_time_and_no_name(profile, tmp_path, monkeypatch):
    one = profile.save(tmp_path / "one.json.gz").read_bytes()
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert profile.save(tmp_path / "two.json.gz").read_bytes() == one


@pytest.mark.parametrize("at", [1, 2, 11, -8, -1])
def test_a_compressed_file_that_ends_early_is_refused(profile, tmp_path, at):
    path = profile.save(tmp_path / "p.json.gz")
    path.write_bytes(path.read_bytes()[:at])
    with pytest.raises(AnalyzerError, match="is not a profile"):
        load(path)


def test_a_compressed_file_with_a_wrong_byte_is_refused(profile, tmp_path):
    path = profile.save(tmp_path / "p.json.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(AnalyzerError, match="is not a profile"):
        load(path)


@pytest.mark.parametrize("name", ["p.json", "p.json.gz"])
def test_what_is_read_is_bounded(profile, tmp_path, monkeypatch, name):
    """A few kilobytes of gzip may hold gigabytes of spaces, which JSON allows."""
    path = profile.save(tmp_path / name)
    monkeypatch.setattr(file, "LARGEST_BYTES", 2**20)
    assert load(path) == profile
    text = gzip.decompress if name.endswith(".gz") else bytes
    pack = gzip.compress if name.endswith(".gz") else bytes
    path.write_bytes(pack(text(path.read_bytes()) + b" " * 2**20))
    with pytest.raises(AnalyzerError, match=r"p\.json.* holds more than 1 MiB"):
        load(path)


SITE = ("contractions", 0)
DAMAGE = [
    (("samples",), 6.0, "samples is 6.0"),
    (("samples",), -1, "of -1 samples"),
    (("correct",), "4", "correct is '4'"),
    (("correct",), True, "correct is True"),
    (("correct",), 7, "7 of 6 samples"),
    (("groups",), {}, "groups is {}"),
    (("metadata", "parameters"), "many", "metadata.parameters is 'many'"),
    (("metadata", "input_shape"), [1, "x"], r"metadata.input_shape\[1\] is 'x'"),
    (("metadata", "timesteps"), 1.5, "metadata.timesteps is 1.5"),
    (("metadata", "dtype"), 32, "metadata.dtype is 32"),
    (("metadata", "model"), None, "metadata.model is None"),
    (("metadata", "name"), ["a", "b"], "metadata.name is"),
    (("metadata", "parameters_bytes"), "1", "metadata.parameters_bytes is '1'"),
    ((*SITE, "module"), 3, r"contractions\[0\].module is 3"),
    ((*SITE, "calls"), True, r"contractions\[0\].calls is True"),
    ((*SITE, "step_nonzeros"), [1, None], r"step_nonzeros\[1\] is None"),
    ((*SITE, "lhs", "parameter"), 0, "lhs.parameter is 0"),
    ((*SITE, "lhs", "values", "peak"), "1", "values.peak is '1'"),
    ((*SITE, "lhs", "values", "peak"), float("inf"), "values.peak is inf"),
    ((*SITE, "lhs", "values", "real"), "no", "values.real is 'no'"),
    ((*SITE, "lhs", "values", "high"), None, "values.high is None"),
    (("tallies", 0, "op"), None, r"tallies\[0\].op is None"),
    (("groups", 0), [], r"groups\[0\] is \[\]"),
]


@pytest.mark.parametrize(("place", "value", "says"), DAMAGE, ids=lambda p: str(p)[:40])
def test_every_value_is_checked(profile, tmp_path, place, value, says):
    """A wrong value was found only where it was first used, as a TypeError."""
    path = profile.save(tmp_path / "p.json")
    document = json.loads(path.read_text())
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(AnalyzerError, match=f"p.json is damaged: .*{says}"):
        load(path)


@pytest.mark.parametrize("key", ["model", "parameters", "input_shape", "timesteps", "dtype"])
def test_identity_must_be_known(profile, tmp_path, key):
    path = tmp_path / "p.json"
    document = json.loads(profile.save(path).read_text())
    del document["metadata"][key]
    path.write_text(json.dumps(document))
    with pytest.raises(AnalyzerError, match=rf"damaged: metadata\.{key} is missing"):
        load(path)


def test_a_profile_may_not_know_its_parameters(profile, tmp_path):
    unknown = replace(profile, metadata={**profile.metadata, "parameters": None})
    again = load(unknown.save(tmp_path / "p.json"))
    assert again.parameters is None
    assert again == unknown
    assert analyzer.compare([again])["parameters"].isna().all()


def test_nested_beyond_reading(tmp_path):
    path = tmp_path / "p.json"
    path.write_text("[" * 100_000)
    with pytest.raises(AnalyzerError, match="no readable JSON"):
        load(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(AnalyzerError, match="no profile at"):
        load(tmp_path / "none.json")
    with pytest.raises(AnalyzerError, match=str(tmp_path)):
        load(tmp_path)


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
