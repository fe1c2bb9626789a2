"""What single samples did: the figures of each call site, a row a sample, beside the totals.

Only integers are kept. Which class a site belongs to, and with it what its figures are read as, is
decided by the totals over all samples: so the rows of a sample are those of the whole profile, and
any convention and technology prices each sample on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.facts.packing import from_text, to_text
from analyzer.facts.records import Contraction, LeftWork, Operand, Tally

__all__ = ["SITE_FIGURES", "TALLY_FIGURES", "Line", "Matrix", "Sampled", "packed"]

SITE_FIGURES = (
    "calls", "dense_macs", "lhs_elements", "lhs_nonzeros", "lhs_events", "lhs_levels",
    "rhs_elements", "rhs_nonzeros", "rhs_events", "rhs_levels", "pair_events", "pair_levels",
    "outputs", "passes", "left_macs", "left_events", "left_levels",
)  # fmt: skip
"""What is kept of a sample at a call site; 0 where the totals do not know it either."""

TALLY_FIGURES = (
    "calls", "output_elements", "adds", "multiplies", "compares", "specials", "state_elements",
)  # fmt: skip
"""What is kept of a sample's element-wise work."""

_CONSTANT = -1

_SIZES = re.compile(r"([0-9]{1,10}) ([0-9]{1,10}) ")
"""How the text of a matrix begins: its rows and columns."""

_MOST_FIGURES = 2**24
"""Cells of a matrix that are read at most, of 8 bytes: a small file may otherwise fill the memory.
They are 1,024 samples of 16,384 columns."""

_LARGEST = 2**60
"""What a figure of one sample may add up to over all records: tables of int64 sum them up."""

_MOST_CELLS = 2**15
"""Rows of a table of samples, which is some tens of megabytes."""


class Matrix:
    """Integers, a row a sample."""

    __slots__ = ("values",)

    def __init__(self, values: NDArray[np.int64]) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Matrix):
            return NotImplemented
        return bool(np.array_equal(self.values, other.values))

    def __hash__(self) -> int:
        return hash((self.values.shape, self.values.tobytes()))

    def __repr__(self) -> str:
        return f"Matrix{self.values.shape}"

    @property
    def text(self) -> str:
        """As a file has it: both lengths, then all numbers, compressed.

        Equal bytes of neighbouring numbers lie together, as most are small, which halves the size.

        Raises:
            ValueError: Where it is larger than is read.
        """
        rows, columns = self.values.shape
        _refuse_many(rows * columns)
        raw = np.ascontiguousarray(self.values.T, "<i8").view(np.uint8).reshape(-1, 8)
        return f"{rows} {columns} {to_text(raw.T.tobytes())}"

    @classmethod
    def of_text(cls, text: str) -> Matrix:
        """What :attr:`text` gave.

        Raises:
            ValueError: Where it is none.
        """
        sizes = _SIZES.match(text)
        if sizes is None:
            raise ValueError(f"{shortened(text)} is no matrix of figures")
        rows, columns = map(int, sizes.groups())
        _refuse_many(rows * columns)
        length = 8 * rows * columns
        raw = from_text(text[sizes.end() :], length, "figures of samples")
        if len(raw) != length:
            raise ValueError(f"{len(raw)} bytes are no {rows} by {columns} figures")
        each = np.frombuffer(raw, np.uint8).reshape(8, -1).T
        values = np.ascontiguousarray(each).reshape(-1).view("<i8").reshape(columns, rows).T
        return cls(np.ascontiguousarray(values, np.int64))


def _refuse_many(number: int) -> None:
    if number > _MOST_FIGURES:
        raise ValueError(
            f"{number:,} figures of samples are more than the {_MOST_FIGURES:,} that are read"
        )


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one record, sample by sample.

    Each is a column of the matrix times a whole factor, as many figures grow in step: the events
    of a linear layer are its non-zeros times its outputs. A column of -1 means that the figure is
    the factor in every sample.

    Attributes:
        record: Position of the record among the contractions, or tallies, of the profile.
        columns: A column of the matrix for each figure.
        factors: The factor of each.
        step: Which timestep of the record it is, None for the whole.
    """

    record: int
    columns: tuple[int, ...]
    factors: tuple[int, ...]
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """What some or all samples of a profile did, one by one.

    Attributes:
        indices: Which samples, in the order of the data, from 0.
        digest: Tells data apart: of the inputs of all samples, in order.
        sites: Figures of contractions, :data:`SITE_FIGURES` of each.
        tallies: Figures of element-wise work, :data:`TALLY_FIGURES` of each.
        matrix: The columns that they are made of, a row a sample.
    """

    indices: tuple[int, ...]
    digest: str
    sites: tuple[Line, ...]
    tallies: tuple[Line, ...]
    matrix: Matrix

    def __len__(self) -> int:
        return len(self.indices)

    def check(self, contractions: Sequence[Contraction], tallies: int, samples: int) -> None:
        """Checks what a file says.

        Args:
            contractions: Of the profile.
            tallies: How many there are.
            samples: Of the profile.

        Raises:
            ValueError: Where it does not fit the rest of the profile.
        """
        rows, columns = self.matrix.values.shape
        ordered = all(a < b for a, b in zip(self.indices, self.indices[1:], strict=False))
        inside = not self.indices or (self.indices[0] >= 0 and self.indices[-1] < samples)
        if rows != len(self.indices) or not (ordered and inside):
            raise ValueError(f"sampled.indices are no {rows} of {samples} samples")
        for lines, records, figures in (
            (self.sites, len(contractions), SITE_FIGURES),
            (self.tallies, tallies, TALLY_FIGURES),
        ):
            for line in lines:
                fits = len(line.columns) == len(line.factors) == len(figures)
                known = 0 <= line.record < records
                if known and line.step is not None:
                    parts = contractions[line.record].parts if lines is self.sites else None
                    known = 0 <= line.step < len(parts or ())
                if not (fits and known and all(_CONSTANT <= c < columns for c in line.columns)):
                    raise ValueError("sampled has figures of no record")
        self._refuse_impossible()

    def _refuse_impossible(self) -> None:
        """Refuses figures below 0, more non-zeros than elements, and sums that would wrap round."""
        values = self.matrix.values
        if values.size and int(values.min()) < 0:
            raise ValueError("sampled.matrix has figures below 0")
        largest = [*map(int, values.max(axis=0, initial=0)), 1]  # of a constant, the factor
        for lines, figures in ((self.sites, SITE_FIGURES), (self.tallies, TALLY_FIGURES)):
            sums = [0] * len(figures)
            for line in lines:
                for at, (column, factor) in enumerate(zip(line.columns, line.factors, strict=True)):
                    if factor < 0:
                        raise ValueError("sampled has figures below 0")
                    sums[at] += largest[column] * factor
            for name, total in zip(figures, sums, strict=True):
                if total > _LARGEST:
                    raise ValueError(f"sampled.{name} of a sample may add up to more than 2^60")
        for line in self.sites:
            found = dict(zip(SITE_FIGURES, self.figures(line).T, strict=True))
            for side in ("lhs", "rhs"):
                if (found[f"{side}_nonzeros"] > found[f"{side}_elements"]).any():
                    raise ValueError("sampled has more non-zeros than elements")

    def parts(self, rows: int) -> Iterator[Sampled]:
        """The same samples, some at a time, so that tables of theirs stay small."""
        step = max(_MOST_CELLS // max(rows, 1), 1)
        for at in range(0, len(self.indices), step):
            matrix = Matrix(self.matrix.values[at : at + step])
            yield replace(self, indices=self.indices[at : at + step], matrix=matrix)

    def figures(self, line: Line) -> NDArray[np.int64]:
        """The figures of a record, ``[samples, figures]``."""
        found = np.empty((len(self.indices), len(line.columns)), np.int64)
        for at, (column, factor) in enumerate(zip(line.columns, line.factors, strict=True)):
            found[:, at] = factor if column < 0 else self.matrix.values[:, column] * factor
        return found

    def contractions(self, totals: Sequence[Contraction]) -> Iterator[Contraction]:
        """The contractions with an array of all samples in place of each sum."""
        found: dict[int, dict[int | None, Any]] = {}
        for line in self.sites:
            found.setdefault(line.record, {})[line.step] = self.figures(line).T
        nothing = np.zeros((len(SITE_FIGURES), len(self.indices)), np.int64)
        for record, total in enumerate(totals):
            figures = found.get(record, {})
            parts = total.parts and tuple(
                _each(part, figures.get(step, nothing)) for step, part in enumerate(total.parts)
            )
            yield replace(_each(total, figures.get(None, nothing)), parts=parts)

    def work(self, totals: Sequence[Tally]) -> Iterator[Tally]:
        """The element-wise work with an array of all samples in place of each sum."""
        found = {line.record: self.figures(line).T for line in self.tallies}
        nothing = np.zeros((len(TALLY_FIGURES), len(self.indices)), np.int64)
        for record, total in enumerate(totals):
            each: dict[str, Any] = dict(zip(TALLY_FIGURES, found.get(record, nothing), strict=True))
            if total.state_elements is None:
                each["state_elements"] = None
            yield replace(total, **each)


def packed(
    indices: Sequence[int],
    digest: str,
    sites: Iterable[tuple[int, int | None, NDArray[np.int64]]],
    tallies: Iterable[tuple[int, NDArray[np.int64]]],
) -> Sampled:
    """Puts figures of samples together, each distinct column once.

    Args:
        indices: Which samples.
        digest: Of the data.
        sites: Position of each contraction, its timestep or None, and its figures
            ``[samples, figures]``.
        tallies: The same of element-wise work, without a timestep.
    """
    known: dict[bytes, int] = {}
    columns: list[NDArray[np.int64]] = []

    def line(record: int, step: int | None, figures: NDArray[np.int64]) -> Line:
        places, factors = [], []
        for column in figures.T:
            if len(column) and (column == column[0]).all():
                places.append(_CONSTANT)
                factors.append(int(column[0]))
                continue
            factor = int(np.gcd.reduce(column)) or 1
            base = np.ascontiguousarray(column // factor)
            place = known.setdefault(base.tobytes(), len(columns))
            if place == len(columns):
                columns.append(base)
            places.append(place)
            factors.append(factor)
        return Line(record, tuple(places), tuple(factors), step)

    of_sites = tuple(line(*each) for each in sites)
    of_tallies = tuple(line(record, None, figures) for record, figures in tallies)
    matrix = np.array(columns, np.int64).reshape(len(columns), len(indices)).T
    return Sampled(
        tuple(indices), digest, of_sites, of_tallies, Matrix(np.ascontiguousarray(matrix))
    )


def _each(total: Contraction, figures: Any) -> Contraction:
    """A contraction with arrays in place of sums. What weights hold is no sum, and stays."""
    by_name: dict[str, Any] = dict(zip(SITE_FIGURES, figures, strict=True))

    def operand(side: str, whole: Operand) -> Operand:
        named = {key: by_name[f"{side}_{key}"] for key in ("events", "levels")}
        if whole.parameter:
            return replace(whole, **named)
        named |= {key: by_name[f"{side}_{key}"] for key in ("elements", "nonzeros")}
        return replace(whole, **named)

    left = LeftWork(by_name["left_macs"], by_name["left_events"], by_name["left_levels"])
    weight = total.weight
    pruned = weight is not None and weight.nonzeros < weight.elements
    return replace(
        total,
        calls=by_name["calls"],
        dense_macs=by_name["dense_macs"],
        lhs=operand("lhs", total.lhs),
        rhs=operand("rhs", total.rhs),
        pair_events=by_name["pair_events"],
        pair_levels=by_name["pair_levels"],
        outputs=None if total.outputs is None else by_name["outputs"],
        passes=None if total.passes is None else by_name["passes"],
        left=left if total.left is not None or pruned else None,
    )
