"""A run in parts that is killed goes on, and writes the file of one run."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from analyzer.cli import main
from analyzer.files import claimed

NET = """
import os, time
from torch import nn

class Net(nn.Linear):
    def __init__(self, w=0.5):
        super().__init__(6, 3)
        nn.init.constant_(self.weight, float(os.environ.get("W", w)))

    def forward(self, x):
        if os.path.exists(os.environ.get("STOP", "")):
            raise RuntimeError("stopped")
        x = (x > float(os.environ.get("THRESHOLD", "-9"))).float()
        with open("ran", "a") as file:
            file.write("x")
        time.sleep(float(os.environ.get("SLEEP", "0")))
        return super().forward(x)
"""
WORDS = ["profile", "net.py:Net", "--input", "6", "--samples", "40", "--batch-size", "4"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def run(folder, *words, **more):
    command = [sys.executable, "-m", "analyzer", *WORDS, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **more)


def passes(folder):
    return len((folder / "ran").read_text()) if (folder / "ran").exists() else 0


def refused(capsys, *words):
    """What a command says that ends in one sentence, run in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def write_data(number=40, batch=0):
    """Samples, of which those of one batch are told apart from others."""
    x = np.ones((number, 6), np.float32)
    x[4 * batch : 4 * batch + 4, 0] = 2
    np.savez("data.npz", x=x)


@pytest.mark.parametrize("parts", [1, 3, 13])
def test_parts_write_the_file_of_one_run(folder, parts):
    """Also where there are more parts than batches."""
    assert run(folder, "-o", "whole.json").returncode == 0
    said = run(folder, "-o", "parts.json", "--parts", str(parts))
    assert said.returncode == 0, said.stderr
    assert (folder / "parts.json").read_bytes() == (folder / "whole.json").read_bytes()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_killed_goes_on(folder, number):
    assert run(folder, "-o", "whole.json").returncode == 0
    (folder / "ran").unlink()
    command = [sys.executable, "-m", "analyzer", *WORDS, "-o", "parts.json", "--parts", "5"]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "SLEEP": "0.1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    kept = folder / ".parts.json.parts"
    end = time.monotonic() + 60
    while len(list(kept.glob("*.gz"))) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    done = len(list(kept.glob("*-of-5.json.gz")))
    assert done >= 2
    assert not (folder / "parts.json").exists()
    if number != signal.SIGKILL:
        assert f"{done} of 5 parts are kept in .parts.json.parts" in said, process.returncode
        assert "nothing was written" not in said
    (folder / "ran").unlink()
    again = run(folder, "-o", "parts.json", "--parts", "5")
    assert again.returncode == 0, again.stderr
    assert f"part {done} of 5 is kept from before" in again.stderr
    assert (folder / "parts.json").read_bytes() == (folder / "whole.json").read_bytes()
    assert not kept.exists()


def test_parts_of_another_number_are_refused(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    kept = folder / ".x.json.parts"
    kept.mkdir()
    (kept / "1-of-2.json.gz").touch()
    said = refused(capsys, *WORDS, "-o", "x.json", "--parts", "3")
    assert "holds parts of a run in other parts (1-of-2.json.gz)" in said
    assert [path.name for path in kept.iterdir()] == ["1-of-2.json.gz"]


OF = ("--data", "data.npz", "--batch-size", "4", "-o", "x.json")
OTHER_RUNS = {
    "a factory argument": (("net.py:Net(w=0.75)", *OF), {}, "model is 'net.py:Net' in it and"),
    "an option": (("net.py:Net", *OF, "--samples", "39"), {}, "samples is None in it and 39 now"),
    "weights": (("net.py:Net", *OF), {"W": "0.75"}, "are of different runs: weights_digest"),
    "a threshold": (("net.py:Net", *OF), {"THRESHOLD": "1"}, "did not do the same in the first"),
    "other data": (("net.py:Net", *OF), {"batch": 0}, "not of one run on the same data"),
    "more data": (("net.py:Net", *OF), {"number": 80}, "with as many batches (10 and 20)"),
}


@pytest.mark.parametrize(("words", "change", "sentence"), OTHER_RUNS.values(), ids=OTHER_RUNS)
@pytest.mark.parametrize("number", [1, 2])
def test_kept_parts_of_another_run_are_refused_before_any_is_counted(
    number, words, change, sentence, folder, capsys, monkeypatch
):
    """Whether some or all are kept: then nothing else would run at all."""
    monkeypatch.chdir(folder)
    write_data(batch=9)
    kept = folder / ".x.json.parts"
    with monkeypatch.context() as stopped:
        stopped.setenv("STOP", str(kept / "1-of-2.json.gz"))
        assert "stopped" in refused(capsys, "profile", "net.py:Net", *OF, "--parts", "2")
    if number == 2:
        main_in_process("profile", "net.py:Net", *OF[:-1], str(kept / "2-of-2.json.gz"),
                        "--shard", "2/2")  # fmt: skip
    before = passes(folder)
    for key, value in change.items():
        if key.isupper():
            monkeypatch.setenv(key, value)
    write_data(**{"batch": 9} | {k: v for k, v in change.items() if k.islower()})
    said = refused(capsys, "profile", *words, "--parts", "2")
    assert sentence in said
    assert "Remove .x.json.parts to count all of it anew." in said
    assert passes(folder) - before < 5  # one batch, of ten
    assert len(list(kept.glob("*-of-2.json.gz"))) == number
    assert not (folder / "x.json").exists()


def main_in_process(*words):
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == 0


def test_what_a_killed_run_left_holds_nothing_up(folder, monkeypatch):
    """A part that was half written, and a folder that was half removed."""
    monkeypatch.chdir(folder)
    write_data()
    main_in_process("profile", "net.py:Net", *OF[:-1], "whole.json")
    kept = folder / ".x.json.parts"
    main_in_process("profile", "net.py:Net", *OF[:-1], str(kept / "1-of-2.json.gz"),
                    "--shard", "1/2")  # fmt: skip
    (kept / f".2-of-2.json.gz.{'0f' * 8}.part").write_bytes(b"half")
    gone = folder / f".x.json.parts.{'0f' * 8}.done"
    gone.mkdir()
    (gone / "1-of-3.json.gz").touch()
    main_in_process("profile", "net.py:Net", *OF, "--parts", "2")
    assert (folder / "x.json").read_bytes() == (folder / "whole.json").read_bytes()
    assert not list(folder.glob(".*"))


def test_a_second_run_of_the_same_command_is_refused_at_its_start(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    kept = folder / ".x.json.parts"
    kept.mkdir()
    handle = os.open(kept, os.O_RDONLY)
    try:
        assert claimed(handle)
        said = refused(capsys, *WORDS, "-o", "x.json", "--parts", "2")
    finally:
        os.close(handle)
    assert "another run of this command counts in .x.json.parts: wait until it ends" in said
    assert passes(folder) == 0
    assert kept.exists()


def test_a_run_that_keeps_no_part_leaves_no_folder(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    refused(capsys, "profile", "net.py:Absent", "-o", "x.json", "--parts", "2")
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("more", [(), ("--parts", "2"), ("--shard", "1/2")])
@pytest.mark.parametrize(
    ("target", "why"), [("out", "it is a folder"), ("net.py/x.json", "Not a directory")]
)
def test_a_target_that_can_not_be_written_is_refused_first(
    target, why, more, folder, capsys, monkeypatch
):
    monkeypatch.chdir(folder)
    (folder / "out").mkdir()
    said = refused(capsys, *WORDS, "-o", target, *more)
    assert f"cannot write {target}: {why}" in said
    assert passes(folder) == 0


@pytest.mark.parametrize("option", [("--per-sample",), ("--shard", "1/2"), ("--measure",)])
def test_parts_are_of_a_plain_run(folder, option):
    said = run(folder, "-o", "x.json", "--parts", "2", *option)
    assert said.returncode == 1
    assert "leave it out" in said.stderr
    assert passes(folder) == 0
