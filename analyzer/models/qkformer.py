"""QKFormer (Zhou et al., NeurIPS 2024): a hierarchical spiking transformer with Q-K attention.

In the first two stages queries select tokens of the keys by a mask, without a matrix product; the
third stage has spiking self-attention. Blocks add spikes to their input as in Spikformer, so that
layers behind these additions read integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.official import official
from analyzer.models.parts import (
    Block,
    Pool,
    SpikingConfig,
    SpikingSelfAttention,
    SpikingTransformer,
    SpikingUnit,
    conv3,
    spiking_mlp,
    token_conv,
    unbiased_token_conv,
)

__all__ = ["CONFIGS", "QKFormer", "QKFormerConfig", "build"]

Flavour = Literal["imagenet", "cifar"]


@dataclass(frozen=True)
class QKFormerConfig(SpikingConfig):
    """The sizes of one network; the three stages have the widths D/4, D/2 and D = `embed_dim`.

    The code was published in two flavours. In "imagenet" the first stage sees a quarter of the
    image's side, in "cifar" the whole side; both halve it twice from there.
    """

    embed_dim: int
    heads: int
    depths: tuple[int, int, int] = (1, 2, 7)
    flavour: Flavour = "imagenet"
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.embed_dim % (4 * self.heads) or self.embed_dim % 8 or self.timesteps < 1:
            raise AnalyzerError(
                f"QKFormer needs a width that 4 times {self.heads} heads and 8 divide, and a "
                f"timestep, got {self.embed_dim} and {self.timesteps}."
            )


CONFIGS: Mapping[str, QKFormerConfig] = MappingProxyType(
    {
        "10-384": QKFormerConfig(384, 6),
        "10-512": QKFormerConfig(512, 8),
        "10-768": QKFormerConfig(768, 12),
        "tiny": QKFormerConfig(
            64, 4, (1, 1, 2), "cifar", image_size=32, in_channels=1, num_classes=10
        ),
    }
)


class PatchStage(nn.Module):
    """Halves the map: two 3×3 units, one of them pooled, plus the spikes of a strided shortcut.

    [T, B, C, H, W] -> integers in 0..2, [T, B, D, H/2, W/2]. The first stage has one more unit in
    front, which reads the image.

    Args:
        before: C.
        after: D.
        flavour: In "imagenet" the first of the two units is pooled, and so is the one that reads
            the image. In "cifar" the second one is pooled, and the first stage has neither a
            second unit nor pooling: its map is as large as the image.
        in_channels: Channels of the image for the first stage, None for other stages.
    """

    def __init__(
        self, before: int, after: int, flavour: Flavour, in_channels: int | None = None
    ) -> None:
        super().__init__()
        early, whole = flavour == "imagenet", flavour == "cifar" and in_channels is not None

        def pool(pooled: bool) -> Pool | None:
            return Pool() if pooled else None

        self.image = (
            None
            if in_channels is None
            else SpikingUnit(conv3(in_channels, before), pool=pool(early))
        )
        self.first = SpikingUnit(conv3(before, after), pool=pool(early))
        self.second = None if whole else SpikingUnit(conv3(after, after), pool=pool(not early))
        stride = 1 if whole else 2
        self.shortcut = SpikingUnit(nn.Conv2d(before, after, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> integers [T, B, D, H', W'] in 0..2."""
        if self.image is not None:
            x = self.image(x)
        main = self.first(x)
        if self.second is not None:
            main = self.second(main)
        out: Tensor = main + self.shortcut(x)
        return out


class TokenAttention(nn.Module):
    """Q-K token attention: [T, B, D, H, W] -> spikes of the same shape.

    The queries are summed over the channels of a head; neurons make of these sums a binary mask
    over tokens, which multiplies the keys.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = (SpikingUnit(unbiased_token_conv(dim, dim)) for _ in range(2))
        self.neuron = LIF(v_threshold=0.5)
        self.projection = SpikingUnit(token_conv(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Integers [T, B, D, H, W] -> spikes [T, B, D, H, W]."""
        tokens = x.flatten(3)
        q, k = (unit(tokens).unflatten(2, (self.heads, -1)) for unit in (self.q, self.k))
        mask = self.neuron(q.sum(3, keepdim=True))
        out: Tensor = self.projection((mask * k).flatten(2, 3)).unflatten(-1, x.shape[3:])
        return out


def _stages(config: QKFormerConfig) -> tuple[PatchStage, list[nn.Module]]:
    """The first patch stage, and the list of all modules behind it."""
    D, heads = config.embed_dim, config.heads
    widths = (D // 4, D // 2, D)

    def block(dim: int, last: bool) -> Block:
        attention = (
            SpikingSelfAttention(dim, heads, membrane=False) if last else TokenAttention(dim, heads)
        )
        return Block(attention, spiking_mlp(dim, config.mlp_ratio * dim))

    parts: list[nn.Module] = []
    for stage, (dim, depth) in enumerate(zip(widths, config.depths, strict=True)):
        if stage:
            parts.append(PatchStage(dim // 2, dim, config.flavour))
        parts += [block(dim, last=stage == 2) for _ in range(depth)]
    return PatchStage(D // 8, D // 4, config.flavour, config.in_channels), parts


class QKFormer(SpikingTransformer):
    """The network: three stages, mean over tokens and time, linear head.

    Images [B, C, H, W] -> logits [B, classes]. In the published code the state of one neuron in
    each block of the last stage passes from image to image of a batch; here images are independent.
    """

    official_name = staticmethod(official("qkformer"))

    def __init__(self, config: QKFormerConfig) -> None:
        stem, blocks = _stages(config)
        super().__init__(
            stem,
            blocks,
            nn.Linear(config.embed_dim, config.num_classes),
            config=config,
            groups=config.heads,
            readout="mean",
        )


def build(size: str, **overrides: Any) -> QKFormer:
    """A QKFormer of one size of `CONFIGS`, with fields of its config overridden."""
    return QKFormer(replace(CONFIGS[size], **overrides))
