"""The priced profiles of a report: their names, and their metadata in words."""

import pytest
from report_profiles import build, dense, layer, spiking

from analyzer.entries import clean, collect, data_of, shown


def test_two_profiles_of_one_name_are_told_apart():
    names = [
        e.name for e in collect([spiking("a"), spiking("a (2)"), spiking("a")], "45nm", "exact")
    ]
    assert names == ["a", "a (2)", "a (3)"]


def test_root_module_has_a_name():
    entry = collect([build("m", [layer("", macs=10, elements=10, rate=0.5)])], "45nm", "exact")[0]
    assert entry.layers["module"].to_list() == ["(model)"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), ("", "–"), ([1, 16], "1, 16"), ({"torch": "2.13"}, "torch 2.13"), (0, "0")],
)
def test_metadata_in_words(value, text):
    assert shown(value) == text


def test_names_lose_what_xml_cannot_hold():
    assert clean("a\x00b\n\tc\ud800") == "a b c"


def test_captions_tell_data_once_or_for_each():
    one = collect([spiking(), dense()], "45nm", "exact")
    assert data_of(one) == "digits (test), 2 samples each"
    two = collect([spiking(), dense(samples=1, data=None)], "45nm", "exact")
    assert data_of(two) == "spiking: digits (test), 2 samples; dense: data not recorded, 1 sample"
    three = collect([spiking(samples=1), dense(), dense("b")], "45nm", "exact")
    assert data_of(three) == (
        "spiking: digits (test), 1 sample; all others: digits (test), 2 samples each"
    )
