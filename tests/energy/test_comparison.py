"""`analyzer.compare`: its columns, order and baseline, and its table in a real LaTeX document."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import analyzer
from analyzer.errors import AnalyzerError

PROFILES = Path(__file__).parents[2] / "reports" / "paradigms" / "profiles"
HOSTILE = r"50% of $x_1$ & \alpha {#1} ~^"

DOCUMENT = r"""
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp,booktabs,siunitx}
\begin{document}
%s
See Table~\ref{tab:energy}.
\end{document}
"""


@pytest.fixture(scope="module")
def profiles():
    names = ("ann", "converted-T4", "stbp-T4", "ge2mst-T4")
    return [analyzer.load(PROFILES / f"{name}.json.gz") for name in names]


def test_ratios_are_against_the_baseline(profiles):
    found = analyzer.compare(profiles, baseline="stbp T=4")
    energies = found["energy_mj"].tolist()
    assert found["ratio"].tolist() == [mj / energies[2] for mj in energies]
    assert found.baseline == "stbp T=4"
    assert analyzer.compare(profiles).baseline == "ann"


def test_rows_are_sorted_and_columns_chosen(profiles):
    found = analyzer.compare(profiles, sort="-energy_mj", columns=["energy_mj", "accuracy"])
    assert list(found.frame) == ["model", "energy_mj", "accuracy"]
    assert found["energy_mj"].is_monotonic_decreasing
    assert len(found) == 4
    assert list(found.shown()) == ["Model", "Energy", "Accuracy"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"columns": ["enrgy"]}, "no column is called 'enrgy': choose of model, parameters"),
        ({"sort": "-joules"}, "no column is called 'joules'"),
        ({"baseline": "cnn"}, "no model is called 'cnn': choose of ann, converted T=4"),
    ],
)
def test_what_is_not_there_is_named(profiles, wrong, said):
    with pytest.raises(AnalyzerError, match=said):
        analyzer.compare(profiles, **wrong)


def test_a_note_stands_once_wherever_the_figures_are(profiles):
    untrained = [replace(p, metadata={**p.metadata, "weights": "untrained"}) for p in profiles]
    found = analyzer.compare([*untrained, untrained[0]])
    assert len(found.notes) == len(set(found.notes)) == 4
    for text in (repr(found), found.to_markdown(), found._repr_html_(), found.to_latex()):
        for note in found.notes:
            assert text.count(note) == 1


def test_every_form_holds_the_same_numbers(profiles, tmp_path):
    found = analyzer.compare(profiles)
    found.to_csv(tmp_path / "t.csv")
    again = pd.read_csv(tmp_path / "t.csv")
    assert again["energy_mj"].tolist() == pytest.approx(found["energy_mj"].tolist(), rel=1e-12)
    rows = [line.split(" & ") for line in found.to_latex(["energy_mj", "ac"]).splitlines()]
    rows = [row for row in rows if len(row) == 3]
    assert rows[0][1:] == [r"{Energy (\unit{\micro\joule})}", r"{AC (M)} \\"]
    for (_, energy, _), mj in zip(rows[1:], found["energy_mj"], strict=True):
        assert float(energy) == pytest.approx(1e3 * mj, rel=5e-3)


def test_a_narrow_terminal_gets_fewer_columns_and_is_told(profiles):
    found = analyzer.compare(profiles)
    for width in (60, 80, 120, 400):
        kept, gone = found.fitting(width)
        text = found.shown(kept).to_string(index=False)
        assert max(map(len, text.splitlines())) <= width
        assert len(kept) + len(gone) == len(found.shown().columns)
        assert {"model", "energy_mj"} <= set(kept)
    assert not gone


def compiled(table, tmp_path):
    """The text of the page that a real LaTeX makes of a table."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX is installed")
    (tmp_path / "paper.tex").write_text(DOCUMENT % table, encoding="utf-8")
    for _ in range(2):  # the second run knows the label
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout
    return (tmp_path / "paper.pdf").read_bytes()


@pytest.mark.parametrize("siunitx", [True, False])
def test_latex_compiles(profiles, tmp_path, siunitx):
    ann, *others = profiles
    hostile = replace(ann, metadata={**ann.metadata, "name": HOSTILE, "weights": "untrained"})
    found = analyzer.compare([hostile, *others], precision="int8", memory="spyx")
    table = found.to_latex(label="tab:energy", siunitx=siunitx)
    assert r"\toprule" in table
    assert ("S[table-format" in table) == siunitx
    assert compiled(table, tmp_path).startswith(b"%PDF")


def test_a_lower_bound_is_marked_in_every_form(tmp_path):
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [10**6], "firing_rate": [1.0]}
    found = analyzer.compare([analyzer.from_rates(table, name="known")], convention="rate")
    marked = replace(found, lower_bounds=frozenset({"known"}))
    assert marked.shown()["Energy"].str.startswith("≥ ").all()
    text = marked.to_latex(label="tab:energy")
    assert r"\geq 4.60" in text
    compiled(text, tmp_path)


def test_json_of_the_command_is_the_frame(profiles, tmp_path):
    from typer.testing import CliRunner

    from analyzer.cli import app

    for profile in profiles[:2]:
        profile.save(tmp_path / f"{profile.name.replace(' ', '')}.json.gz")
    (tmp_path / ".sweep.json").write_text("{}")  # as a sweep leaves it
    done = CliRunner().invoke(
        app, ["compare", str(tmp_path), "--format", "json", "--baseline", "ann", "--sort", "ac"]
    )
    rows = json.loads(done.stdout)
    assert [row["model"] for row in rows] == ["ann", "converted T=4"]
    assert rows[0]["ratio"] == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    done = CliRunner().invoke(app, ["compare", str(empty)])
    assert "holds no profiles" in str(done.exception)
