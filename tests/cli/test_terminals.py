"""Terminals of other encodings, outputs that take nothing more, pipes as input, and signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from analyzer import files
from analyzer.cli import main

from .running import refused, run_apart

ENCODINGS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
COMMANDS = [
    ["models"], ["technologies"], ["conventions"], ["hardware"], ["--help"], ["compare", "--help"],
    ["summary", "net.json", "--convention", "rate"], ["compare", "none.json"], ["study"],
    ["compare", "net.json", "--convention", "rate", "--format", "markdown"],
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    import analyzer

    table = {"module": ["é→"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    analyzer.from_rates(table, name="net – ±").save(tmp_path / "net.json")
    return tmp_path


@pytest.mark.parametrize("env", ENCODINGS, ids=str)
def test_every_sign_is_printed_in_letters_that_a_terminal_has(env, folder):
    """All in one process each: what is tested is that none ends in a UnicodeEncodeError."""
    code = (
        "import sys; from analyzer.cli import main\n"
        f"for words in {COMMANDS!r}:\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code in (0, 1, 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, timeout=300,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("LC_")}, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert b"Traceback" not in done.stderr
    assert b"codec" not in done.stderr
    done.stdout.decode("latin-1" if "latin-1" in env.values() else "ascii")


def test_a_full_output_is_an_error_in_a_sentence():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "analyzer", "technologies"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"cannot print: No space left on device." in done.stderr


def test_a_pipe_as_input(folder, capsys, monkeypatch):
    monkeypatch.setattr(files, "WAIT_S", 0.1)
    for name in ("p.json", "t.toml", "t.csv"):
        os.mkfifo(folder / name)
    for words in (
        ["compare", folder / "p.json"],
        ["compare", folder / "net.json", "--technology", folder / "t.toml"],
        ["audit", folder / "t.csv"],
    ):
        assert "nothing was written to it" in refused(capsys, *words)


def test_a_profile_from_the_command_before(folder):
    """As in ``analyzer compare <(cat net.json)``."""
    line = f"{sys.executable} -m analyzer compare <(cat net.json) --convention rate"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "net" in done.stdout


@pytest.mark.parametrize("name", ["rates.csv.xz", "rates.zip"])
def test_files_of_other_compressions(folder, capsys, name):
    import lzma
    import zipfile

    if name.endswith("xz"):
        (folder / name).write_bytes(lzma.compress(b"module,firing_rate\n,1\n"))
    else:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("a.csv", "module,firing_rate\n,1\n")
    said = refused(capsys, "audit", folder / name)
    assert "it is compressed as" in said
    said = refused(capsys, "count", "vit-tiny", "--rates", folder / name)
    assert "unpack it first" in said


def test_a_profile_written_to_standard_output(folder):
    """As in ``-o /dev/stdout``, here a pipe."""
    done = run_apart("twin", "--help")
    assert done.returncode == 0
    code = (
        "import analyzer; from pathlib import Path\nanalyzer.load('net.json').save('/dev/stdout')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True)
    assert done.stdout == (folder / "net.json").read_bytes(), done.stderr


def test_sigterm_ends_a_command_as_an_exception(monkeypatch, capsys):
    """So that what it was writing is tidied up; the handler is that of before afterwards."""

    def slow():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("analyzer.models.names", slow)
    with pytest.raises(SystemExit) as ended:
        main(["models"])
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "ended by SIGTERM: nothing was written.\n"
