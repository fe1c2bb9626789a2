"""What four counters say, side by side, and the verdict on each kind of operation of each module.

Brute force knows what the profile knows, so the two must be equal. A reference is dropped where it
says nothing on an operation, or where it alone contradicts both of them; two references that
contradict both with one figure are a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from analyzer.measure.rules.fused import COMPUTE_FOR_PARTS
from analyzer.measure.watch.scopes import canonical_names
from analyzer.verification.brute_force import BruteForce
from analyzer.verification.groups import GroupKey
from analyzer.verification.parts import Parts, groups_compared, timesteps_compared
from analyzer.verification.references import Place, Reference, kind_of

__all__ = ["Row", "Table"]

Verdict = Literal["agrees", "explained", "unchecked", "differs"]
Counts = tuple[int, int, int]
"""Dense work, events and unary events."""

_NOTHING: Counts = (0, 0, 0)
_MOST_SUMS = 1 << 14


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
        timesteps: How many timesteps of its calls were compared one by one, 0 where the profile
            tells none; None where it does and nothing else tells them.
        verdict: ``agrees``; ``explained`` where a reference was dropped; ``unchecked`` where there
            is no second count of an operation, such as one that a rule of yours counts and that is
            not written in Python; or ``differs``.
        explanation: Why a reference was dropped, what is not checked, or what differs.
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
    timesteps: int | None
    verdict: Verdict
    explanation: str


@dataclass
class _Cell:
    """The sums of all counters for one kind of operation in one module.

    Attributes:
        operations: What the profile calls them.
        own: By value class what the profile says.
        brute: By value class what brute force says.
        repeated: Dense work of products of constants beyond that of one pass.
        steps: What was compared timestep by timestep.
        references: By its name what each reference says.
    """

    operations: dict[str, None] = field(default_factory=dict)
    own: dict[str, Counts] = field(default_factory=lambda: defaultdict(lambda: _NOTHING))
    brute: dict[str, Counts] = field(default_factory=lambda: defaultdict(lambda: _NOTHING))
    repeated: int = 0
    steps: Parts = field(default_factory=Parts)
    references: dict[str, Place] = field(default_factory=lambda: defaultdict(Place))

    @property
    def differences(self) -> list[str]:
        """Value classes that the profile and brute force count differently."""
        return [
            f"{label or 'weights'}: {_counts(self.own[label])} here, "
            f"{_counts(self.brute[label])} by brute force"
            for label in {**self.own, **self.brute}
            if self.own[label] != self.brute[label]
        ]

    @property
    def only_lacks(self) -> bool:
        """Whether brute force counts no more of anything than the profile."""
        return all(
            ours >= theirs
            for label in {**self.own, **self.brute}
            for ours, theirs in zip(self.own[label], self.brute[label], strict=True)
        )


class Table:
    """Sums of the four counters by module and kind of operation."""

    def __init__(self, model: nn.Module) -> None:
        self._names = _whole_layers(model)
        self._cells: dict[tuple[str, str], _Cell] = defaultdict(_Cell)
        self._failed: dict[str, str] = {}
        self._unknown: dict[str, dict[str, None]] = defaultdict(dict)
        self._groups: dict[str, Parts] = defaultdict(Parts)

    @property
    def groups(self) -> int:
        """How many groups were compared."""
        return sum(parts.compared for parts in self._groups.values())

    def add(
        self,
        own: Any,
        found: BruteForce,
        groups: Mapping[GroupKey, tuple[int, int]] | None,
        references: Iterable[Reference],
    ) -> None:
        """What all of them say of one batch.

        Args:
            own: The profile.
            found: Brute force. Products of constants are of one pass there. In the profile they
                may be of each sample, where the batch is not among their axes.
            groups: Activity by group, None where it could not be counted.
            references: fvcore and PyTorch's flop counter.
        """
        if groups is not None:
            for module, parts in groups_compared(own.groups, groups, self._names).items():
                self._groups[module] += parts
        self._add_steps(own, found)
        ours, theirs = defaultdict(list), defaultdict(list)
        for site in own.contractions:
            place = self._place(site.module, kind_of(site.op))
            self._cells[place].operations[site.op] = None
            counts = (site.dense_macs, site.events, site.unary_events)
            ours[place, site.input_class].append(counts)
        constants = defaultdict(list)
        for seen in found.seen:
            key = self._place(seen.module, seen.kind), seen.input_class
            counts = (seen.dense, seen.events, seen.unary)
            theirs[key].append(counts)
            if seen.constant:
                constants[key].append(counts)
        for place, label in {**ours, **theirs}:
            key, cell = (place, label), self._cells[place]
            mine, other = _total(ours[key]), _total(theirs[key])
            again = _repeated(constants[key], own.samples - 1, _minus(mine, other))
            cell.own[label] = _total((cell.own[label], mine))
            cell.brute[label] = _total((cell.brute[label], other, again))
            cell.repeated += again[0]
        for module, op in found.unknown:
            self._unknown[self._names.get(module, module)][op] = None
        if found.failure:
            self._failed[_BRUTE_FORCE] = found.failure
        for reference in references:
            self._add_reference(reference)

    def _add_steps(self, own: Any, found: BruteForce) -> None:
        sites, seen = defaultdict(list), defaultdict(list)
        for site in own.contractions:
            sites[self._place(site.module, kind_of(site.op))].append(site)
        for call in found.seen:
            seen[self._place(call.module, call.kind)].append(call)
        timesteps = own.metadata.get("timesteps") or 1
        if timesteps > 1 and not found.failure:
            for place, calls in sites.items():
                self._cells[place].steps += timesteps_compared(calls, seen[place], timesteps)

    def _add_reference(self, reference: Reference) -> None:
        if reference.failure:
            self._failed[reference.name] = reference.failure
        for (module, kind), said in reference.places.items():
            around = self._around(module, kind)
            if around is None and not said.counted:
                continue
            cell = self._cells[self._place(module, kind) if around is None else (around, kind)]
            known = cell.references[reference.name]
            known.counted += said.counted
            known.silent |= said.silent
            known.alone |= said.alone

    def rows(self) -> tuple[Row, ...]:
        """The verdicts, in the order of the model's modules."""
        order = {name: place for place, name in enumerate(self._names)}
        keys = sorted(self._cells, key=lambda key: order.get(key[0], len(order)))
        failed = [_failed(name, reason) for name, reason in self._failed.items()]
        groups = [
            replace(_failed("groups", "; ".join(parts.differences)), module=name, verdict="differs")
            for name, parts in self._groups.items()
            if parts.differences
        ]
        return (*failed, *(self._row(*key, self._cells[key]) for key in keys), *groups)

    def _place(self, module: str, kind: str) -> tuple[str, str]:
        return self._names.get(module, module), kind

    def _around(self, module: str, kind: str) -> str | None:
        """The innermost module around a path, or at it, that runs this kind of operation.

        A reference may take another path through a module than the pass did, such as that of a
        layer's parts in place of one kernel.
        """
        parts = self._names.get(module, module).split(".")
        above = (".".join(parts[:n]) for n in range(len(parts), -1, -1))
        return next((path for path in above if (path, kind) in self._cells), None)

    def _row(self, module: str, kind: str, cell: _Cell) -> Row:
        own = _total(cell.own.values())
        brute = None if _BRUTE_FORCE in self._failed else _total(cell.brute.values())
        said = {name: cell.references[name] for name in _NAMES if name not in self._failed}
        verdict, reasons = self._verdict(module, cell, own[0] - cell.repeated, said)
        return Row(
            module=module,
            operation=", ".join(cell.operations) or kind,
            dense_macs=own[0],
            fvcore=said["fvcore"].counted if "fvcore" in said else None,
            torch=said["torch"].counted if "torch" in said else None,
            brute_force=brute and brute[0],
            events=own[1],
            brute_force_events=brute and brute[1],
            unary_events=own[2],
            brute_force_unary_events=brute and brute[2],
            timesteps=None if cell.steps.untold else cell.steps.compared,
            verdict=verdict,
            explanation="; ".join(reasons),
        )

    def _verdict(
        self, module: str, cell: _Cell, once: int, said: Mapping[str, Place]
    ) -> tuple[Verdict, list[str]]:
        """The verdict on a cell, and why."""
        if _BRUTE_FORCE in self._failed:
            return "unchecked", ["brute force could not follow the model"]
        witnesses = {name: place.counted for name, place in said.items() if not place.silent}
        against = {name: counted for name, counted in witnesses.items() if counted != once}
        wrong = cell.differences
        if wrong and self._unknown[module] and cell.only_lacks:
            return "unchecked", [f"nothing else counts {_listed(self._unknown[module])}"]
        wrong += cell.steps.differences
        wrong += [
            f"{name} counts {place.counted:,}, also {_listed(place.alone)}, which no rule covers"
            for name, place in said.items()
            if place.alone
        ]
        if wrong or (len(against) == len(_NAMES) and len(set(against.values())) == 1):
            return "differs", wrong + [f"{name} counts {n:,}" for name, n in against.items()]
        reasons = [
            f"{name} says nothing on {_listed(place.silent)}"
            if place.silent
            else f"{name} alone counts {place.counted:,}"
            for name, place in said.items()
            if place.counted != once
        ]
        if cell.repeated:
            reasons.insert(0, "products of constants count once a sample here, once a pass there")
        return ("explained" if reasons else "agrees"), reasons


_NAMES = ("fvcore", "torch")
_BRUTE_FORCE = "brute force"


def _failed(name: str, reason: str) -> Row:
    """The row of a counter that could not follow the model."""
    nothing = dict.fromkeys(list(Row.__annotations__)[2:-2])
    verdict: Verdict = "unchecked" if name == _BRUTE_FORCE else "explained"
    return Row(module="", operation=name, **nothing, verdict=verdict, explanation=reason)


def _whole_layers(model: nn.Module) -> dict[str, str]:
    """The path of each module's row: its own, or that of a layer around it that may be one kernel.

    A profile tells apart what a kernel computes, by the weights it reads; others see one layer.
    """
    modules = dict(model.named_modules())
    whole = [name for name, module in modules.items() if isinstance(module, COMPUTE_FOR_PARTS)]
    return {
        name: next((at for at in whole if not at or f"{first}.".startswith(f"{at}.")), first)
        for name, first in canonical_names(model).items()
    }


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


def _repeated(constants: Iterable[Counts], times: int, missing: Counts) -> Counts:
    """What constants do beyond one pass, if that is all that is missing; else nothing."""
    reached = {_NOTHING}
    for counts in constants:
        more = tuple(times * n for n in counts)
        sums = {(a + more[0], b + more[1], c + more[2]) for a, b, c in reached}
        reached |= {some for some in sums if min(_minus(missing, some)) >= 0}
        if missing in reached:
            return missing
        if len(reached) > _MOST_SUMS:
            break
    return _NOTHING


def _minus(a: Counts, b: Counts) -> Counts:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _total(counts: Iterable[Counts]) -> Counts:
    total = _NOTHING
    for a, b, c in counts:
        total = (total[0] + a, total[1] + b, total[2] + c)
    return total


def _counts(counts: Counts) -> str:
    if counts == _NOTHING:
        return "nothing"
    return "{:,} dense, {:,} events, {:,} unary".format(*counts)
