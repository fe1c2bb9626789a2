"""Prices by hand, constants pinned to their source, messages of what is unknown."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.declared.convention import convention
from analyzer.energy.declared.technology import technology
from analyzer.energy.pricing.price import price
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.facts.records import Tally

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


def test_pricing_reads_nothing_but_the_protocol(profile):
    """So that it depends on facts alone, and not on the class that users hold."""
    names = [name for name in vars(Facts) if not name.startswith("_")]
    facts = SimpleNamespace(**{name: getattr(profile, name) for name in names})
    assert analyzer.compare([facts, facts]).frame.equals(analyzer.compare([profile] * 2).frame)
    found, same = (analyzer.explain(p, "exact", "dense") for p in (facts, profile))
    assert found.rows.equals(same.rows)
    found, same = (analyzer.sensitivity(p, memory="state") for p in (facts, profile))
    assert found.rows.equals(same.rows)


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
    table = analyzer.compare([profile, replace(profile, uncounted=rows)]).frame
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
    table = analyzer.compare([profile, silent]).frame
    first, second = (table.iloc[i] for i in (0, 1))
    assert (first.model, first.samples, first.parameters) == ("net_1", 2, 37)
    assert (first.ac, first.mac, first.dense_macs) == (7.5, 10, 30)
    assert (first.ratio, second.ratio) == (1, pytest.approx(46 / (6.75 + 46)))
    assert first.sparsity == pytest.approx(1 - (3 + 10) / (8 + 10))
    assert table["accuracy"].isna().all()
    with pytest.raises(AnalyzerError, match="nothing to compare"):
        analyzer.compare([])


CHIPS = {
    "loihi": 23.6, "truenorth": 26, "spinnaker": 13_300, "spinnaker2": 450, "tianjic": 1.54,
    "odin": 12.7, "reckon": 5.3, "mubrain": 26, "neuronflow": 20, "seneca": 2.8,
}  # fmt: skip
PROCESSORS = {"cpu": 8600, "gpu": 300, "arm": 900}
SEVEN = [("fp32", 0.38, 1.69), ("fp16", 0.16, 0.50), ("int8", 0.007, 0.077)]


@pytest.mark.parametrize(("precision", "ac", "mac"), SEVEN, ids=[p[0] for p in SEVEN])
def test_constants_of_7nm(precision, ac, mac):
    """Jouppi et al., ISCA 2021."""
    chosen = technology("7nm")
    assert (chosen.ac_pj(precision), chosen.mac_pj(precision)) == pytest.approx((ac, mac))


def test_every_technology_is_pinned():
    assert set(analyzer.technologies()) == {"45nm", "32nm", "22nm", "7nm", *CHIPS, *PROCESSORS}
    for bits in (3, 4, 8):  # Yan et al. as Spyx codes it
        ac, mac = 0.05448, 3.7 * (bits / 32) ** 2 + 0.9 * bits / 32
        assert technology("22nm").ac_pj(f"int{bits}") == ac
        assert technology("22nm").mac_pj(f"int{bits}") == pytest.approx(mac)
    assert technology("32nm").mac_pj("bit16") == pytest.approx(0.548 + 0.812)
    assert technology("32nm").sections["memory_pj_per_bit"] == pytest.approx(
        {"sram_2MB": 46.976 / 256, "sram_6MB": 458.1830181 / 256, "dram": 1300 / 64}
    )
    for name, value in CHIPS.items():
        assert technology(name).ac_pj() == value
        assert not technology(name).multiplies
    for name, value in PROCESSORS.items():
        assert technology(name).ac_pj() == technology(name).mac_pj() == value
    assert {f.key: f.value for f in technology("45nm").figures if f.section == "memory_pj"} == {
        "sram_8KiB": 10,
        "sram_32KiB": 20,
        "sram_1MiB": 100,
        "dram": 1300,
    }


def test_every_figure_has_unit_source_confidence_and_range():
    for name in analyzer.technologies():
        for figure in technology(name).figures:
            assert figure.unit.startswith("pJ ")
            assert len(figure.source) > 20
            assert figure.confidence in ("A", "B", "C")
            assert figure.low <= figure.value <= figure.high
            assert (figure.low < figure.high) == bool(figure.note)
        assert technology(name).includes


def test_a_chip_without_multiplication_gives_a_lower_bound(profile):
    report = profile.energy("loihi")
    assert report.total_pj == pytest.approx(7.5 * 23.6)
    assert report.unpriced_macs == 10
    assert report.total_text == "≥ 177 pJ"
    assert report.notes == [
        "net_1: Loihi has no multiply-accumulate, so 10 of them are not priced and its energy is a "
        "lower bound."
    ]
    assert "read in one secondary copy only" in " ".join(profile.energy("tianjic").notes)
    assert profile.energy("cpu").total_pj == pytest.approx(17.5 * 8600)


def test_a_technology_of_ones_own(profile, tmp_path):
    path = tmp_path / "mine.toml"
    lines = ['name = "mine"', 'title = "My chip"', 'source = "measured by me, 2026"']
    path.write_text("\n".join([*lines, "[add_pj]", "fp32 = 2", "[multiply_pj]", "fp32 = 3"]))
    assert profile.energy(str(path)).total_pj == pytest.approx(7.5 * 2 + 10 * 5)
    for body, says in (
        ("[add_pj]\nfp32 = -1", r"add_pj.fp32 = -1, a whole number: it must be a number from 0"),
        ("[add_nj]\nfp32 = 1", "does not know the key 'add_nj': it knows .*add_pj"),
        ("confidence = 'D'", "has confidence = 'D': choose of A, B, C"),
    ):
        path.write_text("\n".join([*lines, body]))
        with pytest.raises(AnalyzerError, match=says):
            profile.energy(str(path))
    path.write_text("name = 'x'")
    with pytest.raises(AnalyzerError, match="lacks the key 'title'"):
        profile.energy(str(path))
    path.write_text("name = ")
    with pytest.raises(AnalyzerError, match="is no readable technology"):
        profile.energy(str(path))


def test_compare_says_what_it_takes():
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    profile = analyzer.from_rates(table, name="paper")
    for wrong, says in (
        ("a.json", "str 'a.json'"),
        (profile, "one profile"),
        ([profile, 3], "int"),
    ):
        with pytest.raises(AnalyzerError, match=says):
            analyzer.compare(wrong, convention="rate")
    assert analyzer.compare([profile], convention="rate")["timesteps"].isna().all()
