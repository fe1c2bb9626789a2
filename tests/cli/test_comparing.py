"""The commands ``diff``, ``advise`` and ``check``: what they print, their exit codes, no torch."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

import analyzer
from analyzer.cli import app, main

from .running import main_in_process, refused, runs_without_torch

FASHION = Path(__file__).parents[2] / "reports" / "fashion" / "profiles"
DENSE, FEWER = (FASHION / f"ge2mst-tiny{end}-s0.json.gz" for end in ("", "-w1e-07"))
SUMS = FASHION / "spikformer-tiny-s0.json.gz"


def code(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return stopped.value.code


def test_diff_prints_layers_reasons_and_what_else_differs(capsys, tmp_path):
    main_in_process(["diff", str(DENSE), str(FEWER), "-o", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    found = analyzer.diff(analyzer.load(DENSE), analyzer.load(FEWER))
    assert found.summary in shown
    assert "spikes cause 1.4 % instead of 13.6 % of the same dense work" in shown
    assert "study.synops_weight (0.0 → 1e-07)" in shown
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"diff.md", "diff.csv", "parts.csv", "provenance.csv"}


def test_diff_names_files_where_names_do_not_tell(capsys, tmp_path):
    paths = [analyzer.load(path).save(tmp_path / path.name) for path in (DENSE, FEWER)]
    for path in paths:
        same = analyzer.load(path)
        same.metadata["name"] = "Net"
        same.save(path)
    main_in_process(["diff", *map(str, paths)])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{paths[0]} → {paths[1]}: " in shown
    main_in_process(["diff", str(paths[0]), str(paths[0]), "--technology-b", "7nm"])
    assert "Net → Net: " in capsys.readouterr().out


def test_diff_prices_the_second_otherwise(capsys):
    main_in_process(["diff", str(DENSE), str(DENSE), "--technology-b", "7nm"])
    assert "By price" in capsys.readouterr().out


def test_diff_refuses_other_data_in_words_of_the_command_line(capsys, tmp_path):
    other = analyzer.load(DENSE)
    other.metadata["data"] = "digits"
    path = other.save(tmp_path / "other.json")
    message = refused(capsys, "diff", DENSE, path)
    assert "or give --anyway" in message
    main_in_process(["diff", str(DENSE), str(path), "--anyway"])
    assert "Not of the same data" in capsys.readouterr().out


def test_advise_prints_costs_then_advice(capsys, tmp_path):
    main_in_process(["advise", str(SUMS), "--layers", "3", "-o", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    found = analyzer.advise(analyzer.load(SUMS))
    assert found.summary in shown
    costs, _, advice = shown.partition("\n\n")
    assert len(costs.splitlines()) == 4
    assert "Certainty" in advice.splitlines()[0]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"advice.md", "advice.csv", "costs.csv"}


def test_advise_says_where_there_is_none(capsys):
    main_in_process(["advise", str(DENSE)])
    assert "the facts suggest nothing that would save" in capsys.readouterr().out


@pytest.fixture
def budget(tmp_path):
    path = tmp_path / "budget.toml"

    def write(text):
        path.write_text(text, "utf-8")
        return path

    return write


def test_check_ends_with_1_over_budget_and_2_where_misused(budget, capsys, tmp_path):
    assert code("check", DENSE, "--budget", budget("energy_mj = 1\n")) == 0
    assert "within its budget" in capsys.readouterr().out
    assert code("check", DENSE, "--budget", budget("energy_mj = 0.001\n")) == 1
    assert "over" in capsys.readouterr().out
    assert code("check", DENSE, "--budget", budget("enrgy_mj = 1\n")) == 2
    assert capsys.readouterr().err.startswith("error: budget")
    assert code("check", tmp_path / "no.json", "--budget", budget("ac = 1\n")) == 2
    assert code("check", DENSE, "--budget", tmp_path / "no.toml") == 2
    assert code("check", DENSE) == 2
    assert code("check", DENSE, "--budget", budget("ac = 1\n"), "--technology", "none") == 2


def test_check_fails_on_what_is_unknown(budget, capsys):
    assert code("check", DENSE, "--budget", budget("[layers.stm]\nac = 1e12\n")) == 1
    assert "No module matches 'stm'" in capsys.readouterr().out


def test_they_load_no_torch(budget):
    text = budget("energy_mj = 1\n")
    assert runs_without_torch(["diff", DENSE, FEWER])
    assert runs_without_torch(["advise", SUMS])
    assert runs_without_torch(["check", DENSE, "--budget", text])


WORKFLOW = Path(__file__).parents[2] / "docs" / "how-to" / "energy-budget.yml"


def test_the_workflow_runs_commands_that_exist():
    text = WORKFLOW.read_text("utf-8")
    known = get_command(app).commands
    ran = re.findall(r"run: analyzer (\w+) (.*)", text)
    assert [name for name, _ in ran] == ["profile", "check", "diff"]
    for name, rest in ran:
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {w for w in shlex.split(rest) if w.startswith("-")} <= options
    assert "://" not in text


def test_the_steps_of_the_workflow_do_what_it_says(tmp_path, capsys, budget, monkeypatch):
    """A model of one's own is measured, held against a budget, and set beside what it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "from analyzer.models.neurons import LIF\n"
        "class snn(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.neuron, self.head = LIF(), nn.Linear(64, 2)\n"
        "    def forward(self, x):\n"
        "        spikes = self.neuron(3 * x.expand(4, *x.shape))\n"
        "        return self.head(spikes.flatten(2)).mean(0)\n"
    )
    budget("energy_mj = 1\n")
    words = ["profile", "nets.py:snn", "--input", "1,8,8", "--timesteps", "4", "--samples", "2"]
    for name in ("main", "snn"):
        main_in_process([*words, "-o", f"{name}.json"])
    capsys.readouterr()
    main_in_process(["check", "snn.json", "--budget", "budget.toml"])
    main_in_process(["diff", "main.json", "snn.json"])
    assert "Nothing differs." in capsys.readouterr().out
