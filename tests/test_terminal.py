"""Printable text, and progress as a bar, as lines, or not at all."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli.running import run
from torch import nn

import analyzer
from analyzer import terminal
from analyzer.cli.show import print_table, say
from analyzer.inert import printable
from analyzer.terminal import Shown, progress

NETS = (
    "import time\n"
    "from torch import nn\n"
    "class Net(nn.Sequential):\n"
    "    def __init__(self):\n"
    "        super().__init__(nn.Flatten(), nn.Linear(4, 2))\n"
    "    def forward(self, x):\n"
    "        time.sleep(0.02)\n"
    "        return super().forward(x)\n"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("µJ, 2×, “x”, 日本\n\tlines", "µJ, 2×, “x”, 日本\n\tlines"),
        ("a\x1b[31mb\x07\x9b\r", r"a\x1b[31mb\x07\x9b\r"),
        ("left \u202eright\u2028", r"left \u202eright\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_control_characters_are_spelled_out(text, shown):
    assert printable(text) == shown


def test_a_log_has_a_first_line_some_between_and_a_last(capsys, monkeypatch):
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(now)))
    with progress("counting [x]", 6, "log") as steps:
        for number in range(6):
            steps.done(units=10, said=f"loss {number}")
    first, *between, last = capsys.readouterr().err.splitlines()
    assert first == "counting [x]: 0 of 6"
    assert 0 < len(between) < 5
    assert re.fullmatch(r"counting \[x\]: 6 of 6, ([\d,.e+]+ samples/s, )?loss 5", last)
    assert re.search(r" samples/s, loss \d", between[-1])


def test_the_speed_is_that_of_this_run(capsys):
    def speed(earlier):
        with progress("training", 1000, "log") as steps:
            steps.completed(earlier)
            for _ in range(4):
                time.sleep(0.01)
                steps.done(units=10, unit="images")
        last = capsys.readouterr().err.splitlines()[-1]
        found = re.match(rf"training: {earlier + 4} of 1000, ([\d.,]+) images/s", last)
        return float(found[1].replace(",", ""))

    new, resumed = speed(0), speed(900)
    assert new / 20 < resumed < 20 * new  # the earlier steps would make it 226 times as small


def test_work_that_ended_is_done_and_nothing_else_counts(capsys):
    with progress("report", 5, "log") as steps:
        for doing in ("reading", "pricing", "writing"):
            steps.next(doing)
    assert capsys.readouterr().err.splitlines() == ["report: 0 of 5", "writing: 3 of 3"]
    with contextlib.suppress(KeyboardInterrupt), progress("report", 5, "log") as steps:
        steps.next("reading")
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines() == ["report: 0 of 5"]


def test_of_progress_inside_of_progress_the_outer_is_shown(capsys):
    with progress("outer", 1, "log") as outer:
        with progress("inner", 1) as inner:
            inner.done()
        outer.done()
    said = capsys.readouterr().err
    assert "outer: 1 of 1" in said
    assert "inner" not in said


def test_what_is_asked_for_in_python(capsys):
    model, data = nn.Linear(4, 2).eval(), [torch.rand(3, 4) for _ in range(4)]
    assert [Shown.of(given) for given in (None, True, False, "log")] == [
        "auto",
        "bar",
        "off",
        "log",
    ]
    for given in (None, False, "off", "auto"):
        analyzer.profile(model, data, progress=given)
    assert capsys.readouterr().err == ""
    analyzer.profile(model, data, progress=True)  # no terminal, so a log
    assert "profiling Linear: 4 of 4" in capsys.readouterr().err
    with pytest.raises(analyzer.AnalyzerError, match="progress must be one of auto, bar, log, off"):
        analyzer.profile(model, data, progress="loud")


def on_a_terminal(words, cwd):
    """Runs a command whose standard error is a terminal; returns what that was sent."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "analyzer", *words],
        cwd=cwd,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    sent = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(mine, 65536):
            sent += chunk
    os.close(mine)
    assert process.wait(60) == 0, sent
    return sent.decode()


def test_profile_shows_samples_a_second_on_a_terminal_and_in_a_log_when_asked(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    words = ["profile", "nets.py:Net", "--input", "4", "--samples", "60", "--batch-size", "3"]
    words += ["-o", "p.json"]
    sent = on_a_terminal(words, tmp_path)
    assert "profiling Net" in sent
    assert re.search(r"/20", sent)
    assert re.search(r"[\d,.]+ samples/s", sent)

    (summary,) = run(*words, cwd=tmp_path).stderr.splitlines()
    assert summary.startswith("Net: 60 samples")
    *lines, summary = run(*words, "--progress", "log", cwd=tmp_path).stderr.splitlines()
    assert lines[0] == "profiling Net: 0 of 20"
    assert re.fullmatch(r"profiling Net: 20 of 20, [\d,.]+ samples/s", lines[-1])
    assert on_a_terminal([*words, "--progress", "off"], tmp_path).startswith("Net: 60 samples")


def test_training_shows_loss_and_accuracy(tmp_path):
    words = ["train", "vit-tiny", "--epochs", "2", "--images", "64", "--batch-size", "32"]
    done = run(*words, "-o", "w.safetensors", "--progress", "log", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert lines[0] == "vit-tiny: 0 of 4"
    assert re.fullmatch(
        r"vit-tiny, epoch 2 of 2: 4 of 4, [\d,.]+ images/s, loss \d\.\d+, accuracy \d+\.\d%",
        lines[-1],
    )


def test_reports_show_what_they_do(tmp_path):
    profile = analyzer.profile(nn.Linear(4, 2).eval(), torch.rand(3, 4), name="p")
    profile.save(tmp_path / "p.json")
    sent = on_a_terminal(["report", "p.json", "-o", "out"], tmp_path)
    assert "drawing" in sent
    for only, last in (("energy", "writing: 4 of 4"), ("", "writing: 6 of 6")):  # no rates
        words = ["report", "p.json", "-o", "out", "--progress", "log", "--only", only]
        done = run(*words, cwd=tmp_path)
        assert done.stderr.splitlines()[-1] == last


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_shows_a_bar_or_lines_when_asked(widgets, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    source = (
        "import sys\n"
        f"if not {widgets}:\n"
        "    sys.modules['ipywidgets'] = None\n"
        "import torch, analyzer\n"
        "data = [torch.rand(3, 4) for _ in range(4)]\n"
        "p = analyzer.profile(torch.nn.Linear(4, 2).eval(), data)\n"
        "p = analyzer.profile(torch.nn.Linear(4, 2).eval(), data, progress=True)\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    said = "".join(out.get("text", out.get("data", {}).get("text/plain", "")) for out in outputs)
    if widgets:
        assert any(
            "application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in outputs
        )
        assert "profiling" not in said
    else:
        assert said.count("profiling Linear") == 2
        assert "profiling Linear: 4 of 4" in said


def test_names_stay_what_they_are(capsys):
    with progress("counting m:key:z", 1, "log") as steps:
        steps.done(said="m:key:z")
    say("error", "no m:key:z", "red")
    print_table(["m:key:z"], [["m:key:z"]])
    said = capsys.readouterr()
    assert said.err.count("m:key:z") == 4
    assert said.out.split() == ["m:key:z", "m:key:z"]


def test_one_place_makes_what_draws():
    """A console of rich's own making would turn ``:key:`` into an emoji."""
    found = {path.name for path in Path(terminal.__file__).parent.rglob("*.py")
             if "Console(" in path.read_text("utf-8")}  # fmt: skip
    assert found == {"terminal.py"}
