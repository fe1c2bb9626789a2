"""The worked examples that ``--help`` shows: enough, readable, valid, and the cheap ones run."""

import functools
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from rich.text import Text
from typer.testing import CliRunner

import analyzer
from analyzer.cli import app

from .running import run

ROOT = Path(__file__).parents[2]
WIDTH = 80


def commands(command, path=()):
    """All commands with the words that call them; groups come before what is in them."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


TREE = dict(commands(typer.main.get_command(app)))


def examples_of(command):
    lines = (command.epilog or "").splitlines()
    return [line.strip().replace("\\[", "[") for line in lines if line.startswith("  ")]


EXAMPLES = [(path, line) for path, command in TREE.items() for line in examples_of(command)]


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_command_shows_two_examples_each_on_a_line_of_its_own(path):
    lines = examples_of(TREE[path])
    assert len(lines) >= 2
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(WIDTH), "TERM": "dumb"})
    assert done.exit_code == 0
    shown = [line.strip() for line in done.output.splitlines()]
    assert "Examples" in shown
    for line in lines:
        assert line in shown


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_no_help_loses_what_stands_in_brackets(path):
    command = TREE[path]
    for text in (command.help, *(getattr(option, "help", "") for option in command.params)):
        text = text or ""
        assert Text.from_markup(text).plain == text.replace("\\[", "[")


@pytest.mark.parametrize(("path", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_every_example_is_understood(path, line, monkeypatch, capsys):
    (program, *words) = shlex.split(line.partition(" | ")[0])
    assert program == "analyzer"
    called = []
    for other, command in TREE.items():
        if not hasattr(command, "commands"):
            record = functools.partial(lambda other, **given: called.append(other), other)
            monkeypatch.setattr(command, "callback", record)
    TREE[()].main(words, standalone_mode=False)
    if "--toml" in words:  # it answers in place of its command
        assert not called
        assert "title = " in capsys.readouterr().out
        return
    (other,) = called
    assert other[: len(path)] == path or path == ("study", "reproduction")


@pytest.mark.parametrize("words", [["compare", "x.json", "--colums", "ac"], ["studdy"]])
def test_an_example_that_is_wrong_would_be_noticed(words):
    with pytest.raises(Exception, match=r"colums|studdy"):
        TREE[()].main(words, standalone_mode=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with all files that examples name."""
    folder = tmp_path_factory.mktemp("examples")
    for name, source in (("ann", "vit-tiny"), ("snn", "ge2mst-tiny")):
        profile = analyzer.load(ROOT / "profiles" / f"{source}.json.gz")
        named = replace(profile, metadata=profile.metadata | {"name": name})
        named.save(folder / "profiles" / f"{name}.json")
        for steps in (4, 8) if name == "snn" else ():
            at = replace(named, metadata=named.metadata | {"timesteps": steps})
            at.save(folder / "profiles" / f"T{steps}.json")
            at.save(folder / "timesteps" / f"T{steps}.json")
    inputs = torch.eye(8, 6)
    for number, name in enumerate(("before", "after", "dense", "spiking")):
        given = inputs + (name == "dense")
        sampled = analyzer.profile(
            torch.nn.Linear(6, 4 + number).eval(), given, name=name, per_sample=True
        )
        sampled.save(folder / "profiles" / f"{name}.json")
    shutil.copytree(ROOT / "reports" / "reproduction", folder / "reports" / "reproduction")
    for label in ("cat", "dog"):
        (folder / "images" / label).mkdir(parents=True)
        Image.new("L", (8, 8), 99).save(folder / "images" / label / "1.png")
    (folder / "nets.py").write_text(
        "from torch import nn\n"
        "from analyzer.models.neurons import LIF\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))\n"
        "class snn(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(LIF(), nn.Flatten(2), nn.Linear(64, 2))\n"
        "class tokens(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)\n"
        "    def forward(self, input_ids):\n"
        "        return self.head(self.table(input_ids))\n"
    )
    nets = runpy.run_path(str(folder / "nets.py"))
    torch.save(nets["Net"]().state_dict(), folder / "weights.pth")
    (folder / "budget.toml").write_text("energy_mj = 1\naccuracy = 0.5\n")
    spikes, layer = torch.eye(6), torch.nn.Linear(6, 3).eval()
    for index in (1, 2):
        shard = analyzer.profile(layer, [spikes, spikes], shard=(index, 2))
        shard.save(folder / "parts" / f"{index}.json.gz")
    (folder / "sweep.toml").write_text('models = ["vit-tiny"]\n[options]\nsamples = 2\n')
    (folder / "table.csv").write_text("model,resolution,energy_mJ\nSwin-T,224,70.84\n")
    return folder


def is_cheap(line):
    """Whether it takes seconds: no training, no study, no network for ImageNet, no cluster."""
    return not any(
        word in line
        for word in (
            "analyzer train",
            "study paradigms",
            "study published",
            "spikformer-8-512",
            "--scheduler",
        )
    )


@pytest.fixture
def place(files, tmp_path):
    """The same for one example, which may write there."""
    return shutil.copytree(files, tmp_path / "place")


CHEAP = [(path, line) for path, line in EXAMPLES if is_cheap(line)]
FIRST = dict(reversed(CHEAP))


@pytest.mark.parametrize(("path", "line"), CHEAP, ids=[line for _, line in CHEAP])
def test_cheap_examples_do_what_they_say(path, line, place):
    """The first of each command as a user types it; the others in this process, which is faster."""
    if line != FIRST[path] and "|" not in line:
        done = run(*shlex.split(line)[1:], cwd=place)
        assert done.stdout or done.stderr
        return
    ran = line.replace("analyzer", shlex.join([sys.executable, "-m", "analyzer"]), 1)
    done = subprocess.run(ran, shell=True, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr
    assert "Traceback" not in done.stderr
