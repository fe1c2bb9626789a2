"""The sentences of a report: its summary, and one warning for each limit of its figures."""

import pytest
from report_profiles import build, dense, layer, silent, spiking

from analyzer.entries import collect
from analyzer.facts.records import Tally
from analyzer.report.findings import summary, warnings


def warnings_of(profiles):
    return warnings(collect(profiles, "45nm", "exact"))


def summary_of(profiles):
    return summary(collect(profiles, "45nm", "exact"))


def test_summary_names_the_cheapest_and_the_factors():
    text = summary_of([dense(), spiking(), spiking("other", seed=1)])
    assert "Of 3 models spiking is the cheapest with 6.22 nJ per sample" in text
    assert "dense, the most expensive, 8.87 times" in text
    assert "74.0 % of the energy of spiking and 100 % of that of dense" in text
    assert "0.9 pJ per AC, 4.6 pJ per MAC" in text


def test_summary_of_one_of_equals_and_of_nothing():
    assert summary_of([dense()]).startswith("One inference of dense takes 55.2 nJ.")
    assert "All 2 models take the same energy, 55.2 nJ" in summary_of([dense(), dense("b")])
    nothing = summary_of([silent(), dense()])
    assert "silent is the cheapest with 0 pJ per sample." in nothing
    assert "No operation of silent was charged." in nothing


def test_a_sound_measurement_has_no_warnings():
    assert warnings_of([spiking(), dense()]) == []


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        (
            spiking(uncounted=[Tally("a", "cumsum", 1, 5), Tally("b", "fft", 1, 5)]),
            "spiking: no rule covers cumsum, fft, so its figures are lower bounds.",
        ),
        (
            spiking(dtype="float16"),
            "spiking: priced as fp32, measured in float16.",
        ),
        (
            spiking(data="random"),
            "spiking: measured on random data, so its activity says nothing about real inputs.",
        ),
        (
            spiking(samples=1),
            "spiking: measured on one sample only, so its activity may be far off.",
        ),
        (
            spiking("模型"),
            "模型: the PDF and PNG figures have no letters for 型模; this page and the SVG figures "
            "show them.",
        ),
        (silent(samples=2), "silent: 1 layer reads nothing but zeros (fc)."),
        (
            build("m", [layer(f"l{i}", macs=1, elements=1, rate=0) for i in range(6)], samples=2),
            "m: 6 layers read nothing but zeros (l0, l1, l2, l3 and 2 more).",
        ),
    ],
    ids=["uncovered", "format", "random", "one-sample", "letters", "silent", "many-silent"],
)
def test_each_limit_is_one_sentence(profile, sentence):
    assert warnings_of([profile]) == [sentence]


def test_different_data_is_warnings_of():
    assert warnings_of([spiking(), dense(data="cifar10")]) == [
        "The models were measured on different data (cifar10; digits (test))."
    ]
