"""The option ``--per-sample`` and the commands ``spread`` and ``paired``, as processes."""

import csv
import io

import pytest

import analyzer

from .running import run, runs_without_torch


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    for number, name in enumerate(("spikformer-tiny", "sdt-tiny")):
        given = ("--samples", 24, "--batch-size", 10, "--data", "digits", "--per-sample")
        done = run("profile", name, *given, "-o", folder / f"{number}.json")
    return folder, done


def test_a_profile_says_how_sure_its_energy_is(profiles):
    folder, done = profiles
    assert "95 % interval" in done.stdout + done.stderr
    profile = analyzer.load(folder / "1.json")
    assert len(profile.sampled) == profile.samples == 24


def test_spread_prints_intervals_and_samples(profiles):
    folder, _ = profiles
    table = run("spread", folder / "0.json", "--convention", "spikformer").stdout
    assert "Energy" in table
    assert "±" in table
    lines = run("spread", folder / "0.json", "--samples").stdout
    rows = list(csv.DictReader(io.StringIO(lines)))
    wanted = analyzer.load(folder / "0.json").spread().samples
    assert [float(row["energy_pj"]) for row in rows] == wanted["energy_pj"].tolist()
    assert [int(row["sample"]) for row in rows] == list(range(24))


def test_paired_says_whether_two_checkpoints_differ(profiles):
    folder, _ = profiles
    done = run("paired", folder / "0.json", folder / "1.json").stdout
    one, two = (analyzer.load(folder / f"{number}.json") for number in (0, 1))
    p = analyzer.paired(one, two).p["energy_pj"]
    assert p < 0.05
    assert f"p = {p:.2g}), more than chance" in " ".join(done.split())


def test_compare_shows_intervals_in_every_format(profiles):
    folder, _ = profiles
    for name in ("markdown", "table"):
        assert "±" in run("compare", folder, "--format", name, "--columns", "energy_mj").stdout
    assert r"\pm" in run("compare", folder, "--format", "latex").stdout
    assert "energy_low_mj" in run("compare", folder, "--format", "csv").stdout


def test_no_command_that_reads_loads_torch(profiles):
    folder, _ = profiles
    runs_without_torch(["spread", folder / "0.json"])
    runs_without_torch(["paired", folder / "0.json", folder / "1.json"])


def test_what_has_no_single_samples_is_one_sentence(tmp_path):
    plain = tmp_path / "plain.json"
    run("profile", "vit-tiny", "--samples", 8, "-o", plain)
    done = run("spread", plain, check=False)
    assert done.returncode == 1
    assert "analyzer profile --per-sample" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
