"""Compiled models are counted as they are written, stay compiled, and nothing else is compiled."""

import subprocess
import sys
import threading
import warnings

import pytest
import torch
from test_concurrent_profiles import at_once
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure.watch.compiler import uncompiled

SHAPE = (5, 6)


@pytest.fixture(autouse=True)
def nothing_compiled():
    """Code that was compiled for too many backends is compiled no more."""
    torch.compiler.reset()


class Backend:
    """Counts what it compiles, and how often that runs."""

    def __init__(self):
        self.compiled = self.ran = 0

    def __call__(self, graph, inputs):
        self.compiled += 1

        def run(*args):
            self.ran += 1
            return graph.forward(*args)

        return run

    def since(self):
        """What it did since it was last asked."""
        found = self.compiled, self.ran
        self.compiled = self.ran = 0
        return found


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 7), nn.Linear(7, 6)

    def forward(self, x):
        return self.b(self.a(x).sigmoid())


class Around(nn.Module):
    """A block, or a function of one, that is compiled inside of a model."""

    def __init__(self, block, call):
        super().__init__()
        self.block, self.c, self.call = block, nn.Linear(6, 2), call

    def forward(self, x):
        return self.c(self.call(self.block, x))


def in_place(block, backend):
    block.compile(backend=backend)
    return block


def submodule(backend):
    return Around(torch.compile(Block(), backend=backend), lambda block, x: block(x))


def function(backend):
    call = torch.compile(lambda block, x: block(x).relu(), backend=backend, fullgraph=True)
    return Around(Block(), call)


KINDS = {
    "model": lambda backend: torch.compile(Block(), backend=backend),
    "in-place": lambda backend: in_place(Block(), backend),
    "dynamic": lambda backend: torch.compile(Block(), backend=backend, dynamic=True),
    "submodule": submodule,
    "function": function,
}


def plain(model):
    """The same model, never compiled."""
    return Around(Block(), lambda block, x: block(x)) if isinstance(model, Around) else Block()


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_model_stays_compiled(kind):
    backend = Backend()
    model = KINDS[kind](backend).eval()
    batches = [torch.rand(SHAPE) for _ in range(3)]
    with torch.no_grad():
        expected = [model(x) for x in batches]
    compiled, ran = backend.since()
    assert (compiled, ran) == (1, 3)
    stance = torch._dynamo.eval_frame._stance
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        found = analyzer.profile(model, batches)
        assert warnings.filters == filters
    assert backend.since() == (0, 0)
    assert (
        found.totals["dense_macs"]
        == analyzer.profile(plain(model).eval(), batches).totals["dense_macs"]
    )
    assert found.metadata["passes"] == {"full": 1, "replayed": 2, "missed": 0}
    assert torch._dynamo.eval_frame._stance == stance
    with torch.no_grad():
        assert all(torch.equal(model(x), y) for x, y in zip(batches, expected, strict=True))
    assert backend.since() == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_be_compiled_after_it_was_profiled(kind):
    """A mode that is active while a frame is first seen would have it skipped for good."""
    backend = Backend()
    model, x = KINDS[kind](backend).eval(), torch.rand(SHAPE)
    for watch in ("first", "every"):
        analyzer.profile(model, [x, x], watch=watch)
    assert backend.since() == (0, 0)
    with torch.no_grad():
        model(x), model(x)
    assert backend.since() == (1, 2)


def test_the_users_stance_is_given_back():
    torch.compiler.set_stance("fail_on_recompile")
    try:
        model = torch.compile(Block(), backend=Backend()).eval()
        analyzer.profile(model, torch.rand(SHAPE))
        assert torch._dynamo.eval_frame._stance.stance == "fail_on_recompile"
    finally:
        torch.compiler.set_stance("default")


def test_profiles_in_threads_give_the_compiler_back():
    """The last one to end does: each would else put back what the other had found."""
    backends = [Backend() for _ in range(3)]
    models = [torch.compile(Block(), backend=backend).eval() for backend in backends]
    batches = [torch.rand(SHAPE)] * 8
    found = at_once(*(lambda m=m: analyzer.profile(m, batches).totals for m in models))
    assert found[0] == found[1] == found[2]
    assert torch._dynamo.eval_frame._stance.stance == "default"
    with torch.no_grad():
        models[0](batches[0])
    assert backends[0].since() == (1, 1)


def test_hooks_of_ours_cause_no_warning_whatever_the_filters():
    """Filters are one list for all threads, which pandas replaces and puts back as it goes."""

    def call(block, x):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return block(x)

    model = Around(torch.compile(Block(), backend=Backend()), call).eval()
    assert analyzer.profile(model, torch.rand(SHAPE)).totals["dense_macs"] == 5 * (42 + 42 + 12)
    assert "__call__" in vars(torch._dynamo.OptimizedModule)


def test_threads_of_a_model_compile_nothing():
    backend = Backend()
    block = torch.compile(Block(), backend=backend)

    def call(block, x):
        found = []
        thread = threading.Thread(target=lambda: found.append(block(x)))
        thread.start()
        thread.join()
        return found[0]

    model = Around(block, call).eval()
    found = analyzer.profile(model, [torch.rand(SHAPE)] * 2)
    assert found.totals["dense_macs"] == 2 * 5 * (42 + 42 + 12)
    assert backend.since() == (0, 0)


def test_watching_inside_of_what_is_compiled_is_refused():
    @torch.compile(backend="eager")
    def compiled(x):
        with uncompiled():
            return x + 1

    with pytest.raises(AnalyzerError, match="inside of a function that torch"):
        compiled(torch.rand(SHAPE))
    assert torch._dynamo.eval_frame._stance.stance == "default"
    with uncompiled():
        assert torch._dynamo.eval_frame._stance.stance == "force_eager"


LATE = """
import sys, torch, analyzer
from torch import nn

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)
    def forward(self, x):
        y = torch.compile(lambda x: self.a(x).relu(), backend=backend, fullgraph=True)(x)
        return y + torch.cond(x.sum() > 0, self.a, self.b, (x,))

def backend(graph, inputs):
    ran.append(1)
    return graph.forward

ran, x, model = [], torch.rand(5, 6), Late().eval()
assert "torch._dynamo" not in sys.modules
finders = list(sys.meta_path)
print(analyzer.profile(model, [x, x]).totals["dense_macs"], len(ran), sys.meta_path == finders)
with torch.no_grad():
    model(x)
print(len(ran), type(torch._dynamo.__spec__.loader).__name__)
print("exec_module" in vars(torch._dynamo.__spec__.loader))
"""


def test_a_compiler_that_is_loaded_in_the_forward():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LATE], capture_output=True, text=True
    )
    expected = [str(2 * 5 * 36), "0", "True", "1", "SourceFileLoader", "False"]
    assert run.stdout.split() == expected, run.stderr
