"""Arguments are found by name wherever a version or an overload of an operation has them."""

import pytest
import torch

import analyzer
from analyzer.measure.rules.schema import exists, named_arguments

NAME = "_analyzer_tests_attention"
SCHEMAS = {
    "": "(Tensor query, Tensor? mask, float p=0.1, bool is_causal=False, *, float? scale=None)",
    ".moved": "(Tensor query, bool is_causal, *, Tensor? mask=None, float? scale=None)",
    ".scaled": "(Tensor query, Tensor scales, bool is_causal=True, *, Tensor mask)",
}


@pytest.fixture(scope="module", autouse=True)
def operation():
    """An operation in PyTorch's namespace, with overloads that order their arguments in 3 ways."""
    library = torch.library.Library("aten", "FRAGMENT")
    for overload, arguments in SCHEMAS.items():
        library.define(f"{NAME}{overload}{arguments} -> Tensor")
    return library


Q, M = torch.ones(1), torch.zeros(1)
DEFAULTS = {"p": 0.1, "is_causal": False, "scale": None}
CALLS = {
    "none": ((Q, None), {}, {"query": Q, "mask": None, **DEFAULTS}),
    "positional": ((Q, M, 0.5, True), {}, {"query": Q, "mask": M, "p": 0.5, "is_causal": True}),
    "flag": ((Q, True), {}, {"query": Q, "mask": None, "is_causal": True, "scale": None}),
    "flag-and-mask": ((Q, False), {"mask": M}, {"query": Q, "mask": M, "is_causal": False}),
    "keywords": ((), {"query": Q, "mask": M, "is_causal": True}, {"mask": M, "is_causal": True}),
    "scales": ((Q, Q), {"mask": M}, {"scales": Q, "mask": M, "is_causal": True}),
}


@pytest.mark.parametrize(("args", "kwargs", "expected"), CALLS.values(), ids=CALLS)
def test_arguments_are_found_by_name(args, kwargs, expected):
    found = named_arguments(NAME, args, kwargs)
    for name, value in expected.items():
        assert found[name] is value or found[name] == value


WRONG = {
    "too-many": ((Q, None, 0.1, True, 1.0), {}),
    "too-few": ((Q,), {}),
    "unknown": ((Q, None), {"bias": M}),
    "kind": ((Q, 3), {"scale": M}),
}


@pytest.mark.parametrize(("args", "kwargs"), WRONG.values(), ids=WRONG)
def test_arguments_of_no_overload_are_refused(args, kwargs):
    with pytest.raises(analyzer.AnalyzerError, match=rf"no overload of aten::{NAME} .*rule\.$"):
        named_arguments(NAME, args, kwargs)


def test_what_a_version_lacks_does_not_exist():
    assert exists(NAME)
    assert not exists("_analyzer_tests_missing")
