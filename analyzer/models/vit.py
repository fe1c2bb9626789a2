"""ViT (Dosovitskiy et al., ICLR 2021): the dense transformer that spiking ones are compared with.

Also DeiT, which has the same architecture. Attention is PyTorch's scaled_dot_product_attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.errors import AnalyzerError
from analyzer.models.official import official

__all__ = ["CONFIGS", "ViT", "ViTConfig", "build"]


@dataclass(frozen=True)
class ViTConfig:
    """The sizes of one network; the head reads the class token or the mean over tokens (`pool`)."""

    image_size: int
    in_channels: int
    num_classes: int
    patch_size: int
    embed_dim: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    pool: Literal["token", "mean"] = "token"

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size or self.embed_dim % self.heads:
            raise AnalyzerError(
                f"ViT needs patches of {self.patch_size} that divide the image of "
                f"{self.image_size}, and {self.heads} heads that divide the width "
                f"{self.embed_dim}."
            )

    @property
    def tokens(self) -> int:
        """The number of tokens N, including the class token."""
        return (self.image_size // self.patch_size) ** 2 + (self.pool == "token")


CONFIGS: Mapping[str, ViTConfig] = MappingProxyType(
    {
        "tiny": ViTConfig(32, 1, 10, patch_size=4, embed_dim=64, depth=4, heads=4),
        "ti": ViTConfig(224, 3, 1000, patch_size=16, embed_dim=192, depth=12, heads=3),
        "s-16": ViTConfig(224, 3, 1000, patch_size=16, embed_dim=384, depth=12, heads=6),
        "b-16": ViTConfig(224, 3, 1000, patch_size=16, embed_dim=768, depth=12, heads=12),
    }
)


class Attention(nn.Module):
    """Multi-head softmax attention, [B, N, D] -> [B, N, D]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        q, k, v = rearrange(self.qkv(x), "B N (s h d) -> s B h N d", s=3, h=self.heads)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.projection(rearrange(out, "B h N d -> B N (h d)"))
        return projected


class MLP(nn.Sequential):
    """Two linear layers with a GELU between them, [B, N, D] -> [B, N, D]."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


class Block(nn.Module):
    """Pre-norm attention and MLP with residuals, [B, N, D] -> [B, N, D]."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """The network: patch embedding, learned positions, blocks, norm, linear head.

    Images [B, C, H, W] -> logits [B, classes].
    """

    official_name = staticmethod(official("vit"))

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        D, patch = config.embed_dim, config.patch_size
        self.patches = nn.Conv2d(config.in_channels, D, patch, stride=patch)
        if config.pool == "token":
            self.class_token = nn.Parameter(torch.zeros(1, 1, D))
        self.positions = nn.Parameter(torch.empty(1, config.tokens, D))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(
            Block(D, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(D, eps=1e-6)
        self.head = nn.Linear(D, config.num_classes)

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module path or pattern."""
        return {"patches": "B C H W", "blocks.*": "B N D", "head": "B D"}

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = rearrange(self.patches(image), "B D H W -> B (H W) D")
        if self.config.pool == "token":
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits: Tensor = self.head(x[:, 0] if self.config.pool == "token" else x.mean(1))
        return logits


def build(size: str, **overrides: Any) -> ViT:
    """A ViT of one size of `CONFIGS`, with fields of its config overridden."""
    return ViT(replace(CONFIGS[size], **overrides))
