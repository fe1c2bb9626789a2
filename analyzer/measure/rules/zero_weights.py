"""What is left of a layer's work where products with weights that are zero are skipped."""

from __future__ import annotations

from collections.abc import Callable

from analyzer.measure.rules.geometry import Array, Counted, Keep, Side

__all__ = ["count_left"]


def count_left(
    counted: Counted,
    lhs: Side,
    rhs: Side,
    keep: tuple[Keep, Keep],
    pairs: Callable[[Array, Array, int], int],
) -> Counted:
    """Adds to the work of a contraction how much of it meets weights that are not zero.

    A layer without a zero weight takes no further reading of its input; of others the input is read
    once more, with its non-zeros counted apart where the weights that they meet differ.

    Args:
        counted: All of its work.
        lhs: First operand.
        rhs: Second operand.
        keep: Axes of each along which elements meet others.
        pairs: The sum of products over all that is multiplied with each other: of counts or levels
            at each place of the kept axes, and an integer that it does not exceed.
    """
    dense = counted.dense_macs
    if lhs.parameter and rhs.parameter:
        macs, events, levels = dense, counted.pair_events, 0
    elif lhs.parameter:
        macs, events, levels = counted.lhs_events, counted.rhs_events, counted.rhs_levels
    elif rhs.parameter:
        each = dense // max(rhs.activity.elements, 1)  # products of one weight
        macs, events, levels = (
            rhs.activity.nonzeros * each, counted.lhs_events, counted.lhs_levels,
        )  # fmt: skip
    else:
        return counted
    weights = [side.activity for side in (lhs, rhs) if side.parameter]
    if all(found.nonzeros == found.elements for found in weights):
        return counted._replace(left_macs=dense, left_events=events, left_levels=levels)
    left, right = lhs._replace(keep=keep[0]), rhs._replace(keep=keep[1])
    met = pairs(left.counts(), right.counts(), events) if events else 0
    if len(weights) == 2:
        return counted._replace(left_macs=met, left_events=met, left_levels=0)
    values = (rhs if lhs.parameter else lhs).activity.values
    if values.real:
        levels = 0
    elif values.drives or not events:
        levels = met
    elif lhs.parameter:
        levels = pairs(left.counts(), right.levels(), levels)
    else:
        levels = pairs(left.levels(), right.counts(), levels)
    return counted._replace(left_macs=macs, left_events=met, left_levels=levels)
