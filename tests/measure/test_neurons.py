"""Neuron dynamics: the equation whose operations are counted is the one that the library runs."""

import pytest
import sinabs.layers
import snntorch
import torch
from neuron_cases import CASES, every_case, norse
from neuron_runs import simulate
from spikingjelly.activation_based import neuron, surrogate
from spikingjelly.activation_based.neuron import FewSpikeTable
from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.measure.neurons.registry import LIBRARIES, dynamics, kind_of
from analyzer.measure.neurons.scalar import Learned, Scalar, Tally, absolute, select, sigmoid
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.rules.work import Work
from analyzer.models.expg_if import ExpGIF, GroupedCoding
from analyzer.models.neurons import IF, LIF


def currents(case, steps=8, neurons=6):
    torch.manual_seed(1)
    return case.scale * (2 * torch.rand(steps, neurons, dtype=case.dtype) - 0.5)


@every_case
def test_equation_gives_the_outputs_of_the_library(case):
    module = case.make()
    x = currents(case)
    with torch.no_grad():
        found = case.run(module, x.clone())
        expected, works = simulate(case, module, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, check_dtype=False)
    assert len(found.unique()) > 1
    assert set(works) == {dynamics(module).work}


@every_case
def test_updates_are_neurons_times_batch_times_timesteps(case):
    module = case.make()
    count = dynamics(module).updates
    x = currents(case)
    with torch.no_grad():
        assert sum(count(args, output) for args, output in case.calls(module, x)) == x.numel()


@every_case
def test_steps_tell_how_many_neurons_keep_state(case):
    module = case.make()
    found, x = dynamics(module), currents(case)
    with torch.no_grad():
        calls = case.calls(module, x)
    for args, output in calls:
        assert found.updates(args, output) == x.shape[1] * found.steps(args, output)
    assert sum(found.steps(args, output) for args, output in calls) == len(x)


@every_case
def test_reset_makes_a_module_like_a_fresh_one(case):
    module, x = case.make(), currents(case)
    with torch.no_grad():
        fresh = case.run(module, x.clone())
        reset_state(module)
        again = case.run(module, x.clone())
    assert torch.equal(fresh, again)


@every_case
def test_cost_needs_no_values(case):
    """A constant without values may be any."""
    known, unknown = dynamics(case.make()).work, dynamics(case.make().to("meta")).work
    assert all(getattr(unknown, k) >= getattr(known, k) for k in ("adds", "multiplies"))
    assert (unknown.compares, unknown.specials) == (known.compares, known.specials)


def coded(module, x):
    """The outputs of the registry's equation for values that are coded one by one: [..., N]."""
    _, kind = kind_of(module)
    tallies = [Tally() for _ in x]
    outputs = [
        kind.update(module, Scalar(float(value), tally))
        for value, tally in zip(x, tallies, strict=True)
    ]
    assert {tally.work() for tally in tallies} == {dynamics(module).work}
    # What is 0 for every value is a constant.
    values = [[getattr(y, "value", y) for y in output] for output in outputs]
    return torch.tensor(values, dtype=x.dtype).T.squeeze(0)


TABLE = FewSpikeTable([0.8, 0.4, 0.3], [0.7, 0.45, 0.2], [0.9, 0.5, 0.25])
LARGE = FewSpikeTable([3.0, 1.6, 0.9], [2.5, 1.3, 0.8], [2.6, 1.4, 0.75])


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize(
    "make",
    [
        lambda **mode: neuron.FewSpikeNode(TABLE, **mode),
        lambda **mode: neuron.OutlierAwareThresholdNode(TABLE, LARGE, 1.1, 3.5, **mode),
        lambda **mode: neuron.HGNode([TABLE, LARGE, TABLE], [0.5, 1.5], **mode),
    ],
    ids=["FewSpike", "OutlierAware", "HG"],
)
def test_few_spikes_code_a_value_as_the_library_does(make, mode):
    module = make(step_mode=mode).double()
    torch.manual_seed(0)
    x = 6 * torch.rand(3, 40, dtype=torch.float64) - 2
    args = (x / 3,) if mode == "m" else (x[0],)
    value = args[0].sum(0) if mode == "m" else args[0]
    found = module(*args)
    torch.testing.assert_close(found, coded(module, value))
    assert dynamics(module).updates(args, found) == 40


@pytest.mark.parametrize("form", ["inference", "training"])
@pytest.mark.parametrize("spikes", [None, 1])
def test_expg_if_codes_as_its_module_does(form, spikes):
    module = ExpGIF(GroupedCoding(2, 3, spikes), theta=1.7, form=form).double()
    x = torch.linspace(-0.5, 2.5, 50, dtype=torch.float64)
    with torch.no_grad():
        found = module(x)
        assert torch.equal(found, coded(module, x))
    assert dynamics(module).updates((x,), found) == 50
    assert dynamics(module).work.multiplies == 1


PARALLEL = {
    "PSN": (lambda: neuron.PSN(8), lambda m, x: m.weight @ x + m.bias),
    "MaskedPSN": (
        lambda: neuron.MaskedPSN(3, 8, 0.5, step_mode="m"),
        lambda m, x: m.masked_weight() @ x + m.bias,
    ),
    "SlidingPSN": (
        lambda: neuron.SlidingPSN(3, step_mode="m"),
        lambda m, x: m.gen_gemm_weight(8) @ x + m.bias,
    ),
    "StateLeaky": (lambda: snntorch.StateLeaky(0.8, 6), lambda m, x: m(x[:, None])[1][:, 0]),
    "LinearLeaky": (lambda: snntorch.LinearLeaky(0.8, 6, 6), lambda m, x: m(x[:, None])[1][:, 0]),
}


@pytest.mark.parametrize(("make", "hidden"), PARALLEL.values(), ids=PARALLEL)
def test_neurons_in_parallel_over_time_only_compare(make, hidden):
    """Their leak is a contraction over time, which counts like every other."""
    torch.manual_seed(0)
    module, x = make(), 4 * torch.rand(8, 6)
    with torch.no_grad():
        found = module(x[:, None])
        spikes = (found[0] if isinstance(found, tuple) else found).flatten(1)
        expected = coded(module, hidden(module, x).flatten()).unflatten(0, (8, 6))
    assert torch.equal(spikes, expected)
    assert len(spikes.unique()) == 2
    assert dynamics(module).work == Work(compares=1)
    assert dynamics(module).updates((x[:, None],), found) == 48


def test_every_neuron_of_the_registry_has_a_case():
    covered = {dynamics(case.make()).neuron for case in CASES}
    by_test_above = {
        "ExpGIF", "PSN", "FewSpikeNode", "OutlierAwareThresholdNode", "HGNode", "StateLeaky",
        "LinearLeaky",
    }  # fmt: skip
    # Of older versions: see test_older_libraries.py.
    by_test_above |= {f"MultiStep{name}Node" for name in ("IF", "LIF", "ParametricLIF", "EIF")}
    libraries = LIBRARIES.keys() - (set() if norse else {"norse"})
    known = {path.rpartition(".")[2] for name in libraries for path in LIBRARIES[name].neurons}
    assert known == covered | by_test_above


def test_every_spiking_neuron_that_spikingjelly_exports_is_known():
    exported = {
        name
        for name, kind in vars(neuron).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module)
    }
    known = {path.rpartition(".")[2] for path in LIBRARIES["spikingjelly"].neurons}
    abstract = {name for name in exported if "Base" in name}
    assert exported - known - abstract == {"FlexSN"}


# By hand, from the textbook: leak, integrate, compare, reset.
@pytest.mark.parametrize(
    ("module", "work"),
    [
        # v + x; v >= 1; v = 0
        (neuron.IFNode(), Work(adds=1, compares=1)),
        # v + x; v >= 1; v - s
        (neuron.IFNode(v_reset=None), Work(adds=2, compares=1)),
        # v + (x - v) / tau; v >= 1; v = 0
        (neuron.LIFNode(tau=2.0), Work(adds=2, multiplies=1, compares=1)),
        (neuron.LIFNode(tau=2.0, step_mode="m"), Work(adds=2, multiplies=1, compares=1)),
        (neuron.ParametricLIFNode(), Work(adds=2, multiplies=1, compares=1)),
        (LIF(), Work(adds=2, multiplies=1, compares=1)),
        (IF(), Work(adds=1, compares=1)),
        # v - v / tau + x; v >= 1; v - s
        (neuron.LIFNode(v_reset=None, decay_input=False), Work(adds=3, multiplies=1, compares=1)),
        # v + (x + (v - rest)(v - 0.8)) / tau, whose rest is 0; v >= 1; v = -0.1
        (neuron.QIFNode(), Work(adds=3, multiplies=2, compares=1)),
        # v + (x - v + e^(v - 0.8)) / tau
        (neuron.EIFNode(), Work(adds=4, multiplies=1, compares=1, specials=1)),
        # 0.9 v + x - r; v > 1
        (snntorch.Leaky(0.9), Work(adds=2, multiplies=1, compares=1)),
        (snntorch.Leaky(0.9, reset_mechanism="zero"), Work(adds=1, multiplies=1, compares=1)),
        # 0.8 i + x; 0.9 v + i - r; v > 1
        (snntorch.Synaptic(0.8, 0.9), Work(adds=3, multiplies=2, compares=1)),
        # 0.9 v + x + lateral - r; v > 1
        (snntorch.RLeaky(0.9, linear_features=4), Work(adds=3, multiplies=1, compares=1)),
        # v + x; n = [v > 0] trunc(v); v - n
        (sinabs.layers.IAF(), Work(adds=2, compares=2)),
        # a v + (1 - a) x; n = [v > 0] trunc(v / 0.5); v - 0.5 n
        (
            sinabs.layers.LIF(20.0, spike_threshold=torch.tensor(0.5)),
            Work(adds=2, multiplies=4, compares=2),
        ),
        # Scaling and rounding once; 4 steps of one comparison and one subtraction
        (ExpGIF(GroupedCoding(2, 2)), Work(adds=5, multiplies=1, compares=4)),
        # and for the second of a group a check of the spikes so far, counted up to then
        (ExpGIF(GroupedCoding(2, 2, 1)), Work(adds=7, multiplies=1, compares=8)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_cost_of_an_update_by_hand(module, work):
    assert dynamics(module).work == work


def test_settings_that_differ_between_channels_cost_as_any_value():
    beta = torch.tensor([0.9, 1.0, 0.0])
    assert dynamics(snntorch.Leaky(beta)).work == dynamics(snntorch.Leaky(0.9)).work
    assert dynamics(snntorch.Leaky(1.0)).work.multiplies == 0
    thresholds = torch.tensor([0.5, 2.0])
    several = sinabs.layers.IAF(spike_threshold=thresholds)
    one = sinabs.layers.IAF(spike_threshold=thresholds[0])
    assert dynamics(several).work == dynamics(one).work
    # What is learned may be 1 just now.
    assert dynamics(snntorch.Leaky(1.0, learn_beta=True)).work.multiplies == 1


class Louder(neuron.LIFNode):
    """Computes something else than its parent."""

    def single_step_functional_forward(self, inputs, states, **kwargs):
        (spike,), states = super().single_step_functional_forward(inputs, states, **kwargs)
        return (spike * 2,), states


class Named(neuron.LIFNode):
    """Only built in another way."""

    def __init__(self):
        super().__init__(tau=3.0)

    def extra_repr(self):
        return "named"


@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.LSTM(2, 2),
        Louder(),
        neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False)),
        neuron.IFNode(surrogate_function=surrogate.MultiLevelSpikeCount(4)),
        neuron.LIAFNode(torch.sin, False),
        neuron.NonSpikingIFNode("mean-mem"),
        neuron.OTTTLIFNode().train(),
        snntorch.Leaky(0.9, state_quant=torch.round),
        snntorch.SConv2dLSTM(1, 1, 3, max_pool=2),
        sinabs.layers.IAF(spike_threshold=torch.tensor(0.0)),
        sinabs.layers.IAF(spike_fn=lambda v, threshold, grad: v),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_no_known_neuron_is_not_guessed(module):
    assert dynamics(module) is None


def test_a_subclass_is_known_where_it_computes_the_same():
    found = dynamics(Named())
    assert found.neuron == "LIFNode"
    assert found.work == dynamics(neuron.LIFNode(tau=3.0)).work


def test_children_that_count_on_their_own_are_named():
    rec = sinabs.layers.LIFRecurrent(5.0, rec_connect=nn.Linear(4, 4))
    assert [name for name, _ in rec.named_children()] == list(dynamics(rec).apart)
    assert dynamics(neuron.ILCIFNode(4, 1)).apart == ("conn",)
    assert dynamics(neuron.LIFNode()).apart == ()


def test_numbers_count_by_their_rules():
    tally = Tally()
    x, y = Scalar(3.0, tally), Scalar(4.0, tally)
    spike = x > y
    assert tally == Tally(compares=1)
    free = [x + 0, 0 + x, x - 0, 0 - x, -x, x * 1, 1 * x, x * -1, x * 0, spike * y, y * spike]
    free += [1 - spike, 2.5 * spike, x / 1, select(spike, x, y), absolute(x)]
    assert tally == Tally(compares=1)
    assert [getattr(v, "value", v) for v in free] == [
        3, 3, 3, -3, -3, 3, 3, -3, 0, 0, 0, 1, 0, 3, 4, 3,
    ]  # fmt: skip
    assert (abs(-x).value, tally) == (3, Tally(compares=1))
    costly = [x + y, x - 2, 2 - x, x * y, 2 * x, x / 2, Learned(1.0) * x, x / y, 1 / x, sigmoid(x)]
    assert tally == Tally(adds=4, multiplies=4, compares=1, specials=4)
    assert [v.value for v in costly[:9]] == [7, 1, -1, 12, 6, 1.5, 3, 0.75, 1 / 3]
    assert ((x**3).value, tally.multiplies) == (27, 6)


def test_numbers_of_the_input_decide_no_branch():
    with pytest.raises(AnalyzerError, match=r"choose with .*scalar\.select"):
        bool(Scalar(1.0, Tally()) > 0)
    with pytest.raises(TypeError):
        Scalar(2.0, Tally()) ** 0.5
