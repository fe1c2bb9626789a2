"""The examples in the docstrings of what users call run, and show what happens."""

import doctest
from importlib import import_module

import pytest

EXAMPLES = {
    "analyzer.measure.rules.products": 5,
    "analyzer.measure.rules.registry": 1,
    "analyzer.measure.rules.work": 1,
    "analyzer.measure.training.memory": 1,
    "analyzer.verification.comparison": 1,
}
"""Modules, and how many of their docstrings hold an example."""


@pytest.mark.parametrize(("module", "examples"), EXAMPLES.items())
def test_examples_run(module, examples):
    found = doctest.DocTestFinder(exclude_empty=True).find(import_module(module))
    shown = [test for test in found if test.examples]
    assert len(shown) == examples
    for test in shown:
        result = doctest.DocTestRunner().run(test)
        assert result.attempted > 1
        assert not result.failed, test.name
