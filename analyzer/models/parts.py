"""Parts that spiking transformers share; tensors run [T, B, C, *space] with time outermost."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from einops import rearrange, repeat
from torch import Tensor, nn

from analyzer.models.neurons import LIF

__all__ = [
    "Block",
    "ConvNorm",
    "ImageConfig",
    "MembraneUnit",
    "Pool",
    "SpikingConfig",
    "SpikingSelfAttention",
    "SpikingTransformer",
    "SpikingUnit",
    "conv3",
    "layouts_of",
    "membrane_mlp",
    "per_step",
    "spike_products",
    "spiking_mlp",
]

Layer = Callable[[int, int], nn.Module]
"""Makes a linear map over channels from their number before and after."""


Order = Literal["Q(KV)s", "(QKs)V", "(QK)Vs"]
"""Of the two products of attention; s is where they are scaled."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """What the config of every published image network has."""

    image_size: int = 224
    in_channels: int = 3
    num_classes: int = 1000


@dataclass(frozen=True, kw_only=True)
class SpikingConfig(ImageConfig):
    """The same of one that runs over time."""

    timesteps: int = 4


def per_step(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of [B, ...] on every timestep of [T, B, ...]."""
    out: Tensor = function(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return out


def conv3(before: int, after: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 3×3 convolution with padding 1."""
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=bias)


class Pool(nn.MaxPool2d):
    """Max-pooling over 3×3 with stride 2, of each timestep: [T, B, C, H, W] -> halved H, W."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H/2, W/2]."""
        return per_step(super().forward, x)


class ConvNorm(nn.Module):
    """A linear map over channels and batch norm, whose statistics all timesteps share.

    Convolutions take [T, B, C, *space] to [T, B, C', *space']; a `Linear` takes tokens, so the
    axes after C are merged for it and laid out again afterwards.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        flat = isinstance(layer, nn.Linear | nn.Conv1d)
        self.norm = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(_channels(layer))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, *space] -> [T, B, C', *space']."""
        if not isinstance(self.layer, nn.Linear):
            return per_step(lambda images: self.norm(self.layer(images)), x)
        tokens = self.layer(rearrange(x, "T B C ... -> T B (...) C"))
        y = self.norm(rearrange(tokens, "T B N C -> (T B) C N"))
        out: Tensor = y.unflatten(0, x.shape[:2]).unflatten(-1, x.shape[3:])
        return out


class SpikingUnit(ConvNorm):
    """Map, norm, pooling if asked for, then LIF neurons: anything -> spikes."""

    def __init__(
        self, layer: nn.Module, v_threshold: float = 1.0, pool: Pool | None = None
    ) -> None:
        super().__init__(layer)
        self.pool = pool
        self.neuron = LIF(v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, *space] -> spikes [T, B, C', *space']."""
        y = super().forward(x)
        spikes: Tensor = self.neuron(y if self.pool is None else self.pool(y))
        return spikes


class MembraneUnit(ConvNorm):
    """LIF neurons, pooling if asked for, then map and norm: potentials -> potentials."""

    def __init__(
        self, layer: nn.Module, pool: Pool | None = None, neuron: nn.Module | None = None
    ) -> None:
        super().__init__(layer)
        self.neuron = LIF() if neuron is None else neuron
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Potentials [T, B, C, *space] -> potentials [T, B, C', *space']."""
        spikes = self.neuron(x)
        return super().forward(spikes if self.pool is None else self.pool(spikes))


def spiking_mlp(dim: int, hidden: int, layer: Layer) -> nn.Sequential:
    """Two units that end in spikes, for a stream of summed spikes."""
    return nn.Sequential(SpikingUnit(layer(dim, hidden)), SpikingUnit(layer(hidden, dim)))


def membrane_mlp(dim: int, hidden: int, layer: Layer) -> nn.Sequential:
    """Two units that begin with spikes, for a stream of potentials."""
    return nn.Sequential(MembraneUnit(layer(dim, hidden)), MembraneUnit(layer(hidden, dim)))


def spike_products(
    q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, order: Order
) -> Tensor:
    """Softmax-free attention of spikes [T, B, D, N] -> [T, B, D, N]."""
    q, k, v = (rearrange(x, "T B (h d) N -> T B h N d", h=heads) for x in (q, k, v))
    if order == "Q(KV)s":
        out = q @ (k.mT @ v) * scale
    else:
        out = q @ k.mT * scale @ v if order == "(QKs)V" else q @ k.mT @ v * scale
    return rearrange(out, "T B h N d -> T B (h d) N")


class SpikingSelfAttention(nn.Module):
    """Softmax-free products of binary q, k and v, then neurons with threshold 1/2, projected.

    Args:
        dim: Width D.
        heads: Number of heads.
        qkv: Makes the maps to q, k and v, and `projection` the last one.
        membrane: Whether the stream holds potentials (neurons first, none at the end) instead of
            summed spikes.
        order: Of the products, and where they are scaled.
        tokens: Whether the maps read [T, B, D, N] instead of [T, B, D, H, W].
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        qkv: Layer,
        projection: Layer,
        *,
        membrane: bool,
        order: Order = "Q(KV)s",
        tokens: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.order = order
        self.tokens = tokens
        # The constant of the published code at every width, not 1/√d.
        self.scale = 0.125
        self.entry = LIF() if membrane else nn.Identity()
        self.q, self.k, self.v = (SpikingUnit(qkv(dim, dim)) for _ in range(3))
        self.neuron = LIF(v_threshold=0.5)
        last = projection(dim, dim)
        self.projection = ConvNorm(last) if membrane else SpikingUnit(last)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> [T, B, D, H, W]."""
        space = x.shape[3:]
        x = self.entry(x.flatten(3) if self.tokens else x)
        q, k, v = (unit(x).flatten(3) for unit in (self.q, self.k, self.v))
        out = spike_products(q, k, v, self.heads, self.scale, self.order)
        spikes = self.neuron(out)
        projected: Tensor = self.projection(spikes if self.tokens else spikes.unflatten(-1, space))
        return projected.unflatten(-1, space) if self.tokens else projected


class Block(nn.Module):
    """Attention and MLP, each added to the stream: [T, B, D, H, W] -> [T, B, D, H, W]."""

    def __init__(self, attention: nn.Module, mlp: nn.Module, *, unused_norms: int = 0) -> None:
        super().__init__()
        if unused_norms:
            # Some published models own these and never use them; their parameters count.
            self.norm1, self.norm2 = (nn.LayerNorm(unused_norms) for _ in range(2))
        self.attention = attention
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> [T, B, D, H, W]."""
        x = x + self.attention(x)
        out: Tensor = x + self.mlp(x)
        return out


class SpikingTransformer(nn.Module):
    """An image repeated T times, through a stem and blocks, to one linear head.

    [B, C, H, W] -> logits [B, classes].

    Args:
        stem: [T, B, C, H, W] -> [T, B, D, H', W'].
        blocks: [T, B, D, H, W] -> the same, one after another.
        head: [..., D] -> [..., classes].
        config: Has T.
        groups: Of channels, for sparsity by structure.
        readout: What the head reads: the ``mean`` of the map over tokens and time; the mean over
            tokens at each of the ``steps``; or the ``spikes`` that this fires at each step. Its
            results are averaged over steps.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Iterable[nn.Module],
        head: nn.Module,
        *,
        config: SpikingConfig,
        groups: int,
        readout: Literal["mean", "steps", "spikes"],
    ) -> None:
        super().__init__()
        self.timesteps = config.timesteps
        self.groups = {"temporal": self.timesteps, "spatial": 2, "structural": groups}
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.readout = readout
        self.neuron = LIF() if readout == "spikes" else nn.Identity()
        self.head = head

    @property
    def layouts(self) -> dict[str, str]:
        """The layout of the input of every weight layer."""
        head = {"head*": "B D" if self.readout == "mean" else "T B D"}
        return head | {k: v for k, v in layouts_of(self).items() if not k.startswith("head")}

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.stem(repeat(image, "B C H W -> T B C H W", T=self.timesteps))
        for block in self.blocks:
            x = block(x)
        x = self.neuron(x.flatten(3).mean(3))
        logits: Tensor = self.head(x.mean(0)) if self.readout == "mean" else self.head(x).mean(0)
        return logits


def layouts_of(model: nn.Module, time: bool = True) -> dict[str, str]:
    """The layout of the input of every weight layer, as this package's parts call them.

    Args:
        model: The network.
        time: Whether its tensors have a time axis.
    """
    axes = ("(T B) C H W", "(T B) C N", "T B N D") if time else ("B C H W", "B C N", "B N D")
    kinds = zip((nn.Conv2d, nn.Conv1d, nn.Linear), axes, strict=True)
    return {
        name: layout
        for kind, layout in kinds
        for name, module in model.named_modules()
        if isinstance(module, kind)
    }


def _channels(layer: nn.Module) -> int:
    """How many channels the last weight of a map gives."""
    weights = [p for name, p in layer.named_parameters() if name.endswith("weight")]
    return int(weights[-1].shape[0])
