"""Energy of work that is no product, such as softmax, normalisation, neurons, residual sums."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analyzer.energy.declared.convention import Convention
from analyzer.energy.pricing.precision import Prices
from analyzer.errors import AnalyzerError

__all__ = ["Elementwise", "priced_elementwise", "work_of"]


class Elementwise(NamedTuple):
    """Element-wise operations of each row.

    Attributes:
        adds: Additions and compares: a compare is a subtraction.
        multiplies: Multiplications.
        specials: Special functions: exp, division, square root and the like.
    """

    adds: Any
    multiplies: Any
    specials: Any


def work_of(rows: pd.DataFrame, *, neurons: bool) -> Elementwise:
    """The element-wise operations of rows.

    Args:
        rows: Rows with the columns of ``analyzer.facts.table``.
        neurons: Whether those of neurons with state are among them; not where a memory model
            charges them.
    """
    kept = ~rows["contraction"].to_numpy(bool)
    if not neurons:
        kept &= ~(rows["state_elements"] > 0).to_numpy(bool)
    adds, multiplies, compares, specials = (
        np.where(kept, rows[c].to_numpy("float64", na_value=np.nan), 0.0)
        for c in ("adds", "multiplies", "compares", "specials")
    )
    return Elementwise(adds + compares, multiplies, specials)


def priced_elementwise(
    work: Elementwise, convention: Convention, cost: Prices, technology: str
) -> Any:
    """Picojoules of each row.

    Raises:
        AnalyzerError: Where the technology has no multiplication.
    """
    multiply = cost.multiply_pj
    if multiply is None:
        if work.multiplies.any() or work.specials.any():
            raise AnalyzerError(
                f"technology {technology!r} has no multiplication, which element-wise work takes: "
                "price a circuit, or leave that work out with elementwise=none."
            )
        multiply = 0.0
    products = work.multiplies + convention.special_multiplies * work.specials
    return work.adds * cost.ac_pj + products * multiply
