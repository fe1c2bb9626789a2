"""Spike-driven Transformer V3 (Yao et al., TPAMI 2025): integers in training, spikes at inference.

A neuron rounds its potential to an integer in 0..D and passes on that integer divided by D. The
network is trained in this form, without a time axis. At inference an integer k becomes k unit
spikes over D virtual timesteps, and the results of each linear layer are summed over them. Both
forms give the same output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.coding import Neuron, SpikeConv
from analyzer.models.official import official
from analyzer.models.parts import ImageConfig, layouts_of

__all__ = [
    "CONFIGS",
    "Form",
    "IntegerNetwork",
    "IntegerNeuron",
    "SDTv3",
    "SDTv3Config",
    "build",
    "integer_conv",
]

Form = Literal["integer", "spikes"]


@dataclass(frozen=True)
class SDTv3Config(ImageConfig):
    """The sizes of one network; the first stage begins with a block of half its width.

    `levels` is D, the largest integer of a neuron.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int] = (1, 2, 6, 2)
    heads: int = 8
    levels: int = 4

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or any(w % self.heads for w in self.widths[2:]):
            raise AnalyzerError(
                f"SDT V3 needs four widths, the last two divisible by {self.heads} heads, "
                f"got {self.widths}."
            )
        if self.levels < 1:
            raise AnalyzerError(f"SDT V3 needs at least one level, got {self.levels}.")


CONFIGS: Mapping[str, SDTv3Config] = MappingProxyType(
    {
        "5m": SDTv3Config((32, 64, 128, 192)),
        "10m": SDTv3Config((48, 96, 192, 240)),
        "19m": SDTv3Config((64, 128, 256, 360)),
    }
)


class _Integer(torch.autograd.Function):
    """Clamps and rounds (half to even) in the forward pass; the gradient is 1 in [0, D], else 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward((x >= 0) & (x <= levels))
        return x.clamp(0, levels).round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None


class IntegerNeuron(Neuron):
    """Potentials to integers in 0..D, or to that many unit spikes over D virtual timesteps.

    Args:
        levels: D.
        unit: The value of one spike for the next layer; 1/D by default.
    """

    def __init__(self, levels: int, unit: float | None = None) -> None:
        super().__init__()
        self.levels = levels
        self.worth = 1 / levels if unit is None else unit
        self.form: Form = "integer"

    @property
    def timed(self) -> bool:
        """Whether the code has a time axis: only in spikes."""
        return self.form == "spikes"

    def forward(self, x: Tensor) -> Tensor:
        """Potentials [B, ...] -> multiples of the unit [B, ...], or spikes [D, B, ...]."""
        integers: Tensor = _Integer.apply(x, self.levels)
        if self.form == "integer":
            return integers * self.worth
        return torch.stack([(integers > d).to(x.dtype) for d in range(self.levels)])

    def drive(self, linear: Any, code: Tensor) -> Tensor:
        """What a linear map without bias makes of a code: [(D,) B, ...] -> potentials [B, ...]."""
        if self.form == "integer":
            return linear(code)  # type: ignore[no-any-return]
        out: Tensor = linear(code.flatten(0, 1)).unflatten(0, code.shape[:2])
        return self.charge(out)

    def charge(self, u: Tensor) -> Tensor:
        """Sums the results for spikes, [D, ...], over the virtual timesteps and scales them."""
        return u.sum(0) * self.worth if self.form == "spikes" else u

    def extra_repr(self) -> str:
        """The constants, for `repr`."""
        return f"levels={self.levels}, form={self.form!r}"


class SeparableConv(nn.Module):
    """Pointwise, depthwise, pointwise, each behind a neuron: [B, C, H, W] -> the same."""

    def __init__(self, dim: int, kernel: int, levels: int) -> None:
        super().__init__()
        wide = 2 * dim
        self.expand = integer_conv(dim, wide, 1, levels)
        self.depthwise = integer_conv(wide, wide, kernel, levels, groups=wide)
        self.reduce = integer_conv(wide, dim, 1, levels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        out: Tensor = self.reduce(self.depthwise(self.expand(x)))
        return out


class ConvBlock(nn.Module):
    """A separable convolution, then two dense 3×3 ones, both with shortcuts."""

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.separable = SeparableConv(dim, 7, levels)
        self.dense = nn.Sequential(
            integer_conv(dim, 4 * dim, 3, levels), integer_conv(4 * dim, dim, 3, levels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x = x + self.separable(x)
        out: Tensor = x + self.dense(x)
        return out


class Attention(nn.Module):
    """(Q·Kᵀ)·V without softmax, with values of four times the width: [B, C, H, W] -> the same.

    In spikes, the queries of each timestep are multiplied by the integer keys, to which the spikes
    of the keys add up, and the scores by the values of each timestep.
    """

    def __init__(self, dim: int, heads: int, levels: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 2 * (dim // heads) ** -0.5
        self.entry = IntegerNeuron(levels)
        self.q, self.k, self.v = (_Projection(dim, after, levels) for after in (dim, dim, 4 * dim))
        self.projection = integer_conv(4 * dim, dim, 1, levels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        code = self.entry(x)
        q, k, v = (
            rearrange(unit(code, self.entry), "... (h d) H W -> ... h (H W) d", h=self.heads)
            for unit in (self.q, self.k, self.v)
        )
        keys = self.k.neuron.charge(k)
        scores = self.q.neuron.charge(q @ keys.mT)
        out = self.v.neuron.charge(scores @ v) * self.scale
        H = x.shape[-2]
        projected: Tensor = self.projection(rearrange(out, "B h (H W) d -> B (h d) H W", H=H))
        return projected


class _Projection(nn.Module):
    """A 1×1 convolution of a code, batch norm and a neuron: code to code."""

    def __init__(self, before: int, after: int, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 1, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.neuron = IntegerNeuron(levels)

    def forward(self, code: Tensor, source: IntegerNeuron) -> Tensor:
        """A code of the neuron `source` -> a code of this module's neuron, [(D,) B, C', H, W]."""
        out: Tensor = self.neuron(self.norm(source.drive(self.conv, code)))
        return out


class TransformerBlock(nn.Module):
    """Separable convolution, attention and MLP, each with a shortcut: [B, C, H, W] -> the same."""

    def __init__(self, dim: int, heads: int, levels: int) -> None:
        super().__init__()
        self.separable = SeparableConv(dim, 3, levels)
        self.attention = Attention(dim, heads, levels)
        self.mlp = nn.Sequential(
            integer_conv(dim, 4 * dim, 1, levels, bias=True),
            integer_conv(4 * dim, dim, 1, levels, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x = x + self.separable(x)
        x = x + self.attention(x)
        out: Tensor = x + self.mlp(x)
        return out


class IntegerNetwork(nn.Module):
    """Base class of networks with integer neurons, which it switches between the two forms.

    A subclass has a `stem`, whose first layer reads the image, and behind the mean over tokens a
    `neuron` and a `head`.

    Args:
        levels: D, the largest integer of a neuron.
        heads: Number of channel groups that sparsity is reported for.
    """

    neuron: IntegerNeuron

    def __init__(self, levels: int, heads: int) -> None:
        super().__init__()
        self.levels = levels
        self.heads = heads

    @property
    def form(self) -> Form:
        """The form of every neuron, "integer" or "spikes"; assigning it switches all of them."""
        return self.neuron.form

    @form.setter
    def form(self, form: Form) -> None:
        if form not in ("integer", "spikes"):
            raise AnalyzerError(f"the form of SDT V3 is 'integer' or 'spikes', not {form!r}.")
        for module in self.modules():
            if isinstance(module, IntegerNeuron):
                module.form = form

    @property
    def timesteps(self) -> int:
        """The D virtual timesteps in spikes, 1 in integers."""
        return self.levels if self.form == "spikes" else 1

    @property
    def groups(self) -> dict[str, int]:
        """How many groups sparsity is reported for: windows a side, channels, and timesteps."""
        groups = {"spatial": 2, "structural": self.heads}
        return groups | ({"temporal": self.timesteps} if self.form == "spikes" else {})

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module path, in the present form."""
        timed = self.form == "spikes"
        return layouts_of(self, time=timed) | {
            "stem.0": "B C H W",
            "head": "(T B) D" if timed else "B D",
        }


class SDTv3(IntegerNetwork):
    """The network: images [B, C, H, W] -> logits [B, classes], the same in both forms."""

    official_name = staticmethod(official("sdt_v3"))

    def __init__(self, config: SDTv3Config, form: Form = "integer") -> None:
        super().__init__(config.levels, config.heads)
        self.config = config
        levels = config.levels
        c1, c2, c3, c4 = config.widths
        d1, d2, d3, d4 = config.depths
        c0 = c1 // 2
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, c0, 7, stride=2, padding=3), nn.BatchNorm2d(c0)
        )

        def down(before: int, after: int, stride: int = 2) -> SpikeConv:
            return integer_conv(before, after, 3, levels, stride=stride, bias=True)

        self.blocks = nn.Sequential(
            ConvBlock(c0, levels),
            down(c0, c1),
            *(ConvBlock(c1, levels) for _ in range(d1)),
            down(c1, c2),
            *(ConvBlock(c2, levels) for _ in range(d2)),
            down(c2, c3),
            *(TransformerBlock(c3, config.heads, levels) for _ in range(d3)),
            down(c3, c4, stride=1),
            *(TransformerBlock(c4, config.heads, levels) for _ in range(d4)),
        )
        self.neuron = IntegerNeuron(levels, unit=1)
        self.head = nn.Linear(c4, config.num_classes, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.num_classes))
        self.form = form

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.blocks(self.stem(image)).flatten(2).mean(2)
        code = self.neuron(x)
        out: Tensor = self.neuron.drive(self.head, code) + self.bias
        return out


def integer_conv(
    before: int,
    after: int,
    kernel: int,
    levels: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> SpikeConv:
    """Integer neurons with D = `levels`, a convolution of side `kernel`, and batch norm."""
    return SpikeConv(
        before,
        after,
        kernel,
        lambda: IntegerNeuron(levels),
        stride=stride,
        groups=groups,
        bias=bias,
    )


def build(size: str, *, form: Form = "integer", **overrides: Any) -> SDTv3:
    """An SDT V3 of one size of `CONFIGS`, with fields of its config overridden."""
    return SDTv3(replace(CONFIGS[size], **overrides), form)
