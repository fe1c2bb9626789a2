"""Labels of rows: module paths made short, and rows of a long table put together."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["fold", "is_folded", "largest", "path_labels", "wrapped"]

Groups = list[tuple[str, list[int]]]
"""The label of each group and the positions of its rows; every row is in one group."""


def wrapped(name: str, width: int = 26) -> str:
    """A model's name on at most two lines; of a longer name the middle is left out."""
    lines = textwrap.wrap(name, width, break_on_hyphens=True) or [""]
    if len(lines) > 2 or max(map(len, lines)) > width:
        lines = textwrap.wrap(_elided(name, 2 * width - 6), width)[:2]
    return "\n".join(lines)


def path_labels(modules: Sequence[str], ops: Sequence[str]) -> list[str]:
    """Row labels: the module path, and the operation if the module has several rows."""
    times = Counter(modules)
    several = [times[module] > 1 for module in modules]
    return [
        _short_path(module, 28 - (len(op) + 3 if more else 0)) + (f" · {op}" if more else "")
        for module, op, more in zip(modules, ops, several, strict=True)
    ]


def fold(modules: Sequence[str], labels: Sequence[str], limit: int) -> Groups:
    """Groups rows of a figure until there are at most `limit`.

    Rows are grouped by their parent module if that gives a useful number of groups, else adjacent
    rows are joined.
    """
    groups = _few(modules, labels, limit)
    if groups:
        return groups
    size = -(-len(modules) // limit)
    runs = [list(range(i, min(i + size, len(modules)))) for i in range(0, len(modules), size)]
    return [
        (labels[rows[0]] if len(rows) == 1 else f"{labels[rows[0]]} +{len(rows) - 1}", rows)
        for rows in runs
    ]


def largest(modules: Sequence[str], labels: Sequence[str], limit: int, values: ArrayLike) -> Groups:
    """Groups rows whose values add up, until there are at most `limit`.

    Rows are grouped by their parent module if that gives a useful number of groups, else the
    largest ones stand alone, in their order, and the last group holds all others.
    """
    groups = _few(modules, labels, limit)
    if groups:
        return groups
    order = np.argsort(-np.asarray(values, dtype=float), kind="stable")
    chosen = sorted(int(i) for i in order[: limit - 1])
    rest = sorted(set(range(len(modules))) - set(chosen))
    alone: Groups = [(labels[i], [i]) for i in chosen]
    return [*alone, (f"all others ({len(rest)} rows)", rest)]


def _few(modules: Sequence[str], labels: Sequence[str], limit: int) -> Groups:
    """Each row alone where they are few enough, else their parents; none if that does not help."""
    if len(modules) <= limit:
        return [(label, [i]) for i, label in enumerate(labels)]
    return _by_parent(modules, labels, limit)


def is_folded(labels: Sequence[str]) -> bool:
    """Whether any label is that of several rows."""
    return any(label.endswith(" rows)") or " +" in label for label in labels)


def _by_parent(modules: Sequence[str], labels: Sequence[str], limit: int) -> Groups:
    """Groups by the deepest parents that are few enough; none where they are very few."""
    for depth in range(max(m.count(".") for m in modules), 0, -1):
        groups: dict[str, list[int]] = {}
        for i, module in enumerate(modules):
            groups.setdefault(".".join(module.split(".")[:depth]), []).append(i)
        most = max(map(len, groups.values()))
        if limit // 3 < len(groups) <= limit and most <= len(modules) // 2:
            return [
                (
                    labels[rows[0]]
                    if len(rows) == 1
                    else f"{_short_path(parent, 18)} ({len(rows)} rows)",
                    rows,
                )
                for parent, rows in groups.items()
            ]
    return []


def _short_path(path: str, width: int) -> str:
    """Abbreviates parts of a long path to one letter, from the left; numbers are kept whole."""
    parts = path.split(".")
    for i, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= width:
            break
        if not part.isdigit():
            parts[i] = part[:1]
    return _elided(".".join(parts), width)


def _elided(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    head = max(width // 3, 1)
    return f"{text[:head]}…{text[len(text) - max(width - head - 1, 1) :]}"
