"""Swin transformer (Liu et al., ICCV 2021): an ANN with softmax attention in shifted windows.

The hierarchical ANN that spiking transformers are compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.errors import AnalyzerError
from analyzer.models.official import official
from analyzer.models.parts import ImageConfig
from analyzer.models.vit import MLP

__all__ = ["CONFIGS", "Swin", "SwinConfig", "build"]


@dataclass(frozen=True)
class SwinConfig(ImageConfig):
    """The sizes of one network; widths double from stage to stage, from `embed_dim` on."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7
    patch_size: int = 4
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.heads) or any(
            self.embed_dim * 2**i % h for i, h in enumerate(self.heads)
        ):
            raise AnalyzerError(
                f"Swin needs heads for each stage that divide its width, got {self.heads} for "
                f"{self.embed_dim} and its doubles."
            )
        if self.image_size % self.patch_size:
            raise AnalyzerError(
                f"Swin needs patches of {self.patch_size} that divide the image of "
                f"{self.image_size}."
            )


CONFIGS: Mapping[str, SwinConfig] = MappingProxyType(
    {"t": SwinConfig(96, (2, 2, 6, 2), (3, 6, 12, 24))}
)

_Norm = partial(nn.LayerNorm, eps=1e-5)


class WindowAttention(nn.Module):
    """Attention within windows, with a bias by relative position: [B, H, W, D] -> the same.

    Maps that windows do not divide are padded with zeros. Shifting rolls the map, so that some
    windows hold tokens from opposite borders; these do not attend to each other.

    Args:
        dim: Width D.
        heads: Number of heads.
        window: Side of a window in tokens.
        shift: By how many tokens windows are shifted, 0 for none.
    """

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        at = torch.arange(window)
        rows = at[:, None] - at[None, :] + window - 1
        pairs = rows[:, None, :, None] * (2 * window - 1) + rows[None, :, None, :]
        self.pairs: Tensor
        self.register_buffer("pairs", pairs.reshape(window**2, window**2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, D] -> [B, H, W, D]."""
        H, W, w = x.shape[1], x.shape[2], self.window
        x = F.pad(x, (0, 0, 0, -W % w, 0, -H % w))
        down, right = (self.shift if size > w else 0 for size in x.shape[1:3])
        x = torch.roll(x, (-down, -right), (1, 2)) if down or right else x
        grid = {"x": x.shape[1] // w, "y": x.shape[2] // w, "w": w, "v": w}
        windows = rearrange(x, "B (x w) (y v) D -> (B x y) (w v) D", w=w, v=w)
        q, k, v = rearrange(self.qkv(windows), "B N (s h d) -> s B h N d", s=3, h=self.heads)
        bias = rearrange(self.bias[self.pairs], "n m h -> 1 h n m")
        if down or right:
            seams = self._seams(x.shape[1], x.shape[2], down, right, x.device)
            bias = (bias + seams).repeat(len(q) // len(seams), 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        projected = self.projection(rearrange(out, "B h N d -> B N (h d)"))
        y = rearrange(projected, "(B x y) (w v) D -> B (x w) (y v) D", **grid)
        y = torch.roll(y, (down, right), (1, 2)) if down or right else y
        return y[:, :H, :W]

    def _seams(self, H: int, W: int, down: int, right: int, device: torch.device) -> Tensor:
        """A mask [windows, 1, N, N] with -100 for pairs of tokens from opposite borders."""
        w = self.window
        row, column = (
            (torch.arange(size, device=device) >= size - w).int()
            + (torch.arange(size, device=device) >= size - shift).int() * bool(shift)
            for size, shift in ((H, down), (W, right))
        )
        region = rearrange(
            row[:, None] * 3 + column[None, :], "(x w) (y v) -> (x y) (w v)", w=w, v=w
        )
        return (region[:, None, :, None] != region[:, None, None, :]) * -100.0


class Block(nn.Module):
    """Pre-norm window attention and MLP with residuals: [B, H, W, D] -> the same."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = _Norm(dim)
        self.attention = WindowAttention(dim, heads, window, shift)
        self.norm2 = _Norm(dim)
        self.mlp = MLP(dim, ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, D] -> [B, H, W, D]."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Merge(nn.Module):
    """Merges 2×2 tokens into one of twice the width: [B, H, W, D] -> [B, H/2, W/2, 2 D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = _Norm(4 * dim)
        self.reduce = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, D] -> [B, H/2, W/2, 2 D]."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        joined = rearrange(x, "B (H a) (W b) D -> B H W (b a D)", a=2, b=2)
        out: Tensor = self.reduce(self.norm(joined))
        return out


class Swin(nn.Module):
    """The network: images [B, C, H, W] -> logits [B, classes]."""

    official_name = staticmethod(official("swin"))

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        patch, dim = config.patch_size, config.embed_dim
        self.patches = nn.Conv2d(config.in_channels, dim, patch, stride=patch)
        self.norm = _Norm(dim)
        parts: list[nn.Module] = []
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            if stage:
                parts.append(Merge(dim))
                dim *= 2
            for block in range(depth):
                shift = config.window // 2 if block % 2 else 0
                parts.append(Block(dim, heads, config.window, shift, config.mlp_ratio))
        self.blocks = nn.Sequential(*parts)
        self.last = _Norm(dim)
        self.head = nn.Linear(dim, config.num_classes)

    groups = MappingProxyType({"spatial": 2, "structural": 3})

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of the weight layers, by module pattern.

        Layers inside windows are left out: their first axis is windows, not samples.
        """
        return {
            "patches": "B C H W",
            "blocks.*.mlp.*": "B H W D",
            "blocks.*.reduce": "B H W D",
            "head": "B D",
        }

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.norm(rearrange(self.patches(image), "B D H W -> B H W D"))
        logits: Tensor = self.head(self.last(self.blocks(x)).mean((1, 2)))
        return logits


def build(size: str, **overrides: Any) -> Swin:
    """A Swin transformer of one size of `CONFIGS`, with fields of its config overridden."""
    return Swin(replace(CONFIGS[size], **overrides))
