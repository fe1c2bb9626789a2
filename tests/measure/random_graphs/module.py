"""The module that runs a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from random_graphs.graph import Graph, Layer, Node, Step
from random_graphs.operations import OPS
from random_graphs.values import DYADIC, fill


class GraphModule(nn.Module):
    """A graph as a module. Values are dropped after their last use, as in a model in code."""

    def __init__(self, graph: Graph, seed: int = 0) -> None:
        super().__init__()
        self.graph = graph
        self.items = nn.ModuleList()
        self.named = nn.ModuleDict()
        self.parts: list[str] = []
        self.seed = seed
        for i, layer in enumerate(graph.layers):
            self.add_layer(i, layer)
        for i, node in enumerate(graph.nodes):
            self.add_leaf(i, node)
        uses = [n.inputs for n in graph.nodes]
        self.last_use = {x: i for i, inputs in enumerate(uses) for x in inputs}

    def add_leaf(self, i: int, node: Node) -> None:
        """Makes the parameter or buffer of a node that is one."""
        if node.op not in ("parameter", "buffer"):
            return
        dtype, kind, shape = node.settings
        value = fill(kind, shape, dtype, self.seed + i)
        if node.op == "parameter":
            trained = value.is_floating_point()
            self.register_parameter(f"p{i}", nn.Parameter(value, requires_grad=trained))
        else:
            self.register_buffer(f"b{i}", value)

    def add_layer(self, i: int, layer: Layer) -> None:
        """Makes a submodule, the same for the same seed."""
        seed = self.seed + 1000 * i
        torch.manual_seed(seed)
        if layer.graph is not None:
            module: nn.Module = GraphModule(layer.graph, seed)
        else:
            module = getattr(nn, layer.kind)(**dict(layer.settings))
            for j, (name, parameter) in enumerate(module.named_parameters()):
                if name.endswith("weight"):
                    values = fill(layer.weights, tuple(parameter.shape), "float64", seed + j)
                    parameter.data = values.to(parameter.dtype)
                elif layer.weights in DYADIC:
                    parameter.data = (parameter.data * 4).round() / 4
        if layer.tied is not None:
            module.weight = self.layer(layer.tied).weight
        if layer.home == "list":
            self.parts.append(f"items.{len(self.items)}")
            self.items.append(module)
        elif layer.home == "dict":
            self.parts.append(f"named.key{i}")
            self.named[f"key{i}"] = module
        else:
            self.parts.append(f"layer{i}")
            setattr(self, f"layer{i}", module)

    def drop_layers(self, first: int) -> None:
        """Takes back what was added from a number on."""
        for path in reversed(self.parts[first:]):
            home, _, name = path.rpartition(".")
            delattr(self.get_submodule(home), name)
        del self.parts[first:]

    def layer(self, i: int) -> nn.Module:
        return self.get_submodule(self.parts[i])

    def forward(self, *args: Tensor, **named: Tensor) -> Tensor:
        values: list[Tensor | None] = [*args, *named.values()]
        for i, node in enumerate(self.graph.nodes):
            values.append(OPS[node.op].run(Step(self, i, node), *(values[x] for x in node.inputs)))
            for x in node.inputs:
                if self.last_use[x] == i:
                    values[x] = None
        return values[-1]
