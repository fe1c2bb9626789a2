"""Several workers make the file of one worker, and leave none where one of them dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import analyzer
from analyzer.cli import main
from analyzer.cli.launched import launched
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


@pytest.mark.slow
def test_what_a_killed_run_left_is_no_part_of_the_next(place, one):
    """A folder of the same run with a share, a token and a dead worker 0."""
    run = launched({"RANK": "0", "WORLD_SIZE": "2"} | RUN).run
    left = place / f".again.json.{run}.workers"
    left.mkdir()
    (left / "run.json").write_text('{"token": "old"}')
    (left / "result.json").write_text('{"error": "old", "heard": []}')
    dead = {"own": "x", "is": "done", "token": "old", "said": "", "beat": 1, "pid": 2**22 + 1}
    for rank in (0, 1):
        (left / f"worker-{rank}.json").write_text(json.dumps(dead | {"host": os.uname().nodename}))
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
        ("SIGKILL", r"worker 1 of 2 died \(process "),
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
    assert sentence.replace("\\", "") in said[0]
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
    assert "worker 1 of 2 was never heard of in 1 s: nothing was written." in said[0]
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
