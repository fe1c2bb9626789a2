"""A sweep makes the files that `analyzer profile` makes, once, and lists what failed."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

import analyzer
from analyzer.cli import main
from analyzer.cli.cells import Cell, cells_of
from analyzer.cli.sweeps import Ledger, profiled, run_cells
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
        '[options]\nfold = false\nper_sample = false\nlayout = ["T B", "c=B T"]\nbatch_size = 4\n',
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
        ('models = ["a"]\n[options]\nsample = 3', "unknown option 'sample': did you mean 'sample"),
        ('models = [{model = "a", per-smaple = true}]', "did you mean 'per-sample'"),
        ('models = ["a(b=1)", "a(b=2)"]', "two profiles called 'a'"),
        ('models = ["a"]\ntimesteps = [1]\n[options]\ntimesteps = 2', "timesteps both as a list"),
        ('models = [{model = "a", data = ["x"]}]\n[options]\ndata = "y"', "data both as a list"),
        ('models = ["a"]\n[options]\nname = "b"', "sets name for all models"),
        ('models = ["a"]\ndata = ["v1/x", "v2/x"]', "lists the data 'v1/x' and 'v2/x', whose"),
        ('models = ["a"]\ntimesteps = [4, 4]', "lists the timesteps 4 and 4, whose"),
    ],
)
def test_what_is_no_sweep_is_refused(text, sentence, tmp_path):
    with pytest.raises(AnalyzerError, match=sentence):
        described(tmp_path, text)


def save_profile(path):
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [1], "firing_rate": [1]}
    analyzer.from_rates(table, name="a").save(path)


def test_a_profile_counts_as_made_with_the_same_options_alone(tmp_path):
    cell = Cell("a", ("a", "--seed", "1"))
    ledger = Ledger(tmp_path)
    save_profile(ledger.target(cell))
    assert not ledger.has(cell)
    ledger.add(cell)
    assert Ledger(tmp_path).has(cell)
    assert not Ledger(tmp_path).has(Cell("a", ("a", "--seed", "2")))
    ledger.target(cell).write_bytes(b"{")
    assert not Ledger(tmp_path).has(cell)
    ledger.target(cell).unlink()
    assert not Ledger(tmp_path).has(cell)


def test_sweeps_into_one_folder_keep_what_others_note(tmp_path):
    def add(sweep):
        ledger = Ledger(tmp_path)
        for number in range(10):
            ledger.add(Cell(f"{sweep}-{number}", ("a",)))

    with ThreadPoolExecutor() as pool:
        list(pool.map(add, range(4)))
    noted = (tmp_path / ".sweep.json").read_text().count(Cell("", ("a",)).digest)
    assert noted == 40


STAND_IN = """
import os, shutil, signal, sys, time

how = open("how").read()
with open("ran", "a") as file:
    file.write(f"{os.getpid()} ")
if how == "sleeps":
    time.sleep(60)
print("warned", file=sys.stderr)
if how == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "crashes":
    sys.exit(3)
if how == "fails":
    print("error: out of luck", file=sys.stderr)
    sys.exit(1)
shutil.copy("made.json.gz", sys.argv[sys.argv.index("--output") + 1])
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A folder where ``python -m analyzer`` is a script that ends as it is told, and quickly."""
    (tmp_path / "analyzer.py").write_text(STAND_IN)
    (tmp_path / "sweep.toml").write_text('models = ["a", "b", "c"]')
    (tmp_path / "out").mkdir()
    save_profile(tmp_path / "made.json.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("works", ""),
        ("fails", "out of luck"),
        ("crashes", "its process ended with code 3, after it printed: warned"),
        ("is killed", "its process ended by signal 9 (Killed), after it printed: warned"),
    ],
)
def test_how_a_process_ended_says_why_it_failed(how, why, stand_in):
    (stand_in / "how").write_text(how)
    assert profiled(Cell("a", ("a",)), "out/a.json.gz", str(stand_in), 1) == why


def test_no_port_of_a_sweep_is_open_to_other_machines(stand_in):
    pytest.importorskip("dask.distributed")
    process = pytest.importorskip("psutil").Process()
    (stand_in / "how").write_text("works")
    sweep = run_cells([Cell("a", ("a",))], Ledger(Path("out")), workers=1, scheduler=None)
    with closing(sweep):
        assert next(sweep)[1] is None
        found = process.net_connections("inet")
    assert {c.laddr.ip for c in found if c.status == "LISTEN"} <= {"127.0.0.1"}


def test_profiles_that_were_to_be_made_again_and_failed_are_made_next_time(stand_in, capsys):
    pytest.importorskip("dask.distributed")

    def sweep(how, *more):
        (stand_in / "how").write_text(how)
        (stand_in / "ran").write_text("")
        with pytest.raises(SystemExit) as done:
            main(["sweep", "sweep.toml", "-o", "out", *more])
        return done.value.code, len((stand_in / "ran").read_text().split())

    assert sweep("works") == (0, 3)
    assert sweep("fails") == (0, 0)
    assert sweep("fails", "--again") == (1, 3)
    assert "run the same command without --again, which makes these" in capsys.readouterr().err
    assert sweep("works") == (0, 3)


def test_a_sweep_that_is_ended_leaves_no_process(stand_in):
    pytest.importorskip("dask.distributed")
    (stand_in / "how").write_text("sleeps")
    code = "import sys; del sys.path[0]; from analyzer.cli import main; main()"
    words = (sys.executable, "-c", code, "sweep", "sweep.toml", "-o", "out", "--workers", "2")
    sweep = subprocess.Popen(
        words, cwd=stand_in, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while len(ran := pids_of(stand_in)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait(60) == 128 + signal.SIGTERM
        assert len(ran) == 2
        assert pids_of(stand_in) == ran  # the third was not begun
        assert not [pid for pid in ran if Path(f"/proc/{pid}").exists()]
    finally:
        sweep.kill()
        for pid in pids_of(stand_in):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pids_of(folder):
    found = folder / "ran"
    return [int(word) for word in found.read_text().split()] if found.exists() else []


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
