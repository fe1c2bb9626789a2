"""One table of several models: work, energy, sparsity, sizes and accuracy side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analyzer.energy.intervals.spread import intervals_of, samples_of
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.tables.comparison import Comparison
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.facts.sparsity import share_of_zeros
from analyzer.units import MJ_PER_PJ

__all__ = ["compare", "side_by_side"]


def compare(
    profiles: Iterable[Facts],
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    *,
    baseline: str | None = None,
    sort: str | None = None,
    columns: Sequence[str] | None = None,
) -> Comparison:
    r"""Sets models side by side: one row per model with its work, energy, activity and accuracy.

    The command line and reports write the same table.

    Args:
        profiles: At least one; the first is what the others are set against.
        technology: Name or file of the constants; see :func:`analyzer.technologies`.
        convention: Name or file of the reading of the facts; see :func:`analyzer.conventions`.
        precision: Number format that is priced, such as ``fp32`` or ``int8``.
        memory: Name or file of a memory model; see :func:`analyzer.memory_models`. None prices
            arithmetic alone.
        baseline: Name of the model that ratios are against; the first by default.
        sort: Column to sort by, the least first; with ``-`` in front the greatest.
        columns: Columns to keep; all by default.

    Raises:
        AnalyzerError: Where there is no profile, one can not be priced so, or there is no such
            model or column.

    Returns:
        A comparison whose ``frame`` has the columns ``model, samples, parameters, timesteps,
        dense_macs, ac, mac, energy_mj, ratio, mac_share, sparsity, spikes_per_synapse,
        parameters_bytes, accuracy, energy_per_correct_mj, latency_ms, energy_delay_mj_ms,
        uncovered``, and with a memory model ``compute_mj`` and one
        for each part that moves, which add up to ``energy_mj``. Work and energy are per sample,
        ``mac_share`` is the share of MACs of the energy, ``sparsity`` the share of zeros among the
        activations that counted operations read,
        ``spikes_per_synapse`` that of :class:`~analyzer.energy.pricing.report.EnergyReport`. NaN
        where they are unknown: ``accuracy``, the energy per correct prediction, the latency on the
        device that was measured on, and the priced energy times that. ``uncovered`` counts the
        kinds of arithmetic that no rule covers: with any, the model's figures are lower bounds.
        Where a profile was measured with ``per_sample=True``, ``ac_low``, ``ac_high``, ``mac_low``,
        ``mac_high``, ``energy_low_mj`` and ``energy_high_mj`` are the ends of the 95 % intervals
        of the means, which printed tables show as ±.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> ann = analyzer.from_rates(
        ...     table | {"dense_macs": [250, 25], "firing_rate": [1, 1]}, name="ann"
        ... )
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> found = analyzer.compare([ann, snn], convention="rate")
        >>> print(found.frame[["model", "ac", "mac", "ratio"]].round(2))
          model     ac    mac  ratio
        0   ann    0.0  275.0   1.00
        1   snn  200.0  100.0   0.51
        >>> print(found.to_markdown(["energy_mj", "ratio"]).partition("\n\n")[0])
        | Model |  Energy |  Ratio |
        | ----- | ------: | -----: |
        | ann   | 1.27 nJ |  1.00× |
        | snn   |  640 pJ | 0.506× |
    """
    given = _checked(profiles)
    reports = [price(p, technology, convention, precision, memory) for p in given]
    found = Comparison.of(side_by_side(zip(given, reports, strict=True)), reports)
    return found.arranged(columns=columns, baseline=baseline, sort=sort)


def _checked(profiles: Any) -> list[Facts]:
    """The profiles, or a sentence where they are none."""
    several = isinstance(profiles, Iterable) and not isinstance(profiles, str)
    listed = list(profiles) if several else [profiles]
    wrong = next((p for p in listed if not hasattr(p, "rows")), None)
    if wrong is not None or not several:
        what = "one profile" if wrong is None else f"{type(wrong).__name__} {wrong!r}"
        raise AnalyzerError(
            f"compare needs a list of profiles, not {what}: give [profile], and load files with "
            "analyzer.load first."
        )
    return listed


def side_by_side(priced: Iterable[tuple[Facts, EnergyReport]]) -> pd.DataFrame:
    """The frame of :func:`compare` of profiles that are priced already."""
    rows = []
    for profile, report in priced:
        zeros = share_of_zeros(profile.sparsity("module"))
        latency = float("nan") if profile.latency_ms is None else profile.latency_ms
        rows.append(
            {
                "model": profile.name,
                "samples": profile.samples,
                "parameters": profile.parameters,
                "timesteps": profile.metadata.get("timesteps"),
                "dense_macs": float(report.table["dense_macs"].sum()),
                "ac": float(report.table["ac"].sum()),
                "mac": float(report.table["mac"].sum()),
                **_moves(report),
                "energy_mj": report.total_mj,
                "mac_share": _share(report.components["mac_pj"], report.total_pj),
                "sparsity": float("nan") if zeros is None else zeros,
                "spikes_per_synapse": report.spikes_per_synapse,
                "parameters_bytes": profile.metadata.get("parameters_bytes"),
                "accuracy": float("nan") if profile.accuracy is None else profile.accuracy,
                "energy_per_correct_mj": report.total_mj / profile.accuracy
                if profile.accuracy
                else float("nan"),
                "latency_ms": latency,
                "energy_delay_mj_ms": report.total_mj * latency,
                "uncovered": len(report.uncovered),
                **_intervals(profile, report),
            }
        )
    if not rows:
        raise AnalyzerError("nothing to compare: give at least one profile.")
    table = pd.DataFrame(rows).astype({"timesteps": "Int64"})
    reference = table["energy_mj"].iloc[0]
    ratio = table["energy_mj"] / reference if reference else float("nan")
    table.insert(list(table.columns).index("energy_mj") + 1, "ratio", ratio)
    return table


def _intervals(profile: Facts, report: EnergyReport) -> dict[str, float]:
    """Both ends of the intervals of AC, MAC and energy, where single samples are known."""
    found = report.intervals
    if found is None:
        if profile.sampled is None or not len(profile.sampled):
            return {}
        found = intervals_of(report, samples_of(profile, report))
    low, high = found["energy_pj"]
    return {
        **{f"{key}_{end}": n for key in ("ac", "mac")
           for end, n in zip(("low", "high"), found[key], strict=True)},
        "energy_low_mj": low * MJ_PER_PJ,
        "energy_high_mj": high * MJ_PER_PJ,
    }  # fmt: skip


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _moves(report: EnergyReport) -> dict[str, float]:
    """Energy by what takes it, where more than arithmetic is priced."""
    parts = report.components
    if parts.keys() == {"ac_pj", "mac_pj"}:
        return {}
    compute = parts.pop("ac_pj") + parts.pop("mac_pj")
    return {
        f"{name.removesuffix('_pj')}_mj": pj * MJ_PER_PJ
        for name, pj in ({"compute_pj": compute} | parts).items()
    }
