"""The modules of a model as a tree: what they are called, what they hold, what passes through."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One module of a model.

    Attributes:
        module: Dotted path, empty for the model itself.
        kind: Name of its class.
        parameters: Elements of the parameters that it holds itself. One that several modules
            share counts in the first of them.
        input: Shape of the first tensor that it was called with, batch included, in the first
            batch; None where it was not called, or got no tensor by position.
        output: Shape of the first tensor that it returned then.
    """

    module: str
    kind: str
    parameters: int
    input: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None
