"""The contractions of a forward pass of a graph, from the graph alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from oracles import Seen, total
from torch import Tensor

from random_graphs.contractions import Pair
from random_graphs.graph import Node, Step
from random_graphs.module import GraphModule
from random_graphs.operations import OPS, choice


@dataclass
class Origin:
    """What a tensor depends on: the input, weights, something made in the forward pass.

    Attributes:
        by_sample: Whether it was made in the forward pass in the length of the batch. No other
            axis has that length, so nothing is by accident.
    """

    varies: bool = False
    created: bool = False
    weight: bool = False
    by_sample: bool = False

    def become(self, parts: list[Origin]) -> Origin:
        self.varies = any(p.varies for p in parts)
        self.created = not self.varies and any(p.created for p in parts)
        self.weight = not self.varies and any(p.weight for p in parts)
        self.by_sample = not self.varies and any(p.by_sample for p in parts)
        return self

    @property
    def fixed(self) -> bool:
        return not (self.varies or self.created)


LEAVES = {
    "parameter": Origin(weight=True),
    "buffer": Origin(),
    "created": Origin(created=True),
}


def contractions(model: GraphModule, args: list[Tensor]) -> list[Seen]:
    """All contractions of one forward pass, told from the graph alone, in their order."""
    names = {id(module): name for name, module in reversed([*model.named_modules()])}
    seen: list[Seen] = []
    with torch.no_grad():
        _add_contractions(
            model, list(args), [Origin(varies=True) for _ in args], names, len(args[0]), seen
        )
    return seen


def _add_contractions(
    module: GraphModule,
    values: list[Tensor],
    origins: list[Origin],
    names: dict[int, str],
    samples: int,
    seen: list[Seen],
) -> tuple[Tensor, Origin]:
    """Runs a graph, adds its contractions to those seen, and returns its result and origin."""
    for i, node in enumerate(module.graph.nodes):
        step, op = Step(module, i, node), OPS[node.op]
        inputs = [values[x] for x in node.inputs]
        parts = [origins[x] for x in node.inputs]
        if node.op == "Graph":
            out, origin = _add_contractions(step.layer(), inputs, parts, names, samples, seen)
        else:
            for pair in op.pairs(step, *inputs):
                runs = module if pair.layer is None else step.layer(pair.layer)
                seen.append(_as_seen(pair, parts, names[id(runs)], samples))
            out = op.run(step, *inputs)
            called = node.layers
            if node.op == "branch":
                called = called[choice(inputs[0], 2) :][:1]
            if any([*module.layer(i).parameters()] for i in called):
                parts.append(LEAVES["parameter"])
            origin = _origin(node, inputs, parts, out, samples)
        values.append(out)
        origins.append(origin)
    return values[-1], origins[-1]


def _origin(
    node: Node, inputs: list[Tensor], parts: list[Origin], out: Tensor, samples: int
) -> Origin:
    """Views share the origin of what they view, so that a write changes it for all of them."""
    if node.op in LEAVES:
        origin = Origin().become([LEAVES[node.op]])
        if node.op == "created" and node.settings[1] != "range" and samples > 1:
            origin.by_sample = samples in (out.shape[:-1] if out.ndim > 1 else out.shape)
        return origin
    same = [o for x, o in zip(inputs, parts, strict=False) if storage(x) == storage(out)]
    if node.op.endswith("_"):
        return same[0].become(parts)
    return same[0] if same else Origin().become(parts)


def storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def _as_seen(pair: Pair, parts: list[Origin], path: str, samples: int) -> Seen:
    parts = [*parts, LEAVES["parameter"]]
    one, other = (Origin().become([parts[i] for i in source]) for source in pair.sources)
    weights = (
        one.weight or (other.varies and not one.varies),
        other.weight or (one.varies and not other.varies),
    )
    op = "linear" if pair.op == "matmul" and any(weights) else pair.op
    lhs, rhs = pair.lhs.detach().clone(), pair.rhs.detach().clone()
    dense = pair.dense
    if dense is None:
        dense = total(pair.run(*(torch.ones_like(x, dtype=torch.float64) for x in (lhs, rhs))))
    fixed = one.fixed and other.fixed
    alone = not (one.varies or other.varies or one.by_sample or other.by_sample)
    return Seen(
        path, op, lhs, rhs, (True, True) if fixed else weights, pair.run, dense,
        pair.softmax_lhs, samples if alone else 1,
    )  # fmt: skip
