"""GW-SSA: group-wise spiking self-attention, softmax-free, inside windows of several scales.

Named by Hao et al., Ge²mS-T (arXiv:2604.08894); the equations are this package's reading.
"""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.expg_if import ExpGIF, GroupedCoding, SpikeConv

__all__ = ["GroupWiseAttention", "WindowAttention"]


class WindowAttention(nn.Module):
    """The products of one scale: every head attends inside windows of `window` × `window` tokens.

    `window` = None is one window over the whole map. Queries, keys and values arrive as levels
    [B, (h d), H, W], or as binary spikes [T, B, (h d), H, W]; the result is Q·Kᵀ·V of the levels,
    shifted right by round(log2(N·d)) - 2 bits so that its size depends on neither N, the tokens a
    window, nor d, the channels a head. It is exact in float32 while L³·N·d < 2²⁴. With spikes, each
    of the two products has one binary operand and is charged over T by Horner's rule.
    """

    def __init__(self, heads: int, window: int | None, coding: GroupedCoding) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.coding = coding

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Three codes -> [B, (h d), H, W]."""
        H, W = q.shape[-2:]
        wy, wx = (H, W) if self.window is None else (self.window, self.window)
        if H % wy or W % wx:
            raise AnalyzerError(
                f"GW-SSA windows of {wy}x{wx} do not tile a map of {H}x{W} tokens; "
                "choose windows that divide it."
            )
        axes = {"h": self.heads, "wy": wy, "wx": wx}
        split = "... b (h d) (y wy) (x wx) -> ... (b y x) h (wy wx) d"
        q, k, v = (rearrange(operand, split, **axes) for operand in (q, k, v))
        N, d = q.shape[-2:]
        # q(kᵀv) costs 2·N·d² and (qkᵀ)v costs 2·N²·d.
        out = self._keys_first(q, k, v) if d < N else self._queries_first(q, k, v)
        out = out * 2.0 ** (2 - round(math.log2(N * d)))
        merge = "(b y x) h (wy wx) d -> b (h d) (y wy) (x wx)"
        merged: Tensor = rearrange(out, merge, y=H // wy, x=W // wx, wy=wy)
        return merged

    def _queries_first(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.dim() == 4:
            return q @ k.mT @ v
        scores = self.coding.charge(q @ self.coding.charge(k).mT)
        return self.coding.charge(scores @ v)

    def _keys_first(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.dim() == 4:
            return q @ (k.mT @ v)
        memory = self.coding.charge(k.mT @ self.coding.charge(v))
        return self.coding.charge(q @ memory)

    def extra_repr(self) -> str:
        """Heads and window, for `repr`."""
        return f"heads={self.heads}, window={self.window}"


class GroupWiseAttention(nn.Module):
    """GW-SSA over a map of potentials, [B, C, H, W] -> [B, C, H, W].

    The heads, and with them the channels, are split evenly over the `windows`, one scale each.
    """

    def __init__(
        self, channels: int, heads: int, windows: Sequence[int | None], coding: GroupedCoding
    ) -> None:
        super().__init__()
        if heads % len(windows) or channels % heads:
            raise AnalyzerError(
                f"GW-SSA cannot split {channels} channels into {heads} heads over "
                f"{len(windows)} scales; each must divide the one before."
            )
        self.qkv = SpikeConv(channels, 3 * channels, 1, coding)
        self.q_neuron = ExpGIF(coding)
        self.k_neuron = ExpGIF(coding)
        self.v_neuron = ExpGIF(coding)
        self.scales = nn.ModuleList(
            WindowAttention(heads // len(windows), window, coding) for window in windows
        )
        self.projection = SpikeConv(channels, channels, 1, coding)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        potentials = self.qkv(x).chunk(3, dim=1)
        neurons = (self.q_neuron, self.k_neuron, self.v_neuron)
        q, k, v = (neuron(a) for neuron, a in zip(neurons, potentials, strict=True))
        scale = self.q_neuron.unit(q) * self.k_neuron.unit(k) * self.v_neuron.unit(v)
        # Channels are the third axis from the end, with or without time.
        groups = zip(*(code.chunk(len(self.scales), dim=-3) for code in (q, k, v)), strict=True)
        mixed = [attend(*group) for attend, group in zip(self.scales, groups, strict=True)]
        projected: Tensor = self.projection(torch.cat(mixed, dim=1) * scale)
        return projected
