"""GW-SSA, the attention of Ge²mS-T: group-wise spiking self-attention without softmax.

The heads are divided into groups, and each group attends inside windows of its own size. Hao et
al., Ge²mS-T (arXiv:2604.08894), name it; the equations are this package's reading of them.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import mul

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.errors import AnalyzerError
from analyzer.models.coding import Neuron, SpikeConv

__all__ = ["GroupWiseAttention", "WindowAttention"]


class WindowAttention(nn.Module):
    """The products of the heads that share one window size.

    Queries, keys and values arrive as levels [B, (h d), H, W], or as binary spikes
    [T, B, (h d), H, W]. The result is Q·Kᵀ·V of the levels, shifted right by round(log2(N·d)) - 2
    bits so that its magnitude does not depend on N, the tokens in a window, or d, the channels of a
    head. It is exact in float32 while L³·N·d < 2²⁴. With spikes of ExpG-IF neurons, each of the two
    products has one binary operand and is summed over T by the weights of the timesteps; other
    codes attend at each timestep alone.

    Args:
        heads: Number of heads h.
        window: Side of a window in tokens; None is one window over the whole map. A map that
            windows do not divide is padded with zeros.
    """

    def __init__(self, heads: int, window: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.window = window

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, charge: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Attends inside windows.

        Args:
            q: Queries, [..., B, (h d), H, W].
            k: Keys of the same shape.
            v: Values of the same shape.
            charge: Combines a product with a code over time, see ``Neuron.charge``.
        """
        H, W = q.shape[-2:]
        wy, wx = (H, W) if self.window is None else (min(self.window, H), min(self.window, W))
        padding = (0, -W % wx, 0, -H % wy)
        if any(padding):
            q, k, v = (F.pad(operand, padding) for operand in (q, k, v))
        axes = {"h": self.heads, "wy": wy, "wx": wx}
        split = "... b (h d) (y wy) (x wx) -> ... (b y x) h (wy wx) d"
        q, k, v = (rearrange(operand, split, **axes) for operand in (q, k, v))
        N, d = q.shape[-2:]
        # The order with fewer operations: q(kᵀv) costs 2·N·d² and (qkᵀ)v costs 2·N²·d.
        if d < N:
            out = charge(q @ charge(k.mT @ charge(v)))
        else:
            out = charge(charge(q @ charge(k).mT) @ v)
        out = out * 2.0 ** (2 - round(math.log2(N * d)))
        merge = "... (b y x) h (wy wx) d -> ... b (h d) (y wy) (x wx)"
        merged: Tensor = rearrange(out, merge, y=-(-H // wy), x=-(-W // wx), wy=wy)
        return merged[..., :H, :W]

    def extra_repr(self) -> str:
        """Heads and window, for `repr`."""
        return f"heads={self.heads}, window={self.window}"


class GroupWiseAttention(nn.Module):
    """The whole attention layer on a map of potentials, [..., C, H, W] -> [..., C, H, W].

    Args:
        channels: C.
        heads: Number of heads.
        windows: Window sizes in tokens; each takes an equal share of the heads and channels.
        neuron: Makes a neuron.

    Raises:
        AnalyzerError: If the sizes do not divide each other.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        windows: Sequence[int | None],
        neuron: Callable[[], Neuron],
    ) -> None:
        super().__init__()
        if heads % len(windows) or channels % heads:
            raise AnalyzerError(
                f"GW-SSA cannot split {channels} channels into {heads} heads over "
                f"{len(windows)} scales; each must divide the one before."
            )
        self.qkv = SpikeConv(channels, 3 * channels, 1, neuron)
        self.q_neuron = neuron()
        self.k_neuron = neuron()
        self.v_neuron = neuron()
        self.scales = nn.ModuleList(
            WindowAttention(heads // len(windows), window) for window in windows
        )
        self.projection = SpikeConv(channels, channels, 1, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C, H, W] -> [..., C, H, W]."""
        potentials = self.qkv(x).chunk(3, dim=-3)
        neurons = (self.q_neuron, self.k_neuron, self.v_neuron)
        codes = [neuron(a) for neuron, a in zip(neurons, potentials, strict=True)]
        groups = zip(*(code.chunk(len(self.scales), dim=-3) for code in codes), strict=True)
        mixed = torch.cat(
            [
                attend(*group, self.q_neuron.charge)
                for attend, group in zip(self.scales, groups, strict=True)
            ],
            dim=-3,
        )
        units = [neuron.unit(code) for neuron, code in zip(neurons, codes, strict=True)]
        known = [unit for unit in units if unit is not None]
        projected: Tensor = self.projection(mixed * reduce(mul, known) if known else mixed)
        return projected
