"""Prices by hand, constants pinned to their source, messages of what is unknown."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.convention import convention
from analyzer.energy.price import price
from analyzer.energy.technology import technology
from analyzer.errors import AnalyzerError
from analyzer.facts import Tally

PINNED = [
    ("fp32", 0.9, 4.6),
    ("fp16", 0.4, 1.5),
    ("int8", 0.03, 0.23),
    ("int32", 0.1, 3.2),
]


@pytest.fixture(scope="module")
def profile():
    """Two samples: 3 spikes into 5 neurons, then 2 · 10 dense products of reals with 2 outputs."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 2)).eval()
    return analyzer.profile(model, torch.tensor([[0.0, 1, 1, 0], [0, 0, 1, 0]]), name="net_1")


@pytest.mark.parametrize(("precision", "ac", "mac"), PINNED, ids=[p[0] for p in PINNED])
def test_constants_of_45nm(precision, ac, mac):
    """Horowitz, ISSCC 2014, Fig. 1.1.9."""
    chosen = technology("45nm")
    assert chosen.ac_pj(precision) == pytest.approx(ac)
    assert chosen.mac_pj(precision) == pytest.approx(mac)
    assert "Horowitz" in chosen.source
    assert analyzer.technologies()["45nm"] == chosen.source


def test_energy_by_hand(profile):
    report = profile.energy()
    ac, mac = 3 * 5 / 2, 5 * 2
    assert report.table["ac"].sum() == ac
    assert report.table["mac"].sum() == mac
    assert report.total_pj == pytest.approx(ac * 0.9 + mac * 4.6)
    assert report.total_mj == pytest.approx((ac * 0.9 + mac * 4.6) * 1e-9)
    assert report.table["total_pj"].tolist() == pytest.approx([ac * 0.9, mac * 4.6])
    assert report.constants == pytest.approx({"ac_pj": 0.9, "mac_pj": 4.6})


def test_energy_does_not_depend_on_the_number_of_samples(profile):
    assert (profile + profile).energy().total_pj == pytest.approx(profile.energy().total_pj)


def test_precision(profile):
    assert price(profile, "45nm", "exact", "int8").total_pj == pytest.approx(7.5 * 0.03 + 10 * 0.23)
    with pytest.raises(AnalyzerError, match=r"no multiplication in 'int16'.*fp32"):
        technology("45nm").mac_pj("int16")


def test_unknown_names_are_refused_with_what_there_is(profile):
    with pytest.raises(AnalyzerError, match=r"^unknown technology '44nm': did you mean '45nm'\?$"):
        profile.energy("44nm")
    with pytest.raises(AnalyzerError, match=r"^unknown convention 'rates': did you mean 'rate'\?$"):
        profile.energy(convention="rates")
    with pytest.raises(AnalyzerError, match="unknown convention"):
        profile.operations("../exact")


def test_the_exact_convention_says_what_drives():
    exact = convention("exact")
    assert exact.driving == ("zero", "binary", "ternary")
    assert analyzer.conventions()["exact"] == exact.source


def test_tables_for_papers_and_issues(profile):
    report = profile.energy()
    assert report.to_markdown().splitlines() == [
        "| module | op     | input  |   AC | MAC |  energy |",
        "| ------ | ------ | ------ | ---: | --: | ------: |",
        "| 0      | linear | binary | 7.50 |   0 | 6.75 pJ |",
        "| 2      | linear | real   |    0 |  10 | 46.0 pJ |",
        "",
        "net_1: 52.8 pJ per sample, mean over 2; 45nm fp32 (0.9 pJ/AC, 4.6 pJ/MAC), "
        "convention exact.",
    ]
    latex = report.to_latex()
    assert r"\caption{net\_1: 52.8 pJ per sample" in latex
    assert r"0 & linear & binary & 7.50 & 0 & 6.75 pJ \\" in latex
    assert latex.count(r"\\") == 3
    assert r"\begin{tabular}{lllrrr}" in latex
    assert report._repr_html_().count("<tr>") == 3


def every_summary(report):
    return [repr(report), report._repr_html_(), report.to_markdown(), report.to_latex()]


def test_uncovered_work_shows_in_every_summary(profile):
    """Energy reports of models with uncovered work read as if they were complete."""
    rows = (
        Tally("b", "_fft_r2c", 2, 10),
        Tally("a", "_fft_r2c", 2, 10),
        Tally("a", "cumsum", 1, 1),
    )
    report = replace(profile, uncounted=rows).energy()
    assert report.uncovered == ("_fft_r2c", "cumsum")
    for text in every_summary(report):
        assert "no rule covers" in text
        assert "so its figures are lower bounds." in text
        assert "≥ 52.8 pJ" in text or r"$\geq$ 52.8 pJ" in text
    assert not any("no rule" in text or "≥" in text for text in every_summary(profile.energy()))
    table = analyzer.compare([profile, replace(profile, uncounted=rows)])
    assert table["uncovered"].tolist() == [0, 2]


def test_a_format_that_was_not_measured_is_said(profile):
    half = replace(profile, metadata={**profile.metadata, "dtype": "float16"})
    for text in every_summary(half.energy()):
        assert "priced as fp32, measured in float16." in text
    assert price(half, "45nm", "exact", "fp16").notes == []
    unknown = replace(profile, metadata={**profile.metadata, "dtype": ""})
    assert unknown.energy().notes == profile.energy().notes == []


def test_compare(profile):
    silent = analyzer.profile(
        nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 2)).eval(), torch.zeros(2, 4)
    )
    table = analyzer.compare([profile, silent])
    first, second = (table.iloc[i] for i in (0, 1))
    assert (first.model, first.samples, first.parameters) == ("net_1", 2, 37)
    assert (first.ac, first.mac, first.dense_macs) == (7.5, 10, 30)
    assert (first.ratio, second.ratio) == (1, pytest.approx(46 / (6.75 + 46)))
    assert first.sparsity == pytest.approx(1 - (3 + 10) / (8 + 10))
    assert table["accuracy"].isna().all()
    with pytest.raises(AnalyzerError, match="nothing to compare"):
        analyzer.compare([])
