"""After a profile, whatever happened in it, the model and the process are as they were."""

import gc
import random
import subprocess
import sys
import weakref
from array import array
from collections import Counter, OrderedDict, UserList, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sinabs import layers as sinabs_layers
from snapshots import UserState, snapshot
from snntorch import Leaky
from spikingjelly.activation_based import neuron
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as nn_module

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure.neurons.state import reset_state

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning")


class Restless(nn.Module):
    """Changes all it can while it runs, then fails if it is told to."""

    def __init__(self, failure=None):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.lif = neuron.LIFNode()
        self.leaky = Leaky(beta=0.9, init_hidden=True)
        self.sinabs = sinabs_layers.LIF(tau_mem=20.0)
        self.last = nn.Linear(6, 2)
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("data_seen", torch.zeros(3))
        self.register_buffer("swapped", torch.zeros(3))
        self.register_buffer("gone", torch.zeros(3))
        self.generator = torch.Generator().manual_seed(5)
        self.numbers = {"calls": 0, "list": [1, torch.zeros(2)], "pair": (torch.zeros(2),)}
        self.failure = failure
        self.ring = deque([torch.zeros(2), torch.zeros(2)], maxlen=2)
        self.user_list = UserList([1])
        self.bytes = array("i", [1, 2])
        self.counter = Counter(a=2)
        self.state = SimpleNamespace(v=torch.zeros(2), steps=0, inner=UserState())
        self.numbers["self"] = self.numbers
        self.alias = self.numbers["list"]
        self.state.model = [self]
        self.extra = nn.ModuleDict({"kept": nn.Linear(2, 2), "lost": nn.Linear(2, 2)})
        self.scale = nn.Parameter(torch.ones(3))
        self.replaced = nn.Parameter(torch.ones(3))

    def forward(self, x):
        self.seen += 1
        self.data_seen.data.add_(1)
        self.swapped.data = torch.ones(4)
        self.gone = None
        self.added = torch.ones(2)
        self.register_buffer("new", torch.ones(1))
        self.numbers["calls"] += 1
        self.numbers["list"].append(2)
        self.numbers["list"][1] += 1
        self.numbers["pair"][0].add_(1)
        self.ring[1].add_(1)
        self.ring.append(torch.ones(2))
        self.user_list.append(2)
        self.bytes.append(3)
        self.counter.update("ab")
        self.state.v.add_(1)
        self.state.steps += 1
        self.state.added = 1
        self.state.inner.spikes.append(1)
        self.state.inner.last = self.state.inner
        self.extra.kept = nn.Linear(1, 1)
        self.extra.new = nn.Linear(1, 1)
        if "lost" in self.extra:
            del self.extra["lost"]
        self.scale.data.mul_(2)
        self.scale.grad = torch.ones(3)
        self.replaced = nn.Parameter(torch.zeros(3))
        self.another = nn.Parameter(torch.zeros(3))
        self.norm.train(not self.norm.training)
        torch.rand(1, generator=self.generator)
        random.random()
        np.random.rand()
        x = self.drop(self.norm(self.first(x)))
        x = self.lif(x) + self.leaky(x) + self.sinabs(x.unsqueeze(1)).squeeze(1)
        if isinstance(self.failure, BaseException):
            raise self.failure
        return self.last(x * float("nan") if self.failure == "nan" else x)


FAILURES = {
    "none": None,
    "error": ValueError("halfway"),
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(3),
    "nan": "nan",
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_nothing_is_left_behind_however_the_forward_ends(failure, training):
    """Writes through ``.data``, swapped storages and generators of a module's own once were."""
    torch.manual_seed(0)
    model = Restless().train(training)
    x = torch.randn(5, 6)
    model.last(torch.randn(2, 6)).sum().backward()
    with torch.no_grad():
        model.lif(x), model.leaky(x), model.sinabs(x.unsqueeze(1))
    model.drop.train(not training)
    model.failure = failure
    before = snapshot(model)
    raised = AnalyzerError if failure == "nan" else type(failure)
    if failure is None:
        analyzer.profile(model, [x, x], reset=reset_state)
    else:
        with pytest.raises(raised):
            analyzer.profile(model, [x, x], reset=reset_state)
    assert snapshot(model) == before


def test_deep_structures_are_kept_without_recursion():
    chain = None
    for _ in range(20_000):
        chain = [chain]
    model = nn.Sequential(nn.Linear(6, 2)).eval()
    model.chain = chain
    analyzer.profile(model, torch.ones(2, 6))
    assert model.chain is chain
    while chain:
        chain.append(chain.pop())  # unlinks, so that freeing the chain does not recurse either
        chain = chain.pop()


def test_containers_keep_their_classes_and_aliases():
    model = Restless().eval()
    kinds = {k: type(v) for k, v in vars(model).items()}
    analyzer.profile(model, torch.randn(5, 6))
    assert {k: type(v) for k, v in vars(model).items()} == kinds
    assert model.ring.maxlen == 2
    assert model.counter == Counter(a=2)
    assert model.alias is model.numbers["list"]
    assert isinstance(model._forward_hooks, OrderedDict)


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
def test_a_compiled_module_gets_its_training_flag_back():
    class Flips(nn.Module):
        def forward(self, x):
            return x * 2

    inner = torch.jit.script(nn.BatchNorm1d(2))
    model = nn.Sequential(inner, Flips()).eval()
    model[1].register_forward_pre_hook(lambda m, a: model[0].train() and None)
    mean = inner.running_mean.clone()
    analyzer.profile(model, [torch.randn(3, 2), torch.randn(3, 2)])
    assert not inner.training
    assert torch.equal(inner.running_mean, mean)


def test_nothing_is_left_behind_in_inference_mode():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)).train()
    x = torch.randn(5, 6)
    before = snapshot(model)
    with torch.inference_mode():
        analyzer.profile(model, x)
    assert snapshot(model) == before


@pytest.mark.parametrize("where", ["pre-hook", "hook"])
def test_an_error_in_a_hook_names_its_module_and_leaves_nothing_behind(where):
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 2)))

    def fail(*_):
        raise LookupError("in a hook")

    inner = model[1][0]
    register = (
        inner.register_forward_pre_hook if where == "pre-hook" else (inner.register_forward_hook)
    )
    handle = register(fail)
    before = snapshot(model)
    with pytest.raises(LookupError) as caught:
        analyzer.profile(model, torch.ones(2, 6))
    assert snapshot(model) == before
    assert caught.value.__notes__ == [
        "raised while profiling, in module 1.0",
        "the model was given tensors of shape (2, 6)",
    ]
    handle.remove()
    assert set(analyzer.profile(model.eval(), torch.ones(2, 6)).counts["module"]) == {"0", "1.0"}


def test_outputs_are_those_of_a_plain_forward():
    outputs = []

    def forward(model, x):
        with torch.no_grad():
            return model(x)

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.Sequential(layer, nn.Conv1d(5, 3, 3), nn.Dropout(0.5)).eval()
    x = torch.randn(4, 5, 16)
    for training in (False, True):
        model.train(training)
        torch.manual_seed(1)
        plain = forward(model, x)
        handle = nn_module.register_module_forward_hook(lambda m, a, o: outputs.append(o))
        torch.manual_seed(1)
        analyzer.profile(model, x)
        handle.remove()
        assert torch.equal(outputs[-1], plain)
    assert not outputs[-1].requires_grad


class Keeper(nn.Module):
    """A layer and an error after it."""

    def __init__(self, fail):
        super().__init__()
        self.layer, self.fail = nn.Conv2d(1, 4, 3), fail

    def forward(self, x):
        y = F.relu(self.layer(x))
        if self.fail:
            raise ValueError("halfway")
        return (y.flatten(1) @ y.flatten(1).T).sum(1)


@pytest.mark.parametrize("fail", [False, True], ids=["returns", "raises"])
def test_no_tensor_is_kept_alive(fail):
    """A traceback that keeps the profile, and so all activations, alive was an error once."""
    model = Keeper(fail).eval()
    kept = []
    model.layer.register_forward_hook(lambda m, a, o: kept.append(weakref.ref(o)))
    gc.collect()
    gc.disable()
    try:
        if fail:
            with pytest.raises(ValueError, match="halfway"):
                analyzer.profile(model, torch.ones(2, 1, 6, 6))
            sys.last_value = None
        else:
            analyzer.profile(model, torch.ones(2, 1, 6, 6))
        assert kept
        assert [r() for r in kept] == [None]
    finally:
        gc.enable()


def test_memory_does_not_grow_with_the_number_of_batches():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    alive = []

    def batches():
        for _ in range(8):
            gc.collect()
            alive.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
            yield torch.ones(2, 1, 8, 8)

    analyzer.profile(model, batches())
    assert max(alive[3:]) == min(alive[3:])


def test_the_first_use_draws_no_random_number():
    """Libraries draw some when they are imported; a run that was seeded before must not tell."""
    code = (
        "import random, numpy, torch\n"
        "model = torch.nn.Linear(3, 2).eval()\n"
        "random.seed(1); numpy.random.seed(1); torch.manual_seed(1)\n"
        "expected = random.random(), numpy.random.rand(), torch.rand(1).item()\n"
        "random.seed(1); numpy.random.seed(1); torch.manual_seed(1)\n"
        "import analyzer\n"
        "analyzer.profile(model, [torch.ones(4, 3)] * 2)\n"
        "print((random.random(), numpy.random.rand(), torch.rand(1).item()) == expected)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["True"], run.stderr
