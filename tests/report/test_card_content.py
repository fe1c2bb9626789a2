"""What an energy card says: figures by hand, a boundary without gaps, and nothing invented."""

import gzip
import hashlib
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from report_profiles import HOSTILE, build, dense, layer, spiking
from scipy.stats import binomtest
from torch import nn

import analyzer
from analyzer.cards.content import card_of
from analyzer.cards.interval import accuracy_interval, energy_interval, wilson
from analyzer.energy.declared.memory import CHOICES, memory_models
from analyzer.energy.pricing.traffic import MOVES
from analyzer.entries import collect
from analyzer.errors import AnalyzerError
from analyzer.facts.records import Tally
from analyzer.units import format_energy_pj, format_si

ROOT = Path(__file__).parents[2]
USUAL = {"technology": "45nm", "convention": "exact", "precision": "fp32", "memory": None}
BARE = """
name = "bare"
title = "A chip that says little"
source = "a datasheet"
[add_pj]
fp32 = 0.5
[multiply_pj]
fp32 = 2
"""


def made(profile, **asked):
    asked = USUAL | asked
    (entry,) = collect([profile], **asked)
    return card_of(entry, "profiles/x.json.gz", asked, {}, "1.2.3"), entry.priced


def rows(card, title):
    (section,) = [s for s in card.sections if s.title.startswith(title)]
    return {row[0]: row[1:] for row in section.rows}


@pytest.fixture(scope="module")
def trained():
    return analyzer.load(ROOT / "profiles" / "ge2mst-tiny.json.gz")


@pytest.mark.parametrize(
    ("correct", "samples"), [(359, 360), (0, 7), (7, 7), (1, 1), (0, 1), (500, 1000), (9431, 10000)]
)
def test_the_interval_of_an_accuracy_is_that_of_scipy(correct, samples):
    expected = binomtest(correct, samples).proportion_ci(0.95, method="wilson")
    assert wilson(correct, samples) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_an_interval_of_another_level_is_wider():
    assert (
        wilson(5, 10, 0.99)[0] < wilson(5, 10)[0] < 0.5 < wilson(5, 10)[1] < wilson(5, 10, 0.99)[1]
    )


def test_the_figures_are_those_by_hand():
    """1800 AC of 0.9 pJ and 1000 MAC of 4.6 pJ; 1800 AC over 3000 connections of a timestep."""
    card, _ = made(spiking(correct=1))
    result = rows(card, "Result")
    assert result["Energy of one inference"] == ("6.22 nJ (6,220 pJ)",)
    assert result["Accumulates (AC)"] == ("1.80 k (1,800)",)
    assert result["Multiply-accumulates (MAC)"] == ("1.00 k (1,000)",)
    assert result["Products if nothing is skipped"] == ("13.0 k (13,000)",)
    assert result["Spikes per synapse"][0].startswith("0.6 accumulates")
    assert result["Accuracy"] == ("50.00 % (1 of 2)",)
    low, high = wilson(1, 2)
    assert f"{100 * low:.2f} % to {100 * high:.2f} %" in result["95 % interval of the accuracy"][0]
    charged = rows(card, "What is charged")
    assert charged["AC"][1:] == ("1.80 k (1,800)", "0.9 pJ", "1.62 nJ (1,620 pJ)", "26.0 %")
    assert charged["MAC"][1:] == ("1.00 k (1,000)", "4.6 pJ", "4.60 nJ (4,600 pJ)", "74.0 %")
    assert charged["Total"][3:] == ("6.22 nJ (6,220 pJ)", "100 %")


def picojoules(cell):
    return float(cell.partition("(")[2].removesuffix(" pJ)").replace(",", ""))


@pytest.mark.parametrize("memory", [None, *memory_models()])
def test_what_is_charged_adds_up_and_the_rest_is_named(trained, memory):
    card, priced = made(trained, memory=memory)
    charged = rows(card, "What is charged")
    parts = [picojoules(row[3]) for name, row in charged.items() if name != "Total"]
    assert math.isclose(sum(parts), priced.total_pj, rel_tol=1e-6)
    assert picojoules(charged["Total"][3]) == pytest.approx(priced.total_pj, rel=1e-6)
    left = rows(card, "What is not charged")
    assert {"Static power", "Control", "Host", "Input from off chip", "Element-wise work"} <= set(
        left
    )
    if priced.memory is None:
        assert set(charged) == {"AC", "MAC", "Total"}
        assert "No memory model" in left["Updates of neurons"][0]
        return
    why = " ".join(row[0] for row in left.values())
    for setting, choices in CHOICES.items():
        if "none" in choices:
            off = getattr(priced.memory, setting) == "none"
            assert (f"{setting}=none" in why) == off, setting
    takes = {name[0].upper() + name[1:] for c, name in MOVES.items() if priced.components[c]}
    assert takes <= set(charged)


def test_neurons_and_other_work_are_told_apart(trained):
    """Of the profile: ExpGIF updates, and all other element-wise operations but folded norms."""
    card, _ = made(trained)
    left = rows(card, "What is not charged")
    table = trained.rows[~trained.rows["contraction"]]
    neurons = table["state_elements"] > 0
    for what, some in (
        ("Updates of neurons", table[neurons]),
        ("Element-wise work", table[~neurons]),
    ):
        adds = some["adds"].sum() / trained.samples
        assert f"{format_si(float(adds))} additions" in left[what][0]
    assert "Batch norm behind a layer with weights" in left
    unfolded, _ = made(trained.folding(False))
    assert "Batch norm behind a layer with weights" not in rows(unfolded, "What is not charged")


def test_a_chip_without_multipliers_leaves_them_out():
    card, priced = made(spiking(), technology="loihi")
    assert "MAC" not in rows(card, "What is charged")
    left = rows(card, "What is not charged")
    assert left["Multiply-accumulates"][0].startswith("1.00 k (1,000) of them: loihi has no price")
    assert "≥ " in rows(card, "Result")["Energy of one inference"][0]
    assert "price of a synaptic operation" in left["Static power"][0]
    assert "price of an operation" in rows(made(spiking(), technology="cpu")[0],
                                           "What is not charged")["Static power"][0]  # fmt: skip
    (charged,) = [s for s in card.sections if s.title == "What is charged"]
    assert priced.technology.includes in charged.notes[0]


def test_files_of_the_user_are_read_as_they_are(tmp_path):
    (tmp_path / "bare.toml").write_text(BARE)
    card, _ = made(spiking(), technology=f"{tmp_path}/bare.toml(add_pj.fp32=0.25)")
    (charged,) = [s for s in card.sections if s.title == "What is charged"]
    assert charged.notes == ("bare(add_pj.fp32=0.25) does not say what its prices hold.",)
    prices = next(s for s in card.sections if s.title.startswith("Prices"))
    assert prices.rows[0][:2] == ("add, fp32", "0.25 pJ an addition")
    assert "Set for this card, and not by the source: add_pj.fp32=0.25." in prices.notes
    assert str(tmp_path) not in str(card)


@pytest.mark.parametrize(
    ("setting", "what", "count"), [("first", "First layer", "1.00 k"), ("head", "Head", "4.00 k")]
)
def test_what_a_convention_leaves_out_is_named(setting, what, count, tmp_path):
    sites = [
        layer("stem", "conv2d", macs=1000, elements=400, rate=1, real=True),
        layer("fc", macs=4000, elements=400, rate=0.5),
    ]
    text = (ROOT / "analyzer" / "energy" / "conventions" / "exact.toml").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("driving =", f'{setting} = "omit"\ndriving ='))
    card, _ = made(build("net", sites), convention=str(tmp_path / "mine.toml"))
    left = rows(card, "What is not charged")
    assert left[what][0].endswith(f"leaves it out: {count} products if nothing is skipped.")


def test_arithmetic_without_a_rule_is_named():
    card, _ = made(spiking(uncounted=[Tally("gate", "cumsum", 2, 64)]))
    assert "cumsum (32 results per inference)" in rows(card, "Coverage")["Without a rule"][0]
    assert rows(card, "What is not charged")["Operations without a rule"][0].startswith("cumsum:")
    assert rows(made(spiking())[0], "Coverage")["Without a rule"][0].startswith("none")


def test_the_interval_of_an_energy_is_that_of_its_samples():
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.Linear(6, 3)).eval()
    kept = analyzer.profile(model, torch.randn(30, 6), per_sample=True)
    report = kept.energy(convention="neurobench")
    low, high = map(format_energy_pj, report.interval_pj)
    assert energy_interval(kept, report).startswith(f"{low} to {high} (bootstrap")


def test_no_interval_of_an_energy_is_made_up(trained):
    _, priced = made(trained)
    assert energy_interval(trained, priced).startswith(
        "not known: the profile holds sums over its 360"
    )
    one = dense(samples=1)
    assert energy_interval(one, one.energy()).startswith("not known: one sample")
    same = dense(samples=3)
    assert energy_interval(same, same.energy()).startswith("of no width")
    rated = dense(samples=3).energy(convention="neurobench")
    assert not energy_interval(same, rated).startswith("of no width")
    table = {"module": ["a"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    published = analyzer.from_rates(table, name="paper")
    assert "nothing was run" in energy_interval(published, published.energy(convention="rate"))
    assert accuracy_interval(published) == "none, for no accuracy was measured"


def test_a_dense_energy_of_no_width_does_not_depend_on_values():
    """What ``of no width`` claims: other values of the same shapes cost the same."""
    one = build(
        "net", [layer("fc", macs=4000, elements=400, rate=0.5, real=True, samples=2)], samples=2
    )
    other = build(
        "net", [layer("fc", macs=4000, elements=400, rate=0.1, real=True, samples=2)], samples=2
    )
    assert energy_interval(one, one.energy()).startswith("of no width")
    assert one.energy().total_pj == other.energy().total_pj


def test_published_rates_say_that_nothing_was_run():
    table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
    table |= {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}
    card, _ = made(analyzer.from_rates(table, name="paper"), convention="rate")
    assert rows(card, "Data")["Firing rates"][0].startswith("given with the profile")
    assert rows(card, "What is not charged")["Element-wise work"][0].startswith("Not known")
    assert rows(card, "Result")["Parameters"] == ("not known",)
    with pytest.raises(AnalyzerError, match="only firing rates"):
        made(analyzer.from_rates(table, name="paper"))


def test_hashes_are_those_of_files(trained, tmp_path):
    card, _ = made(trained)
    said = rows(card, "Hashes and versions")
    path = trained.save(tmp_path / "x.json.gz")
    digest = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    assert said["SHA-256 of the profile, unpacked"] == (digest,)
    assert said["Digest of the weights"][0].startswith(f"{trained.metadata['weights_digest']}:")
    assert said["Version that priced"] == ("analyzer 1.2.3",)
    assert "torch 2.13.0" in said["Versions that measured"][0]


def test_sums_of_profiles_tell_all_that_differs():
    later = spiking(samples=4, data="fashion", versions={"torch": "3.0"})
    card, _ = made(spiking() + later)
    assert rows(card, "Data")["Data"] == ("digits (test), fashion",)
    assert "torch 2.13.0, python 3.11.7; torch 3.0" in str(rows(card, "Hashes and versions"))


def test_a_command_that_the_profile_keeps_is_shown():
    kept = spiking(command="analyzer profile nets.py:Net -o a.json")
    last = made(kept)[0].sections[-1]
    assert last.commands[0] == "analyzer profile nets.py:Net -o a.json"
    last = made(spiking(), memory="state", precision="int8")[0].sections[-1]
    assert "does not keep the command" in last.notes[0]
    assert last.commands[0] == (
        "analyzer card profiles/x.json.gz --precision int8 --memory state -o again"
    )


def test_names_are_on_one_line_each():
    card, _ = made(
        replace(spiking(), metadata=spiking().metadata | {"name": f"a\n{HOSTILE}\x1b[31m"})
    )
    texts = [card.title, card.lead, *(c for s in card.sections for r in s.rows for c in r)]
    assert all(text.isprintable() for text in texts)


def test_integer_widths_name_each_price():
    card, priced = made(spiking(), precision="w4a8")
    price = rows(card, "What is charged")["MAC"][2]
    assert price == f"MAC 4×8 {priced.constants['mac_4x8_pj']:.6g} pJ"
    names = [row[0] for row in next(s for s in card.sections if s.title.startswith("Prices")).rows]
    assert names == ["add, int8", "add, int16", "add, int32", "multiply, int8", "multiply, int32"]
    assert isinstance(priced.table, pd.DataFrame)
