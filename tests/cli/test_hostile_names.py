"""No command sends control characters of names, files or keys to the terminal."""

import ast
import gzip
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import analyzer
from analyzer import cli
from analyzer.cli import main
from analyzer.energy.declared.constants import text_of

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202egnp\r"
"""A title of the window, a colour, a cleared screen, writing backwards, and a line begun anew."""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A folder with profiles of a hostile name with hostile layers, under hostile file names."""
    model = nn.Sequential()
    model.add_module(f"layer{EVIL}", nn.Linear(6, 3))
    inputs = torch.eye(4, 6)
    for number in (1, 2):
        name = f"net{EVIL}{number}"
        profile = analyzer.profile(model.eval(), inputs, name=name, timesteps=number)
        profile.save(tmp_path / f"p{EVIL}{number}.json")
    text = (tmp_path / f"p{EVIL}1.json").read_text("utf-8")
    broken = json.loads(text)
    broken["contractions"][0][f"key{EVIL}"] = 1
    (tmp_path / f"broken{EVIL}.json").write_text(json.dumps(broken))
    broken = json.loads(text)
    broken["kind"] = EVIL
    (tmp_path / f"other{EVIL}.json.gz").write_bytes(gzip.compress(json.dumps(broken).encode()))
    (tmp_path / f"nets{EVIL}.py").write_text(f"raise ValueError({EVIL!r})\n")
    (tmp_path / "fine.py").write_text(
        "import warnings\n"
        f"warnings.warn({EVIL!r})\n"
        "from torch import nn\n"
        f"class Net(nn.Module):\n    def forward(self, x):\n        raise ValueError({EVIL!r})\n"
        "def other():\n    return nn.Linear(4, 2)\n"
    )
    (tmp_path / "budget.toml").write_text(
        'ac = 0\n[layers."layer*"]\nmac = 1\n[layers.no]\nac = 1\n'
    )
    (tmp_path / "table.csv").write_text(f'model,energy_mJ\n"net{EVIL}",3\n', newline="")
    shown = json.dumps(f"x{EVIL}")
    for kind, source, file in (
        ("technologies", "45nm", f"mine{EVIL}.toml"), ("conventions", "exact", "mine.toml")
    ):  # fmt: skip
        text = text_of(kind, source, kind)
        renamed = re.sub(r"^(name|source) = .*$", lambda m: f"{m[1]} = {shown}", text, flags=re.M)
        (tmp_path / file).write_text(renamed)
    (tmp_path / "broken.toml").write_text(f"{shown} = 1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


P, Q = f"p{EVIL}1.json", f"p{EVIL}2.json"
COMMANDS = [
    *(["compare", P, Q, "--format", f] for f in ("table", "csv", "markdown", "latex", "json")),
    ["report", P, "-o", f"out{EVIL}", "--only", "energy"],
    ["report", P, "-o", "out", "--only", EVIL],
    ["card", P, "-o", f"out{EVIL}"],
    ["card", "--check", EVIL],
    ["card", "--check", P],
    ["explain", P, "--conventions", "dense,exact"],
    ["explain", P, "--conventions", f"dense,{EVIL}"],
    ["break-even", P, Q],
    ["sensitivity", P],
    ["sensitivity", P, "--vary", f"{EVIL}=1,2"],
    ["diff", P, Q],
    ["diff", P, Q, "--convention-b", EVIL],
    ["advise", P],
    ["check", P, "--budget", "budget.toml"],
    ["check", P, "--budget", EVIL],
    ["timesteps", P, Q],
    ["summary", P],
    ["twin", P],
    ["twin", P, "--save", f"twin{EVIL}.json"],
    ["bit-budget", P, Q],
    ["chips", P, Q],
    ["fit", P, "--chip", "loihi"],
    ["fit", P, "--chip", EVIL],
    ["fit", P, "--chip", f"{EVIL}.toml"],
    ["audit", f"table{EVIL}.csv"],
    *(["audit", "table.csv", "--format", f] for f in ("table", "csv", "markdown", "latex", "json")),
    ["compare", P, "--technology", f"mine{EVIL}.toml"],
    ["compare", P, "--technology", "broken.toml"],
    ["explain", P, "--conventions", "dense,mine.toml"],
    ["memory", P, Q],
    ["memory", P, Q, "--memory", EVIL],
    ["compare", f"broken{EVIL}.json"],
    ["compare", f"other{EVIL}.json.gz"],
    ["compare", f"missing{EVIL}.json"],
    ["compare", P, "--technology", EVIL],
    ["compare", P, "--technology", f"{EVIL}.toml"],
    ["compare", P, "--format", EVIL],
    ["compare", P, "--columns", EVIL],
    ["compare", P, "--baseline", EVIL],
    ["compare", P, f"--{EVIL}"],
    [EVIL],
    [f"--{EVIL}"],
    ["profile", f"nets{EVIL}.py:Net"],
    ["profile", f"nets{EVIL}.py"],
    ["profile", EVIL],
    ["profile", "fine.py"],
    ["profile", "fine.py:Net", "--input", "4"],
    ["profile", "fine.py:Net", "--input", "4", "--debug"],
    ["profile", "fine.py:other", "--input", "4", "--name", EVIL, "--progress", "log"],
    ["profile", "fine.py:other", "--data", EVIL],
    ["profile", "fine.py:other", "--input", "4", "--layout", EVIL],
    ["profile", "fine.py:other", "--input", EVIL],
    ["profile", "fine.py:other", "--input", "4", "--checkpoint", EVIL],
    ["verify", "fine.py:other", "--input", EVIL],
    ["count", "fine.py:other", "--input", "4", "--name", EVIL],
    ["count", "fine.py:other", "--input", "4", "--rates", EVIL],
    ["train", EVIL],
    ["train", "vit-tiny", "--data", EVIL],
    ["train", "vit-tiny", "--set", EVIL],
    ["study", "published", "--again", "-o", EVIL],
    ["study", "paradigms", "--runs", EVIL, "-o", "out"],
    ["study", EVIL],
]


@pytest.mark.parametrize("words", COMMANDS, ids=[ascii(" ".join(c)) for c in COMMANDS])
def test_only_letters_reach_the_terminal(words, hostile, capfd):
    with pytest.raises(SystemExit):
        main(words)
    out, err = capfd.readouterr()
    assert out or err
    sent = {char for char in out + err if not char.isprintable()} - set("\n\t")
    assert not sent


def test_there_is_one_way_out():
    """Only one file prints; what it prints it cleans."""
    found = set()
    for path in Path(cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in ("print", "typer.echo", "typer.secho", "Console", "sys.stdout.write"):
                found.add(path.name)
    assert found == {"show.py"}
