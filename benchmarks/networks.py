"""The networks that are timed: two transformers, a spiking CNN, and a decoder with a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer import models


class Case(NamedTuple):
    """A network and what it is timed on.

    Attributes:
        build: Makes it, in evaluation mode, its neurons firing.
        shape: One sample.
        sizes: Batch sizes.
        reset: Resets its neurons.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    reset: Callable[[nn.Module], object] = lambda model: None


def warmed(model: nn.Module, shape: tuple[int, ...], reset: Callable[[nn.Module], object]):
    """Batch-norm statistics from random images, so that neurons fire."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # a plain average of what is seen
    model.train()
    with torch.no_grad():
        for _ in range(2):
            reset(model)
            model(torch.rand(2, *shape))
    reset(model)
    return model.eval()


def spikformer() -> nn.Module:
    """Spikformer-8-512 at 224×224, T = 4."""
    torch.manual_seed(0)
    return warmed(models.build("spikformer-8-512"), (3, 224, 224), lambda model: None)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A dense ViT-Ti/16."""

    def __init__(self, width: int = 192, heads: int = 3, depth: int = 12) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.position = nn.Parameter(0.02 * torch.randn(1, 196, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))


def vit() -> nn.Module:
    """ViT-Ti/16 at 224×224."""
    torch.manual_seed(0)
    return ViT().eval()


class StepByStep(nn.Module):
    """A network called once a timestep, on the same image."""

    def __init__(self, net: nn.Module, timesteps: int = 4) -> None:
        super().__init__()
        self.net, self.timesteps = net, timesteps

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.net(x) for _ in range(self.timesteps)) / self.timesteps


def spiking_cnn() -> nn.Module:
    """A SpikingJelly CNN on 28×28, single step, T = 4."""
    from spikingjelly.activation_based import layer, neuron

    torch.manual_seed(0)
    channels = 32
    net = nn.Sequential(
        layer.Conv2d(1, channels, 3, padding=1, bias=False),
        layer.BatchNorm2d(channels),
        neuron.IFNode(),
        layer.MaxPool2d(2, 2),
        layer.Conv2d(channels, channels, 3, padding=1, bias=False),
        layer.BatchNorm2d(channels),
        neuron.IFNode(),
        layer.MaxPool2d(2, 2),
        layer.Flatten(),
        layer.Linear(channels * 49, channels * 16, bias=False),
        neuron.IFNode(),
        layer.Linear(channels * 16, 10, bias=False),
        neuron.IFNode(),
    )
    return warmed(StepByStep(net), (1, 28, 28), reset_spikingjelly)


def reset_spikingjelly(model: nn.Module) -> None:
    """Puts all neurons at rest."""
    from spikingjelly.activation_based import functional

    functional.reset_net(model)


class CachedBlock(Block):
    """The same block for one token at a time, which attends to all before it."""

    def forward(self, x: Tensor, cache: list[Tensor]) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        cache[:] = k, v
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """Generates token after token, as ``generate`` does: every step has another shape."""

    def __init__(self, width: int = 256, heads: int = 4, depth: int = 4, steps: int = 50) -> None:
        super().__init__()
        self.steps = steps
        self.embed, self.head = nn.Embedding(1000, width), nn.Linear(width, 1000, bias=False)
        self.blocks = nn.ModuleList(CachedBlock(width, heads) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        caches: list[list[Tensor]] = [[] for _ in self.blocks]
        token = (1000 * x).long()
        for _ in range(self.steps):
            y = self.embed(token)
            for block, cache in zip(self.blocks, caches, strict=True):
                y = block(y, cache)
            logits = self.head(y[:, -1])
            token = logits.argmax(-1, keepdim=True)
        return logits


def decoder() -> nn.Module:
    """A decoder of four layers, 50 steps."""
    torch.manual_seed(0)
    return Decoder().eval()


CASES = {
    "spikformer-8-512": Case(spikformer, (3, 224, 224), (1, 4)),
    "vit-ti-16": Case(vit, (3, 224, 224), (4, 16)),
    "spiking-cnn": Case(spiking_cnn, (1, 28, 28), (1, 16), reset_spikingjelly),
    "decoder": Case(decoder, (1,), (1,)),
}
