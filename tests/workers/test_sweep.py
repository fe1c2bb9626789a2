"""A sweep makes the files that `analyzer profile` makes, once, and lists what failed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import analyzer
from analyzer.cli.sweeps import Cell, Ledger, cells_of
from analyzer.errors import AnalyzerError

ROOT = Path(__file__).parents[2]

SWEEP = """
models = ["net.py:Net", {model = "net.py:Absent", name = "absent"}]
timesteps = [4]
data = ["data.npz"]

[options]
samples = 40
batch_size = 8
"""


def described(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return cells_of(path)


def test_a_sweep_is_models_by_timesteps_by_data(tmp_path):
    cells = described(
        tmp_path,
        'models = ["a", {model = "net.py:B(width=2)", name = "b", timesteps = [8], seed = 3}]\n'
        'timesteps = [1, 2]\ndata = ["x.npz", "digits"]\n'
        '[options]\nfold = false\nlayout = ["T B", "c=B T"]\nbatch_size = 4\n',
    )
    assert [cell.name for cell in cells] == [
        "a-T1-x", "a-T1-digits", "a-T2-x", "a-T2-digits", "b-T8-x", "b-T8-digits",
    ]  # fmt: skip
    assert cells[-1].words == (
        "net.py:B(width=2)", "--timesteps", "8", "--data", "digits", "--no-fold",
        "--layout", "T B", "--layout", "c=B T", "--batch-size", "4", "--seed", "3",
        "--name", "b-T8-digits",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models = [", "is no sweep that can be read"),
        ("", "names no models"),
        ('models = "a"', r"models that are no list: write models = \['a'\]"),
        ("models = [1]", "names a model as 1"),
        ('models = ["a"]\ntimestep = [1]', "has 'timestep', which no sweep has"),
        ('models = ["a"]\noptions = 1', "options that are no table"),
        ('models = ["a"]\n[options]\noutput = "b"', "which the sweep does itself"),
        ('models = ["a"]\n[options]\nmean = {a = 1}', "give text, a number"),
        ('models = ["a(b=1)", "a(b=2)"]', "two profiles called 'a'"),
    ],
)
def test_what_is_no_sweep_is_refused(text, sentence, tmp_path):
    with pytest.raises(AnalyzerError, match=sentence):
        described(tmp_path, text)


def test_a_profile_counts_as_made_with_the_same_options_alone(tmp_path):
    cell = Cell("a", ("a", "--seed", "1"))
    ledger = Ledger(tmp_path)
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [1], "firing_rate": [1]}
    analyzer.from_rates(table, name="a").save(ledger.target(cell))
    assert not ledger.has(cell)
    ledger.add(cell)
    assert Ledger(tmp_path).has(cell)
    assert not Ledger(tmp_path).has(Cell("a", ("a", "--seed", "2")))
    ledger.target(cell).write_bytes(b"{")
    assert not Ledger(tmp_path).has(cell)
    ledger.target(cell).unlink()
    assert not Ledger(tmp_path).has(cell)


def swept(place, *more):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = ("-m", "analyzer", "sweep", "sweep.toml", "-o", "swept", "--workers", "2", *more)
    return subprocess.run(
        [sys.executable, *words], cwd=place, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": path, "RANK": "1", "WORLD_SIZE": "2"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_left_off_and_lists_what_failed(place):
    pytest.importorskip("dask.distributed")
    (place / "sweep.toml").write_text(SWEEP)
    first = swept(place)
    assert first.returncode == 1
    assert "absent-T4: net.py has no 'Absent'; it defines: analyzer profile" in first.stdout
    assert "1 of 2 profiles are in swept" in first.stdout
    assert "1 of 2 profiles failed" in first.stderr
    made = place / "swept" / "Net-T4.json.gz"
    subprocess.run(
        [sys.executable, "-m", "analyzer", "profile", "net.py:Net", "--timesteps", "4", "--data",
         "data.npz", "--samples", "40", "--batch-size", "8", "--name", "Net-T4",
         "-o", "one.json.gz"],
        cwd=place, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert made.read_bytes() == (place / "one.json.gz").read_bytes()
    before = made.stat().st_mtime_ns
    second = swept(place)
    assert second.returncode == 1
    assert made.stat().st_mtime_ns == before
    (place / "sweep.toml").write_text(SWEEP.replace("Absent", "Net"))
    third = swept(place)
    assert third.returncode == 0, third.stderr
    assert made.stat().st_mtime_ns == before
    assert (place / "swept" / "absent-T4.json.gz").exists()
    assert "2 of 2 profiles are in swept" in third.stdout
