"""A profile as the tree of its layers, as torchinfo prints models, with work and energy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.facts.sent import in_words, listed
from analyzer.inert import in_markdown, printable
from analyzer.tabular import align_of, text_width, to_html, to_markdown, to_rich, to_text
from analyzer.units import MJ_PER_PJ, format_energy_pj, format_share, format_si

__all__ = ["Summary", "summarise", "summary_of"]

_DASH = "–"
_WORDS = ("Layer", "Input", "Output")
_FIRST_TO_GO = ("Input", "Output", "Dense MACs", "Share", "Parameters", "Firing rate")
"""What a narrow terminal leaves out, in this order."""


@dataclass(frozen=True, eq=False)
class Summary:
    """The layers of a model as a tree: what :meth:`analyzer.Profile.summary` gives.

    Printed, or as the last line of a notebook's cell, it is a table. Each line includes those
    below it, so the first is the whole model.

    Attributes:
        frame: A row a module, and one a product that a module computes beside the modules in it,
            such as the scores of an attention: ``module``, its path; ``depth``; ``op``, the
            product, empty for a module; ``kind``, its class; ``input`` and ``output``, shapes in
            the first batch; ``parameters``; then, each per sample, ``dense_macs, ac, mac`` and
            ``energy_mj``; ``share`` of the model's energy; and ``firing_rate``, spikes per neuron
            and timestep that spiking layers send. None or NaN where something is not known.
        title: What was measured, in a line.
        basis: What the energy is priced with, or why there is none.
        notes: What limits the figures, one sentence each.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU()).eval()
        >>> summary = analyzer.profile(model, torch.eye(4, 6)).summary()
        >>> summary.frame[["module", "kind", "parameters", "ac"]].to_dict("records")[1]
        {'module': '0', 'kind': 'Linear', 'parameters': 21, 'ac': 3.0}
    """

    frame: pd.DataFrame
    title: str
    basis: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = self.shown()
        text = [self.title, "", to_text(shown, align_of(shown, _WORDS)), "", *self._below]
        return printable("\n".join(text))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        shown = self.shown(options.max_width)
        yield to_rich(shown, align_of(shown, _WORDS), title=self.title, below=self._below)

    def _repr_html_(self) -> str:
        shown = self.shown()
        return to_html(shown, self.title, align=align_of(shown, _WORDS), notes=self._below)

    def to_markdown(self) -> str:
        """A GitHub table, with what limits its figures below."""
        shown = self.shown()
        shown["Layer"] = shown["Layer"].str.replace(" ", "\N{NO-BREAK SPACE}")
        below = map(in_markdown, self._below)
        table = to_markdown(shown, align=align_of(shown, _WORDS))
        return "\n\n".join([in_markdown(self.title), table, *below])

    def shown(self, width: int | None = None) -> pd.DataFrame:
        """The table as text: the tree in its first column, figures in units that read well.

        Columns of which nothing is known are left out.

        Args:
            width: Letters in a line. What says least is left out until the table fits.
        """
        rows = self.frame
        cells = {
            "Layer": _drawn(rows),
            "Input": [_extent(shape) for shape in rows["input"]],
            "Output": [_extent(shape) for shape in rows["output"]],
            "Parameters": [_DASH if pd.isna(n) else format_si(n) for n in rows["parameters"]],
            "Dense MACs": [format_si(n) for n in rows["dense_macs"]],
            "AC": [format_si(n) for n in rows["ac"]],
            "MAC": [format_si(n) for n in rows["mac"]],
            "Energy": [format_energy_pj(mj / MJ_PER_PJ) for mj in rows["energy_mj"]],
            "Share": [format_share(share) for share in rows["share"]],
            "Firing rate": [format_share(rate) for rate in rows["firing_rate"]],
        }
        shown = pd.DataFrame(cells)
        shown = shown[[c for c in shown if c == "Layer" or (shown[c] != _DASH).any()]]
        for column in _FIRST_TO_GO:
            if width is None or text_width(shown) <= width:
                break
            shown = shown.drop(columns=column, errors="ignore")
        return shown

    @property
    def _below(self) -> tuple[str, ...]:
        return (self.basis, *self.notes)


@dataclass
class _Node:
    """A module, or a product of one: what it is, and its own figures."""

    module: str
    op: str = ""
    kind: str = ""
    input: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None
    parameters: int | None = None
    work: list[float] = field(default_factory=lambda: [0.0] * 4)
    sent: list[int] = field(default_factory=lambda: [0, 0])
    below: list[_Node] = field(default_factory=list)
    modules: dict[str, _Node] = field(default_factory=dict)  # those below that are modules

    def rolled_up(self) -> None:
        """Adds to its figures those of all below it."""
        for node in self.below:
            node.rolled_up()
            if self.parameters is not None:
                self.parameters += node.parameters or 0
            self.work = [a + b for a, b in zip(self.work, node.work, strict=True)]
            self.sent = [a + b for a, b in zip(self.sent, node.sent, strict=True)]


def summarise(
    profile: Facts,
    depth: int | None,
    technology: str,
    convention: str | None,
    precision: str,
    memory: str | None,
) -> Summary:
    """The tree of a profile's layers; see :meth:`analyzer.Profile.summary`.

    Raises:
        AnalyzerError: Where the depth is no whole number, or the profile can not be priced so.
    """
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise AnalyzerError(
            f"depth is {depth!r}: give the number of levels below the model, 0 for the model alone."
        )
    reading = convention or _readable(profile)
    report = price(profile, technology, reading, precision, memory) if reading else None
    return summary_of(profile, depth, report)


def summary_of(profile: Facts, depth: int | None, report: EnergyReport | None) -> Summary:
    """The tree of a profile that is priced already, or that no convention can price."""
    root = _tree(profile)
    _place_work(root, profile, report)
    for sent in profile.sent or ():
        if not sent.values.real:
            _node_of(root, sent.module).sent[:] = sent.nonzeros, sent.outputs
    root.rolled_up()
    rows = pd.DataFrame(_rows(root, depth, total=root.work[3])).astype({"parameters": "Int64"})
    if report is None:
        rows[["ac", "mac", "energy_mj", "share"]] = math.nan
    return Summary(rows, _title(profile), *_said(profile, report))


def _readable(profile: Facts) -> str | None:
    """The convention that the facts are enough for, None where none is."""
    if not profile.shapes:
        return "exact" if profile.samples else None
    known = all(shape.rate is not None and shape.driven is not None for shape in profile.shapes)
    return "rate" if known else None


def _tree(profile: Facts) -> _Node:
    """The modules of a profile; where it does not list them, those that its facts name."""
    root = _Node("", kind=str(profile.metadata.get("model") or profile.name))
    if profile.layers is None:
        return root
    root.parameters = 0
    for layer in profile.layers:
        node = _node_of(root, layer.module)
        node.kind, node.parameters = layer.kind, layer.parameters
        node.input, node.output = layer.input, layer.output
    return root


def _node_of(root: _Node, path: str) -> _Node:
    """The node of a module, made where there is none, with all that lead to it."""
    node = root
    for name in path.split(".") if path else ():
        if name not in node.modules:
            made = _Node(f"{node.module}.{name}" if node is not root else name)
            node.modules[name] = made
            node.below.append(made)
        node = node.modules[name]
    return node


def _place_work(root: _Node, profile: Facts, report: EnergyReport | None) -> None:
    """Gives each product its place: in its module, or below that where it is one of several."""
    if report is None:
        facts = profile.rows[profile.rows["contraction"]]
        dense = facts["dense_macs"] / max(profile.samples, 1)
        rows = facts[["module", "op", "input_class"]].assign(
            dense_macs=dense, ac=0, mac=0, total_pj=0
        )
    else:
        rows = report.table
    rows = rows.assign(op=_numbered(rows))
    each = rows.groupby(["module", "op"], sort=False)[["dense_macs", "ac", "mac", "total_pj"]]
    found = each.sum()
    ops = rows.groupby("module")["op"].nunique()
    for (module, op), figures in zip(found.index, found.to_numpy(), strict=True):
        node = _node_of(root, module)
        work = [*map(float, figures[:3]), float(figures[3]) * MJ_PER_PJ]
        if ops[module] > 1 or any(not below.op for below in node.below):
            node.below.append(_Node(module, op, work=work))
        else:
            node.work = work


def _numbered(rows: pd.DataFrame) -> pd.Series[str]:
    """Operations, with a number where products of one module read other classes of activations.

    Such are q·k and attn·v of an attention that is written with ``@``.
    """
    products = rows[rows["input_class"].str.contains("*", regex=False)]
    keys = products[["module", "op", "input_class"]].drop_duplicates()
    same = keys.groupby(["module", "op"], sort=False)
    keys["number"] = same.cumcount().add(1).astype(str).where(same["op"].transform("size") > 1, "")
    number = products.merge(keys, how="left").set_axis(products.index)["number"]
    return rows["op"].add(" " + number.reindex(rows.index, fill_value="")).str.strip()


def _rows(root: _Node, depth: int | None, total: float) -> list[dict[str, Any]]:
    """The nodes in the order of the tree, down to a depth."""
    rows: list[dict[str, Any]] = []

    def add(node: _Node, level: int) -> None:
        dense, ac, mac, energy = node.work
        spikes, outputs = node.sent
        rows.append(
            {
                "module": node.module,
                "depth": level,
                "op": node.op,
                "kind": node.kind,
                "input": node.input,
                "output": node.output,
                "parameters": node.parameters,
                "dense_macs": dense,
                "ac": ac,
                "mac": mac,
                "energy_mj": energy,
                "share": energy / total if total else math.nan,
                "firing_rate": spikes / outputs if outputs else math.nan,
            }
        )
        if depth is None or level < depth:
            for below in node.below:
                add(below, level + 1)

    add(root, 0)
    return rows


def _title(profile: Facts) -> str:
    steps = profile.metadata.get("timesteps")
    plural = "s" * (profile.samples != 1)
    return (
        f"{profile.name}: {profile.samples} sample{plural}, T = {_DASH if steps is None else steps}"
    )


def _said(profile: Facts, report: EnergyReport | None) -> tuple[str, tuple[str, ...]]:
    """What the figures rest on, and what limits them."""
    spikes = in_words(profile.sent or ())
    notes = [f"Spikes: {spikes}."] if spikes else []
    unknown = profile.metadata.get("unknown_neurons") or ()
    if unknown:
        notes.append(f"Neurons of no known kind, which analyzer.neuron teaches: {listed(unknown)}.")
    if report is None:
        if profile.uncounted:
            ops = ", ".join(sorted({tally.op for tally in profile.uncounted}))
            notes.append(f"No rule covers {ops}, so the dense work is a lower bound.")
        why = "Counted by shapes alone" if profile.shapes else "Nothing ran"
        return f"{why}, so neither AC, MAC nor energy are known.", tuple(notes)
    notes += report.notes_without("silent")  # which the sentence of the spikes says
    return f"Per sample: {report.basis}.", tuple(notes)


def _drawn(rows: pd.DataFrame) -> list[str]:
    """The lines of the tree, drawn from the depth of each row."""
    lines: list[str] = []
    open_levels: set[int] = set()
    columns = (rows["depth"], rows["module"], rows["op"], rows["kind"])
    for depth, module, op, kind in reversed(list(zip(*columns, strict=True))):
        name = f"({op})" if op else module.rpartition(".")[2]
        label = ": ".join(part for part in (name, kind) if part)
        stems = "".join("│  " if level in open_levels else "   " for level in range(1, depth))
        branch = ("├─ " if depth in open_levels else "└─ ") if depth else ""
        lines.append(f"{stems}{branch}{label}")
        open_levels = {level for level in open_levels if level < depth} | {depth}
    return lines[::-1]


def _extent(shape: Sequence[int] | None) -> str:
    return _DASH if shape is None else f"[{', '.join(map(str, shape))}]"
