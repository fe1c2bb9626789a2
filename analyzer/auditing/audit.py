"""``analyzer.audit``: a published table, line by line, with what can not be right in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analyzer.auditing.checks import Finding, Prices, alone, together
from analyzer.auditing.networks import network_of
from analyzer.auditing.rows import Row, read_rows
from analyzer.energy.declared.technology import technology as read_technology
from analyzer.errors import AnalyzerError
from analyzer.inert import in_markdown, printable
from analyzer.tabular import to_html, to_latex, to_markdown, to_text

__all__ = ["Audit", "audit"]

_ORDER = ("impossible", "contradicted", "doubtful", "plausible", "unknown")
_ALIGN = "rlrrrl"


@dataclass(frozen=True, eq=False)
class Audit:
    r"""What :func:`analyzer.audit` found in a table; it shows itself, the worst lines first.

    Attributes:
        frame: A row a line that gives an energy: its ``line`` in the file, ``model``, ``network``
            (a name of :func:`analyzer.models.names` where it is known), ``resolution``,
            ``timesteps``, ``energy_mj``, the ``verdict`` and what it rests on, ``because``.
        without_energy: How many lines give none.
        basis: The prices of the check.

    Example:
        >>> import analyzer
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     table = Path(folder, "table.csv")
        ...     _ = table.write_text("model,T,energy_mJ\nSpikformer 8-512,4,154.5\n")
        ...     print(analyzer.audit(table).shown()["Verdict"][0])
        impossible
    """

    frame: pd.DataFrame
    without_energy: int
    basis: str

    @property
    def summary(self) -> str:
        """How many lines are what, in a sentence."""
        counts = Counter(self.frame["verdict"])
        parts = [f"{counts[verdict]} {verdict}" for verdict in _ORDER if counts[verdict]]
        return (
            f"{len(self.frame)} energies: {', '.join(parts) or 'none'}; {self.without_energy} "
            f"lines give none. {self.basis}."
        )

    def shown(self) -> pd.DataFrame:
        """The lines as text, the worst first."""
        order = self.frame["verdict"].map(_ORDER.index).sort_values(kind="stable").index
        rows = self.frame.loc[order]
        return pd.DataFrame(
            {
                "Line": rows["line"].map(str),
                "Model": rows["model"],
                "T": rows["timesteps"].map(lambda t: "–" if pd.isna(t) else str(int(t))),
                "mJ": rows["energy_mj"].map(lambda mj: f"{mj:g}"),
                "Verdict": rows["verdict"],
                "Because": rows["because"],
            }
        ).reset_index(drop=True)

    def to_markdown(self) -> str:
        """The lines as a GitHub table, with the summary above."""
        return f"{in_markdown(self.summary)}\n\n{to_markdown(self.shown(), align=_ALIGN)}\n"

    def to_latex(self) -> str:
        """The lines as a table for LaTeX that may run over several pages (package longtable)."""
        return to_latex(self.shown(), self.summary, align=_ALIGN, long=True)

    def __repr__(self) -> str:
        return f"{printable(self.summary)}\n\n{to_text(self.shown(), _ALIGN)}"

    def _repr_html_(self) -> str:
        return to_html(self.shown(), self.summary)


def audit(path: str | Path, technology: str = "45nm", precision: str = "fp32") -> Audit:
    r"""Says of each energy in a published table whether it can be right.

    An energy is held against the dense work of its network, where that is one of those that this
    package counts, against its own number of operations, and against the other lines. It is

    - ``impossible`` where no convention at these prices gives it: a dense network whose energy is
      not that of its multiply-accumulates, a spiking one that takes more than if all its work were
      multiply-accumulates, or an operation that takes less than an accumulate or more than a
      multiply-accumulate;
    - ``contradicted`` where another line gives another energy of the same network at
      the same resolution and T;
    - ``doubtful`` where it is, digit by digit, the energy of another network, or where its
      parameters are not those of its network;
    - ``plausible`` with the reading that gives it;
    - ``unknown`` where nothing is there to hold it against.

    Args:
        path: A CSV file with the columns ``model`` and ``energy_mj``, and perhaps ``variant``,
            ``resolution`` (224 where it is empty), ``T``, ``params_M``, ``operations_G`` and
            ``source``.
        technology: Name or file of the constants.
        precision: Number format that was priced.

    Raises:
        AnalyzerError: Where the file can not be read, or the technology has no
            multiply-accumulates.

    Example:
        >>> import analyzer
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     table = Path(folder, "table.csv")
        ...     _ = table.write_text("model,resolution,energy_mJ\nSwin-T,224,70.84\n")
        ...     print(analyzer.audit(table).frame["because"][0])
        swin-t at 224 takes 20.66 mJ, and 70.84 is what swin-b at 224 takes
    """
    known = read_technology(technology)
    if not known.multiplies:
        raise AnalyzerError(
            f"technology {known.name!r} has no multiply-accumulates, which tables are held against."
        )
    prices = Prices(known.ac_pj(precision), known.mac_pj(precision))
    rows = read_rows(path)
    given = [(row, row.energy, network_of(row)) for row in rows if row.energy is not None]
    others = together([(row, network) for row, _, network in given])
    lines = []
    for row, energy, network in given:
        found = alone(row, energy, network, prices)
        its_own = network is not None and not network.spiking and _worst(found) == "plausible"
        # Where a line has the work of its network, it is the others that copied it.
        found += [f for f in others[row.number] if not (its_own and f.verdict == "doubtful")]
        verdict = _worst(found)
        lines.append(
            {
                "line": row.number,
                "model": row.model,
                "network": network.name if network else "",
                "resolution": row.resolution,
                "timesteps": row.timesteps,
                "energy_mj": energy.value,
                "verdict": verdict,
                "because": _because(row, verdict, found),
            }
        )
    columns = ["line", "model", "network", "resolution", "timesteps", "energy_mj", "verdict"]
    frame = pd.DataFrame(lines, columns=[*columns, "because"])
    basis = f"{known.name} {precision} ({prices.ac_pj:g} pJ/AC, {prices.mac_pj:g} pJ/MAC)"
    return Audit(frame, len(rows) - len(given), basis)


def _worst(found: list[Finding]) -> str:
    return min((f.verdict for f in found), key=_ORDER.index, default="unknown")


def _because(row: Row, verdict: str, found: list[Finding]) -> str:
    """The reasons of a verdict, and of all that speaks against the line."""
    against = _ORDER[: _ORDER.index("plausible")]
    shown = against if verdict in against else (verdict,)
    said = [f.because for kind in shown for f in found if f.verdict == kind]
    if said:
        return "; ".join(dict.fromkeys(said))
    known = "gives no number of operations" if row.operations is None else "has no known work"
    return f"is no network that is counted here, and {known}"
