"""Errors raised by an operation of the forward, and forwards that change what they should not."""

import gc
import random
import weakref

import pytest
import torch
from fault_models import UnderMode, built, data, models
from faults import check_that_nothing_is_left, faults_at
from snapshots import everything
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import analyzer

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning")


class FusedDispatch(TorchDispatchMode):
    """A user's dispatch mode in which an operation fails."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.fuse.touch()
        return func(*args, **(kwargs or {}))


class FusedFunction(TorchFunctionMode):
    """A user's function mode in which a call of PyTorch fails."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.fuse.touch()
        return func(*args, **(kwargs or {}))


MODES = {"operation": FusedDispatch, "function": FusedFunction}


@pytest.mark.parametrize(
    ("place", "error", "number"), faults_at("operation around", "function around")
)
def test_nothing_is_left_of_an_operation_that_fails_in_a_mode_around_the_profile(
    place, error, number
):
    def profile(fuse, model, batches, _):
        with MODES[place.split()[0]](fuse):
            analyzer.profile(model, batches)

    check_that_nothing_is_left(profile, error, number, moments=60)


@pytest.mark.parametrize(
    ("place", "error", "number"), faults_at("operation inside", "function inside")
)
def test_nothing_is_left_of_an_operation_that_fails_in_a_mode_inside_of_the_forward(
    place, error, number
):
    def profile(fuse, model, batches, _):
        analyzer.profile(UnderMode(model, lambda: MODES[place.split()[0]](fuse)), batches)

    check_that_nothing_is_left(profile, error, number, moments=60)


@pytest.mark.parametrize(("place", "error", "number"), faults_at("argument"))
def test_nothing_is_left_of_an_argument_whose_use_fails(place, error, number):
    def profile(fuse, model, batches, _):
        class Touchy(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                fuse.touch()
                return super().__torch_function__(func, types, args, kwargs)

        analyzer.profile(model, [b.as_subclass(Touchy) for b in batches])

    check_that_nothing_is_left(profile, error, number, moments=60)


@pytest.mark.parametrize("name", models())
def test_nothing_is_left_without_a_fault(name):
    model = built(name, 0)
    before = everything(model)
    first = analyzer.profile(model, data(0))
    assert everything(model) == before
    assert analyzer.profile(model, data(0)) == first
    gone = weakref.ref(model)
    del model, before
    gc.collect()
    assert gone() is None


def test_what_only_later_batches_write_is_put_back():
    """Later batches may be watched less closely than the first."""

    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)
            self.register_buffer("seen", torch.zeros(8))
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 1:
                self.seen += x.sum(0)
                self.layer.weight.data.mul_(2)
                self.layer.bias.add_(1)
                self.layer.weight.grad = torch.ones(4, 8)
                self.added = torch.ones(1)
                self.layer.train()
                torch.rand(3)
                random.random()
            if self.calls == 3:
                raise ValueError("late")
            return self.layer(x)

    for batches in (data(0, 2), data(0, 3)):
        model = Late().eval()
        before = everything(model)
        if len(batches) == 3:
            with pytest.raises(ValueError, match="late"):
                analyzer.profile(model, batches, reset=lambda model: None)
        else:
            analyzer.profile(model, batches, reset=lambda model: None)
        assert everything(model) == before
