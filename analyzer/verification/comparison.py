"""``analyzer.verify``: a profile compared with fvcore, PyTorch's flop counter and brute force.

Every difference is either explained by a known fault of the other counter, or reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.inputs import batches_of
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.session.profiling import profile
from analyzer.measure.torch_private import tree_map
from analyzer.measure.watch.restore import preserved
from analyzer.measure.watch.scopes import canonical_names
from analyzer.verification.brute_force import brute_force
from analyzer.verification.references import Reference, by_fvcore, by_torch

__all__ = ["Row", "Verification", "verify"]

Verdict = Literal["agrees", "explained", "differs"]
Counts = tuple[int, int, int]
"""Dense work, events and unary events."""


@dataclass(frozen=True)
class Row:
    """One kind of operation in one module, as all four counters have it, over all samples.

    Attributes:
        module: Canonical path, empty for the model itself.
        operation: ``linear``, ``conv2d`` and the like; several where a module runs several; the
            name of a reference that could not follow the model, in a row without figures.
        dense_macs: What the profile says.
        fvcore: What fvcore says, None where it could not follow the model.
        torch: What ``FlopCounterMode`` says, in multiply-accumulates, or None.
        brute_force: Dense work by brute force.
        events: What the profile says.
        brute_force_events: Events by brute force.
        unary_events: What the profile says.
        brute_force_unary_events: Unary events by brute force.
        verdict: ``agrees``, ``explained`` or ``differs``.
        explanation: The faults that explain the difference, or what differs.
    """

    module: str
    operation: str
    dense_macs: int | None
    fvcore: int | None
    torch: int | None
    brute_force: int | None
    events: int | None
    brute_force_events: int | None
    unary_events: int | None
    brute_force_unary_events: int | None
    verdict: Verdict
    explanation: str


@dataclass(frozen=True)
class Verification:
    """The counts of four counters for one model and the same samples.

    Attributes:
        rows: One per module and kind of operation.
        samples: How many samples were counted.
    """

    rows: tuple[Row, ...]
    samples: int

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a table of integers, missing where a counter could not follow the model."""
        columns = list(Row.__annotations__)
        table = pd.DataFrame([asdict(row) for row in self.rows], columns=columns)
        return table.astype(dict.fromkeys(columns[2:-2], "Int64"))

    @property
    def unexplained(self) -> tuple[Row, ...]:
        """The rows that no named fault explains."""
        return tuple(row for row in self.rows if row.verdict == "differs")

    @property
    def summary(self) -> str:
        """How many operations agree, in one line."""
        agree = sum(row.verdict == "agrees" for row in self.rows)
        differ, open_ = len(self.rows) - agree, len(self.unexplained)
        text = f"{agree} operation{'s agree' if agree != 1 else ' agrees'}"
        if differ:
            text += f"; {differ} differ{'s' if differ == 1 else ''}, "
            text += f"{open_} unexplained" if open_ else "all explained"
        return text


def verify(
    model: nn.Module,
    inputs: Any,
    *,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    reset: Callable[[nn.Module], object] | None = None,
) -> Verification:
    """Counts a model in four ways and compares them, module by module and to the last integer.

    Use it before you trust the profile of a new network, and after you wrote a rule. Dense work is
    compared with fvcore, ``torch.utils.flop_counter`` and brute force; events and unary events, of
    each value class on its own, with brute force, which is slow. Every pass starts from reset
    state, and the model is left as it was found. Value classes are those of each batch by itself.

    Args:
        model: Any module, in ``eval()`` for the counts of inference.
        inputs: One tensor, a tuple or dict of arguments, or an iterable of batches, as for
            :func:`analyzer.profile`.
        timesteps: As for :func:`analyzer.profile`.
        layouts: As for :func:`analyzer.profile`.
        reset: As for :func:`analyzer.profile`.

    Returns:
        One row for each module and kind of operation; ``unexplained`` should be empty.

    Raises:
        AnalyzerError: Where the model can not be profiled on these inputs.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3)).eval()
        >>> found = analyzer.verify(model, torch.eye(4, 6))
        >>> found.summary, found.unexplained
        ('1 operation agrees', ())
    """
    forget = reset or reset_state
    tables = _Tables(model)
    samples = 0
    for args, kwargs in _batches(inputs, model):
        own = profile(
            model, kwargs or args, timesteps=timesteps, layouts=layouts, reset=forget,
            progress=False,
        )  # fmt: skip

        def counted_by(counter: Callable[..., Any], *given: Any) -> Any:
            with preserved(model):
                forget(model)
                return counter(model, *given)

        by_counter = counted_by(by_torch, args, kwargs)
        references = [by_counter]
        if kwargs:
            references.append(Reference("fvcore", failure="fvcore takes no keyword arguments"))
        else:
            references.append(counted_by(by_fvcore, args))
        tables.fused |= by_counter.fused
        for site in own.contractions:
            tables.own(site)
        steps = own.metadata.get("timesteps") or 1
        for seen in counted_by(brute_force, args, kwargs, own.samples, steps):
            tables.brute(seen, own.samples)
        for reference in references:
            tables.reference(reference)
        samples += own.samples
    if not samples:
        raise AnalyzerError("there is nothing to verify: the inputs hold no sample.")
    return Verification(tables.rows(), samples)


@dataclass
class _Cell:
    """The sums of all counters for one kind of operation in one module."""

    operations: dict[str, None] = field(default_factory=dict)
    own: dict[str, Counts] = field(default_factory=dict)
    brute: dict[str, Counts] = field(default_factory=dict)
    repeated: int = 0
    counted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    right: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))


class _Tables:
    """Sums of the four counters by module and kind of operation."""

    def __init__(self, model: nn.Module) -> None:
        self.fused: set[str] = set()
        self._names = canonical_names(model)
        self._cells: dict[tuple[str, str], _Cell] = defaultdict(_Cell)
        self._failed: dict[str, str] = {}
        self._unseen: set[str] = set()

    def own(self, site: Any) -> None:
        """A contraction of the profile."""
        kind = "convolution" if site.op.startswith("conv") else "product"
        cell = self._cell(site.module, kind)
        cell.operations[site.op] = None
        counts = (site.dense_macs, site.events, site.unary_events)
        cell.own[site.input_class] = _plus(cell.own.get(site.input_class), counts)

    def brute(self, seen: Any, samples: int) -> None:
        """A contraction of the brute force; what no input changes, every inference repeats."""
        cell = self._cell(seen.module, seen.kind)
        times = samples if seen.fixed else 1
        counts = (seen.dense * times, seen.events * times, seen.unary * times)
        cell.brute[seen.input_class] = _plus(cell.brute.get(seen.input_class), counts)
        cell.repeated += seen.dense * (times - 1)

    def reference(self, reference: Reference) -> None:
        """All calls of a reference."""
        if reference.failure:
            self._failed[reference.name] = reference.failure
        self._unseen |= reference.unseen
        for call in reference.calls:
            cell = self._cell(call.module, call.kind)
            cell.counted[reference.name] += call.counted
            cell.right[reference.name] += call.right
            if call.fault:
                cell.faults[reference.name][call.fault] = None

    def rows(self) -> tuple[Row, ...]:
        """The verdicts, in the order of the model's modules."""
        order = {name: place for place, name in enumerate(self._names)}
        keys = sorted(self._cells, key=lambda key: order[key[0]])
        failed = [_failed(name, reason) for name, reason in self._failed.items()]
        return (*failed, *(self._row(*key, self._cells[key]) for key in keys))

    def _cell(self, module: str, kind: str) -> _Cell:
        module = self._names.get(module, module)
        parts = module.split(".")
        above = (".".join(parts[:n]) for n in range(len(parts)))
        return self._cells[next((path for path in above if path in self.fused), module), kind]

    def _row(self, module: str, kind: str, cell: _Cell) -> Row:
        own, brute = _total(cell.own), _total(cell.brute)
        wrong = [
            f"{label or 'weights'}: {_counts(cell.own.get(label))} here, "
            f"{_counts(cell.brute.get(label))} by brute force"
            for label in {**cell.own, **cell.brute}
            if cell.own.get(label) != cell.brute.get(label)
        ]
        reasons: dict[str, None] = {}
        for name in ("fvcore", "torch"):
            counted, right = cell.counted[name], cell.right[name] + cell.repeated
            if name in self._failed or counted == own[0]:
                continue
            if name == "fvcore" and not right and module in self._unseen:
                right = brute[0]
                reasons["fvcore's trace drops results that nobody uses"] = None
            if right != own[0]:
                known = f", without its known faults {right:,}" if right != counted else ""
                wrong.append(f"{name} counts {counted:,}{known}")
            elif cell.repeated:
                reasons["products of weights count once a sample here, once a pass there"] = None
            reasons |= cell.faults[name]
        verdict: Verdict = "differs" if wrong else "explained" if reasons else "agrees"
        references = {name: None if name in self._failed else cell.counted[name] for name in _NAMES}
        return Row(
            module=module,
            operation=", ".join(cell.operations) or kind,
            dense_macs=own[0],
            fvcore=references["fvcore"],
            torch=references["torch"],
            brute_force=brute[0],
            events=own[1],
            brute_force_events=brute[1],
            unary_events=own[2],
            brute_force_unary_events=brute[2],
            verdict=verdict,
            explanation="; ".join(wrong or reasons),
        )


_NAMES = ("fvcore", "torch")


def _failed(name: str, reason: str) -> Row:
    """The row of a reference that could not follow the model."""
    nothing = dict.fromkeys(list(Row.__annotations__)[2:-2])
    return Row(module="", operation=name, **nothing, verdict="explained", explanation=reason)


def _plus(a: Counts | None, b: Counts) -> Counts:
    return b if a is None else (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _total(by_class: Mapping[str, Counts]) -> Counts:
    total: Counts = (0, 0, 0)
    for counts in by_class.values():
        total = _plus(total, counts)
    return total


def _counts(counts: Counts | None) -> str:
    if counts is None:
        return "nothing"
    return "{:,} dense, {:,} events, {:,} unary".format(*counts)


def _batches(inputs: Any, model: nn.Module) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Arguments of each pass, on the model's device."""
    device = next((p.device for p in model.parameters()), None)

    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) and device is not None else value

    for batch in batches_of(inputs, model):
        yield tree_map(moved, (batch.args, batch.kwargs))
