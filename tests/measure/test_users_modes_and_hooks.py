"""Dispatch modes, function modes and hooks of the user's own work while a model is profiled."""

import pytest
import torch
from fault_models import UnderMode, data, two_layers
from oracles import counted, rows, watch
from snapshots import surroundings
from torch.nn.modules import module as nn_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import analyzer

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning")


class Watching(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


class Hearing(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [Watching, Hearing])
def test_modes_of_the_users_work_on(mode):
    model, batches = two_layers(), data(5)
    expected = rows(*(watch(model, x) for x in batches))
    around, inside = mode(), mode()
    with around:
        before = surroundings()
        assert counted(analyzer.profile(model, batches)) == expected
        assert surroundings() == before
    profile = analyzer.profile(UnderMode(model, lambda: inside), batches)
    assert {
        (m.removeprefix("inner."), *k): v for (m, *k), v in counted(profile).items()
    } == expected
    plain = mode()
    with torch.no_grad(), plain:
        for x in batches:
            model(x)
    assert inside.seen == plain.seen
    assert [s for s in around.seen if s in plain.seen]


def test_hooks_of_the_users_are_called_as_ever():
    model, batches = two_layers(), data(6)
    calls = []
    handles = [
        model[0].register_forward_pre_hook(lambda m, a: calls.append("pre")),
        model[0].register_forward_hook(lambda m, a, o: calls.append("hook")),
        nn_module.register_module_forward_hook(lambda m, a, o: calls.append("global")),
    ]
    before = surroundings()
    analyzer.profile(model, batches)
    assert surroundings() == before
    during, calls[:] = [*calls], []
    for x in batches:
        model(x)
    assert during == calls
    for handle in handles:
        handle.remove()


def test_a_hook_that_changes_an_output_is_believed():
    model, (x, *_) = two_layers(), data(7)
    handle = model[1].register_forward_hook(lambda m, a, o: (o > 0).float())
    profile = analyzer.profile(model, x)
    handle.remove()
    assert list(profile.operations()["input_class"]) == ["binary", "binary"]
