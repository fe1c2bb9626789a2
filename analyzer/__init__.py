"""Exact operation counts, spike sparsity, memory and energy of PyTorch models.

Point :func:`profile` at any model, spiking or not; price, compare and render the
:class:`Profile` that comes back. Names load when first used, so that tables can be read
without loading torch.
"""

from __future__ import annotations

import random
from importlib import import_module
from typing import TYPE_CHECKING, Any

from analyzer.version import __version__ as __version__

if TYPE_CHECKING:
    from analyzer import callbacks, models, plot
    from analyzer.advice.advise import advise
    from analyzer.auditing.audit import Audit, audit
    from analyzer.cards.writing import card
    from analyzer.counting import count
    from analyzer.energy.declared.convention import conventions
    from analyzer.energy.declared.memory import memory_models
    from analyzer.energy.declared.technology import technologies
    from analyzer.energy.explaining.difference import diff
    from analyzer.energy.explaining.explain import explain
    from analyzer.energy.explaining.sensitivity import sensitivity
    from analyzer.energy.fitting.fit import fit
    from analyzer.energy.fitting.limits import hardware
    from analyzer.energy.intervals.paired import paired
    from analyzer.energy.paradigms.beyond import beyond_arithmetic
    from analyzer.energy.paradigms.bit_budget import bit_budget
    from analyzer.energy.paradigms.break_even import break_even
    from analyzer.energy.paradigms.chips import chips
    from analyzer.energy.paradigms.timesteps import against_timesteps
    from analyzer.energy.pricing.report import EnergyReport
    from analyzer.energy.tables.budget import check
    from analyzer.energy.tables.compare import compare
    from analyzer.energy.tables.comparison import Comparison
    from analyzer.energy.tables.summary import Summary
    from analyzer.errors import AnalyzerError, AnalyzerWarning
    from analyzer.measure.neurons.taught import neuron
    from analyzer.measure.rules import products
    from analyzer.measure.rules.registry import rule
    from analyzer.measure.rules.work import Work
    from analyzer.measure.session.profiling import profile
    from analyzer.measure.session.watching import watch
    from analyzer.measure.training.memory import training_memory
    from analyzer.measure.training.synops import SynOps
    from analyzer.merging import merge
    from analyzer.profiles import Profile, load
    from analyzer.rates import from_rates
    from analyzer.twins.against import against_twin
    from analyzer.twins.quantised import quantised_twin
    from analyzer.verification.comparison import verify

__all__ = [
    "AnalyzerError",
    "AnalyzerWarning",
    "Audit",
    "Comparison",
    "EnergyReport",
    "Profile",
    "Summary",
    "SynOps",
    "Work",
    "advise",
    "against_timesteps",
    "against_twin",
    "audit",
    "beyond_arithmetic",
    "bit_budget",
    "break_even",
    "callbacks",
    "card",
    "check",
    "chips",
    "compare",
    "conventions",
    "count",
    "diff",
    "explain",
    "fit",
    "from_rates",
    "hardware",
    "load",
    "memory_models",
    "merge",
    "models",
    "neuron",
    "paired",
    "plot",
    "products",
    "profile",
    "quantised_twin",
    "rule",
    "sensitivity",
    "technologies",
    "training_memory",
    "verify",
    "watch",
]

_HOMES = {
    "AnalyzerError": "analyzer.errors",
    "AnalyzerWarning": "analyzer.errors",
    "Audit": "analyzer.auditing.audit",
    "Comparison": "analyzer.energy.tables.comparison",
    "EnergyReport": "analyzer.energy.pricing.report",
    "Profile": "analyzer.profiles",
    "Summary": "analyzer.energy.tables.summary",
    "SynOps": "analyzer.measure.training.synops",
    "Work": "analyzer.measure.rules.work",
    "advise": "analyzer.advice.advise",
    "against_timesteps": "analyzer.energy.paradigms.timesteps",
    "against_twin": "analyzer.twins.against",
    "audit": "analyzer.auditing.audit",
    "beyond_arithmetic": "analyzer.energy.paradigms.beyond",
    "bit_budget": "analyzer.energy.paradigms.bit_budget",
    "break_even": "analyzer.energy.paradigms.break_even",
    "card": "analyzer.cards.writing",
    "check": "analyzer.energy.tables.budget",
    "chips": "analyzer.energy.paradigms.chips",
    "compare": "analyzer.energy.tables.compare",
    "conventions": "analyzer.energy.declared.convention",
    "count": "analyzer.counting",
    "diff": "analyzer.energy.explaining.difference",
    "explain": "analyzer.energy.explaining.explain",
    "fit": "analyzer.energy.fitting.fit",
    "from_rates": "analyzer.rates",
    "hardware": "analyzer.energy.fitting.limits",
    "load": "analyzer.profiles",
    "memory_models": "analyzer.energy.declared.memory",
    "merge": "analyzer.merging",
    "neuron": "analyzer.measure.neurons.taught",
    "paired": "analyzer.energy.intervals.paired",
    "profile": "analyzer.measure.session.profiling",
    "quantised_twin": "analyzer.twins.quantised",
    "rule": "analyzer.measure.rules.registry",
    "sensitivity": "analyzer.energy.explaining.sensitivity",
    "technologies": "analyzer.energy.declared.technology",
    "training_memory": "analyzer.measure.training.memory",
    "verify": "analyzer.verification.comparison",
    "watch": "analyzer.measure.session.watching",
}


def __getattr__(name: str) -> Any:
    if name in ("callbacks", "models", "plot"):
        return _imported(f"analyzer.{name}")
    if name == "products":
        return _imported("analyzer.measure.rules.products")
    if name in _HOMES:
        return getattr(_imported(_HOMES[name]), name)
    raise AttributeError(f"module 'analyzer' has no attribute {name!r}")


def _imported(module: str) -> Any:
    """A module; libraries that draw random numbers when they are imported change no seeded run."""
    numbers = random.getstate()
    try:
        return import_module(module)
    finally:
        random.setstate(numbers)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
