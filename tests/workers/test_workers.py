"""Several workers make the file of one worker, and leave none where one of them dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import analyzer
from analyzer.cli import main
from analyzer.cli.launched import Launched, launched
from analyzer.cli.workers import Workers, meeting
from analyzer.errors import AnalyzerError

ROOT = Path(__file__).parents[2]
ARGUMENTS = ("-m", "analyzer", "profile", "net.py:Net", "--data", "data.npz", "-o")
RUN = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29411"}


def refused(capsys, *arguments):
    """The one sentence of a command that fails."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 1
    return capsys.readouterr().err


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    path = os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")])
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more


def started(place, *arguments, **variables):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=place, env=environment(**variables),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(workers, timeout=120):
    """The exit codes of processes, and what each said."""
    said = [worker.communicate(timeout=timeout)[1] for worker in workers]
    return [worker.returncode for worker in workers], said


@pytest.fixture(scope="module")
def one(place):
    """The bytes that one worker writes."""
    codes, said = ended([started(place, *ARGUMENTS, "one.json")])
    assert codes == [0], said
    return (place / "one.json").read_bytes()


@pytest.mark.parametrize(
    "number", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_torchrun_writes_the_file_of_one_worker(number, place, one):
    target = f"torchrun-{number}.json"
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}")
    codes, said = ended([started(place, *launcher, *ARGUMENTS, target)])
    assert codes == [0], said
    assert (place / target).read_bytes() == one
    assert json.loads(one)["samples"] == 1003
    assert said[0].count("1003 samples") == 1  # worker 0 alone says it
    assert not list(place.glob(f".{target}*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "size", "step"),
    [
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", {"SLURM_JOB_ID": "7"}),
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", {}),
        ("PMI_RANK", "PMI_SIZE", {}),
    ],
)
def test_any_launcher_that_sets_rank_and_size_will_do(rank, size, step, place, one):
    target = f"{rank}.json"
    workers = [
        started(place, *ARGUMENTS, target, **{rank: str(i), size: "2"}, **step) for i in (1, 0)
    ]
    codes, said = ended(workers)
    assert codes == [0, 0], said
    assert (place / target).read_bytes() == one


@pytest.mark.slow
def test_a_batch_script_of_slurm_is_one_worker(place, one):
    variables = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"}
    codes, said = ended([started(place, *ARGUMENTS, "script.json", **variables)])
    assert codes == [0], said
    assert (place / "script.json").read_bytes() == one


def dead_worker():
    """The last sign of life of a worker on this machine whose process is gone."""
    space = Path("/proc/self/ns/pid")
    return {
        "own": "x", "is": "done", "token": "", "said": "", "beat": 1, "pid": 2**22 + 1,
        "host": os.uname().nodename, "pids": os.readlink(space) if space.exists() else "",
    }  # fmt: skip


@pytest.mark.slow
def test_what_a_killed_run_left_is_no_part_of_the_next(place, one):
    """A folder of the same run with a share, a token and a dead worker 0."""
    run = launched({"RANK": "0", "WORLD_SIZE": "2"} | RUN).run
    left = place / f".again.json.{run}.workers"
    left.mkdir()
    (left / "run.json").write_text('{"token": "old"}')
    (left / "result.json").write_text('{"error": "old", "heard": []}')
    for rank in (0, 1):
        (left / f"worker-{rank}.json").write_text(json.dumps(dead_worker() | {"token": "old"}))
    first = started(place, *ARGUMENTS, "again.json", RANK="1", WORLD_SIZE="2", **RUN)
    time.sleep(3)
    second = started(place, *ARGUMENTS, "again.json", RANK="0", WORLD_SIZE="2", **RUN)
    codes, said = ended([first, second])
    assert codes == [0, 0], said
    assert (place / "again.json").read_bytes() == one
    assert not left.exists()


def run_that_ends(place, how, target, who="1"):
    """Two workers, one of which ends in some way, without a launcher that ends the other."""
    arguments = [a.replace(":Net", ":Ends") for a in ARGUMENTS]
    return [
        started(
            place, *arguments, target, "--batch-size", "16", "--worker-timeout", "20",
            RANK=str(rank), WORLD_SIZE="2", HOW=how, WHO=who, **RUN,
        )
        for rank in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("SIGKILL", "worker 1 of 2 died (process "),
        pytest.param("SIGTERM", "worker 1 of 2 was ended by its launcher", marks=pytest.mark.slow),
        pytest.param(
            "raise",
            "worker 1 of 2 failed (RuntimeError out of luck): nothing was written",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_that_ends_leaves_a_clear_error_and_no_file(how, sentence, place):
    target = f"ends-{how}.json"
    codes, said = ended(run_that_ends(place, how, target))
    assert 0 not in codes
    assert sentence in said[0]
    assert "Traceback" not in said[0]
    assert not list(place.glob(f"*{target}*")) + list(place.glob(f".{target}*"))


@pytest.mark.slow
def test_without_worker_0_the_others_end(place):
    codes, said = ended(run_that_ends(place, "SIGKILL", "headless.json", who="0"))
    assert 0 not in codes
    assert "worker 0 of 2 died" in said[1]
    assert not list(place.glob("*headless*")) + list(place.glob(".headless*"))


@pytest.mark.slow
def test_a_file_that_was_there_stays_where_a_worker_fails(place):
    (place / "there.json").write_text("before")
    ended(run_that_ends(place, "raise", "there.json"))
    assert (place / "there.json").read_text() == "before"


@pytest.mark.slow
def test_a_worker_that_never_starts_is_named(place):
    worker = started(
        place, *ARGUMENTS, "alone.json", "--worker-timeout", "1", RANK="0", WORLD_SIZE="2", **RUN
    )
    codes, said = ended([worker])
    assert codes == [1]
    assert "worker 1 of 2 was never heard of in 1 s (--worker-timeout" in said[0]
    assert not list(place.glob("*alone*")) + list(place.glob(".alone*"))


@pytest.mark.slow
def test_torchrun_tells_which_worker_was_killed(place):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3")
    arguments = [a.replace(":Net", ":Ends") for a in ARGUMENTS]
    codes, said = ended([started(place, *launcher, *arguments, "killed.json", HOW="SIGKILL")])
    assert codes != [0]
    assert "worker 1 of 3 died" in said[0]
    assert not list(place.glob("*killed.json*")) + list(place.glob(".killed*"))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "2"}, None),
        ({"RANK": "2", "WORLD_SIZE": "3", "SLURM_PROCID": "0"}, (2, 3)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "8"}, (1, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),  # a batch script by itself
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),
    ],
)
def test_launchers_say_which_worker_it_is(said, found):
    who = launched(said)
    assert (who and who[:2]) == found


def test_variables_of_another_launcher_tell_no_runs_apart():
    """Where srun starts the torchrun of each node by a step of its own."""
    told = {"RANK": "1", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"} | RUN
    one = launched(told | {"SLURM_STEP_ID": "0"})
    assert one == launched(told | {"SLURM_STEP_ID": "1"})
    assert one != launched(told | {"MASTER_PORT": "29412"})


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "worker 1 of 2 died (process"),
        ({"host": "another"}, ""),
        ({"pids": "pid:[1]"}, ""),  # of another container on this machine
    ],
)
def test_a_process_is_known_to_be_gone_only_where_its_number_means_that(place, said, tmp_path):
    (tmp_path / "worker-1.json").write_text(json.dumps(dead_worker() | place))
    gone = Workers(Launched(0, 2, "run"), tmp_path, 60).who_is_gone()
    assert gone.startswith(said) if said else not gone


SHARES = """
import sys, time
from pathlib import Path
from analyzer.cli import workers
from analyzer.cli.launched import Launched
from analyzer.errors import AnalyzerError

class Share:
    def to_bytes(self):
        return bytes(10_000)

workers._LEAVE_S = float(sys.argv[2])
rank, target = int(sys.argv[1]), Path("whole.json")
try:
    with workers.meeting(Launched(rank, 2, "run"), target, 20) as met:
        if rank:
            met.hand_in(Share())
        else:
            met.collected()
            while not Path("go").exists():
                time.sleep(0.02)
            target.write_text("whole")
except AnalyzerError as error:
    sys.exit(f"error: {error}")
"""


def sharing(tmp_path, limit="", leave_s=5):
    """Two workers that hand in without PyTorch, and how long the first waits if that failed."""
    (tmp_path / "shares.py").write_text(SHARES)
    shell = f'{limit} exec "$0" shares.py "$1" {leave_s}'
    return [
        subprocess.Popen(
            ["bash", "-c", shell, sys.executable, str(rank)],
            cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip


def wait_for(what):
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def has_handed_in(folder):
    return any('"done"' in p.read_text() for p in folder.glob(".whole*/worker-1.json"))


def test_a_share_that_can_not_be_written_ends_the_run(tmp_path):
    codes, said = ended(sharing(tmp_path, "ulimit -f 4;"), timeout=60)
    assert codes == [1, 1]
    assert said[1].startswith("error: cannot write .whole.json.run.workers/part-")
    assert said[1].endswith("File too large.\n")
    assert "worker 1 of 2 failed (cannot write" in said[0]


def test_a_worker_that_is_late_to_hear_of_success_hears_of_it(tmp_path):
    workers = sharing(tmp_path, leave_s=0.1)
    wait_for(lambda: has_handed_in(tmp_path))
    workers[1].send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    wait_for((tmp_path / "whole.json").exists)
    time.sleep(0.6)
    workers[1].send_signal(signal.SIGCONT)
    assert ended(workers) == ([0, 0], ["", ""])
    assert not list(tmp_path.glob(".whole*"))


def test_a_worker_that_heard_no_more_does_not_say_that_nothing_was_written(tmp_path):
    workers = sharing(tmp_path, leave_s=0.1)
    wait_for(lambda: has_handed_in(tmp_path))
    time.sleep(1.5)  # it has heard of worker 0 twice, so that it knows its process
    workers[1].send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    wait_for((tmp_path / "whole.json").exists)
    workers[0].kill()  # the file is written, and nobody can tell
    workers[0].communicate()
    for told in tmp_path.glob(".whole*/result.json"):
        told.unlink()
    workers[1].send_signal(signal.SIGCONT)
    codes, said = ended(workers[1:])
    assert codes == [1]
    assert "worker 0 of 2 died" in said[0]
    assert said[0].endswith("look whether the file was written.\n")
    assert not list(tmp_path.glob(".whole*"))


def test_a_worker_that_is_alone_leaves_no_folder(tmp_path):
    with (
        pytest.raises(AnalyzerError, match=r"worker 0 of 2 was never heard of.*nothing was"),
        meeting(Launched(1, 2, "run"), tmp_path / "whole.json", 0.1) as met,
    ):
        met.hand_in(SimpleNamespace(to_bytes=bytes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("written", [True, False])
def test_a_worker_0_that_is_ended_says_what_is_so(written, tmp_path):
    """Also while it waits for the others, when the file is written."""
    workers = sharing(tmp_path)
    wait_for(lambda: has_handed_in(tmp_path))
    if written:
        workers[1].send_signal(signal.SIGSTOP)
        (tmp_path / "go").touch()
        wait_for(lambda: list(tmp_path.glob(".whole*/result.json")))
    workers[0].terminate()
    if written:
        assert ended(workers[:1]) == ([0], [""])
        workers[1].kill()
    else:
        codes, said = ended(workers)
        assert codes == [1, 1]
        assert "worker 0 of 2 was ended by its launcher" in said[1]
        assert "0 of 2 failed" not in said[1]
    workers[1].communicate()


@pytest.mark.parametrize("rank", ["2", "-1", "one"])
def test_ranks_that_can_not_be_are_refused(rank):
    with pytest.raises(AnalyzerError, match="names no worker: ranks count from 0"):
        launched({"RANK": rank, "WORLD_SIZE": "2"})


def test_the_meter_of_energy_is_for_one_worker(capsys):
    assert "leave --measure out" in refused(capsys, "profile", "x", "--measure", "--shard", "1/2")


@pytest.mark.parametrize("share", ["0/2", "3/2", "2", "a/b", "1/2/3"])
def test_shares_that_can_not_be_are_refused(share, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["profile", "vit-tiny", "--shard", share])
    assert stopped.value.code == 2
    assert "is no share: write 2/8" in " ".join(capsys.readouterr().err.replace("│", "").split())


@pytest.mark.slow
def test_shards_of_the_command_line_are_the_whole(place, one):
    for index in (3, 1, 2):
        shard = ("--shard", f"{index}/3")
        codes, said = ended([started(place, *ARGUMENTS, f"part-{index}.json.gz", *shard)])
        assert codes == [0], said
    parts = [str(place / f"part-{index}.json.gz") for index in (2, 3, 1)]
    merging = ("-m", "analyzer", "merge", *parts, "-o", "whole.json")
    codes, said = ended([started(place, *merging)])
    assert codes == [0], said
    assert "3 shards, 1003 samples" in said[0]
    assert (place / "whole.json").read_bytes() == one
    assert analyzer.load(place / "part-2.json.gz").metadata["shard"]["batches"] == 32
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_arithmetic_without_a_rule_in_the_share_of_any_worker_is_told_once(place):
    arguments = [a.replace(":Net", ":Bessel") for a in ARGUMENTS]
    run = [
        started(place, *arguments, "bessel.json", RANK=str(i), WORLD_SIZE="2", **RUN)
        for i in (0, 1)
    ]
    codes, said = ended(run)
    assert codes == [0, 0], said
    assert said[0].count("warning: no rule covers ") == 1
    assert "warning" not in said[1]
