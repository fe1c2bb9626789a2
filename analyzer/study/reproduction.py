"""The study that rebuilds published energies from the figures that the papers give.

Each :class:`Case` takes the operation counts or firing rates of a paper or repository, prices them
by that source's rules, and compares the result with the published energy. No model is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from analyzer import models
from analyzer.counting import count
from analyzer.energy.pricing.report import EnergyReport
from analyzer.profiles import Profile
from analyzer.rates import from_rates
from analyzer.report.page import template
from analyzer.report.tables import Table
from analyzer.study.shared import write
from analyzer.tabular import to_markdown

__all__ = ["Case", "cases", "render", "spikingformer_8_512"]

_PROFILE = "profiles/spikingformer-8-512.json"
_CAPTION = "Published energies beside what published figures give under the rules of their papers."
_LAYERS = "The trained Spikingformer-8-512, layer by layer, from its published log."
_CLOSE = 2e-3
"""Relative difference that can come from rounding to the printed digits."""


@dataclass(frozen=True)
class Case:
    """One published energy and the same energy rebuilt.

    Attributes:
        model: Name of the model in the source.
        source: Where the energy is published.
        published_mj: The published energy in mJ.
        rebuilt: The energy that the published inputs give.
        rule: How it was rebuilt.
        finding: What the comparison says and, if the energies differ, what would explain it.
        tolerance: Relative difference up to which the energies count as the same.
    """

    model: str
    source: str
    published_mj: float
    rebuilt: EnergyReport
    rule: str
    finding: str
    tolerance: float = _CLOSE

    @property
    def difference(self) -> float:
        """Relative difference to the published energy."""
        return self.rebuilt.total_mj / self.published_mj - 1

    @property
    def fits(self) -> bool:
        """Whether the published energy is reproduced."""
        return abs(self.difference) <= self.tolerance


def spikingformer_8_512() -> Profile:
    """The profile of the trained Spikingformer-8-512 from its published log.

    The log has the dense work, which includes biases, and the firing rate of each layer. Its
    attention is Kᵀ·V at the smaller of the two rates, then Q·(Kᵀ·V) at the rate of Q.
    Source: github zhouchenlin2096/Spikingformer, imagenet/energy_consumption_logs.
    """
    layers = _read("spikingformer_8_512_layers.csv")
    rates = layers["firing_rate"] / 100  # the log has per cent, with nine digits
    table = pd.DataFrame(
        {
            "module": layers["layer"],
            "op": layers["type"],
            "dense_macs": layers["dense_ops"],
            "firing_rate": rates,
            "driven": (layers["acs"] > 0).astype(int),
        }
    )
    blocks = _read("spikingformer_8_512_qkv_rates.csv")
    blocks = blocks[blocks["model"].eq("8-512")]
    attention = []
    columns = (blocks[c] for c in ("block", "ssa_base_ops", "q_rate", "k_rate", "v_rate"))
    for block, dense, q, k, v in zip(*columns, strict=True):
        for op, rate in (("Kᵀ·V", min(k, v)), ("Q·(Kᵀ·V)", q)):
            figures = {"dense_macs": dense, "firing_rate": rate, "driven": 1}
            attention.append({"module": f"block[{block}].attn", "op": op} | figures)
    whole = pd.concat([table, pd.DataFrame(attention)], ignore_index=True)
    return from_rates(whole, name="spikingformer-8-512")


def cases() -> Iterator[Case]:
    """Yields every published energy whose inputs are published, too."""
    log = spikingformer_8_512()
    yield Case(
        "Spikingformer 8-512",
        "energy log of its authors (github zhouchenlin2096/Spikingformer)",
        7.463502601886196,
        _priced(log),
        "rate, from the log's dense work and rates of 50 layers and 8 attentions",
        "Equal to ten digits: the log prints its rates with nine. Its first convolution alone is "
        "1.595 mJ, for it runs at every timestep on the same image.",
        tolerance=1e-9,
    )
    first = _first_layer("spikformer-8-512")
    for size, sops in (("8-384", 6.82), ("6-512", 8.69), ("8-512", 11.09), ("10-512", 13.67),
                       ("8-768", 22.09)):  # fmt: skip
        width = int(size.split("-")[1])
        own = first * width // 512
        with_own = _priced(_sums(f"spikformer-{size}", own, sops))
        yield Case(
            f"Spikformer {size}",
            "arXiv:2209.15425 (read in a copy)",
            _SPIKFORMER[size],
            _priced(_sums(f"spikformer-{size}", first, sops)),
            f"0.9 pJ × {sops:g} G SOPs + 4.6 pJ × first convolution of width 64",
            "Fits."
            if width == 512
            else f"Fits only with the first convolution of 8-512 ({first / 1e6:.1f} M MACs); "
            f"its own, of width {width // 8}, has {own / 1e6:.1f} M and would give "
            f"{with_own.total_mj:.3f} mJ.",
        )
    for size, sops, energy in (
        ("8-384", 6.82, 0.525),
        ("8-512", 11.09, 0.854),
        ("8-768", 22.09, 1.701),
    ):
        yield Case(
            f"Spikformer {size}, first version",
            "an earlier version of arXiv:2209.15425 (read in a copy)",
            energy,
            _priced(_sums(f"spikformer-{size} v1", 0, sops * 0.077 / 0.9)),
            f"0.077 pJ × {sops:g} G SOPs",
            "The same operations at a price 12 times lower.",
        )
    repeated = _priced(_sums("first layer", _first_layer("spikingresformer-ti"), 0))
    for size, sops, energy in (("Ti", 2.73, 2.46), ("M", 6.07, 5.46)):
        yield Case(
            f"SpikingResformer {size}",
            "CVPR 2024 (read in a report)",
            energy,
            _priced(_sums(f"spikingresformer-{size.lower()}", 0, sops)),
            f"0.9 pJ × {sops:g} G SOPs; first convolution and classifier left out",
            "Fits. With its first convolution at every timestep it would be "
            f"{energy + repeated.total_mj:.2f} mJ."
            if size == "Ti"
            else "Fits.",
        )
    for name, side, energy in (("deit-b", 224, 80.50), ("vit-b-16", 384, 254.84)):
        dense = _counted(name, side).totals["dense_macs"]
        yield Case(
            f"{name} at {side}×{side}",
            "arXiv:2403.16552, comparison table (read in a copy)",
            energy,
            _priced(_sums(name, dense, 0)),
            f"4.6 pJ × {dense:,} dense MACs",
            f"Counted on the architecture; the table rounds to {energy / 4.6:.1f} G MACs.",
            tolerance=5e-3,
        )
    yield Case(
        "Transformer 8-512, the ANN twin of Spikformer",
        "arXiv:2209.15425 (read in a copy)",
        38.340,
        _priced(_sums("transformer-8-512", 8.33e9, 0)),
        "4.6 pJ × 8.33 G FLOPs",
        "Fits to the printed digits of the FLOPs: so its FLOPs are multiply-accumulates.",
    )
    moved = (18.82 - _SPIKFORMER["8-512"]) / (4.6 - 0.9)
    yield Case(
        "Spikformer 8-512, recomputed",
        "README of Spikingformer: integers cost MACs",
        18.82,
        _priced(_with_dense_integers()),
        "dense MACs of the first convolution and of all layers that read integers",
        "Not reproduced: its inputs are not published. Dense MACs of the layers that read integers "
        "alone give three times as much. It would fit if, of the 11.09 G SOPs, "
        f"{moved:.2f} G were priced as multiply-accumulates: those of integers, by their rates.",
    )


_SPIKFORMER: Mapping[str, float] = MappingProxyType(
    {"8-384": 7.734, "6-512": 9.417, "8-512": 11.577, "10-512": 13.899, "8-768": 21.477}
)


def _with_dense_integers() -> Profile:
    """Spikformer-8-512 with dense MACs in all layers that read integers; other work left out."""
    rows = _counted("spikformer-8-512").counts
    integer = rows["module"].str.contains(r"attention\.[qkv]\.layer|mlp\.0\.layer")
    dense = int(rows.loc[integer, "dense_macs"].sum()) + _first_layer("spikformer-8-512")
    return _sums("spikformer-8-512 strict", dense, 0)


def _sums(name: str, macs: float, sops_g: float) -> Profile:
    """A profile of two sums: multiply-accumulates, and synaptic operations in 10⁹."""
    rows = [("multiply-accumulates", macs, 0), ("synaptic operations", sops_g * 1e9, 1)]
    table = [
        {"module": module, "op": "sum", "dense_macs": round(n), "firing_rate": 1, "driven": driven}
        for module, n, driven in rows
        if n
    ]
    return from_rates(table, name=name)


def _first_layer(name: str) -> int:
    """Dense MACs of the first weight layer over all timesteps."""
    rows = _counted(name).counts
    return int(rows.loc[rows["weight_elements"] > 0, "dense_macs"].iloc[0])


@cache
def _counted(name: str, side: int | None = None) -> Profile:
    return count(name, None if side is None else (3, side, side))


def _priced(profile: Profile) -> EnergyReport:
    return profile.energy("45nm", "rate")


def _read(name: str) -> pd.DataFrame:
    with (files("analyzer.study") / "data" / name).open("r", encoding="utf-8") as file:
        return pd.read_csv(file)


def render(output: Path) -> Path:
    """Writes ``reproduction.md``, its tables and the profile of the trained network."""
    found = list(cases())
    table = pd.DataFrame(
        {
            "model": case.model,
            "published_mj": case.published_mj,
            "rebuilt_mj": case.rebuilt.total_mj,
            "difference": case.difference,
            "reproduced": case.fits,
            "rule": case.rule,
            "finding": case.finding,
            "source": case.source,
        }
        for case in found
    )
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Published": table["published_mj"].map("{:g} mJ".format),
            "Rebuilt": table["rebuilt_mj"].map("{:.6g} mJ".format),
            "Off by": table["difference"].map("{:+.2g}".format),
            "Reproduced": table["reproduced"].map({True: "yes", False: "no"}),
            "From": table["rule"],
        }
    )
    layers = found[0].rebuilt.table
    tables = [
        Table("reproduction", _CAPTION, table, shown, frozenset({"Model", "From", "Reproduced"})),
        Table(
            "layers",
            _LAYERS,
            layers[["module", "op", "dense_macs", "ac", "mac", "total_pj"]],
            pd.DataFrame(
                {
                    "Layer": layers["module"],
                    "Operation": layers["op"],
                    "Energy": layers["total_pj"].map(lambda pj: f"{pj * 1e-9:.4f} mJ"),
                }
            ),
            frozenset({"Layer", "Operation"}),
            long=True,
        ),
    ]
    page = template("analyzer.study", "reproduction.md").render(
        table=to_markdown(shown, align=tables[0].align),
        caption=_CAPTION,
        cases=found,
        log=found[0],
        totals={c: float(layers[c].sum()) / 1e9 for c in ("ac", "mac")},
        models=len(models.names()),
    )
    path = write(output, "reproduction.md", page, tables, owned=frozenset({_PROFILE}))
    spikingformer_8_512().save(output / _PROFILE)
    return path
