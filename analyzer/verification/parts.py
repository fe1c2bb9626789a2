"""Parts of a profile against brute force: what calls do in each timestep, and groups.

Only calls that both tell apart in the same way are compared: as many of them, in one order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from analyzer.facts.records import Contraction, GroupCount
from analyzer.facts.sparsity import by_timestep
from analyzer.verification.groups import GroupKey
from analyzer.verification.seen import Seen

__all__ = ["Parts", "groups_compared", "timesteps_compared"]


@dataclass
class Parts:
    """A comparison of parts.

    Attributes:
        compared: How many there were.
        untold: How many the profile shows that nothing else tells.
        differences: What differs, in words.
    """

    compared: int = 0
    untold: int = 0
    differences: list[str] = field(default_factory=list)

    def __iadd__(self, other: Parts) -> Parts:
        self.compared += other.compared
        self.untold += other.untold
        self.differences += other.differences
        return self


def timesteps_compared(sites: Sequence[Contraction], seen: Sequence[Seen], timesteps: int) -> Parts:
    """Compares the timesteps of the calls of one kind of operation in one module."""
    parts = Parts()
    by_op: dict[str, list[tuple[Contraction, Seen]]] = defaultdict(list)
    if len(sites) == len(seen):
        for site, call in zip(sites, seen, strict=True):
            by_op[site.op].append((site, call))
    else:
        parts.untold = len(_shown(sites, timesteps))
    for calls in by_op.values():
        parts += _reads_compared(calls, timesteps)
        for site, call in calls:
            for step, (mine, other) in enumerate(
                zip(site.parts or (), call.parts or (), strict=False)
            ):
                ours = (mine.input_class, mine.dense_macs, mine.events, mine.unary_events)
                theirs = (other.input_class, other.dense, other.events, other.unary)
                if ours != theirs:
                    text = "{} with {:,} dense, {:,} events, {:,} unary"
                    parts.differences.append(
                        f"timestep {step}: {text.format(*ours)} here, "
                        f"{text.format(*theirs)} by brute force"
                    )
    return parts


def _reads_compared(calls: Sequence[tuple[Contraction, Seen]], timesteps: int) -> Parts:
    """Compares what calls of one operation read in each timestep."""
    ours = _shown([site for site, _ in calls], timesteps)
    theirs = _told(calls, timesteps)
    if theirs is None:
        return Parts(untold=len(ours))
    return Parts(
        compared=len(ours),
        differences=[
            f"timestep {step} reads {ours[step][1]:,} non-zeros of {ours[step][0]:,} here, "
            f"{theirs[step][1]:,} of {theirs[step][0]:,} by brute force"
            for step in ours
            if ours[step] != theirs[step]
        ],
    )


def _shown(sites: Sequence[Contraction], timesteps: int) -> dict[int, tuple[int, int]]:
    """Elements and non-zeros by timestep, as the profile shows them."""
    table = by_timestep(sites, timesteps)
    columns = (table[name].tolist() for name in ("timestep", "elements", "nonzeros"))
    return {step: (elements, nonzeros) for step, elements, nonzeros in zip(*columns, strict=True)}


def _told(
    calls: Sequence[tuple[Contraction, Seen]], timesteps: int
) -> Mapping[int, tuple[int, int]] | None:
    """The same by brute force, of calls whose time the profile tells; None where that is open."""
    steps = _steps([seen for _, seen in calls], timesteps)
    sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for at, (site, seen) in enumerate(calls):
        if seen.constant:
            return None
        if site.step_nonzeros is not None:
            found = list(enumerate(seen.reads or ((0, 0),) * timesteps))
        elif site.step is None and len(calls) != timesteps:
            continue
        elif steps is None:
            return None
        else:
            found = [(steps[at], (seen.elements, seen.nonzeros))]
        for step, (elements, nonzeros) in found:
            sums[step] = sums[step][0] + elements, sums[step][1] + nonzeros
    return sums


def _steps(seen: Sequence[Seen], timesteps: int) -> Sequence[int] | None:
    """The timestep of each call: by what it read, or as the calls come one after another."""
    told = [call.step for call in seen if call.step is not None]
    counts = Counter(told)
    if len(told) == len(seen) and all(counts[t] * timesteps == len(seen) for t in range(timesteps)):
        return told
    return range(timesteps) if len(seen) == timesteps else None


def groups_compared(
    own: Iterable[GroupCount], found: Mapping[GroupKey, tuple[int, int]], names: Mapping[str, str]
) -> dict[str, Parts]:
    """Compares activity by groups, module by module."""
    ours, theirs = (
        _summed(rows, names)
        for rows in (
            (((row.module, row.axis, row.group), (row.elements, row.nonzeros)) for row in own),
            found.items(),
        )
    )
    parts: dict[str, Parts] = defaultdict(Parts)
    for key in {**ours, **theirs}:
        mine, other = ours.get(key, (0, 0)), theirs.get(key, (0, 0))
        module, axis, group = key
        parts[module].compared += 1
        if mine != other:
            parts[module].differences.append(
                f"{axis} group {group}: {mine[1]:,} non-zeros of {mine[0]:,} here, "
                f"{other[1]:,} of {other[0]:,} by brute force"
            )
    return parts


def _summed(
    rows: Iterable[tuple[GroupKey, tuple[int, int]]], names: Mapping[str, str]
) -> dict[GroupKey, tuple[int, int]]:
    """Elements and non-zeros by group, the modules by the paths that ``names`` has for them."""
    sums: dict[GroupKey, tuple[int, int]] = {}
    for (module, axis, group), (elements, nonzeros) in rows:
        key = names.get(module, module), axis, group
        before = sums.get(key, (0, 0))
        sums[key] = before[0] + elements, before[1] + nonzeros
    return sums
