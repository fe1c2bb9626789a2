"""The large Spike-driven Transformer V3 (E-SpikeFormer, Yao et al., TPAMI 2025, arXiv:2411.16061).

It is another network than the sizes of :mod:`analyzer.models.sdt_v3`, with the same integer
neurons: its convolutional blocks have no separable convolution, all its transformer blocks are in
one stage, and each of their branches is scaled by weights. Queries, keys, values and the last layer
of attention are two pointwise convolutions each, with no neuron between them, so that the second
one reads real values.

The layers are those of the published code (Model_Large in github.com/BICLab, read in two copies of
it). Its neurons round halves up, those here to the even integer. The paper calls this size 173M;
the published class has 171,740,714 parameters with the classifier for distillation, which it has by
default, and 170,971,714 without. There is no 83M: the published class of that size has a batch norm
of 768 channels behind a convolution to 512, which can not run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.official import official
from analyzer.models.parts import ImageConfig
from analyzer.models.sdt_v3 import Form, IntegerNetwork, IntegerNeuron, integer_conv

__all__ = ["CONFIGS", "SDTv3Large", "SDTv3LargeConfig", "build"]


@dataclass(frozen=True)
class SDTv3LargeConfig(ImageConfig):
    """The sizes of one network; the first stage begins with a block of half its width.

    `levels` is D, the largest integer of a neuron. `distilled` adds the second classifier, whose
    logits are averaged with those of the first.
    """

    widths: tuple[int, int, int]
    depth: int = 12
    heads: int = 8
    levels: int = 4
    distilled: bool = True

    def __post_init__(self) -> None:
        if len(self.widths) != 3 or self.widths[-1] % (2 * self.heads) or self.widths[0] % 2:
            raise AnalyzerError(
                "The large SDT V3 needs three widths, the first even and the last divisible by "
                f"2 times {self.heads} heads, got {self.widths}."
            )
        if self.levels < 1:
            raise AnalyzerError(f"SDT V3 needs at least one level, got {self.levels}.")


CONFIGS: Mapping[str, SDTv3LargeConfig] = MappingProxyType(
    {"173m": SDTv3LargeConfig((196, 384, 768))}
)


class ConvBlock(nn.Module):
    """Two dense 3×3 convolutions with a shortcut: [B, C, H, W] -> the same."""

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            integer_conv(dim, 4 * dim, 3, levels, bias=True),
            integer_conv(4 * dim, dim, 3, levels, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        out: Tensor = x + self.dense(x)
        return out


class WidePointwise(nn.Module):
    """Pointwise convolutions to 3/2 of the width and back, with batch norms: code to potentials."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        wide = dim * 3 // 2
        self.widen = nn.Conv2d(dim, wide, 1, bias=False)
        self.narrow = nn.Conv2d(wide, dim, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (wide, dim, dim))

    def forward(self, code: Tensor, source: IntegerNeuron) -> Tensor:
        """A code [(D,) B, C, H, W] of the neuron `source` -> potentials [B, C, H, W]."""
        first, second, third = self.norms
        out: Tensor = third(second(self.narrow(first(source.drive(self.widen, code)))))
        return out


class Attention(nn.Module):
    """Q·(Kᵀ·V) without softmax: [B, C, H, W] -> the same.

    In spikes, the spikes of the keys of each timestep are multiplied by the integer values, to
    which the spikes of the values add up, and the queries of each timestep by the sum of that.
    """

    def __init__(self, dim: int, heads: int, levels: int) -> None:
        super().__init__()
        self.heads = heads
        # The published code has this constant at every width.
        self.scale = 0.125
        self.entry = IntegerNeuron(levels)
        self.q, self.k, self.v, self.projection = (WidePointwise(dim) for _ in range(4))
        self.q_neuron, self.k_neuron, self.v_neuron = (IntegerNeuron(levels) for _ in range(3))
        self.neuron = IntegerNeuron(levels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        code = self.entry(x)
        q, k, v = (
            rearrange(
                neuron(unit(code, self.entry)), "... (h d) H W -> ... h (H W) d", h=self.heads
            )
            for unit, neuron in (
                (self.q, self.q_neuron),
                (self.k, self.k_neuron),
                (self.v, self.v_neuron),
            )
        )
        values = self.v_neuron.charge(v)
        memory = self.k_neuron.charge(k.mT @ values)
        out = self.q_neuron.charge(q @ memory) * self.scale
        H = x.shape[-2]
        spread = self.neuron(rearrange(out, "B h (H W) d -> B (h d) H W", H=H))
        projected: Tensor = self.projection(spread, self.neuron)
        return projected


class TransformerBlock(nn.Module):
    """Attention and MLP, each scaled by channel and with a shortcut: [B, C, H, W] -> the same."""

    def __init__(self, dim: int, heads: int, levels: int) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, levels)
        self.mlp = nn.Sequential(
            integer_conv(dim, 4 * dim, 1, levels, bias=True),
            integer_conv(4 * dim, dim, 1, levels, bias=True),
        )
        # The initial value of the published code.
        self.attention_scale = nn.Parameter(torch.full((dim,), 1e-6))
        self.mlp_scale = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x = x + self.attention(x) * self.attention_scale.view(-1, 1, 1)
        out: Tensor = x + self.mlp(x) * self.mlp_scale.view(-1, 1, 1)
        return out


class SDTv3Large(IntegerNetwork):
    """The network: images [B, C, H, W] -> logits [B, classes], the same in both forms.

    The classifier reads the mean over tokens; the one for distillation reads the integers that
    neurons make of it.

    Example:
        >>> import torch
        >>> from analyzer import models
        >>> small = {"widths": (16, 32, 64), "depth": 1, "image_size": 64, "num_classes": 7}
        >>> model = models.build("sdt-v3-173m", **small)
        >>> model(torch.zeros(3, 3, 64, 64)).shape
        torch.Size([3, 7])
    """

    official_name = staticmethod(official("sdt_v3_large"))

    def __init__(self, config: SDTv3LargeConfig, form: Form = "integer") -> None:
        super().__init__(config.levels, config.heads)
        self.config = config
        levels = config.levels
        c1, c2, c3 = config.widths
        c0 = c1 // 2
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, c0, 7, stride=2, padding=3), nn.BatchNorm2d(c0)
        )
        self.blocks = nn.Sequential(
            ConvBlock(c0, levels),
            integer_conv(c0, c1, 3, levels, stride=2, bias=True),
            ConvBlock(c1, levels),
            integer_conv(c1, c2, 3, levels, stride=2, bias=True),
            ConvBlock(c2, levels),
            ConvBlock(c2, levels),
            integer_conv(c2, c3, 3, levels, stride=2, bias=True),
            *(TransformerBlock(c3, config.heads, levels) for _ in range(config.depth)),
        )
        self.head = nn.Linear(c3, config.num_classes)
        self.neuron = IntegerNeuron(levels, unit=1)
        if config.distilled:
            self.teacher = nn.Linear(c3, config.num_classes, bias=False)
            # Not a bias of the layer: that runs at every timestep and would add it D times.
            self.bias = nn.Parameter(torch.zeros(config.num_classes))
        self.form = form

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module path, in the present form."""
        timed = self.form == "spikes"
        real = {name: "B C H W" for name in super().layouts if name.endswith(".narrow")}
        teacher = {"teacher": "(T B) D" if timed else "B D"} if self.config.distilled else {}
        return super().layouts | real | {"head": "B D"} | teacher

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.blocks(self.stem(image)).flatten(2).mean(2)
        logits: Tensor = self.head(x)
        if self.config.distilled:
            taught = self.neuron.drive(self.teacher, self.neuron(x)) + self.bias
            logits = (logits + taught) / 2
        return logits


def build(size: str, *, form: Form = "integer", **overrides: Any) -> SDTv3Large:
    """A large SDT V3 of one size of `CONFIGS`, with fields of its config overridden."""
    return SDTv3Large(replace(CONFIGS[size], **overrides), form)
