"""The study of the published networks: measured on two small ones, and the committed one.

Measuring continues where it stopped; rendering the committed profiles gives the committed files.
"""

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cli.running import main_in_process

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.study import published

REPORT = Path(__file__).parents[2] / "reports" / "published"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    said = []
    published.measure(folder, ["spikformer-tiny", "vit-tiny"], noted=said.append)
    assert said == ["1 of 2: profiling spikformer-tiny", "2 of 2: profiling vit-tiny"]
    return folder


def profiles(folder):
    return [analyzer.load(path) for path in sorted((folder / "profiles").iterdir())]


def test_it_goes_on_where_it_stopped(measured):
    said = []
    published.measure(measured, ["spikformer-tiny", "vit-tiny"], noted=said.append)
    assert said == []


def test_hidden_work_is_that_of_layers_behind_summed_spikes(measured):
    spikformer, vit = profiles(measured)
    found = published.hidden(spikformer)
    layers = {f"blocks.{i}.{part}.layer" for i in (0, 1) for part in
              ("attention.q", "attention.k", "attention.v", "mlp.0")}  # fmt: skip
    assert set(found["module"]) <= layers
    assert {m for m in found["module"] if m.startswith("blocks.1")} == {
        m for m in layers if m.startswith("blocks.1")
    }
    assert set(found["input_class"]) == {"graded"}
    dense = 4 * 64 * 64 * 64  # timesteps, tokens, width in and out
    for module, macs in zip(found["module"], found["dense_macs"], strict=True):
        whole = 4 * dense if "mlp" in module else dense
        # A timestep whose sums are spikes by chance hides no work.
        assert macs in [whole * steps // 4 for steps in (1, 2, 3, 4)]
    assert found["share"].sum() == pytest.approx(
        found["dense_macs"].sum() / spikformer.totals["dense_macs"]
    )
    assert len(published.hidden(vit))  # all of it: an ANN


def test_the_page_says_what_was_measured(measured, tmp_path):
    page = published.render(profiles(measured), tmp_path / "out").read_text("utf-8")
    assert "2 networks" in page
    assert "No network has arithmetic that the counter does not cover." in page
    table = pd.read_csv(tmp_path / "out" / "tables" / "published.csv")
    assert table["model"].tolist() == ["spikformer-tiny", "vit-tiny"]
    conventions = pd.read_csv(tmp_path / "out" / "tables" / "conventions.csv")
    assert list(conventions) == ["model", *analyzer.conventions()]
    for name in analyzer.conventions():
        priced = [p.energy(convention=name).total_mj for p in profiles(measured)]
        assert conventions[name].tolist() == pytest.approx(priced)


@pytest.mark.slow
def test_the_committed_study_is_rendered_from_its_profiles(tmp_path):
    shutil.copytree(REPORT / "profiles", tmp_path / "profiles")
    main_in_process(["study", "published", "-o", str(tmp_path), "--again"])
    for file in ("published.md", "tables/published.csv", "tables/conventions.csv"):
        assert (tmp_path / file).read_bytes() == (REPORT / file).read_bytes()


def test_the_committed_profiles_are_of_the_published_networks():
    found = published.read(REPORT)
    assert [p.name for p in found] == list(published.NAMES)
    assert all(p.uncovered.empty for p in found)
    for profile in found:
        assert (
            profile.parameters == models.describe(profile.name.removesuffix("-spikes")).parameters
        )
    with (Path(__file__).parents[1] / "models" / "published_counts.csv").open() as file:
        official = {
            row["name"]: int(row["dense_macs"])
            for row in csv.DictReader(file)
            if row["overrides"] in ("", "timesteps=1")
        }
    known = [p for p in found if p.name in official]
    assert len(known) == 23
    for profile in known:
        assert profile.totals["dense_macs"] == official[profile.name]


def test_a_folder_without_profiles_is_refused(tmp_path):
    with pytest.raises(AnalyzerError, match="holds no profile of this study"):
        published.read(tmp_path)
