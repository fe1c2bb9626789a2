"""The command ``compare``: its formats, its notes, and that it needs no torch."""

import json

import analyzer
from analyzer.facts.records import Contraction, Operand
from analyzer.facts.values import Values
from analyzer.profiles import Profile

from .running import main_in_process, run, runs_without_torch


def test_compare_does_not_load_torch(tmp_path, own_model, data):
    profile = tmp_path / "mine.json"
    main_in_process(["profile", f"{own_model}:small", "--data", str(data[0]), "-o", str(profile)])
    runs_without_torch(["compare", profile])


def test_json_keeps_every_digit_and_has_null(tmp_path, capsys):
    """With ten digits after the point, as pandas writes, a small energy would lose most of them."""
    values = Values(1.0, 0, 1, 1e-7)
    lhs, rhs = Operand(False, values, 9, 7, 7, 7), Operand(True, Values(real=True), 1, 1, 7, 0)
    site = Contraction("a", "linear", 0, 3, 9, lhs, rhs, 7, 7)
    metadata = {"model": "m", "parameters": 1, "input_shape": [9], "timesteps": 1}
    path = Profile(3, metadata | {"dtype": "float32"}, (site,)).save(tmp_path / "p.json")
    main_in_process(["compare", str(path), "--format", "json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["ac"] == 7 / 3
    assert row["energy_mj"] == analyzer.load(path).energy().total_mj
    assert row["accuracy"] is None
    assert row["parameters_bytes"] is None


def test_warnings_are_one_line_and_uncovered_work_is_marked(tmp_path, own_model, data):
    profile = tmp_path / "p.json"
    done = run("profile", f"{own_model}:Sorts", "--data", data[0], "-o", profile)
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert warned[0].startswith("warning: no rule covers ")
    assert ".py" not in done.stderr
    assert "warnings.warn" not in done.stderr
    names = ", ".join(sorted(set(analyzer.load(profile).uncovered["op"])))
    note = f"Sorts: no rule covers {names}, so its figures are lower bounds."
    for style in ("table", "markdown"):
        lines = run("compare", profile, "--format", style).stdout.splitlines()
        assert lines[-1] == note
        assert "≥ 0 pJ" in "\n".join(lines)
    latex = run("compare", profile, "--format", "latex").stdout
    assert r"\geq 0" in latex
    assert "so its figures are lower bounds.}" in latex
