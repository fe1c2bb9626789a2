"""The study of four paradigms on one network: measured on a few digits, and rendered twice."""

import pandas as pd
import pytest
from typer.testing import CliRunner

import analyzer
from analyzer.cli import app
from analyzer.errors import AnalyzerError
from analyzer.study import paradigms
from analyzer.study.rendering import read, render

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paradigms, "STEPS", (1, 2, 4))
        patch.setattr(paradigms, "CONVERTED", (4, 8))
        return paradigms.measure(24, noted=lambda text: None)


def test_all_paradigms_are_profiled_on_the_same_digits(study):
    names = [p.name for p in study.profiles]
    assert names == ["ann", "converted T=4", "converted T=8", "stbp T=4", "ge2mst T=4"]
    assert {p.samples for p in study.profiles} == {24}
    assert all(p.uncovered.empty for p in study.profiles)
    dense = {p.name: p.totals["dense_macs"] for p in study.profiles}
    assert dense["converted T=8"] > dense["converted T=4"] > dense["ann"]
    ann, *spiking = study.profiles
    assert ann.totals["ac"] == 0
    stem = ann.counts.query("module == 'stem.conv'")["dense_macs"].item()
    assert {p.totals["mac"] for p in spiking} == {stem}


def test_both_forms_predict_the_same_under_every_coding(study):
    assert len(study.forms) == len(study.codings) == len(paradigms.CODINGS)
    assert study.forms["differing_predictions"].sum() == 0
    assert study.forms["largest_logit_difference"].max() < 1e-3


def test_training_memory_is_constant_for_one_and_linear_for_the_other(study):
    saved = {(row.model, row.timesteps): row.saved_bytes for row in study.training.itertuples()}
    assert len({saved["ge2mst", T] for T in (1, 2, 4)}) == 1
    assert saved["stbp", 4] - saved["stbp", 2] == 2 * (saved["stbp", 2] - saved["stbp", 1]) > 0


def test_rendering_twice_gives_the_same_files(study, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        page = render(study, folder)
        assert page == folder / "paradigms.md"
    contents = [
        {p.relative_to(f): p.read_bytes() for p in sorted(f.rglob("*")) if p.is_file()}
        for f in folders
    ]
    assert contents[0] == contents[1]
    table = pd.read_csv(folders[0] / "tables" / "paradigms.csv")
    compared = analyzer.compare(study.profiles).frame
    assert list(table["energy_mj"]) == pytest.approx(list(compared["energy_mj"]))
    page = (folders[0] / "paradigms.md").read_text()
    assert "Against ann: ge2mst T=4 takes" in page
    groups = pd.read_csv(folders[0] / "tables" / "groups.csv")
    assert set(groups["axis"]) == {"temporal", "spatial", "structural"}
    loaded = [analyzer.load(p) for p in sorted((folders[0] / "profiles").glob("*.json.gz"))]
    assert len(loaded) == len(study.profiles) + len(study.codings)


def test_a_study_is_rendered_again_from_its_folder(study, tmp_path):
    render(study, tmp_path)
    before = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    for path in before:
        if path.suffix in (".svg", ".png", ".md", ".html", ".tex"):
            path.unlink()
    result = CliRunner().invoke(app, ["study", "paradigms", "-o", str(tmp_path), "--again"])
    assert result.exit_code == 0, result.output
    assert {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == before


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(AnalyzerError, match="holds no study to render again"):
        read(tmp_path)


def test_an_unknown_study_is_refused():
    result = CliRunner().invoke(app, ["study", "birds", "-o", "x"])
    assert result.exit_code == 2
    assert "birds" in result.output
