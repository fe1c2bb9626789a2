"""The energy of a profile under a convention, a technology and perhaps a memory model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analyzer.energy.declared.convention import READING, Convention, read
from analyzer.energy.declared.convention import convention as read_convention
from analyzer.energy.declared.memory import MemoryModel, memory_model
from analyzer.energy.declared.technology import Technology
from analyzer.energy.declared.technology import technology as read_technology
from analyzer.energy.pricing.elementwise import priced_elementwise, work_of
from analyzer.energy.pricing.precision import prices
from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.pricing.rows import at_activity, knows_neurons, split, updates
from analyzer.energy.pricing.traffic import MOVES, priced_traffic
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.facts.table import ELEMENTWISE, INTERNAL

__all__ = ["price"]

_INTENSIVE = frozenset(
    {"weight_elements", "weight_nonzeros", "weight_bits", "channels", "rate", "driven"}
    | {"lhs_rate", "rhs_rate", "state_size", "spikes_each"}
)
"""Columns that do not grow with the samples."""


def price(
    profile: Facts,
    technology: str | Technology,
    convention: str | Convention,
    precision: str = "fp32",
    memory: str | MemoryModel | None = None,
    activity: float = 1.0,
) -> EnergyReport:
    """Prices a profile, per sample.

    The energy of a row is ``ac * E_add + mac * (E_multiply + E_add)`` in picojoules (Horowitz 2014
    for the default constants), and what a memory model adds.

    Args:
        profile: The facts.
        technology: The constants, or their name or file.
        convention: The reading of the facts, or its name or file.
        precision: Number format that is priced.
        memory: A memory model, or its name or file; None prices arithmetic alone.
        activity: Factor on the spikes of all driven operations, to ask what would be if they fired
            less; 0 silences them.

    Raises:
        AnalyzerError: Where the profile holds no sample, or not the facts that are needed.
    """
    chosen = read_technology(technology) if isinstance(technology, str) else technology
    reading = read_convention(convention) if isinstance(convention, str) else convention
    if not profile.samples:
        raise AnalyzerError(f"profile {profile.name!r} holds no sample: there is nothing to price.")
    model = memory_model(memory) if isinstance(memory, str) else memory
    products, others = split(profile.rows)
    rows = read(products, reading, profile.name)
    if activity != 1:
        rows = at_activity(rows, activity)
    stateless = False
    unknown: tuple[str, ...] = ()
    elementwise = reading.elementwise == "priced"
    if elementwise and others.empty and profile.shapes:
        raise AnalyzerError(
            f"{profile.name!r} holds products alone and no element-wise work, which convention "
            f"{reading.name!r} charges: use elementwise=none, or a profile that was measured."
        )
    if model is not None:
        charged = model.state != "none" or model.neurons != "none"
        has_neurons = (others["state_elements"] > 0).any()
        if charged and rows["is_driven"].any():
            unknown = tuple(profile.metadata.get("unknown_neurons") or ())
            stateless = model.state != "none" and not has_neurons and not unknown
    if model is not None or elementwise:
        rows = pd.concat([rows, updates(others, elementwise=elementwise)], ignore_index=True)
    numbers = [c for c in rows.select_dtypes("number") if c not in _INTENSIVE]
    per_sample = rows.assign(**{str(c): rows[c] / profile.samples for c in numbers})
    dtype = profile.metadata.get("dtype") or ""
    cost = prices(chosen, precision, per_sample, dtype)
    if model is not None and model.multiplies == "bit-serial":
        cost = cost.bit_serial(model.activation_bits * model.bit_density)
    priced = {"ac_pj": per_sample["ac"] * cost.ac_pj, "mac_pj": per_sample["mac"] * cost.mac_pj}
    special_pj = 0.0
    if elementwise:
        work = work_of(per_sample, neurons=model is None or model.neurons == "none")
        priced["elementwise_pj"] = priced_elementwise(work, reading, cost, chosen.name)
        special_pj = work.specials.sum() * reading.special_multiplies * (cost.multiply_pj or 0.0)
    if model is not None:
        known = knows_neurons(profile, others)
        moved = priced_traffic(
            per_sample, model, chosen, cost, profile.name,
            knows_neurons=known, activations=not elementwise,
        )  # fmt: skip
        priced |= {component: moved[component] for component in MOVES}
    total_pj = sum(priced.values())
    if not math.isfinite(total_pj.sum()):
        raise AnalyzerError(
            f"the energy of {profile.name!r} is no finite number under {chosen.name}: a constant, "
            "a setting of the memory model or a firing rate is too large."
        )
    hidden = [column for column in READING if column not in ("reason", "is_driven")]
    table = per_sample.drop(columns=[*ELEMENTWISE, *INTERNAL, *hidden])
    table = table.assign(**priced, total_pj=total_pj)
    return EnergyReport(
        name=profile.name,
        samples=profile.samples,
        table=table,
        technology=chosen,
        convention=reading,
        precision=cost.precision,
        constants=cost.constants,
        measured=dtype,
        uncovered=tuple(sorted({tally.op for tally in profile.uncounted})),
        timesteps=profile.metadata.get("timesteps"),
        above_one=tuple(s.module for s in profile.shapes if (s.rate or 0) > 1),
        untrained=str(profile.metadata.get("weights", "")).startswith("untrained"),
        samples_assumed=_assumed(profile.metadata.get("frame")),
        memory=model,
        stateless=stateless,
        unknown_neurons=unknown,
        silent_layers=profile.silent_layers,
        between=cost.between,
        special_pj=special_pj,
    )


def _assumed(frame: Any) -> bool:
    """Whether a profile's samples are those of a convention; a sum may have several frames."""
    frames = frame if isinstance(frame, list) else [frame]
    return any(isinstance(f, Mapping) and bool(f.get("samples_assumed")) for f in frames)
