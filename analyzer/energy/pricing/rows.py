"""Which rows of a profile are priced, and what they would be at another activity."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyzer.facts.protocol import Facts

__all__ = ["at_activity", "knows_neurons", "split", "updates"]


def split(facts: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a profile that are products, which conventions read, and all others."""
    products = facts[facts["contraction"]].reset_index(drop=True)
    return products, facts[~facts["contraction"]]


def updates(others: pd.DataFrame, *, elementwise: bool = False) -> pd.DataFrame:
    """The rows of neurons that memory models charge, as a convention would read them.

    Args:
        others: Rows that are no products.
        elementwise: Whether all others follow, whose element-wise work is charged.
    """
    stateful = others["state_elements"] > 0
    found = others[stateful].assign(reason="neurons")
    if elementwise:
        found = pd.concat([found, others[~stateful].assign(reason="element-wise")])
    return found.assign(
        ac=0, mac=0, mac_events=0, is_driven=False, left_driven=False, right_driven=False,
        omitted=False, spikes_each=1.0,
    )  # fmt: skip


def knows_neurons(profile: Facts, others: pd.DataFrame) -> bool:
    """Whether the rows of a profile hold all of its neurons, with their state."""
    return profile.parameters is not None and bool(others["state_elements"].notna().all())


def at_activity(rows: pd.DataFrame, activity: float) -> pd.DataFrame:
    """The rows as they would be if driven operations read so many times as many spikes."""
    changed: dict[str, Any] = {}
    left = ("left_nonzeros", "left_first_read_nonzeros")
    right = ("right_nonzeros", "right_first_read_nonzeros")
    for driven, columns in (
        ("is_driven", ("ac", "windows")), ("left_driven", left), ("right_driven", right)
    ):  # fmt: skip
        factor = rows[driven].map({True: activity, False: 1.0})
        changed |= {column: rows[column] * factor for column in columns}
    return rows.assign(**changed)
