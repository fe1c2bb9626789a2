"""Networks that compute something from weights and constants alone, in the ways people write it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 6


class Detector(nn.Module):
    """Learned queries attend to each other before they attend to the image, as in DETR."""

    def __init__(self, made: str = "like"):
        super().__init__()
        self.embed = nn.Embedding(5, WIDTH)
        self.layer = nn.TransformerDecoderLayer(WIDTH, 2, 10, batch_first=False)
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        queries = self.embed.weight.unsqueeze(1).repeat(1, len(x), 1)
        made = {
            "like": torch.zeros_like,
            "zeros": lambda q: torch.zeros(q.shape),
            "new": lambda q: q.new_zeros(q.shape),
        }[self.made](queries)
        return self.layer(made + queries, x.transpose(0, 1))


class Latents(nn.Module):
    """Learned latents are normalised and projected, and read the input, as in Perceiver."""

    def __init__(self, expanded: bool = True):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(3, WIDTH))
        self.norm, self.q = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.kv, self.expanded = nn.Linear(WIDTH, 2 * WIDTH), expanded

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents.expand(len(x), -1, -1) if self.expanded else self.latents
        k, v = self.kv(x).chunk(2, -1)
        q = self.q(F.gelu(self.norm(latents)))
        return F.softmax(q @ k.mT, -1) @ v


class Prompts(nn.Module):
    """Prompts go through an MLP of their own before they join the tokens."""

    def __init__(self, way: str = "expand"):
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(4, WIDTH))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 7), nn.Tanh(), nn.Linear(7, WIDTH))
        self.head, self.way = nn.Linear(WIDTH, 2), way

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        prompts = {
            "expand": lambda: self.mlp(self.prompts.expand(n, -1, -1)),
            "after": lambda: self.mlp(self.prompts).expand(n, -1, -1),
            "repeat": lambda: self.mlp(self.prompts.repeat(n, 1, 1)),
            "stack": lambda: self.mlp(torch.stack([self.prompts] * n)),
            "each": lambda: self.mlp(self.prompts.repeat_interleave(n, 0)).view(4, n, -1).mT.mT,
        }[self.way]()
        prompts = prompts.transpose(0, 1) if self.way == "each" else prompts
        return self.head(torch.cat([prompts, x], 1))


class Rotary(nn.Module):
    """Angles of positions: made on the spot times frequencies in a buffer."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("f", 1.0 / 10 ** (torch.arange(WIDTH // 2) / 3))

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1]).float()[None, None].expand(len(x), -1, -1)
        angle = (self.f[None, :, None].expand(len(x), -1, 1) @ at).mT
        angle = torch.cat([angle, angle], -1)
        q = self.q(x)
        return q * angle.cos() + q.roll(1, -1) * angle.sin()


class RelativeBias(nn.Module):
    """A bias for each pair of positions, looked up and passed through an MLP."""

    def __init__(self):
        super().__init__()
        self.table, self.mlp = nn.Embedding(40, 4), nn.Linear(4, 1)
        self.q = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1])
        pairs = at[:, None] - at[None] + 20
        bias = torch.sigmoid(self.mlp(self.table(pairs))).squeeze(-1)
        return F.softmax(self.q(x) @ x.mT + bias, -1) @ x


class Coordinates(nn.Module):
    """An MLP of a grid of positions."""

    def __init__(self, side: int = 4):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 7), nn.ReLU(), nn.Linear(7, WIDTH))
        self.conv, self.side = nn.Conv2d(WIDTH, WIDTH, 1), side

    def forward(self, x: Tensor) -> Tensor:
        line = torch.linspace(-1, 1, self.side)
        grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
        field = self.mlp(grid.reshape(-1, 2)).T.reshape(1, WIDTH, self.side, self.side)
        return self.conv(field) * x.mean((1, 2))[:, None, None, None]


class ClassToken(nn.Module):
    """A class token is projected and scaled before it joins."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        token = self.token.expand(x.shape[0], -1, -1) * 2
        return torch.cat([self.proj(token).relu(), x], 1).softmax(-1)


class Recurrent(nn.Module):
    """An LSTM, or its cell, from a first state that is learned, or zeros of some making."""

    def __init__(self, start: str = "learned", cell: bool = False):
        super().__init__()
        self.h = nn.Parameter(torch.randn(1, 1, 5))
        self.rnn = nn.LSTMCell(WIDTH, 5) if cell else nn.LSTM(WIDTH, 5, batch_first=True)
        self.start, self.cell = start, cell

    def forward(self, x: Tensor) -> Tensor:
        start = {
            "learned": lambda: self.h.expand(1, len(x), 5).contiguous(),
            "squashed": lambda: self.h.expand(1, len(x), 5).tanh(),
            "zeros": lambda: torch.zeros(1, len(x), 5),
            "like": lambda: torch.zeros_like(x[None, :, 0, :5]),
            "none": lambda: None,
        }[self.start]()
        if not self.cell:
            return self.rnn(x, None if start is None else (start, torch.zeros_like(start)))[0]
        state = None if start is None else (start[0], torch.zeros_like(start[0]))
        for step in x.unbind(1):
            state = self.rnn(step, state)
        return state[0]


class Masks(nn.Module):
    """A mask made on the spot, and a decay of distances scaled by a weight."""

    def __init__(self):
        super().__init__()
        self.slope, self.q = nn.Parameter(torch.rand(2, 1, 1)), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        mask = torch.full((n, n), -math.inf).triu(1).expand(len(x), 2, n, n)
        at = torch.arange(n)
        bias = -self.slope * (at[:, None] - at[None]).abs()
        q = self.q(x).unflatten(-1, (2, -1)).transpose(1, 2)
        return F.softmax(q @ q.mT + bias + mask, -1) @ q


class Hyper(nn.Module):
    """Weights that a network makes from a learned code, used at once or for each sample."""

    def __init__(self, expanded: bool = True):
        super().__init__()
        self.code = nn.Parameter(torch.randn(4))
        self.make, self.expanded = nn.Linear(4, WIDTH * 3), expanded

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.tanh(self.make(self.code)).view(WIDTH, 3)
        return torch.bmm(x, weight.expand(len(x), -1, -1)) if self.expanded else x @ weight


class Diffusion(nn.Module):
    """An embedding of one time for all samples, as samplers give it."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        t = torch.full((len(x),), 500.0)
        angle = t[:, None] * torch.exp(-torch.arange(2.0))[None]
        return x + self.mlp(torch.cat([angle.sin(), angle.cos()], -1))[:, None]


class Windows(nn.Module):
    """Queries for each window of each sample."""

    def __init__(self):
        super().__init__()
        self.q, self.proj = nn.Parameter(torch.randn(1, 2, WIDTH)), nn.Linear(WIDTH, WIDTH)
        self.k = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        windows = self.k(x[:, :4].reshape(-1, 2, WIDTH))  # two windows a sample
        return self.proj(self.q.expand(len(windows), -1, -1)) @ windows.mT


MODELS = {
    "detector": Detector,
    "detector-zeros": lambda: Detector("zeros"),
    "detector-new": lambda: Detector("new"),
    "latents": Latents,
    "latents-broadcast": lambda: Latents(False),
    **{f"prompts-{way}": (lambda way=way: Prompts(way)) for way in
       ("expand", "after", "repeat", "stack", "each")},
    "rotary": Rotary,
    "relative-bias": RelativeBias,
    "coordinates": Coordinates,
    "coordinates-8": lambda: Coordinates(8),
    "class-token": ClassToken,
    **{f"lstm-{start}": (lambda start=start: Recurrent(start)) for start in
       ("learned", "squashed", "zeros", "like", "none")},
    **{f"cell-{start}": (lambda start=start: Recurrent(start, True)) for start in
       ("learned", "squashed", "zeros", "like", "none")},
    "masks": Masks,
    "hyper": Hyper,
    "hyper-broadcast": lambda: Hyper(False),
    "diffusion": Diffusion,
    "windows": Windows,
}  # fmt: skip
