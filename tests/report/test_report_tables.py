"""The tables of a report: figures worked out by hand, CSV, LaTeX and notes."""

import re

import pytest
from report_profiles import build, spiking

import analyzer
from analyzer.entries import collect
from analyzer.facts.records import Tally
from analyzer.report.tables import tables
from analyzer.units import energy_unit, format_share

AC_PJ, MAC_PJ = 0.9, 4.6


def test_comparison_equals_the_hand_computation(read_csv):
    spiking_row, dense_row, silent_row, *_ = read_csv("comparison")
    # 0.25 · 4000 + 0.1 · 8000 accumulates, 1000 multiply-accumulates.
    assert float(spiking_row["ac"]) == 1800
    assert float(spiking_row["mac"]) == 1000
    energy = (1800 * AC_PJ + 1000 * MAC_PJ) * 1e-9
    assert float(spiking_row["energy_mj"]) == pytest.approx(energy, rel=1e-12)
    assert float(spiking_row["ratio"]) == 1
    # 400 of 400, 100 of 400 and 40 of 400 inputs are not zero.
    assert float(spiking_row["sparsity"]) == pytest.approx(1 - 540 / 1200)
    assert float(dense_row["mac"]) == 12000
    assert float(dense_row["ratio"]) == pytest.approx(12000 * MAC_PJ / 6220)
    assert float(dense_row["accuracy"]) == 0.5
    assert float(silent_row["energy_mj"]) == 0


def test_unknown_is_empty_in_csv_and_a_dash_on_the_page(read_csv):
    assert read_csv("comparison")[0]["accuracy"] == ""
    made = tables(collect([spiking()], "45nm", "exact"))["comparison"]
    assert dict(zip(made.shown.columns, made.rows[0], strict=True))["Accuracy"] == "–"


def test_csv_has_the_columns_of_compare(read_csv):
    assert list(read_csv("comparison")[0]) == list(analyzer.compare([spiking()]).frame)


def test_uncovered_work_is_marked_and_said():
    profiles = [spiking(), spiking("enc", uncounted=[Tally("a", "cumsum", 1, 5)])]
    made = tables(collect(profiles, "45nm", "exact"))["comparison"]
    assert made.shown["Energy"].tolist() == ["6.22 nJ", "≥ 6.22 nJ"]
    assert made.notes == ("enc: no rule covers cumsum, so its figures are lower bounds.",)
    tex = made.files()["comparison.tex"].decode()
    assert r"$\geq$ 6.22 nJ" in tex
    assert f"{made.notes[0]}}}" in tex
    assert made.raw["uncovered"].tolist() == [0, 1]


def test_layers_add_up_to_the_model(read_csv):
    rows = read_csv("layers")
    for model in read_csv("comparison"):
        mine = [row for row in rows if row["model"] == model["model"]]
        energy = sum(float(row["total_energy_pj_per_sample"]) for row in mine)
        assert energy * 1e-9 == pytest.approx(float(model["energy_mj"]), abs=1e-18)
        for column in ("ac", "mac", "dense_macs"):
            total = sum(float(row[f"{column}_per_sample"]) for row in mine)
            assert total == float(model[column])
    assert {row["model"] for row in rows} == {row["model"] for row in read_csv("comparison")}


def test_totals_are_sums_over_all_samples(read_csv):
    first = read_csv("totals")[0]
    assert first["samples"] == "2"
    assert first["ac_total"] == "3600"
    assert first["mac_total"] == "2000"
    assert first["dense_macs_total"] == str(2 * 13000)


def test_every_constant_has_value_unit_and_source(read_csv):
    rows = read_csv("constants")
    assert all(row["unit"].startswith("pJ") and row["source"] for row in rows)
    assert all(0 < float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    assert {row["confidence"] for row in rows if not row["used"]} == {"B"}
    used = {row["operation"]: float(row["value"]) for row in rows if row["used"]}
    assert used == {"AC": AC_PJ, "MAC": MAC_PJ}
    assert sum("Horowitz" in row["source"] for row in rows) == len(rows) - 2


@pytest.mark.parametrize("name", ["comparison", "layers", "constants", "totals"])
def test_latex_is_balanced_and_escaped(folder, name):
    text = (folder / "tables" / f"{name}.tex").read_text(encoding="utf-8")
    assert re.findall(r"\\begin\{(\w+)", text) == re.findall(r"\\end\{(\w+)", text)[::-1]
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    rows = [line for line in body if line != r"\endhead"]
    columns = len(re.search(r"\{([lr]+)\}", text)[1])
    assert rows
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == columns - 1
        assert not re.search(r"(?<!\\)[%_#]", row)
        assert row.endswith(r" \\")
    # Plain dollars open mathematics: only the pairs that the escaping itself writes may stay.
    assert "$" not in re.sub(r"\$\\\w+\$", "", text)


def test_a_model_without_any_counted_work_has_no_share():
    made = tables(collect([build("empty", [])], "45nm", "exact"))
    row = dict(zip(made["comparison"].shown.columns, made["comparison"].rows[0], strict=True))
    assert (row["Energy"], row["MAC share"], row["Sparsity"], row["Ratio"]) == (
        "0 pJ",
        "–",
        "–",
        "–",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (1, "100 %"), (0.00001, "< 0.1 %"), (0.974, "97.4 %"), (None, "–")],
)
def test_share(value, text):
    assert format_share(value) == text


@pytest.mark.parametrize(
    ("largest", "unit"),
    [(0, (1.0, "pJ")), (999, (1.0, "pJ")), (1e3, (1e3, "nJ")), (5e9, (1e9, "mJ"))],
)
def test_energy_unit(largest, unit):
    assert energy_unit(largest) == unit
