"""Profiles are saved and loaded, and files that are no profiles are refused."""

import gzip
import json
import os
import time
from dataclasses import fields, replace

import pytest
import torch
from hostile import refuses
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.facts import file
from analyzer.facts.codec import PARTS
from analyzer.facts.file import SCHEMA
from analyzer.profiles import Profile, load


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


@pytest.mark.parametrize(
    "write",
    [
        lambda profile, folder: profile.save(folder / "p.json"),
        lambda profile, folder: profile.save(folder / "p.json.gz"),
        lambda profile, folder: profile.to_bytes(),
    ],
    ids=["plain", "packed", "bytes"],
)
def test_a_sum_that_no_file_can_hold_is_refused_when_it_is_written(write, profile, tmp_path):
    many = replace(profile.contractions[0], dense_macs=2**62)
    third = replace(profile, contractions=(many,))
    write(third, tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(
        AnalyzerError,
        match=r"the profile 'Sequential' can not be written, .*: contractions\.0\.dense_macs is "
        r"beyond 2\^63; measure it on fewer samples, or change what is named\.",
    ):
        write(third + third + third, tmp_path)
    assert not list(tmp_path.iterdir())


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
        ("not-json", "compressed as zip: unpack it first"),
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
    assert json.loads(gzip.decompress(content)) == json.loads(plain.read_bytes())
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
    monkeypatch.setenv(file.LIMIT, "1")
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
    path = profile.save(tmp_path / "whole.json")
    refuses(tmp_path, json.loads(path.read_text()), place, value, says)


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
