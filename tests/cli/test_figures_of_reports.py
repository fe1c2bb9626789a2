"""The options of ``analyzer report`` that say how its figures look."""

import re
from pathlib import Path

from typer.testing import CliRunner

from analyzer.cli import app

PROFILE = Path(__file__).parents[2] / "profiles" / "ge2mst-tiny.json.gz"


def report(tmp_path, *options):
    return CliRunner().invoke(app, ["report", str(PROFILE), "-o", str(tmp_path / "out"), *options])


def test_figures_have_the_width_and_font_and_are_those_that_are_asked_for(tmp_path):
    done = report(tmp_path, "--width", "3.5", "--font", "serif", "--only", "energy,layers")
    assert done.exit_code == 0, done.output
    figures = tmp_path / "out" / "figures"
    assert {path.stem for path in figures.iterdir()} == {"energy", "layers", "captions"}
    svg = (figures / "layers.svg").read_text("utf-8")
    assert float(re.search(r'width="([\d.]+)pt"', svg)[1]) == 3.5 * 72
    assert "DejaVu Serif" in svg


def test_a_figure_without_data_is_refused_where_it_is_asked_for(tmp_path):
    profile = Path(__file__).parents[2] / "profiles" / "vit-tiny.json.gz"
    out = str(tmp_path / "out")
    done = CliRunner().invoke(app, ["report", str(profile), "-o", out, "--only", "rates"])
    assert done.exit_code == 1
    assert "the figure rates needs timesteps" in str(done.exception)


def test_unknown_figures_and_journals_are_named(tmp_path):
    for option, value in (("--only", "enrgy"), ("--width", "natur")):
        done = report(tmp_path, option, value)
        assert done.exit_code == 1
        assert value in str(done.exception)
        assert not (tmp_path / "out").exists()
