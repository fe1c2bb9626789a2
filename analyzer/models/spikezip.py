"""SpikeZIP-TF (You et al., ICML 2024, arXiv:2406.03470): a quantised ViT that also runs in spikes.

Every product but that of the patches has neurons before it. In the quantised form a neuron rounds
its input to a few levels. In spikes it runs for T timesteps, and in each of them adds at most one
positive or negative spike to the sum of its outputs. The image, the class token, the positions and
all biases enter at t = 0 alone; when no neuron fires any more, the sum of the outputs over time is
the output of the quantised form.

So all tensors in spikes are increments. Linear layers map increments to increments. LayerNorm and
softmax sum their inputs and return by how much their result has changed; the two products of
attention do the same: ``S_q(t)·k(t)ᵀ + q(t)·S_k(t-1)ᵀ`` is the increment of ``S_q·S_kᵀ``, where S
is the sum so far.

Both forms agree in exact arithmetic. In floating point an input halfway between two levels, or
close to it, may end on either, and then one neuron differs by a whole level. This is common in
single precision and very rare in double. With steps theta that are powers of two the products are
exact. The ViT is that of `vit` with ReLU in place of GELU and the same names of weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.errors import AnalyzerError
from analyzer.models import vit
from analyzer.models.parts import layouts_of

__all__ = [
    "CONFIGS",
    "STBIF",
    "Memory",
    "SpikeZIP",
    "SpikeZIPConfig",
    "build",
    "calibrate",
    "firing",
]

Form = Literal["float", "quantised", "spikes"]


@dataclass(frozen=True)
class SpikeZIPConfig(vit.ViTConfig):
    """The sizes of a ViT, with the number of levels L and the T of the form in spikes.

    The levels are 0..L behind softmax and ReLU, where nothing is negative, else -L/2..L/2-1.
    """

    levels: int = 16
    timesteps: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool != "token":
            raise AnalyzerError(f"SpikeZIP reads its class token, it has no pool {self.pool!r}.")
        if self.levels < 4 or self.levels % 2 or self.timesteps < 1:
            raise AnalyzerError(
                "SpikeZIP needs an even number of levels, at least 4, and at least one timestep, "
                f"got {self.levels} and {self.timesteps}."
            )


CONFIGS: Mapping[str, SpikeZIPConfig] = MappingProxyType(
    {
        size: SpikeZIPConfig(**vars(vit.CONFIGS[size]), timesteps=timesteps)
        for size, timesteps in {"tiny": 32, "s-16": 64, "b-16": 64}.items()
    }
)


@dataclass
class Memory:
    """What one forward in spikes keeps from timestep to timestep; each forward makes its own.

    Attributes:
        step: The timestep, from 0.
        state: Two tensors by module: membrane and tracer of a neuron, or the sum of the inputs of
            LayerNorm or softmax and its result for that sum.
    """

    step: int = 0
    state: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)


class _Quantise(torch.autograd.Function):
    """Computes theta · clamp(floor(x / theta + 1/2), lo, hi).

    The gradients are those of LSQ (Esser et al., ICLR 2020).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, lo: int, hi: int) -> Tensor:
        ctx.save_for_backward(x, theta)
        ctx.range = lo, hi
        return theta * (x / theta + 0.5).floor().clamp(lo, hi)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, theta = ctx.saved_tensors
        lo, hi = ctx.range
        u = x / theta
        inside = (u > lo) & (u < hi)
        slope = (u + 0.5).floor().clamp(lo, hi) - u * inside
        scale = (x[0].numel() * hi) ** -0.5
        return grads[0] * inside, (grads[0] * slope).sum() * scale, None, None


class STBIF(nn.Module):
    """Integrate-and-fire neuron with positive and negative spikes, and the equivalent quantiser.

    In spikes the membrane starts at theta/2 and adds the input of each timestep. The tracer is the
    number of positive minus negative spikes so far. Where the membrane is at least theta and the
    tracer below hi, the neuron fires theta; where the membrane is negative and the tracer above lo,
    it fires -theta; the spike is subtracted from the membrane. Once the input has ended and a
    timestep brings no spike, theta times the tracer is theta · clamp(floor(x / theta + 1/2), lo,
    hi) of the sum x of the inputs, in whatever order they came. This takes at most hi - lo
    timesteps. The quantised form returns the same value at once. The float form returns x, or the
    positive part of x if lo is 0.

    Args:
        lo: Lowest level, at most 0. With 0 the neuron also does the work of a ReLU before it.
        hi: Highest level.
        peak: Initial value of the highest level; `calibrate` or training sets theta later.
    """

    def __init__(self, lo: int, hi: int, peak: float = 1.0) -> None:
        super().__init__()
        self.lo = lo
        self.hi = hi
        self.theta = nn.Parameter(torch.tensor(peak / hi))
        self.form: Form = "quantised"

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Input [B, ...] -> values, or spikes of this timestep in {-theta, 0, theta}.

        Args:
            x: The input, in spikes that of this timestep.
            memory: The state in spikes; None for a first timestep.
        """
        if self.form == "float":
            return F.relu(x) if self.lo == 0 else x
        if self.form == "quantised":
            values: Tensor = _Quantise.apply(x, self.theta, self.lo, self.hi)
            return values
        state = {} if memory is None else memory.state
        membrane, tracer = state.get(self) or (self.theta / 2, torch.zeros_like(x))
        membrane = membrane + x
        up = (membrane >= self.theta) & (tracer < self.hi)
        down = (membrane < 0) & (tracer > self.lo)
        spikes = up.to(x.dtype) - down.to(x.dtype)
        fired = self.theta * spikes
        state[self] = (membrane - fired, tracer + spikes)
        return fired

    def total(self, memory: Memory | None) -> Tensor | None:
        """The sum of all spikes so far, [B, ...]; None before the first one or without time."""
        if memory is None or self not in memory.state:
            return None
        return self.theta * memory.state[self][1]

    def extra_repr(self) -> str:
        """The constants, for `repr`."""
        return f"lo={self.lo}, hi={self.hi}, form={self.form!r}"


class Linear(nn.Linear):
    """A linear layer of values or increments, which adds its bias in the first timestep only."""

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """[..., D] -> [..., D']."""
        first = memory is None or memory.step == 0
        return F.linear(x, self.weight, self.bias if first else None)


class Attention(nn.Module):
    """Multi-head softmax attention with neurons before each product, [B, N, D] -> [B, N, D]."""

    def __init__(self, config: SpikeZIPConfig) -> None:
        super().__init__()
        dim, self.heads, half = config.embed_dim, config.heads, config.levels // 2
        self.scale: float = (dim // self.heads) ** -0.5
        self.qkv = Linear(dim, 3 * dim)
        self.query, self.key, self.value, self.context = (STBIF(-half, half - 1) for _ in range(4))
        self.softmax = nn.Softmax(dim=-1)
        self.weights = STBIF(0, config.levels, peak=min(1.0, 4 / config.tokens))
        self.projection = Linear(dim, dim)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Values or spikes [B, N, D] -> what is added to the residual stream, [B, N, D]."""
        qkv = self.qkv(x, memory)
        q, k, v = rearrange(qkv, "B N (s h d) -> s B h N d", s=3, h=self.heads)
        scores = self.scale * _product(self.query, self.key, q, k.mT, memory)
        weights = _increment(self.softmax, scores, memory)
        out = _product(self.weights, self.value, weights, v, memory)
        code = self.context(rearrange(out, "B h N d -> B N (h d)"), memory)
        projected: Tensor = self.projection(code, memory)
        return projected


class Block(nn.Module):
    """Pre-norm attention and MLP with residuals, on values or increments: [B, N, D] -> the same."""

    def __init__(self, config: SpikeZIPConfig) -> None:
        super().__init__()
        dim, half = config.embed_dim, config.levels // 2
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.neuron1 = STBIF(-half, half - 1, peak=3.0)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.neuron2 = STBIF(-half, half - 1, peak=3.0)
        hidden = config.mlp_ratio * dim
        self.mlp = nn.ModuleList(
            [Linear(dim, hidden), STBIF(0, config.levels), Linear(hidden, dim)]
        )

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        code = self.neuron1(_increment(self.norm1, x, memory), memory)
        x = x + self.attention(code, memory)
        code = self.neuron2(_increment(self.norm2, x, memory), memory)
        for layer in self.mlp:
            code = layer(code, memory)
        out: Tensor = x + code
        return out


class SpikeZIP(nn.Module):
    """The network: images [B, C, H, W] -> logits [B, classes].

    It is trained in the form "float", then in "quantised"; the form "spikes" is for inference.
    """

    def __init__(self, config: SpikeZIPConfig, form: Form = "quantised") -> None:
        super().__init__()
        self.config = config
        D, patch, half = config.embed_dim, config.patch_size, config.levels // 2
        self.patches = nn.Conv2d(config.in_channels, D, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, D))
        self.positions = nn.Parameter(torch.empty(1, config.tokens, D))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(D, eps=1e-6)
        self.neuron = STBIF(-half, half - 1, peak=3.0)
        self.head = Linear(D, config.num_classes)
        self.form = form

    def calibrate(self, images: Tensor) -> None:
        """Sets each theta from a batch of images [B, C, H, W], see :func:`calibrate`."""
        calibrate(self, images)

    @property
    def form(self) -> Form:
        """The form of every neuron: "float", "quantised" or "spikes"; assigning it sets all."""
        return self.neuron.form

    @form.setter
    def form(self, form: Form) -> None:
        if form not in ("float", "quantised", "spikes"):
            raise AnalyzerError(
                f"the form of SpikeZIP is 'float', 'quantised' or 'spikes', not {form!r}."
            )
        for neuron in _neurons(self):
            neuron.form = form

    @property
    def timesteps(self) -> int:
        """T in spikes, else 1."""
        return self.config.timesteps if self.form == "spikes" else 1

    @property
    def groups(self) -> dict[str, int]:
        """How many groups sparsity is reported for: windows a side, channels, and timesteps."""
        groups = {"spatial": 2, "structural": self.config.heads}
        return groups | ({"temporal": self.timesteps} if self.form == "spikes" else {})

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module path, in one timestep."""
        return layouts_of(self, time=False) | {"head": "B D"}

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = rearrange(self.patches(image), "B D H W -> B (H W) D")
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        if self.form != "spikes":
            return self._step(x, None)
        memory = Memory()
        logits = self._step(x, memory)
        nothing = torch.zeros_like(x)
        for memory.step in range(1, self.timesteps):
            logits = logits + self._step(nothing, memory)
        return logits

    def _step(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Tokens [B, N, D] -> logits [B, classes], or in spikes what this timestep adds to them."""
        for block in self.blocks:
            x = block(x, memory)
        code = self.neuron(_increment(self.norm, x[:, 0], memory), memory)
        logits: Tensor = self.head(code, memory)
        return logits


def _increment(function: nn.Module, x: Tensor, memory: Memory | None) -> Tensor:
    """By how much the increment `x` changes a function of the sum of its inputs.

    Without time (`memory` is None) it is the function of `x`.
    """
    if memory is None:
        return function(x)  # type: ignore[no-any-return]
    before = memory.state.get(function)
    total = x if before is None else before[0] + x
    value: Tensor = function(total)
    memory.state[function] = (total, value)
    return value if before is None else value - before[1]


def _product(a: STBIF, b: STBIF, x: Tensor, y: Tensor, memory: Memory | None) -> Tensor:
    """The product of the outputs of two neurons, or in spikes its increment."""
    before = b.total(memory)
    x, y = a(x, memory), b(y, memory)
    total = a.total(memory)
    if before is None or total is None:
        return x @ y
    return total @ y + x @ before


def _neurons(model: nn.Module) -> list[STBIF]:
    return [module for module in model.modules() if isinstance(module, STBIF)]


@torch.no_grad()
def calibrate(model: SpikeZIP, images: Tensor, quantile: float = 0.999) -> None:
    """Sets each theta so that the highest level is a quantile of the values in the float network.

    Args:
        model: The network; its form does not change.
        images: A batch [B, C, H, W].
        quantile: The quantile of the magnitudes at each neuron, in (0, 1].
    """

    def measure(neuron: STBIF, args: Any, out: Tensor) -> None:
        sizes = out.abs().flatten()
        top = sizes.kthvalue(math.ceil(quantile * len(sizes))).values
        top = torch.where(top > 0, top, sizes.max())
        neuron.theta.copy_(torch.where(top > 0, top / neuron.hi, neuron.theta))

    _run(model, images, "float", measure)


def firing(model: SpikeZIP, images: Tensor) -> list[int]:
    """How many spikes all neurons together fire in each timestep.

    Use it to choose T: after a timestep without a spike nothing changes any more, and the output is
    that of the quantised form. If the last number is not 0, T is too small.

    Args:
        model: The network; its form does not change.
        images: A batch [B, C, H, W].
    """
    spikes = [0] * model.config.timesteps

    def count(neuron: STBIF, args: tuple[Tensor, Memory], out: Tensor) -> None:
        spikes[args[1].step] += int(out.count_nonzero())

    _run(model, images, "spikes", count)
    return spikes


@torch.no_grad()
def _run(model: SpikeZIP, images: Tensor, form: Form, hook: Any) -> None:
    """Runs the model once in a form with a hook on every neuron, and restores it afterwards."""
    before = model.form
    handles = [neuron.register_forward_hook(hook) for neuron in _neurons(model)]
    try:
        model.form = form
        model(images)
    finally:
        model.form = before
        for handle in handles:
            handle.remove()


def build(size: str, *, form: Form = "quantised", **overrides: Any) -> SpikeZIP:
    """A SpikeZIP of one size of `CONFIGS`, with fields of its config overridden."""
    return SpikeZIP(replace(CONFIGS[size], **overrides), form)
