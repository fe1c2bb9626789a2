"""Ctrl-C, as a real signal to a real process: what is kept, how to go on, exit code 130."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240


def interrupted(words, cwd, ready):
    """Starts a command, sends SIGINT once ``ready`` (of its stderr so far) says so; its stderr."""
    err = Path(cwd) / "stderr.txt"
    with err.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "analyzer", *map(str, words)],
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=file,
            # A test run in the background ignores the signal, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            end = time.monotonic() + PATIENCE_S
            while not ready(err.read_text()):
                assert process.poll() is None, err.read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
    said = err.read_text()
    # Python ends itself by the signal where code in a string was interrupted, such as that of a
    # dataclass; a shell says 130 of both.
    assert code in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    return said


def test_profile_says_that_nothing_was_written(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import pathlib, time\n"
        "from torch import nn\n"
        "class Slow(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 2)\n"
        "    def forward(self, x):\n"
        "        pathlib.Path('running').touch()\n"
        "        time.sleep(0.2)\n"
        "        return super().forward(x)\n"
    )
    old = tmp_path / "old.json"
    old.write_text("as it was")
    words = ["profile", "nets.py:Slow", "--input", "4", "--samples", "4000", "--batch-size", "1"]
    said = interrupted([*words, "-o", old], tmp_path, lambda _: (tmp_path / "running").exists())
    assert said == f"interrupted: nothing was written, and {old} is as it was.\n"
    assert old.read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__", "running"} == {
        "nets.py", "old.json", "stderr.txt",
    }  # fmt: skip


def test_report_leaves_the_old_folder(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("the old page")
    many = ROOT / "reports" / "published" / "profiles"
    words = ["report", many, "-o", out, "--progress", "log"]
    said = interrupted(words, tmp_path, lambda err: "report: 0 of" in err)
    assert said.splitlines()[-1] == f"interrupted: {out} is as it was."
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert (out / "index.html").read_text() == "the old page"


def test_a_study_says_how_many_profiles_are_kept(tmp_path):
    profiles = tmp_path / "out" / "profiles"
    profiles.mkdir(parents=True)
    for name in ("spikformer-8-384", "spikformer-8-512"):
        source = ROOT / "reports" / "published" / "profiles" / f"{name}.json.gz"
        shutil.copy(source, profiles)
    words = ["study", "published", "-o", "out"]
    said = interrupted(words, tmp_path, lambda err: ": profiling" in err)
    assert said.splitlines()[-1] == (
        "interrupted: 2 profiles in out/profiles are kept, and the same command goes on from there."
    )


@pytest.mark.slow
def test_a_training_goes_on_with_the_command_that_is_said(tmp_path):
    words = ["train", "vit-tiny", "--epochs", "5", "--images", "64", "--batch-size", "32"]
    words += ["-o", "w.safetensors", "--log", "log.csv"]
    checkpoint = tmp_path / "w.safetensors.checkpoint"
    said = interrupted(words, tmp_path, lambda _: checkpoint.exists())
    found = re.search(
        r"interrupted: (\d) epochs? of 5 are kept in w.safetensors.checkpoint; "
        r"go on with: analyzer (.*)\.\n",
        said,
    )
    assert found, said
    assert 1 <= int(found[1]) < 5
    again = [sys.executable, "-m", "analyzer", *shlex.split(found[2])]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w.safetensors").exists()
    assert not checkpoint.exists()
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()] == [
        "epoch", "1", "2", "3", "4", "5",
    ]  # fmt: skip


def test_other_commands_wrote_nothing(tmp_path):
    many = ROOT / "reports" / "published" / "profiles"
    script = (
        "import os, signal, sys\n"
        "import analyzer\n"
        "from analyzer.cli import main\n"
        "def stop(path):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "analyzer.load = stop\n"
        f"main(['compare', {str(many)!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stderr) == (130, "interrupted: nothing was written.\n")
