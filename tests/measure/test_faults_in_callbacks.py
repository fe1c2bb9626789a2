"""Errors raised by the user's code that a profile calls: hooks, the reset, the loader, a rule."""

import pytest
import torch
from fault_models import data
from faults import ERRORS, Fuse, check_that_nothing_is_left, faults_at
from snapshots import everything
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning")


def profile_with_a_hook(place, fuse, model, batches, chance):
    module = chance.choice([*model.modules()])
    if place == "pre-hook":
        handle = module.register_forward_pre_hook(fuse.touch)
    else:
        handle = module.register_forward_hook(fuse.touch, always_call=place == "hook always")
    try:
        analyzer.profile(model, batches)
    finally:
        handle.remove()


@pytest.mark.parametrize(("place", "error", "number"), faults_at("pre-hook", "hook", "hook always"))
def test_nothing_is_left_of_an_error_in_a_hook(place, error, number):
    def profile(*args):
        profile_with_a_hook(place, *args)

    check_that_nothing_is_left(profile, error, number, moments=3)


@pytest.mark.parametrize(("place", "error", "number"), faults_at("reset"))
def test_nothing_is_left_of_an_error_in_the_reset(place, error, number):
    def profile(fuse, model, batches, _):
        def reset(model):
            fuse.touch()
            torch.rand(1)

        analyzer.profile(model, batches, reset=reset)

    check_that_nothing_is_left(profile, error, number, moments=3)


class Batches:
    """An iterator whose next batch may not come. (A generator would turn a ``StopIteration``.)"""

    def __init__(self, batches, fuse):
        self.batches = iter(batches)
        self.fuse = fuse

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self.batches)
        self.fuse.touch()
        return batch


@pytest.mark.parametrize(("place", "error", "number"), faults_at("iterator"))
def test_nothing_is_left_of_an_error_in_the_loader(place, error, number):
    """A ``StopIteration`` is no error there: it ends the data."""

    def profile(fuse, model, batches, _):
        analyzer.profile(model, Batches(batches, fuse))

    ends = error is StopIteration
    check_that_nothing_is_left(profile, error, number, moments=3, may_be_swallowed=ends)


@torch.library.custom_op("faults::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    """An operation that only a user's rule can count."""
    return x * 2


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return twice(self.layer(x))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("after", [1, 3])
def test_nothing_is_left_of_a_rule_that_fails(error, after):
    """A fuse that only later batches would blow may stay whole: a rule need not be asked again."""
    model, batches = Twice().eval(), data(8)
    first = analyzer.profile(model, batches)
    before = everything(model)
    fuse = Fuse(error, after)

    def fail(args, kwargs, out):
        fuse.touch()
        return analyzer.Work(multiplies=out.numel())

    raised = None
    with analyzer.rule.temporarily():
        analyzer.rule("faults::twice")(fail)
        try:
            analyzer.profile(model, batches)
        except BaseException as blown:
            raised = type(blown)
    assert (raised is not None) == fuse.blown
    assert fuse.blown or after > 1
    assert raised in (None, error, AnalyzerError, RuntimeError)
    assert everything(model) == before
    assert analyzer.profile(model, batches) == first
