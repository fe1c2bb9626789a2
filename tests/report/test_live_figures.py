"""Every figure, table and sentence of the page under random settings, against Python."""

import math
import random
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd
import pytest
from driven import browser, cells, needs_browser, numbers, opened, settled, until

import analyzer
from analyzer.energy.declared.memory import memory_model
from analyzer.energy.declared.technology import technology
from analyzer.energy.explaining.explain import explain
from analyzer.energy.paradigms.break_even import break_even
from analyzer.energy.pricing.price import price
from analyzer.energy.tables.compare import side_by_side
from analyzer.entries import Entry, collect
from analyzer.errors import AnalyzerError
from analyzer.report import findings
from analyzer.report.page import render
from analyzer.units import format_bytes, format_energy_pj, format_ratio, format_share, format_si

pytestmark = [needs_browser, pytest.mark.slow]

DIGITS = 1e-12
PARTS = ("neurons_pj", "weights_pj", "activations_pj", "state_pj", "addressing_pj")


@pytest.fixture(scope="module")
def profiles():
    folder = Path(__file__).parents[2] / "profiles"
    order = ("vit-tiny", "spikformer-tiny", "ge2mst-tiny")
    return [analyzer.load(folder / f"{name}.json.gz") for name in order]


@pytest.fixture(scope="module")
def page(profiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / "report"
    render(profiles, folder, only=["energy"])
    with browser() as chromium, opened(chromium, folder / "index.html") as page:
        yield page


class Settings:
    """One choice of everything that the page lets one change."""

    def __init__(self, draw):
        self.technology = draw.choice(["45nm", "45nm", "22nm", "7nm", "loihi", "cpu", "seneca"])
        formats = technology(self.technology).formats()
        self.precision = draw.choice(formats + (["w4a8"] if self.technology == "45nm" else []))
        self.convention = draw.choice(list(analyzer.conventions()))
        self.memory = draw.choice([None, *analyzer.memory_models()])
        self.activity = draw.choice([1, 0.25, 0.5, 1.7, 4])
        self.baseline = draw.choice(["vit-tiny", "spikformer-tiny", "ge2mst-tiny"])
        self.against = draw.choice([c for c in analyzer.conventions() if c != self.convention])
        self.model = draw.choice(["spikformer-tiny", "ge2mst-tiny"])
        self.settings, self.ac, self.mac = {}, None, None
        if self.memory and draw.random() < 0.6:
            self.settings = {
                "weight_reads": draw.choice(["event", "step", "inference", "none"]),
                "weight_bits": draw.choice([8, 16]),
                "state": draw.choice(["update", "none"]),
            }
        if technology(self.technology).add_pj and draw.random() < 0.5:
            self.ac, self.mac = 0.125 * draw.randint(1, 4), 0.5 * draw.randint(2, 9)
            self.precision = formats[0]

    def fragment(self):
        given = {
            "technology": self.technology, "precision": self.precision,
            "convention": self.convention, "memory": self.memory or "", "activity": self.activity,
            "baseline": self.baseline, "against": self.against, "model": self.model,
            "dense": "vit-tiny", "level": "operations",
        }  # fmt: skip
        given |= {f"set.{key}": value for key, value in self.settings.items()}
        given |= {k: v for k, v in (("ac", self.ac), ("mac", self.mac)) if v is not None}
        return urlencode(given)

    def prices(self):
        """The technology and memory model, as Python takes them."""
        tech = technology(self.technology)
        if self.ac is not None:
            tables = {"add_pj": self.ac, "multiply_pj": self.mac - self.ac}
            sections = {
                section: {**tech.sections[section], self.precision: value}
                for section, value in tables.items()
            }
            tech = replace(tech, sections={**tech.sections, **sections})
        model = memory_model(self.memory).with_settings(self.settings) if self.memory else None
        return tech, model

    def energy(self, profile, convention=None, activity=None):
        tech, model = self.prices()
        return price(
            profile, tech, convention or self.convention, self.precision, model,
            self.activity if activity is None else activity,
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_all_numbers_under_random_settings(page, profiles, seed):
    chosen = Settings(random.Random(seed))
    drawn = page.evaluate("analyzerReport.times.length")
    page.evaluate("(hash) => { location.hash = hash; }", chosen.fragment())
    until(page, f"analyzerReport.times.length > {drawn}")
    settled(page)
    reports = {}
    for profile in profiles:
        try:
            reports[profile.name] = chosen.energy(profile)
        except AnalyzerError:
            reports[profile.name] = None
    table = cells(page, "comparison")
    good = [p for p in profiles if reports[p.name] is not None]
    assert {
        n for n, row in table.items() if "energy" in row and row["energy"] == row["energy"]
    } == {p.name for p in good}
    if not good:
        assert "No model can be priced so." in page.inner_text("#summary")
        return
    check_comparison(table, good, reports, chosen)
    check_energy_figure(page, good, reports)
    check_summary(page, good, reports)
    if reports[chosen.model] is None:
        assert page.inner_text("#layers-error")
        return
    profile = next(p for p in profiles if p.name == chosen.model)
    check_layers(page, reports[chosen.model])
    check_waterfall(page, profile, chosen)
    check_break_even(page, profile, profiles[0], chosen, reports)
    check_tornado(page, profile, chosen)


def same(found, wanted, slack=0.0):
    if wanted is None or wanted != wanted:
        assert found is None or found != found
    else:
        assert math.isclose(found, wanted, rel_tol=DIGITS, abs_tol=slack), (found, wanted)


def shown(page, key):
    """Whether a column is drawn, which one may leave out to fit."""
    return page.locator(f"#comparison [data-key='{key}']").count() > 0


def check_comparison(table, good, reports, chosen):
    frame = side_by_side((p, reports[p.name]) for p in good).set_index("model")
    base = frame["energy_mj"].get(chosen.baseline, float("nan"))
    for name, row in table.items():
        if reports.get(name) is None:
            continue
        known = frame.loc[name]
        wanted = {
            "energy": known["energy_mj"] * 1e9, "ac": known["ac"], "mac": known["mac"],
            "dense_macs": known["dense_macs"], "mac_share": known["mac_share"],
            "sparsity": known["sparsity"], "spikes_per_synapse": known["spikes_per_synapse"],
            "accuracy": known["accuracy"], "parameters": known["parameters"],
            "ratio": known["energy_mj"] / base if base else float("nan"),
        }  # fmt: skip
        wanted |= {p: known[p.replace("_pj", "_mj")] * 1e9 for p in PARTS if chosen.memory}
        assert {"energy", "ac", "mac", "ratio"} <= row.keys()
        for key, value in row.items():
            if key in wanted:
                same(value, float("nan") if pd.isna(wanted[key]) else float(wanted[key]))


def check_energy_figure(page, good, reports):
    rows = {row[0]: row for row in numbers(page, "energy")}
    assert rows.keys() == {p.name for p in good}
    for name, row in rows.items():
        same(row[-1], reports[name].total_pj)
        same(row[1], reports[name].components["ac_pj"])
        same(row[2], reports[name].components["mac_pj"])


def check_summary(page, good, reports):
    rows = [Entry(p.name, p, reports[p.name], reports[p.name].table, None) for p in good]
    said = page.inner_text("#summary")
    wanted = findings.summary(rows)
    if reports[good[0].name].memory is None:
        assert said == wanted
    else:  # the settings are part of the name in Python, and of the sentence in both
        assert said.partition(" Priced in ")[0] == wanted.partition(" Priced in ")[0]


def check_layers(page, report):
    rows = numbers(page, "layers")
    energies = report.table["total_pj"].tolist()
    assert len(rows) == len(energies)
    for found, wanted in zip(sorted(row[-1] for row in rows), sorted(energies), strict=True):
        same(found, wanted)
    page.evaluate("analyzerReport.layers.state.expanded = true; analyzerReport.layers.draw()")
    leaves = page.evaluate(
        """() => [...document.querySelectorAll("#layers tbody tr[data-row^=o]")].map((row) =>
        Object.fromEntries([...row.cells].slice(1).filter((c) => c.dataset.value !== undefined)
        .map((c) => [c.dataset.key, Number(c.dataset.value)])))"""
    )
    for key, column in (("energy", "total_pj"), ("ac", "ac"), ("mac", "mac")):
        found = sorted(leaf[key] for leaf in leaves)
        for one, other in zip(found, sorted(report.table[column].astype(float)), strict=True):
            same(one, other)


def check_waterfall(page, profile, chosen):
    try:
        other = chosen.energy(profile, chosen.against)
    except AnalyzerError:
        return
    first = chosen.energy(profile)
    rows = numbers(page, "waterfall")
    same(rows[0][-1], first.total_pj)
    same(rows[-1][-1], other.total_pj)
    differ = other.table["total_pj"] - first.table["total_pj"]
    assert sum(row[1] for row in rows[1:-1]) == (differ != 0).sum()
    slack = first.total_pj * DIGITS
    same(sum(row[2] for row in rows[1:-1]), other.total_pj - first.total_pj, slack)
    if chosen.activity == 1 and chosen.ac is None and not chosen.settings:
        found = explain(
            profile, chosen.convention, chosen.against, chosen.technology, chosen.precision,
            chosen.memory,
        )  # fmt: skip
        for row, step in zip(rows[1:-1], found.steps.itertuples(index=False), strict=True):
            assert row[0] == f"{step.from_reason} → {step.to_reason}"
            same(row[2], step.difference_pj, slack)


def check_break_even(page, profile, dense, chosen, reports):
    from analyzer.energy.paradigms.break_even import between

    rows = dict(numbers(page, "break-even"))
    theirs = reports[dense.name]
    try:
        found = between(chosen.energy(profile), chosen.energy(profile, activity=0), theirs)
    except (AnalyzerError, AttributeError):
        assert not rows
        return
    same(rows["Rate today"], found.rate)
    slack = DIGITS * 100 * max(found.rate, found.break_even_rate or 0)
    same(rows["Break-even rate"], found.break_even_rate, slack)
    if chosen.activity == 1 and chosen.ac is None and not chosen.settings:
        again = break_even(
            profile, dense, chosen.technology, chosen.convention, chosen.precision, chosen.memory
        )
        same(rows["Break-even rate"], again.break_even_rate, slack)


def check_tornado(page, profile, chosen):
    if chosen.ac is not None or chosen.settings or chosen.activity != 1:
        return
    try:
        found = analyzer.sensitivity(
            profile, chosen.technology, chosen.convention, chosen.precision, chosen.memory,
            vary={"activity": (0.5, 2)},
        )  # fmt: skip
    except AnalyzerError:  # a setting that the technology has no level for, which the page skips
        return
    rows = {row[0]: row for row in numbers(page, "tornado")}
    assert rows.keys() == set(found.rows["constant"])
    for constant, low, high in found.rows[["constant", "low_pj", "high_pj"]].itertuples(
        index=False
    ):
        same(rows[constant][4], low)
        same(rows[constant][5], high)


def test_figures_are_written_as_python_writes_them(page):
    draw = random.Random(3)
    values = [0, 1, 0.1125, 1125, 2.5, 999999, 999.95, 1e-7, 0.0004999, 1e12, 4.6e6, 0.5, 12.345]
    values += [10 ** draw.uniform(-6, 14) for _ in range(300)]
    values += [draw.randint(0, 10**9) / 8 for _ in range(300)]
    found = page.evaluate("(values) => analyzerReport.written(values)", values)
    for value, texts in zip(values, found, strict=True):
        wanted = [
            format_si(value), format_energy_pj(value), format_ratio(value), format_share(value),
            format_bytes(value), f"{value:.3g}", f"{value:g}",
        ]  # fmt: skip
        assert texts == wanted, value


def test_remarks_are_those_of_python(page, profiles):
    page.evaluate("location.hash = 'technology=22nm&precision=int8&convention=spike-driven'")
    until(page, "analyzerReport.state.technology === '22nm'")
    entries = collect(profiles, "22nm", "spike-driven", "int8")
    said = page.evaluate("analyzerReport.remarks()")
    plain = {
        text if not names else f"{name}: {text}" for text, names in said for name in names or [""]
    }
    assert plain == set(findings.warnings(entries))


def test_a_state_travels_in_the_link_and_goes_back(page):
    link = "technology=22nm&precision=int8&memory=lemaire&set.weight_bits=8&activity=2"
    page.evaluate("(link) => { location.hash = link }", link)
    until(page, "analyzerReport.state.memory === 'lemaire'")
    there = page.evaluate("[JSON.stringify(analyzerReport.state), location.hash]")
    energy = cells(page, "comparison")["ge2mst-tiny"]["energy"]
    assert "int8 instead of fp32" in page.inner_text("#changes")
    page.click("#reset-2")
    assert page.evaluate("location.hash") == ""
    assert page.evaluate("analyzerReport.state.technology") == "45nm"
    assert page.is_hidden("#changed")
    page.evaluate("(hash) => { location.hash = hash }", there[1])
    until(page, "analyzerReport.state.memory === 'lemaire'")
    assert page.evaluate("[JSON.stringify(analyzerReport.state), location.hash]") == there
    assert cells(page, "comparison")["ge2mst-tiny"]["energy"] == energy
