"""What the paradigms cost beyond arithmetic: under every memory model, and in training."""

from __future__ import annotations

import math
from types import MappingProxyType

import pandas as pd

from analyzer.energy.declared.memory import MemoryModel
from analyzer.energy.paradigms.beyond import ALONE, VARIANTS
from analyzer.energy.paradigms.break_even import between
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.errors import AnalyzerError
from analyzer.study.runs.collection import ANN, OURS, STBP, Collection, is_rival
from analyzer.study.runs.statistics import difference, holm, spread, verdict

__all__ = ["PRECISION", "factor_of_break_even", "memories", "training_costs"]

PRECISION = "int8"
"""What arithmetic is priced in beside memory: that of hardware that these memories belong to."""

_NO_RATES = MappingProxyType({"rate": math.nan, "break_even_rate": math.nan})


def memories(collection: Collection, technology: str, convention: str) -> pd.DataFrame:
    """Ge²mS-T against every other paradigm under every memory model.

    Returns:
        ``memory, theirs, ours_mj, theirs_mj, ratio, low, high, p, adjusted_p, verdict``: means
        over seeds, the 95 % interval of the ratio of geometric means (of Welch's test on
        logarithms; NaN of one seed), and whether it is real, all tests adjusted together (Holm);
        ``memory_factor``, by which every access to memory would have to change in price for both
        to take the same (NaN where no price would do), ``access_pj`` what 32 bits then cost and
        ``access_now_pj`` what they do, where all is kept in one memory of one price; ``dearer``,
        the part of the energy of which Ge²mS-T takes most more (empty where of none); and ``rate,
        break_even_rate`` of firing against the ANN (NaN where even silence takes more).
    """
    rows = []
    names = [s for s in collection.series if is_rival(s)]
    for memory in VARIANTS:
        try:
            ours = _priced(collection, OURS, technology, convention, memory)
        except AnalyzerError:  # a technology that has no such memory
            continue
        silent = _priced(collection, OURS, technology, convention, memory, activity=0)
        for name in names:
            theirs = _priced(collection, name, technology, convention, memory)
            rates = _rates(ours, silent, theirs) if name == ANN else _NO_RATES
            row = {"memory": memory or ALONE, "theirs": name}
            rows.append({**row, **_compared(ours, theirs), **rates})
    table = pd.DataFrame(rows)
    table["adjusted_p"] = holm(table["p"].tolist())
    table["verdict"] = table["adjusted_p"].map(verdict)
    return table


def _priced(
    collection: Collection,
    series: str,
    technology: str,
    convention: str,
    memory: str | None,
    activity: float = 1,
) -> dict[int, EnergyReport]:
    return {
        seed: price(profile, technology, convention, PRECISION, memory, activity=activity)
        for seed, profile in collection.of(series).items()
    }


def _compared(ours: dict[int, EnergyReport], theirs: dict[int, EnergyReport]) -> dict[str, object]:
    means = [spread([r.total_mj for r in each.values()]).mean for each in (ours, theirs)]
    logs = [{seed: math.log(r.total_pj) for seed, r in each.items()} for each in (ours, theirs)]
    tested = difference(*logs)
    moves = [_mean_parts(each) for each in (ours, theirs)]
    factor = factor_of_break_even(*moves)
    now = _word_pj(next(iter(ours.values())))
    return {
        "ours_mj": means[0],
        "theirs_mj": means[1],
        "ratio": math.exp(tested.mean),
        "low": math.exp(tested.low),
        "high": math.exp(tested.high),
        "p": tested.p,
        "memory_factor": factor,
        "access_pj": factor * now,
        "access_now_pj": now,
        "dearer": _dearer(ours, theirs),
    }


def _dearer(ours: dict[int, EnergyReport], theirs: dict[int, EnergyReport]) -> str:
    """The part of the energy that grows most from theirs to ours, in words."""
    names = {"ac_pj": "accumulates", "mac_pj": "multiply-accumulates", **COMPONENTS}
    more = {
        part: spread([r.components.get(part, 0.0) for r in ours.values()]).mean
        - spread([r.components.get(part, 0.0) for r in theirs.values()]).mean
        for part in names
    }
    most = max(more, key=lambda part: more[part])
    return names[most] if more[most] > 0 else ""


def _mean_parts(reports: dict[int, EnergyReport]) -> tuple[float, float]:
    """Mean picojoules that do not depend on prices of memory, and those that do."""
    moved = [
        sum(r.components.get(key, 0.0) for key in ("weights_pj", "activations_pj", "state_pj"))
        for r in reports.values()
    ]
    total = [r.total_pj for r in reports.values()]
    return spread(total).mean - spread(moved).mean, spread(moved).mean


def factor_of_break_even(ours: tuple[float, float], theirs: tuple[float, float]) -> float:
    """By which factor the price of every access to memory changes until both take the same.

    Args:
        ours: Energy that does not depend on that price, and energy that is proportional to it.
        theirs: The same.

    Returns:
        The factor; NaN where no price of at least 0 makes them equal.
    """
    fixed, moved = theirs[0] - ours[0], ours[1] - theirs[1]
    factor = fixed / moved if moved else math.nan
    return factor if factor >= 0 else math.nan


def _word_pj(report: EnergyReport) -> float:
    """What an access of 32 bits costs, NaN unless there is one memory at one price."""
    memory = report.memory
    if not isinstance(memory, MemoryModel):
        return math.nan
    if len(memory.levels_in_use) != 1:
        return math.nan
    (level,) = memory.levels_in_use
    per_bit = memory.level(level, report.technology).pj_per_bit
    return math.nan if per_bit is None else 32 * per_bit


def _rates(
    ours: dict[int, EnergyReport],
    silent: dict[int, EnergyReport],
    dense: dict[int, EnergyReport],
) -> dict[str, float]:
    """Firing rate of Ge²mS-T now and at break-even with the ANN, means over seeds."""
    one = next(iter(dense.values()))  # dense work is the same for all seeds
    found = [between(ours[seed], silent[seed], one) for seed in ours]
    known = [f.break_even_rate for f in found if f.break_even_rate is not None]
    return {
        "rate": spread([f.rate for f in found]).mean,
        "break_even_rate": spread(known).mean if len(known) == len(found) else math.nan,
    }


def training_costs(training: pd.DataFrame, timesteps: pd.DataFrame) -> pd.DataFrame:
    """Memory and time of a training step beside the accuracy at that number of timesteps.

    Args:
        training: Training steps, as ``Study.training`` of the study of paradigms.
        timesteps: Accuracy by number of timesteps, as ``series.against_timesteps`` gives it.

    Returns:
        The columns of ``training``, with ``accuracy_mean, accuracy_std, trained``, NaN where no
        network was measured at that number.
    """
    if training.empty:
        return training
    bases = {"ann": ANN, "ge2mst": OURS, "stbp": STBP}
    found = timesteps[["base", "timesteps", "trained", "accuracy_mean", "accuracy_std"]].astype(
        {"timesteps": "int64"}
    )
    left = training.assign(base=training["model"].map(bases))
    return left.merge(found, how="left", on=["base", "timesteps"]).drop(columns="base")
