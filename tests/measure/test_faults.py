"""Whatever goes wrong while a model is profiled, and wherever, nothing of it is left behind."""

import gc
import random
import sys
import threading
import warnings
import weakref

import pytest
import torch
from oracles import counted, rows, watch
from snntorch import Leaky
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron
from test_side_effects import picture
from torch import nn
from torch.nn.modules import module as nn_module
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

import analyzer
from analyzer.errors import AnalyzerError

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning")


class Functional(nn.Module):
    """Products, views and writes without a module of their own, and state in plain attributes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.register_buffer("mean", torch.zeros(8))
        self.steps = []

    def forward(self, x):
        self.mean.lerp_(x.detach().mean(0), 0.5)
        self.weight.data.mul_(0.5)
        self.steps.append(x.detach())
        y = (x @ self.weight).relu_().clone()
        y[:, 0] = 1
        q = y.view(len(x), 1, 2, 4)
        return nn.functional.scaled_dot_product_attention(q, q, q).flatten(1)


def models():
    """Builders of small models that read ``[B, 8]``; several keep state from call to call."""
    return {
        "spikingjelly": lambda: nn.Sequential(
            nn.Linear(8, 8), neuron.LIFNode(), sj_layer.Dropout(0.5), nn.Linear(8, 4),
            neuron.IFNode(),
        ),
        "snntorch": lambda: nn.Sequential(
            nn.Linear(8, 8), Leaky(beta=0.9, init_hidden=True), nn.Linear(8, 4)
        ),
        "normalised": lambda: nn.Sequential(
            nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(),
            nn.Dropout(0.3), nn.Flatten(), nn.Linear(16, 4),
        ),
        "attention": lambda: nn.Sequential(
            nn.Unflatten(1, (2, 4)), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        ),
        "functional": Functional,
    }  # fmt: skip


def built(name, seed, training=False):
    """A model in a state that is worth keeping: gradients, neuron state, mixed training flags."""
    torch.manual_seed(seed)
    model = models()[name]().train(training)
    model(torch.rand(3, 8)).sum().backward()
    leaf = [*model.modules()][-1]
    leaf.train(not training)
    with torch.no_grad():
        for module in model.modules():  # neuron state without a graph behind it
            for key, value in vars(module).items():
                if isinstance(value, torch.Tensor):
                    setattr(module, key, value.detach())
    return model


def data(seed, batches=3):
    g = torch.Generator().manual_seed(seed)
    return [(torch.rand(3, 8, generator=g) < 0.4).float() for _ in range(batches)]


def surroundings():
    """What the process and this thread hold besides a model."""
    hooks = {
        key: list(value.items())
        for key, value in vars(nn_module).items()
        if key.startswith("_global_") and isinstance(value, dict)
    }
    return {
        "hooks": hooks,
        "dispatch modes": [*map(id, _get_current_dispatch_mode_stack())],
        "function modes": [*map(id, _get_current_function_mode_stack())],
        "included keys": str(torch._C._dispatch_tls_local_include_set()),
        "excluded keys": str(torch._C._dispatch_tls_local_exclude_set()),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "denormals": float(torch.tensor(1e-310, dtype=torch.float64) * 1),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "warnings": [*warnings.filters],
        "collector": gc.isenabled(),
        "traces": (sys.gettrace(), sys.getprofile(), threading.active_count()),
        "forward": nn.Module.__call__,
        "patched": [torch.mm, torch.matmul, nn.functional.linear, nn.functional.conv2d],
    }


def memory(model):
    """Where the tensors of a model lie."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    grads = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    return [
        (name, id(x), x.data_ptr(), x.untyped_storage()._cdata, tuple(x.stride()), x.requires_grad)
        for name, x in (*tensors, *grads)
    ]


def everything(model):
    return picture(model), memory(model), surroundings()


class Boom(BaseException):
    """An error that nobody expects."""


ERRORS = (
    RuntimeError, ValueError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit,
    MemoryError, AnalyzerError, torch.OutOfMemoryError, Boom,
)  # fmt: skip


class Fuse:
    """Raises when it is touched for the n-th time."""

    def __init__(self, error, after):
        self.error = error
        self.left = after
        self.blown = False

    def touch(self, *_, **__):
        self.left -= 1
        if self.left == 0:
            self.blown = True
            raise self.error("blown")


class FusedDispatch(TorchDispatchMode):
    """A user's mode in which an operation fails."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.fuse.touch()
        return func(*args, **(kwargs or {}))


class FusedFunction(TorchFunctionMode):
    """The same one level above."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.fuse.touch()
        return func(*args, **(kwargs or {}))


class FusedForward(nn.Module):
    """Runs a model with a user's mode in its forward."""

    def __init__(self, inner, mode):
        super().__init__()
        self.inner = inner
        self.mode = mode

    def forward(self, x):
        with self.mode():
            return self.inner(x)


PLACES = (
    "operation around", "operation inside", "function around", "function inside", "pre-hook",
    "hook", "hook always", "reset", "iterator", "attribute",
)  # fmt: skip


def profile_with_fuse(place, fuse, model, batches, chance):
    """Profiles a model in which something at a place may blow the fuse."""
    modules = [*model.modules()]
    if place == "operation around":
        with FusedDispatch(fuse):
            analyzer.profile(model, batches)
    elif place == "function around":
        with FusedFunction(fuse):
            analyzer.profile(model, batches)
    elif place == "operation inside":
        analyzer.profile(FusedForward(model, lambda: FusedDispatch(fuse)), batches)
    elif place == "function inside":
        analyzer.profile(FusedForward(model, lambda: FusedFunction(fuse)), batches)
    elif place == "reset":

        def reset(model):
            fuse.touch()
            torch.rand(1)

        analyzer.profile(model, batches, reset=reset)
    elif place == "iterator":

        class Batches:
            def __iter__(self):
                return self

            def __init__(self):
                self.batches = iter(batches)

            def __next__(self):
                batch = next(self.batches)
                fuse.touch()
                return batch

        analyzer.profile(model, Batches())
    elif place == "attribute":  # an argument whose use fails

        class Touchy(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                fuse.touch()
                return super().__torch_function__(func, types, args, kwargs)

        analyzer.profile(model, [b.as_subclass(Touchy) for b in batches])
    else:
        module = chance.choice(modules)
        if place == "pre-hook":
            handle = module.register_forward_pre_hook(fuse.touch)
        else:
            always = place == "hook always"
            handle = module.register_forward_hook(fuse.touch, always_call=always)
        try:
            analyzer.profile(model, batches)
        finally:
            handle.remove()


FAULTS = 100


@pytest.mark.parametrize("number", range(FAULTS))
def test_nothing_is_left_of_a_fault(number):
    """One random error at one random moment of one random model."""
    chance = random.Random(number)
    place = PLACES[number % len(PLACES)]
    error = ERRORS[number // len(PLACES)]
    name = chance.choice([*models()])
    training = chance.random() < 0.5
    model = built(name, number, training)
    batches = data(number)
    few = place not in ("operation around", "operation inside", "function around",
                        "function inside", "attribute")  # fmt: skip
    first = analyzer.profile(model, [b.clone() for b in batches])
    before = everything(model)
    fuse = Fuse(error, chance.randint(1, 3 if few else 60))
    blown = None
    try:
        profile_with_fuse(place, fuse, model, [b.clone() for b in batches], chance)
    except BaseException as raised:
        blown = type(raised)
    if fuse.blown and (place, error) != ("iterator", StopIteration):  # that one ends the data
        assert blown in (error, RuntimeError) if error is StopIteration else blown is error
    else:
        assert blown is None
    assert everything(model) == before
    assert analyzer.profile(model, [b.clone() for b in batches]) == first
    assert everything(model) == before
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


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


def test_a_fault_of_the_second_batch_alone():
    """Later batches may be watched less closely than the first, yet what they write is put back."""

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
                analyzer.profile(model, batches)
        else:
            analyzer.profile(model, batches)
        assert everything(model) == before


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


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def test_a_profile_inside_the_forward_of_a_profiled_model():
    """Either both profiles are right, or the inner one is refused in a clear sentence."""
    found = []

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small()

        def forward(self, x):
            found.append(analyzer.profile(self.inner, x))
            return self.inner(x)

    model, (x, *_) = Outer().eval(), data(1)
    alone = analyzer.profile(model.inner, x)
    before = everything(model)
    try:
        outer = analyzer.profile(model, x)
    except AnalyzerError as error:
        refusal = str(error)
    else:
        refusal = "profil"
        assert found[0] == alone
        assert set(outer.operations()["module"]) == {"inner.0", "inner.2"}
        for key in ("dense_macs", "events", "unary_events"):
            assert outer.totals[key] in (alone.totals[key], 2 * alone.totals[key])
    assert "profil" in refusal
    assert everything(model) == before
    assert analyzer.profile(model.inner, x) == alone


def at_once(*jobs):
    """Runs functions in threads that start together; returns what they returned or raised."""
    results = [None] * len(jobs)
    barrier = threading.Barrier(len(jobs))

    def run(i):
        barrier.wait()
        try:
            results[i] = jobs[i]()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return results


def test_two_threads_profile_two_models():
    one, other = small(), built("attention", 3).eval()
    batches = data(2, 20)
    alone = analyzer.profile(one, batches), analyzer.profile(other, batches)
    before = everything(one), everything(other)
    both = at_once(lambda: analyzer.profile(one, batches), lambda: analyzer.profile(other, batches))
    assert both == [*alone]
    assert (everything(one), everything(other)) == before


def test_two_threads_profile_one_model():
    """Right, or refused; never wrong."""
    model, batches = small(), data(3, 20)
    alone = analyzer.profile(model, batches)
    before = everything(model)
    for result in at_once(*[lambda: analyzer.profile(model, batches)] * 3):
        assert result == alone or isinstance(result, AnalyzerError), result
    assert everything(model) == before
    assert analyzer.profile(model, batches) == alone


def test_another_thread_uses_the_model_meanwhile():
    """Global hooks see the modules of all threads; only those of the profile's own may count."""
    model, batches = small(), data(4, 20)
    alone = analyzer.profile(model, batches)
    before = everything(model)

    def use():
        for _ in range(200):
            with torch.no_grad():
                model(batches[0])

    result, failed = at_once(lambda: analyzer.profile(model, batches), use)
    assert failed is None
    assert result == alone
    assert everything(model) == before


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
    model, batches = small(), data(5)
    expected = rows(*(watch(model, x) for x in batches))
    around, inside = mode(), mode()
    with around:
        before = surroundings()
        assert counted(analyzer.profile(model, batches)) == expected
        assert surroundings() == before
    profile = analyzer.profile(FusedForward(model, lambda: inside), batches)
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
    model, batches = small(), data(6)
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
    model, (x, *_) = small(), data(7)
    handle = model[1].register_forward_hook(lambda m, a, o: (o > 0).float())
    profile = analyzer.profile(model, x)
    handle.remove()
    assert list(profile.operations()["input_class"]) == ["binary", "binary"]
