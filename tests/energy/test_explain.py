"""Two conventions on the same facts: differences row by row, in steps that add up."""

from pathlib import Path

import pandas as pd
import pytest
from cli.running import runs_without_torch

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.report.answers import draw, write

ROOT = Path(__file__).parents[2]
SPIKFORMER = ROOT / "reports" / "published" / "profiles" / "spikformer-8-512.json.gz"
PROFILES = ROOT / "reports" / "paradigms" / "profiles"
PAIRS = [("spikformer", "exact"), ("exact", "spikingformer"), ("rate", "dense"), ("unary", "syops")]


@pytest.fixture(scope="module")
def profile():
    return analyzer.load(SPIKFORMER)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_steps_add_up_to_the_difference(profile, first, second):
    found = analyzer.explain(profile, first, second)
    a, b = (profile.energy(convention=name).total_pj for name in (first, second))
    assert found.steps["difference_pj"].sum() == pytest.approx(b - a, rel=1e-9)
    assert found.rows["difference_pj"].sum() == pytest.approx(b - a, rel=1e-9)
    sizes = found.steps["difference_pj"].abs().tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_integers_make_the_difference_for_spikformer(profile):
    """q, k, v and the first MLP layer of all eight blocks: what its paper calls accumulates."""
    found = analyzer.explain(profile, "spikformer", "exact")
    step = found.steps.iloc[0]
    assert step["to_reason"] == "nothing drives it: reads graded"
    assert step["operations"] == 32
    rows = found.rows[found.rows["reason_second"] == step["to_reason"]]
    assert step["difference_pj"] == pytest.approx(rows["difference_pj"].sum())
    assert rows["module"].str.contains(r"attention\.[qkv]\.layer|mlp\.0\.layer").all()
    assert "5.45 times" in found.summary


def test_a_convention_does_not_differ_from_itself(profile):
    found = analyzer.explain(profile, "exact", "exact")
    assert found.steps.empty
    assert found.first.total_pj == found.second.total_pj


def test_it_is_drawn_and_written(profile, tmp_path):
    found = analyzer.explain(profile, "spikformer", "exact")
    assert draw(found) == draw(found)
    page = write(found, tmp_path).read_text("utf-8")
    assert "| spikes drive it: mean value × dense work | nothing drives it: reads graded" in page
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == len(profile.operations())
    names = {"explanation.md", "rows.csv", "steps.csv"}
    drawn = {f"waterfall.{kind}" for kind in ("svg", "pdf", "png")}
    assert {p.name for p in tmp_path.iterdir()} == names | drawn


def test_the_command_loads_no_torch():
    printed = runs_without_torch(["explain", SPIKFORMER, "--conventions", "spikformer,exact"])
    assert "+47.7 mJ" in printed
    *_, summary, note = printed.splitlines()
    assert summary.startswith("spikformer-8-512: 10.7 mJ by spikformer")
    assert note.endswith("its weights are untrained, so its activity means little.")
    tiny = [PROFILES / f"{name}.json.gz" for name in ("ann", "ge2mst-T4")]
    runs_without_torch(
        ["compare", *tiny, "--convention", "unary", "--memory", "lemaire", "--precision", "w4a8"],
        ["memory", *tiny, "--memory", "state"],
        ["sensitivity", tiny[1], "--memory", "spyx"],
        ["conventions"],
    )


def test_an_unknown_convention_is_refused(profile):
    with pytest.raises(AnalyzerError, match="did you mean 'spikformer'"):
        analyzer.explain(profile, "spikformr", "exact")
