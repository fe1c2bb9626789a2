"""``analyzer.count``: models by name or as modules, with options.

Counting itself is tested against measured profiles in ``models/test_published.py``.
"""

import doctest

import pytest
from torch import nn

import analyzer
from analyzer import counting
from analyzer.errors import AnalyzerError


def test_the_examples_run():
    found = doctest.testmod(counting)
    assert found.attempted == 8
    assert found.failed == 0


def test_a_module_takes_no_options_of_a_builder():
    with pytest.raises(AnalyzerError, match="takes no depth"):
        analyzer.count(nn.Linear(2, 3), (2,), depth=1)


def test_a_name_takes_shape_timesteps_and_options():
    counted = analyzer.count("spikformer-tiny", (3, 16, 16), timesteps=2, depth=1, name="small")
    assert counted.name == "small"
    assert counted.metadata["timesteps"] == 2
    first = counted.counts.set_index("module").loc["stem.units.0.layer", "dense_macs"]
    assert first == 2 * 8 * 16 * 16 * 3 * 9  # T, channels out, positions, channels in, kernel
