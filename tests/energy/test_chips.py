"""Models under every technology: cheapest formats, hosts, bounds and break-even."""

import math
from dataclasses import replace

import pytest

import analyzer
from analyzer.energy.declared.technology import technology
from analyzer.facts.records import Tally


def rated(name, rate, dense=1000, first=100):
    table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
    rows = table | {"dense_macs": [dense, first], "firing_rate": [rate, 1]}
    return analyzer.from_rates(rows, name=name)


ANN, SNN = rated("ann", 1.0, dense=250), rated("snn", 0.2)


def row(found, name):
    rows = found.rows[found.rows["technology"] == name]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_technology_is_priced_in_its_cheapest_format():
    found = analyzer.chips(ANN, [SNN], "rate")
    assert set(found.rows["technology"]) == set(analyzer.technologies())
    assert found.rows["energy_pj"].is_monotonic_increasing
    for name in analyzer.technologies():
        known = technology(name)
        best = min(
            (200 * known.ac_pj(form) + 100 * known.mac_pj(form), form) for form in known.formats()
        )
        assert row(found, name)["energy_pj"] == pytest.approx(best[0])


def test_a_chip_without_multiplications_gives_a_lower_bound_until_a_host_is_named():
    bound = row(analyzer.chips(ANN, [SNN], "rate", technologies=["loihi"]), "loihi")
    assert bound["lower_bound"]
    assert math.isnan(bound["ratio"])
    assert bound["dominates"] == "AC"
    known = technology("loihi")
    assert bound["energy_pj"] == pytest.approx(200 * known.ac_pj())
    hosted = analyzer.chips(
        ANN, [SNN], "rate", technologies=["loihi"], host="45nm", dense_technology="45nm"
    )
    with_host = row(hosted, "loihi")
    host_pj = 100 * technology("45nm").mac_pj("int8")
    assert with_host["host_pj"] == pytest.approx(host_pj)
    assert with_host["energy_pj"] == pytest.approx(200 * known.ac_pj() + host_pj)
    assert not with_host["lower_bound"]
    dense = 350 * technology("45nm").mac_pj("int8")
    assert with_host["ratio"] == pytest.approx(with_host["energy_pj"] / dense)
    assert "done by 45nm in int8" in " ".join(hosted.notes)
    assert "named a host" not in repr(hosted)


def test_break_even_is_where_both_take_the_same():
    found = row(analyzer.chips(ANN, [SNN], "rate", technologies=["45nm"]), "45nm")
    ac, mac = technology("45nm").ac_pj("int8"), technology("45nm").mac_pj("int8")
    assert 1000 * found["break_even_rate"] * ac + 100 * mac == pytest.approx(350 * mac)
    assert found["rate"] == pytest.approx(0.2)
    never = analyzer.chips(rated("small", 1.0, 1, 1), [SNN], "rate", technologies=["45nm"])
    assert row(never, "45nm")["break_even_rate"] == -math.inf
    assert never.shown()["Break-even"].tolist() == ["never"]


def test_each_lower_bound_is_explained_by_its_cause():
    lost = Tally("head", "qr", 1, 8)
    broken = replace(SNN, uncounted=(lost,))
    notes = " ".join(analyzer.chips(ANN, [broken], "rate", technologies=["45nm"]).notes)
    assert "no rule covers qr" in notes
    assert "No multiply-accumulate" not in notes
    notes = " ".join(analyzer.chips(ANN, [SNN], "rate", technologies=["loihi"]).notes)
    assert notes.count("multiply-accumulate") == 1
    dense = replace(ANN, uncounted=(lost,))
    bound = row(analyzer.chips(dense, [SNN], "rate", technologies=["45nm"]), "45nm")
    assert math.isnan(bound["ratio"])
    assert math.isnan(bound["break_even_rate"])


def test_a_technology_in_a_folder_with_brackets(tmp_path):
    path = tmp_path / "a (1)" / "mine.toml"
    path.parent.mkdir()
    path.write_text('name = "m"\ntitle = "m"\nsource = "m"\n[operation_pj]\nany = 2.0\n')
    assert technology(str(path)).mac_pj() == 2
    assert technology(f"{path}(operation_pj.any=3)").mac_pj() == 3


def test_what_can_not_be_priced():
    with pytest.raises(analyzer.AnalyzerError, match="at least one spiking"):
        analyzer.chips(ANN, [], "rate")
    for setting in ("host", "dense_technology"):
        with pytest.raises(analyzer.AnalyzerError, match="has no multiply-accumulate"):
            analyzer.chips(ANN, [SNN], "rate", **{setting: "truenorth"})


def test_a_technology_with_settings():
    found = analyzer.chips(
        ANN, [SNN], "rate", technologies=["45nm", "45nm(add_pj.int8=0.01, multiply_pj.int8=0.1)"]
    )
    changed = row(found, "45nm(add_pj.int8=0.01, multiply_pj.int8=0.1)")
    assert changed["energy_pj"] == pytest.approx(200 * 0.01 + 100 * 0.11)
    with pytest.raises(analyzer.AnalyzerError, match=r"add_pj.int9"):
        technology("45nm(add_pj.int9=1)")
    with pytest.raises(analyzer.AnalyzerError, match="a number from 0"):
        technology("45nm(add_pj.int8=-1)")
