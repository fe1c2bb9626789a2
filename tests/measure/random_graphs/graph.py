"""Graphs as plain data: their layers and nodes, and a node about to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn


@dataclass(frozen=True)
class Layer:
    """A submodule: a class of torch.nn with its arguments, or a graph.

    Attributes:
        kind: Name in ``torch.nn``, or ``Graph``.
        settings: Keyword arguments.
        weights: Kind of values of its parameters.
        home: Where the module is registered: ``attribute``, ``list`` or ``dict``.
        tied: Index of an earlier layer that it shares its weight with.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()
    weights: str = "real"
    home: str = "attribute"
    tied: int | None = None
    graph: Graph | None = None

    def __str__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings)
        tie = "" if self.tied is None else f", weight of layer {self.tied}"
        return f"{self.kind}({arguments})  # {self.weights} weights, in {self.home}{tie}"


@dataclass(frozen=True)
class Node:
    """One step: an operation on earlier values, with its settings and the layers that it calls."""

    op: str
    inputs: tuple[int, ...] = ()
    settings: tuple[Any, ...] = ()
    layers: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [f"x{i}" for i in self.inputs]
        parts += [f"layer{i}" for i in self.layers] + [repr(s) for s in self.settings]
        return f"{self.op}({', '.join(parts)})"


@dataclass(frozen=True)
class Graph:
    """Values ``x0, x1, ...``: the inputs, then one per node. The last one is returned."""

    inputs: int
    nodes: tuple[Node, ...]
    layers: tuple[Layer, ...] = ()

    def lines(self) -> Iterator[str]:
        for i, layer in enumerate(self.layers):
            yield f"layer{i} = {layer}"
            if layer.graph is not None:
                yield from (f"    {line}" for line in layer.graph.lines())
        for i, node in enumerate(self.nodes, self.inputs):
            yield f"x{i} = {node}"

    def __repr__(self) -> str:
        return "\n".join([f"graph of {self.inputs} inputs:", *self.lines()])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis would show the fields instead."""
        printer.text(repr(self))


class Step(NamedTuple):
    """A node about to run, and the module that keeps its layers, parameters and buffers."""

    module: nn.Module
    index: int
    node: Node

    @property
    def settings(self) -> tuple[Any, ...]:
        return self.node.settings

    def layer(self, i: int = 0) -> nn.Module:
        return self.module.layer(self.node.layers[i])
