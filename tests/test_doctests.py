"""Every public name has an example in its docstring, and the examples are right."""

import doctest
import inspect

import pytest

import analyzer


def examples(name):
    finder = doctest.DocTestFinder(recurse=False)
    return [test for test in finder.find(getattr(analyzer, name), name, globs={}) if test.examples]


@pytest.mark.parametrize("name", sorted(analyzer.__all__))
def test_a_public_name_has_an_example_that_runs(name):
    assert inspect.getdoc(getattr(analyzer, name))
    found = examples(name)
    assert found, f"analyzer.{name} has no example in its docstring"
    runner = doctest.DocTestRunner()
    said = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
