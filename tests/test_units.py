import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.units import format_bytes, format_energy_pj, format_ratio, format_share, format_si


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1234567, "1.23 M"),
        (999_999, "1.00 M"),
        (12_345, "12.3 k"),
        (0.0012, "0.00120"),
        (2.5e12, "2.50 T"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_counts(value, text):
    assert format_si(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.6e6, "4.60 µJ"),
        (999.9, "1.00 nJ"),
        (7.463502601886196e9, "7.46 mJ"),
        (0.004, "0.00400 pJ"),
    ],
)
def test_energies(value, text):
    assert format_energy_pj(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.974, "97.4 %"), (0, "0 %"), (1, "100 %"), (0.0001, "< 0.1 %")]
)
def test_shares(value, text):
    assert format_share(value) == text


def test_sizes():
    assert format_bytes(1536) == "1.50 KiB"
    assert format_bytes(1000) == "1000 B"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3127, "0.313×"),
        (0.1034, "0.103×"),
        (0.00012345, "0.000123×"),
        (1, "1.00×"),
        (9.7, "9.70×"),
        (9.996, "10.0×"),
        (10.2, "10.2×"),
        (6410.2, "6410×"),
        (12345, "12300×"),
        (0, "0×"),
        (math.inf, "–"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_ratios_have_three_digits(value, text):
    assert format_ratio(value) == text


@given(st.floats(1e-3, 1e15))
def test_a_formatted_energy_is_the_energy(value):
    number, unit = format_energy_pj(value).split()
    factor = {"pJ": 1, "nJ": 1e3, "µJ": 1e6, "mJ": 1e9, "J": 1e12}[unit]
    assert float(number) * factor == pytest.approx(value, rel=5.1e-3)
