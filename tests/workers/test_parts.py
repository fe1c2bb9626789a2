"""A run in parts that is killed goes on, and writes the file of one run."""

import os
import signal
import subprocess
import sys
import time

import pytest

NET = """
import os, time
from torch import nn

class Net(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)
        nn.init.constant_(self.weight, 0.5)

    def forward(self, x):
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
    if number == signal.SIGINT:
        assert f"{done} of 5 parts are kept in .parts.json.parts" in said
    (folder / "ran").unlink()
    again = run(folder, "-o", "parts.json", "--parts", "5")
    assert again.returncode == 0, again.stderr
    assert f"part {done} of 5 is kept from before" in again.stderr
    assert (folder / "parts.json").read_bytes() == (folder / "whole.json").read_bytes()
    assert not kept.exists()


def test_parts_of_another_run_are_refused(folder):
    kept = folder / ".x.json.parts"
    assert run(folder, "-o", "x.json", "--shard", "1/2").returncode == 0
    kept.mkdir()
    (folder / "x.json").rename(kept / "1-of-2.json.gz")
    said = run(folder, "-o", "x.json", "--parts", "3")
    assert said.returncode == 1
    assert "holds parts of a run in other parts (1-of-2.json.gz)" in said.stderr
    text = (folder / "net.py").read_text().replace("0.5", "0.25")
    (folder / "net.py").write_text(text)
    said = run(folder, "-o", "x.json", "--parts", "2")
    assert said.returncode == 1
    assert "of different runs: weights_digest" in said.stderr
    assert f"Remove {kept.name} to count all of it anew" in said.stderr
    assert not (folder / "x.json").exists()


@pytest.mark.parametrize("option", [("--per-sample",), ("--shard", "1/2"), ("--measure",)])
def test_parts_are_of_a_plain_run(folder, option):
    said = run(folder, "-o", "x.json", "--parts", "2", *option)
    assert said.returncode == 1
    assert "leave it out" in said.stderr
    assert passes(folder) == 0
