"""Unusable input is refused in one sentence that says what and where."""

import pytest
import torch
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError


def small():
    return nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 2))).eval()


def with_nan(layer):
    model = small()
    model.get_submodule(layer).weight.data[0, 0] = torch.nan
    return model


X = torch.ones(2, 4)
CASES = {
    "model": (lambda: analyzer.profile(lambda x: x, X), "torch.nn.Module, not function"),
    "string": (lambda: analyzer.profile(small(), "digits"), "inputs are str"),
    "number": (lambda: analyzer.profile(small(), 3), "inputs are int"),
    "empty": (lambda: analyzer.profile(small(), []), "no batch"),
    "batch-of-text": (lambda: analyzer.profile(small(), ["a"]), "a batch is str"),
    "scalar": (lambda: analyzer.profile(small(), torch.tensor(1.0)), "no tensor with a batch axis"),
    "no-tensor": (lambda: analyzer.profile(small(), (1, 2)), "no tensor with a batch axis"),
    "timesteps-zero": (
        lambda: analyzer.profile(small(), X, timesteps=0),
        "positive integer, not 0",
    ),
    "timesteps-float": (lambda: analyzer.profile(small(), X, timesteps=2.0), "not 2.0"),
    "nan-input": (lambda: analyzer.profile(small(), X * torch.nan), "in module '0'"),
    "inf-input": (lambda: analyzer.profile(small(), X * torch.inf), "NaN or infinite"),
    "nan-weight": (lambda: analyzer.profile(with_nan("1.0"), X), "module '1.0'"),
    "layout-axis": (
        lambda: analyzer.profile(small(), X, layouts={"0": "B Z"}),
        "unknown axis 'Z'",
    ),
    "layout-twice": (
        lambda: analyzer.profile(small(), X, layouts={"0": "B B"}),
        "names an axis twice",
    ),
    "layout-no-batch": (lambda: analyzer.profile(small(), X, layouts={"0": "C"}), "names no B"),
    "layout-rank": (
        lambda: analyzer.profile(small(), X, layouts={"0": "B C H W"}, groups={"spatial": 2}),
        r"'B C H W' of module '0' does not fit its input of shape \(2, 4\)",
    ),
    "layout-time": (
        lambda: analyzer.profile(
            small(), X, timesteps=3, layouts={"0": "(T B) C"}, groups={"temporal": 1}
        ),
        "at 3 timesteps",
    ),
    "layout-batch": (
        lambda: analyzer.profile(
            small(), X, timesteps=2, layouts={"0": "(T B) C"}, groups={"temporal": 1}
        ),
        "2 timesteps and 2 samples",
    ),
    "layout-of-the-model": (
        lambda: analyzer.profile(small(), X, layouts={"": "T B C"}),
        "name each axis",
    ),
    "groups-axis": (lambda: analyzer.profile(small(), X, groups={"depth": 2}), "depth"),
    "groups-zero": (
        lambda: analyzer.profile(small(), X, groups={"spatial": 0}),
        "positive integer",
    ),
    "complex": (
        lambda: analyzer.profile(nn.Linear(4, 2, dtype=torch.cfloat).eval(), X.cfloat()),
        "complex",
    ),
}


@pytest.mark.parametrize(("attempt", "message"), CASES.values(), ids=CASES)
def test_refusals(attempt, message):
    """A layout was accepted where it merely divided the first axis: (T B) with B / T samples."""
    with pytest.raises(AnalyzerError, match=message) as caught:
        attempt()
    text = caught.value.args[0]
    assert text.endswith(".")
    assert not text.endswith("..")
    assert "\n" not in text


def test_training_mode_is_warned_of():
    with pytest.warns(analyzer.AnalyzerWarning, match="training mode"):
        analyzer.profile(small().train(), X)


def test_arithmetic_without_a_rule_is_listed_and_warned_of():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.warns(analyzer.AnalyzerWarning, match="special_bessel_j0"):
        profile = analyzer.profile(Odd().eval(), X)
    assert profile.uncovered.values.tolist() == [["", "special_bessel_j0", 2, 8]]
    assert profile.totals["uncovered_elements"] == 8
