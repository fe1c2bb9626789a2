"""Older SpikingJelly and snnTorch, and copies of SpikingJelly in the code of papers."""

import copy
import json
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import older_spikingjelly
import pytest
import snntorch
import torch
from older_runs import SPIKINGJELLY, build, of_network, of_snntorch, of_spikingjelly
from older_runs import Single as Network
from spikingjelly.activation_based import neuron
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.measure.neurons import registry
from analyzer.measure.neurons.registry import dynamics, kind_of
from analyzer.measure.neurons.state import is_spiking, reset_state
from analyzer.measure.rules.work import Work

HERE = Path(__file__).parent
LABELS = {f"{label} {mode}" for label in SPIKINGJELLY for mode in "sm"}


@pytest.fixture(scope="module")
def today():
    """What the installed SpikingJelly gives."""
    return of_spikingjelly(neuron)


def same_network(old, new):
    assert old["rows"] == new["rows"]
    assert old["totals"] == new["totals"]
    assert old["totals"]["events"] > 0
    assert old["state_bytes"] == new["state_bytes"] > 0
    assert [kind.removeprefix("MultiStep") for kind in old["kinds"]] == new["kinds"]


@pytest.mark.parametrize(
    "path",
    [
        "spikingjelly.clock_driven.neuron",
        "mypaper.spikingjelly.clock_driven.neuron",
        "module.neuron",
    ],
)
def test_clock_driven_counts_as_today_wherever_it_lies(path, today):
    old = of_spikingjelly(older_spikingjelly.load(path))
    assert set(old["works"]) == LABELS - {"QIF m"}
    assert old["works"] == {label: today["works"][label] for label in old["works"]}
    same_network(old["single"], today["single"])
    same_network(old["several"], today["several"])


INSTALLED = {
    "0.0.0.0.14": ("clock_driven", "activation_based"),
    "0.0.0.0.12": ("clock_driven",),
    "0.0.0.0.10": ("clock_driven",),
    "0.0.0.0.8": ("clock_driven",),
}


def install(requirement, folder):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*pip, requirement], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"pip can't get {requirement}: {done.stderr.strip()[-200:]}")


def measured(folder, *package):
    """What another process finds with the version of a library in a folder."""
    done = subprocess.run(
        [sys.executable, HERE / "older_runs.py", str(folder), *package],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # old versions print on import


@pytest.mark.download
@pytest.mark.parametrize("version", INSTALLED)
def test_old_spikingjelly_counts_as_today(version, today, tmp_path):
    install(f"spikingjelly=={version}", tmp_path / "paper")
    for package in INSTALLED[version]:
        old = measured(tmp_path / "paper", "spikingjelly", f"{package}.neuron")
        absent = set() if package == "activation_based" else {"QIF m"}
        if version == "0.0.0.0.8":
            absent |= {label for label in LABELS if "undecayed" in label}
        assert set(old["works"]) == LABELS - absent
        assert old["works"] == {label: today["works"][label] for label in old["works"]}
        same_network(old["single"], today["single"])
        same_network(old["several"], today["several"])
        # The same files in the code of a paper.
        assert measured(tmp_path, "paper.spikingjelly", f"{package}.neuron") == old


@pytest.mark.download
@pytest.mark.parametrize("version", ["0.5.3", "0.6.4", "0.7.0", "0.9.1"])
def test_old_snntorch_counts_as_today(version, tmp_path):
    install(f"snntorch=={version}", tmp_path)
    assert measured(tmp_path, "snntorch") == of_snntorch(snntorch)


def edited(**methods):
    """A paper's copy of SpikingJelly in which the LIF has other methods."""
    module = older_spikingjelly.load("paper.neuron")
    for name, method in methods.items():
        setattr(module.LIFNode, name, method)
    return module.LIFNode()


def without_reset(self, spike):
    """Keeps what it has."""


def other_charge(self, x):
    self.v = 0.75 * self.v + x


def slightly_other_charge(self, x):
    self.v = self.v + (x - self.v) * 0.499


@pytest.mark.parametrize(
    "methods",
    [
        {},
        {"neuronal_reset": without_reset},
        {"neuronal_charge": other_charge},
        {"neuronal_charge": slightly_other_charge},
        {"forward": lambda self, x: 1 / 0},
        {"forward": lambda self, x: x},
    ],
    ids=["same", "reset", "charge", "slightly", "broken", "nothing"],
)
def test_an_edited_copy_counts_by_its_operations(methods):
    module = edited(**methods)
    module(torch.rand(2, 3)) if "forward" not in methods else None
    before = dict(module._memories)
    found = dynamics(module)
    assert (found is None) == bool(methods)
    assert module._memories == before
    # Its state is reset either way.
    assert is_spiking(module)
    reset_state(module)
    assert module.v == 0.0


def test_a_copy_is_compared_in_double_precision_also_without_values():
    copies = older_spikingjelly.load("paper.neuron")
    for make in (copies.ParametricLIFNode, copies.MultiStepParametricLIFNode):
        assert dynamics(make(init_tau=3.0).half()) is not None
        assert dynamics(make(init_tau=3.0).to("meta")) is not None


def test_a_copy_that_runs_on_a_gpu_is_compared_without_its_kernels():
    module = older_spikingjelly.load("paper.neuron").MultiStepLIFNode()
    module.backend = "cupy"
    assert dynamics(module).work == Work(adds=2, multiplies=1, compares=1)
    assert module.backend == "cupy"


def test_a_class_of_the_same_name_alone_is_no_copy():
    class LIFNode(nn.Module):
        v_threshold, v_reset, tau = 1.0, 0.0, 2.0

    class BaseNode(nn.Module):
        neuronal_charge = neuronal_fire = neuronal_reset = lambda self: None

    class IFNode(BaseNode):
        pass

    assert kind_of(LIFNode()) is None
    assert not is_spiking(LIFNode())
    # This one looks like a copy, but can't be run as one.
    assert kind_of(IFNode()) is not None
    assert dynamics(IFNode()) is None


def test_a_setting_that_a_version_lacks_is_said_once_for_each_class():
    module = older_spikingjelly.load("spikingjelly.clock_driven.neuron")
    nodes = [module.LIFNode() for _ in range(3)]
    for node in nodes:
        del node.tau
    with pytest.warns(AnalyzerWarning, match=r"clock_driven.neuron.LIFNode .* 'tau'") as said:
        assert [dynamics(node) for node in nodes] == [None] * 3
    assert len(said) == 1


def test_without_the_setting_the_input_decays():
    """As in 0.0.0.0.8."""
    node = older_spikingjelly.load("spikingjelly.clock_driven.neuron").LIFNode()
    del node.decay_input
    assert dynamics(node).work == Work(adds=2, multiplies=1, compares=1)


def test_every_class_of_the_stand_in_is_known():
    module = older_spikingjelly.load("spikingjelly.clock_driven.neuron")
    names = {name for name in vars(module) if name.endswith("Node") and name != "BaseNode"}
    assert {dynamics(getattr(module, name)()).neuron for name in names} == names


def test_a_model_of_copies_is_profiled_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", AnalyzerWarning)
        of_network(Network(older_spikingjelly.load("paper.models.neuron")))


class OlderLeaky(nn.Module):
    """Reset as snnTorch did before 0.8: by its class, which lists its instances."""

    instances = ()

    def __init__(self):
        super().__init__()
        self.init_hidden = True
        self.mem = 0.0

    @classmethod
    def reset_hidden(cls):
        for module in cls.instances:
            module.mem = 0.0


OlderLeaky.__module__ = "snntorch._neurons.leaky"


def test_old_snntorch_resets_the_module_at_hand_alone():
    ours, other = OlderLeaky(), OlderLeaky()
    OlderLeaky.instances = (other,)
    ours.mem = other.mem = 1.0
    reset_state(nn.Sequential(ours))
    assert (ours.mem, other.mem) == (0.0, 1.0)
    ours.init_hidden = False
    ours.mem = 1.0
    reset_state(nn.Sequential(ours))
    assert ours.mem == 1.0


def test_snntorch_without_graded_spikes_has_spikes_of_one():
    module = snntorch.Leaky(0.9)
    del module.graded_spikes_factor
    assert dynamics(module).work == dynamics(snntorch.Leaky(0.9)).work


def test_norse_before_the_choice_of_a_reset():
    """LIFBoxCell of norse 1.0 has no ``reset_method`` among its parameters."""
    norse = pytest.importorskip("norse.torch")
    cell = norse.LIFBoxCell()
    expected = dynamics(cell).work
    assert "reset_method" in cell.p._fields
    cell.p = type(
        "Parameters", (), {n: v for n, v in cell.p._asdict().items() if "reset_" not in n}
    )
    cell.p.v_reset = torch.tensor(0.0)
    assert dynamics(cell).work == expected


def test_versions_installed_here_are_those_meant():
    assert metadata.version("spikingjelly").startswith("2.")
    assert build(neuron, "LIFNode", {}, several=True).step_mode == "m"
    assert analyzer.neuron is not None


def small_neurons():
    """One of each neuron that can be made without much, by its path."""
    found = [made for name in dir(neuron) if (made := _made(getattr(neuron, name))) is not None]
    found += [snntorch.Leaky(0.9), snntorch.Lapicque(0.9), snntorch.RLeaky(0.9, linear_features=3)]
    found += [make(alpha=0.9, beta=0.8) for make in (snntorch.Synaptic, snntorch.Alpha)]
    found += [snntorch.SLSTM(3, 4), snntorch.SConv2dLSTM(1, 2, 3)]
    sinabs = pytest.importorskip("sinabs.layers")
    found += [sinabs.IAF(), sinabs.LIF(20.0), sinabs.ALIF(20.0, 10.0), sinabs.ExpLeak(20.0)]
    norse = pytest.importorskip("norse.torch")
    names = ("LIF", "LIFCell", "LIFBoxCell", "IAFCell", "LIFRefracCell", "LSNNCell", "LICell")
    return found + [getattr(norse, name)() for name in names]


def _made(cls):
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        return None
    try:
        return cls()
    except Exception:
        return None


def lacking(module):
    """Copies of a neuron that lack one of its settings each, as an older version may."""
    own = vars(module).keys() | dict(module.named_parameters(recurse=False)).keys()
    own |= dict(module.named_buffers(recurse=False)).keys()
    for name in sorted(name for name in own if not name.startswith("_") and name != "training"):
        other = copy.deepcopy(module)
        delattr(other, name)
        yield name, other
    fields = getattr(getattr(module, "p", None), "_asdict", dict)()
    for name in fields:
        other = copy.deepcopy(module)
        other.p = SimpleNamespace(**{key: x for key, x in fields.items() if key != name})
        yield f"p.{name}", other


def test_a_neuron_that_lacks_any_attribute_counts_by_its_operations_and_says_so():
    tried = 0
    for module in small_neurons():
        known = dynamics(module)
        for name, other in lacking(module):
            tried += 1
            registry._warn.cache_clear()
            x = torch.rand(2, 3, 4)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = dynamics(other)
                if found is None:
                    assert known is None or said, (type(module), name)
                else:
                    assert found.updates((x,), x) > 0
                    assert found.steps((x,), x) > 0
                assert is_spiking(other) == is_spiking(module), (type(module), name)
    assert tried > 200


def test_a_neuron_that_can_not_be_reset_is_named():
    model = nn.Sequential(nn.Linear(3, 3), snntorch.Leaky(0.9, init_hidden=True)).eval()
    del model[1].mem
    with pytest.raises(AnalyzerError, match=r"module 1 can not be reset as its library .* reset="):
        analyzer.profile(model, torch.rand(2, 3))
