"""What is measured of a version of SpikingJelly or snnTorch, in this process or in another.

Run as a script with the folder where an old version lies, the name of the library and, for
SpikingJelly, of one of its packages: prints the findings as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import astuple
from typing import Any

import torch
from neuron_runs import Case, at_once, by_steps, simulate, stack, whole
from torch import Tensor, nn

import analyzer
from analyzer.measure.neurons.registry import dynamics
from analyzer.measure.neurons.state import reset_state

T = 4
SPIKINGJELLY = {
    "IF": ("IFNode", {}),
    "IF soft": ("IFNode", {"v_reset": None, "v_threshold": 0.5}),
    "IF to -0.25": ("IFNode", {"v_reset": -0.25, "detach_reset": True}),
    "LIF": ("LIFNode", {}),
    "LIF soft": ("LIFNode", {"v_reset": None, "tau": 1.5}),
    "LIF to -0.1": ("LIFNode", {"v_reset": -0.1, "tau": 3.0}),
    "LIF undecayed": ("LIFNode", {"decay_input": False}),
    "LIF undecayed to -0.1": ("LIFNode", {"decay_input": False, "v_reset": -0.1}),
    "PLIF": ("ParametricLIFNode", {"init_tau": 2.5}),
    "PLIF undecayed": ("ParametricLIFNode", {"v_reset": None, "decay_input": False}),
    "QIF": ("QIFNode", {"a0": 0.5}),
    "EIF": ("EIFNode", {}),
}
SNNTORCH = {
    "Leaky": ("Leaky", {"beta": 0.9}, 2),
    "Leaky unreset": ("Leaky", {"beta": 0.9, "reset_mechanism": "none"}, 2),
    "Lapicque": ("Lapicque", {"R": 2.0, "C": 3.0}, 2),
    "RLeaky": ("RLeaky", {"beta": 0.9, "V": 0.4, "all_to_all": False}, 3),
    "Alpha": ("Alpha", {"alpha": 0.9, "beta": 0.8}, 4),
}
"""By label: class, settings, and for snnTorch the state variables."""


def of_spikingjelly(neuron: Any) -> dict[str, Any]:
    """Dynamics of every neuron that this version can build, and counts of two networks."""
    works = {}
    for label, (name, settings) in SPIKINGJELLY.items():
        for several in (False, True):
            try:
                node = build(neuron, name, settings, several=several)
            except (AttributeError, TypeError):  # this version lacks the setting or the class
                continue
            calls, join = (at_once, whole) if several else (by_steps, stack)
            start = (settings.get("v_reset", -0.1 if name in ("QIFNode", "EIFNode") else 0.0),)
            case = Case(label, lambda node=node: node, calls, join, (start[0] or 0.0,), scale=2.0)
            works[f"{label} {'m' if several else 's'}"] = as_its_equation(case)
    return {
        "works": works,
        "single": of_network(Single(neuron)),
        "several": of_network(Several(neuron)),
    }


def of_snntorch(snn: Any) -> dict[str, Any]:
    """Dynamics of neurons that keep their state, also where no list of instances has them."""
    works = {}
    for label, (name, settings, states) in SNNTORCH.items():
        settings = {"threshold": 0.6, "init_hidden": True, **settings}
        try:
            module = getattr(snn, name)(**settings)
        except TypeError:  # snnTorch 0.5 has only lateral connections of one weight
            module = getattr(snn, name)(**{k: v for k, v in settings.items() if k != "all_to_all"})
        case = Case(
            label,
            lambda module=module: module,
            by_steps,
            stack,
            (0.0,) * states,
            scale=8.0 if name == "Alpha" else 1.0,
        )
        snn.SpikingNeuron.instances = []
        works[label] = as_its_equation(case)
    return {"works": works}


def build(neuron: Any, name: str, settings: dict[str, Any], *, several: bool) -> nn.Module:
    """A node, in whichever way this version takes several timesteps at once."""
    if not several:
        return getattr(neuron, name)(**settings).eval()
    if hasattr(neuron, "MultiStepIFNode"):
        return getattr(neuron, f"MultiStep{name}")(**settings).eval()
    return getattr(neuron, name)(**settings, step_mode="m").eval()


def as_its_equation(case: Case) -> list[int]:
    """The work of an update, of a module that gives what its equation gives, also when reset."""
    module = case.make().double()
    torch.manual_seed(1)
    x = case.scale * (2 * torch.rand(8, 6, dtype=case.dtype) - 0.5)
    with torch.no_grad():
        found = case.run(module, x.clone())
        expected, works = simulate(case, module, x)
        reset_state(module)
        again = case.run(module, x.clone())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, check_dtype=False)
    assert torch.equal(found, again), case.name
    assert len(found.unique()) > 1, case.name
    assert set(works) == {dynamics(module).work}, case.name
    steps = [dynamics(module).steps(args, output) for args, output in case.calls(module, x)]
    assert sum(steps) == len(x), case.name
    return list(astuple(dynamics(module).work))


class Single(nn.Module):
    """Calls its layers once a timestep."""

    def __init__(self, neuron: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            build(neuron, "IFNode", {"v_threshold": 0.25}, several=False),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3),
            build(neuron, "ParametricLIFNode", {"v_threshold": 0.25}, several=False),
            nn.Flatten(),
            nn.Linear(24, 5),
            build(neuron, "LIFNode", {"v_reset": None, "v_threshold": 0.125}, several=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.net(x) for _ in range(T)) / T


class Several(nn.Module):
    """Hands its neurons all timesteps at once."""

    def __init__(self, neuron: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 6, 3)
        self.first = build(neuron, "LIFNode", {"v_threshold": 0.25}, several=True)
        self.fc = nn.Linear(216, 5)
        self.last = build(neuron, "IFNode", {"v_threshold": 0.25}, several=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.conv(x).unsqueeze(0).repeat(T, 1, 1, 1, 1))
        return self.last(self.fc(x.flatten(2).flatten(0, 1)).unflatten(0, (T, -1))).mean(0)


def of_network(model: nn.Module) -> dict[str, Any]:
    """Every count of its profile; that of two equal batches is twice as much."""
    model = model.double().eval()
    torch.manual_seed(2)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    profile = analyzer.profile(model, x, timesteps=T)
    twice = analyzer.profile(model, [x, x], timesteps=T)
    assert twice.counts.equals((profile + profile).counts)
    counts = profile.counts.drop(columns="op")
    totals = profile.totals
    return {
        "rows": json.loads(counts.to_json(orient="records")),
        "kinds": list(profile.counts["op"]),
        "totals": {name: totals[name] for name in ("events", "adds", "multiplies", "compares")},
        "state_bytes": profile.metadata["neuron_state_bytes"],
    }


if __name__ == "__main__":
    folder, library, *package = sys.argv[1:]
    sys.path.insert(0, folder)
    module = importlib.import_module(".".join((library, *package)))
    assert module.__file__.startswith(folder), module.__file__
    found = of_spikingjelly(module) if package else of_snntorch(module)
    sys.stdout.write(json.dumps(found))
