"""``analyzer.neuron``: neurons that a user teaches."""

import doctest

import pytest
import sinabs.layers
import torch
from neuron_runs import Case, at_once, batch_first, by_steps, simulate, stack, transposed, whole
from spikingjelly.activation_based import neuron as spikingjelly
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure.neurons import taught
from analyzer.measure.neurons.registry import LIBRARIES, dynamics, kind_of
from analyzer.measure.neurons.scalar import select
from analyzer.measure.neurons.state import is_spiking, reset_state
from analyzer.measure.rules.work import Work


@pytest.fixture(autouse=True)
def _nothing_stays():
    with analyzer.neuron.temporarily():
        yield


class Adaptive(nn.Module):
    """Its threshold rises with each spike and falls back; one call is one timestep."""

    def __init__(self, tau=2.0):
        super().__init__()
        self.tau = nn.Parameter(torch.tensor(tau))
        self.register_buffer("floor", torch.tensor(-0.5))
        self.rest()

    def rest(self):
        self.v, self.raised = 0.0, 0.0

    def forward(self, x):
        v = self.v + (x - self.v) / self.tau
        v = v.clamp(min=float(self.floor))
        spike = (v >= 1 + self.raised).to(x)
        self.raised = 0.5 * self.raised + spike
        self.v = torch.where(spike > 0, torch.full_like(v, 0.25), v)
        return spike


def adaptive(module, x, v, raised):
    v = v + (x - v) / module.tau
    v = select(v < module.floor, module.floor, v)
    spike = v >= 1 + raised
    return spike, select(spike, 0.25, v), 0.5 * raised + spike


class Timed(nn.Module):
    """The same over all timesteps, which are an axis of its input; starts at rest."""

    def __init__(self, axis):
        super().__init__()
        self.cell, self.axis = Adaptive(), axis

    def forward(self, x):
        self.cell.rest()
        return torch.stack([self.cell(step) for step in x.unbind(self.axis)], self.axis)


def timed(module, x, v, raised):
    return adaptive(module.cell, x, v, raised)


@pytest.mark.parametrize(
    ("cls", "make", "equation", "more", "calls", "join"),
    [
        (Adaptive, Adaptive, adaptive, {"state": 2, "reset": "rest"}, by_steps, stack),
        (
            Adaptive,
            Adaptive,
            adaptive,
            {"state": ["v", "raised"], "reset": lambda module: module.rest()},
            by_steps,
            stack,
        ),
        (Timed, lambda: Timed(0), timed, {"state": 2, "time": 0}, at_once, whole),
        (Timed, lambda: Timed(1), timed, {"state": 2, "time": 1}, batch_first, transposed),
    ],
    ids=["step", "names", "time first", "time second"],
)
def test_a_taught_neuron_counts_as_one_of_a_library(cls, make, equation, more, calls, join):
    analyzer.neuron(cls, equation, **more)
    module = make().double()
    case = Case("taught", make, calls, join, (0.0, 0.0))
    torch.manual_seed(1)
    x = 5 * torch.rand(8, 6, dtype=torch.float64) - 1
    with torch.no_grad():
        found = case.run(module, x)
        expected, works = simulate(case, module, x)
        reset_state(module)
        ran = case.calls(module, x)
    assert torch.equal(found, expected)
    assert len(found.unique()) == 2
    known = dynamics(module)
    # v + (x - v) / tau; v < floor; 1 + b; v >= that; 0.5 b + s
    assert set(works) == {known.work} == {Work(adds=4, multiplies=2, compares=2)}
    assert known.kept == 2
    assert sum(known.steps(*call) for call in ran) == 8
    for args, output in ran:
        assert known.updates(args, output) == 6 * known.steps(args, output)
    assert torch.equal(found, join([output for _, output in ran]))


def test_a_profile_counts_and_resets_it():
    analyzer.neuron(Adaptive, adaptive, state=2, reset="rest")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), Adaptive()).eval()
    x = 4 * torch.rand(2, 3)
    once, twice = analyzer.profile(model, x), analyzer.profile(model, [x, x])
    (row,) = once.counts[once.counts["module"].eq("1")].to_dict("records")
    assert row["op"] == "Adaptive"
    assert [row[k] for k in ("adds", "multiplies", "compares", "specials")] == [40, 20, 20, 0]
    assert twice.counts.equals((once + once).counts)
    assert once.memory["neuron_state_bytes"] == 2 * 5 * 4
    assert is_spiking(model[1])


def test_without_a_reset_the_module_keeps_what_it_has():
    analyzer.neuron(Adaptive, adaptive, state=2)
    module = Adaptive()
    module.v = 3.0
    reset_state(module)
    assert module.v == 3.0
    assert is_spiking(module)


class Louder(Adaptive):
    def forward(self, x):
        return 2 * super().forward(x)


class Named(Adaptive):
    def __init__(self):
        super().__init__(tau=3.0)


class Resting(Adaptive):
    def rest(self):
        self.v, self.raised = 0.125, 0.0


def test_a_subclass_that_redefines_a_method_computes_something_else():
    analyzer.neuron(Adaptive, adaptive, state=2, reset="rest")
    assert dynamics(Louder()) is None
    assert dynamics(Named()).neuron == dynamics(Resting()).neuron == "Adaptive"
    # It is reset all the same.
    module = Louder()
    module.v = 1.0
    reset_state(module)
    assert module.v == 0.0


def test_what_is_taught_goes_before_what_a_library_says():
    def free(module, x, v):
        return v >= 1, v

    module = spikingjelly.LIFNode()
    analyzer.neuron(spikingjelly.LIFNode, free)
    assert dynamics(module).work == Work(compares=1)
    analyzer.neuron.remove(spikingjelly.LIFNode)
    assert dynamics(module).work == Work(adds=2, multiplies=1, compares=1)


def test_a_path_is_as_good_as_the_class():
    path = f"{Adaptive.__module__}.Adaptive"
    analyzer.neuron(path, adaptive, state=2)
    assert dynamics(Adaptive()).neuron == "Adaptive"
    with pytest.raises(AnalyzerError, match="Adaptive was taught before"):
        analyzer.neuron(Adaptive, adaptive, state=2)
    analyzer.neuron.remove(Adaptive)
    assert dynamics(Adaptive()) is None


def test_a_class_may_be_imported_after_it_was_taught():
    analyzer.neuron("later.home.Late", adaptive, state=2)
    late = type("Late", (Adaptive,), {"__module__": "later.home"})
    assert dynamics(late()).neuron == "Late"
    analyzer.neuron(late, lambda module, x: (x >= 1,), state=0, replace=True)
    assert dynamics(late()).work == Work(compares=1)
    analyzer.neuron.remove("later.home.Late")
    assert dynamics(late()) is None


def test_replace_and_temporarily():
    analyzer.neuron(Adaptive, adaptive, state=2)
    with pytest.raises(AnalyzerError, match="replace=True"):
        analyzer.neuron(Adaptive, adaptive, state=2)
    with analyzer.neuron.temporarily() as registry:
        registry(Adaptive, lambda module, x: (x >= 1,), state=0, replace=True)
        assert dynamics(Adaptive()).work == Work(compares=1)
    assert dynamics(Adaptive()).kept == 2
    analyzer.neuron.remove(Adaptive)
    assert kind_of(Adaptive()) is None
    with pytest.raises(AnalyzerError, match="was not taught"):
        analyzer.neuron.remove(Adaptive)


@pytest.mark.parametrize(
    ("cls", "equation", "more", "message"),
    [
        (int, adaptive, {}, "int is not a class of torch.nn.Module"),
        (Adaptive(), adaptive, {}, "is not a class of torch.nn.Module"),
        ("Adaptive", adaptive, {}, "'Adaptive' is no path of a class"),
        ("torch.nn.Adaptive", adaptive, {}, "torch.nn has no class 'Adaptive'"),
        ("math.pi", adaptive, {}, "is not a class of torch.nn.Module"),
        (Adaptive, adaptive, {}, r"takes \(module, x, v, raised\), .* 3 arguments"),
        (Adaptive, adaptive, {"state": 3}, "called with 5 arguments"),
        (Adaptive, adaptive, {"state": "v"}, r"called with 3 arguments.*state=1"),
        (Adaptive, Work(), {}, "the equation of Adaptive is Work: give a function"),
        (Adaptive, adaptive, {"state": -1}, "neither a number of variables nor names"),
        (Adaptive, adaptive, {"state": True}, "neither a number of variables nor names"),
        (Adaptive, adaptive, {"state": 2, "time": "T"}, "time='T' of Adaptive is no axis"),
        (Adaptive, adaptive, {"state": 2, "reset": "settle"}, "no method 'settle'"),
        (Adaptive, adaptive, {"state": 2, "reset": 3}, "neither a method's name nor a function"),
    ],
)
def test_errors_say_what_is_wrong(cls, equation, more, message):
    with pytest.raises(AnalyzerError, match=message):
        analyzer.neuron(cls, equation, **more)
    assert kind_of(Adaptive()) is None


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        (lambda module, x, v: (v, v, v), r"returned \(Scalar, Scalar, Scalar\).* 2 numbers"),
        (lambda module, x, v: v, r"returned \(Scalar\)"),
        (lambda module, x, v: (None, v), r"returned \(NoneType, Scalar\)"),
        (lambda module, x, v: (v / module.missing, v), "failed: .*'missing'"),
        (lambda module, x, v: (x if v else v, v), "failed: .*select"),
        (lambda module, x, v: (torch.exp(x), v), "the equation of Adaptive failed"),
    ],
)
def test_an_equation_that_fails_names_its_class(equation, message):
    analyzer.neuron(Adaptive, equation)
    with pytest.raises(AnalyzerError, match=message):
        dynamics(Adaptive())


def test_tensors_of_the_module_read_as_numbers():
    """What is learned costs the same whatever it is just now; what differs by channel as any."""
    module = Adaptive(tau=1.0)
    analyzer.neuron(Adaptive, lambda m, x: (x / m.tau >= 1,), state=0)
    assert dynamics(module).work == Work(multiplies=1, compares=1)
    analyzer.neuron(Adaptive, lambda m, x: (x * m.floor >= 1,), state=0, replace=True)
    module.floor = torch.tensor(1.0)
    assert dynamics(module).work == Work(compares=1)
    module.floor = torch.tensor([1.0, 2.0])
    assert dynamics(module).work == Work(multiplies=1, compares=1)


def test_the_example_of_the_docstring_runs():
    (example,) = (
        test
        for test in doctest.DocTestFinder().find(taught.NeuronRegistry, "NeuronRegistry")
        if test.examples
    )
    assert doctest.DocTestRunner().run(example).failed == 0
    assert len(example.examples) == 8


def test_a_library_is_one_value():
    """What SpikingJelly declares in its file could be that of any other library."""
    assert all(name == library.name for name, library in LIBRARIES.items())
    library = LIBRARIES["spikingjelly"]
    one = library.neuron("activation_based.neuron.lif.LIFNode")
    assert one is library.neuron("clock_driven.neuron.LIFNode") is not None
    assert library.neuron("clock_driven.layer.LIFNode") is None
    assert LIBRARIES["sinabs"].reset(sinabs.layers.IAF()) is not None
    assert LIBRARIES["analyzer"].reset(nn.Linear(1, 1)) is None
