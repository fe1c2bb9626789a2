"""Models and inputs of many kinds of operations, for the tests of ``analyzer.verify``."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, rnn


class Runs(nn.Module):
    """A function of an input, and of modules if it needs some."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *args):
        return self.function(*self.parts, *args)


def spikes(*shape, share=0.3):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < share).float()


def values(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def heads(x):
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


def attend(x, **settings):
    return F.scaled_dot_product_attention(heads(x), heads(x), heads(x), **settings)


PADDING = torch.tensor([[0] * 5, [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]).bool()
LATER = torch.ones(5, 5).triu(1).bool()


def encoder(**settings):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not settings.get("norm_first"))


def self_attention(**given):
    return Runs(
        lambda part, x: part(x, x, x, **given)[0], nn.MultiheadAttention(8, 2, batch_first=True)
    )


def packed(part, x):
    sequence = rnn.pack_padded_sequence(x, [5, 3, 2], batch_first=True)
    return rnn.pad_packed_sequence(part(sequence)[0])[0]


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        return 2 * (x @ weight)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient


class Inner(torch.autograd.Function):
    """Written in two parts, as newer ones are."""

    @staticmethod
    def forward(x, weight):
        return torch.bmm(x, weight.expand(len(x), -1, -1))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient


class Outer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        return Inner.apply(Inner.apply(x, weight), weight)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient


class Weights(nn.Module):
    """A function of an input and a parameter."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(values(*shape))

    def forward(self, x):
        return self.function(x, self.weight)


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Parameter(values(16, 2)), nn.Parameter(values(2, 8))

    def forward(self, weight):
        return weight + self.down @ self.up


def low_rank():
    layer = nn.Linear(8, 16)
    parametrize.register_parametrization(layer, "weight", LowRank())
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(16, 2))


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() @ weight.triu().T


def symmetric():
    """A layer twice, whose weight is computed each time, and once while it is kept."""
    layer = nn.Linear(8, 8, bias=False)
    parametrize.register_parametrization(layer, "weight", Symmetric())

    def run(layer, x):
        x = layer(layer(x))
        with parametrize.cached():
            return layer(layer(x))

    return Runs(run, layer)


def hooked_by_name():
    """Hooks that give arguments by name, and one of the model itself."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model[0].register_forward_pre_hook(
        lambda m, args, kwargs: ((F.linear(args[0], m.weight),), kwargs), with_kwargs=True
    )
    model.register_forward_hook(lambda m, args, out: (out @ out.mT).softmax(-1) @ out)
    return model


def written_views(part, x):
    """An input that is written to through views of it, by operations of all kinds."""
    x[:, ::2].mul_(0)
    x.diagonal(0, 0, 1).fill_(1.0)
    torch.mm(x[:, :4].clone(), x[:, :4], out=x[:, 4:])
    return part(x.t_().t())


class Hooked(nn.Module):
    """Hooks before and after a layer that multiply; the second by a layer of the model."""

    def __init__(self):
        super().__init__()
        self.layer, self.after = nn.Linear(8, 8), nn.Linear(8, 3, bias=False)
        self.layer.register_forward_pre_hook(lambda m, args: (args[0] @ torch.ones(8, 8),))
        self.layer.register_forward_hook(lambda m, args, out: self.after(out))

    def forward(self, x):
        return self.layer(x)


class InPlace(nn.Module):
    """Writes to its input and reshapes it, as it is given."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        x.mul_(2).sub_(1).relu_()
        x.unsqueeze_(0).transpose_(0, 1)
        return self.layer(x)


class Called(nn.Module):
    """Modules that nobody calls: one by its forward, one by its weight alone, one twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.again = self.three

    def forward(self, x):
        return self.again(self.three(self.one.forward(x) + F.linear(x, self.two.weight)))


class Mixed(nn.Module):
    """A convolution and a product in autocast, then one outside of it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(5, 6, 3), nn.Linear(6, 3)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            x = self.last(self.first(x).mean(2))
        return x.float() @ torch.ones(3, 2)


class Levels(nn.Module):
    """Whole levels times a step that 16 bits can only round."""

    def __init__(self, dtype, step, most):
        super().__init__()
        self.layer = nn.Linear(8, 4).to(dtype)
        self.step, self.most = step, most

    def forward(self, x):
        levels = (x * 4).round().clamp(-self.most, self.most) * self.step
        return self.layer(levels.to(self.layer.weight.dtype))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(8, 4, bidirectional=True), nn.GRU(8, 4)

    def forward(self, x):
        return self.lstm(x)[0], self.gru(x)[0]


def scaled(x, weight):
    one, eight = torch.tensor(1.0), torch.float8_e4m3fn
    return torch._scaled_mm(x.to(eight), weight.to(eight).t(), one, one, out_dtype=torch.bfloat16)


def scaled_by_row(x, weight):
    eight, rows, columns = torch.float8_e4m3fn, torch.ones(len(x), 1), torch.ones(1, len(weight))
    return torch._scaled_mm(x.to(eight), weight.to(eight).t(), rows, columns, out_dtype=torch.half)


def packed_int8(x, weight):
    scales = torch.rand(len(weight), dtype=torch.bfloat16)
    return torch._weight_int8pack_mm(x.bfloat16(), (weight * 9).to(torch.int8), scales)


def grouped(x, weight):
    ends = torch.tensor([1, 1, len(x)], dtype=torch.int32)
    return F.grouped_mm(x, weight, offs=ends)


def grouped_columns(x, weight):
    return F.grouped_mm(weight, x, offs=torch.tensor([2, 8], dtype=torch.int32))


def grouped_twice(x, weight):
    """Two layers of experts, one of which gets no row, in 16 bits."""
    ends = torch.tensor([0, 3, 3, len(x)], dtype=torch.int32)
    weight = weight.bfloat16()
    hidden = F.grouped_mm(x.bfloat16(), weight, offs=ends).relu()
    return F.grouped_mm(hidden, weight.mT.contiguous(), offs=ends)


def grouped_inside(x, weight):
    return F.grouped_mm(x.t(), weight, offs=torch.tensor([3, 16], dtype=torch.int32))


SEQUENCE = (3, 5, 8)
IMAGE = (2, 4, 9, 9)
SERIES = (2, 4, 11)


def networks():
    """Models by name, each with the shape of its input."""
    dense = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    convolutions = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 3))
    convolutions.eval()
    return {
        # convolutions
        "strided": (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), SERIES),
        "same padding": (nn.Conv2d(4, 6, 4, padding="same"), IMAGE),
        "reflected": (nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), IMAGE),
        "volume": (nn.Conv3d(4, 6, (3, 2, 1), padding=1, stride=2), (2, 4, 5, 5, 5)),
        "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), IMAGE),
        "time first": (Runs(lambda x: torch.conv_tbc(x, torch.ones(3, 8, 2), torch.zeros(2), 1)),
                       SEQUENCE),
        "unbatched": (Runs(lambda c, x: torch.stack([c(i) for i in x]), nn.Conv2d(4, 6, 3)), IMAGE),
        "two activations": (Runs(lambda x: F.conv1d(x, x[:2])), SEQUENCE),
        "traced": (torch.jit.trace(convolutions, values(*IMAGE)), IMAGE),
        "traced part": (
            nn.Sequential(torch.jit.trace(convolutions, values(*IMAGE)), nn.Linear(7, 3)), IMAGE
        ),
        "written as its kernel": (
            Weights(
                lambda x, w: torch._convolution(
                    x, w, None, [1, 2], [1, 0], [1, 1], False, [0, 0], 2, *[False] * 4
                ),
                6, 2, 3, 2,
            ),
            IMAGE,
        ),
        "complex": (Runs(lambda x: F.conv1d(x + 1j, torch.ones(2, 4, 3) + 0j).abs()), SERIES),
        # products
        "not contiguous": (Runs(lambda part, x: part(x.mT), nn.Linear(5, 3)), SEQUENCE),
        "bilinear": (Runs(lambda part, x: part(x, x), nn.Bilinear(8, 8, 3)), SEQUENCE),
        "vectors": (Runs(lambda x: torch.dot(x[0, 0], torch.mv(x[1].T, x[2, :, 0]))), SEQUENCE),
        "added": (Runs(lambda x: torch.addbmm(torch.baddbmm(torch.zeros(1), x, x.mT)[0], x, x.mT)),
                  SEQUENCE),
        "in place": (Runs(lambda x: torch.zeros(5, 5).addmm_(x[0], x[0].T)), SEQUENCE),
        "broadcast": (Runs(lambda x: x[:, None] @ torch.ones(5, 8, 3)), SEQUENCE),
        "einsum": (Runs(lambda x: torch.einsum("bij,bjk,k->bi", x, x.mT, x[0, :, 0])), SEQUENCE),
        "nothing": (Runs(lambda x: x[:, :0] @ x.mT + x[:, :, :0].sum()), SEQUENCE),
        "distances": (Runs(lambda x: torch.cdist(x, x)), (2, 30, 8)),
        "integers": (Runs(lambda x: x.int() @ x.int().mT), SEQUENCE),
        "scaled": (Weights(scaled, 16, 32), (8, 32)),
        "scaled by row": (Weights(scaled_by_row, 16, 32), (8, 32)),
        "weights of 8 bits": (Weights(packed_int8, 16, 32), (8, 32)),
        "grouped rows": (Weights(grouped, 3, 8, 16), (4, 8)),
        "grouped twice": (Weights(grouped_twice, 4, 16, 8), (6, 16)),
        "grouped, no ends": (Weights(F.grouped_mm, 3, 16, 8), (3, 4, 16)),
        "grouped columns": (Weights(grouped_columns, 2, 16, 16), (16, 8)),
        "grouped inner": (Weights(grouped_inside, 16, 8), (16, 8)),
        # attention
        "attention": (Runs(attend), SEQUENCE),
        "causal": (Runs(lambda x: attend(x, is_causal=True)), SEQUENCE),
        "bool mask": (Runs(lambda x: attend(x, attn_mask=~LATER)), SEQUENCE),
        "additive mask": (
            Runs(lambda x: attend(x, attn_mask=LATER.float().masked_fill(LATER, -torch.inf))),
            SEQUENCE,
        ),
        "shared heads": (
            Runs(lambda x: F.scaled_dot_product_attention(
                heads(x), heads(x)[:, :1], heads(x)[:, :1], enable_gqa=True)),
            SEQUENCE,
        ),
        "fused": (self_attention(), SEQUENCE),
        "fused, masked": (self_attention(attn_mask=LATER), SEQUENCE),
        "fused, padded": (self_attention(key_padding_mask=PADDING), SEQUENCE),
        "not fused": (Runs(lambda part, x: part(x, x[:, :3], x[:, :3])[0],
                           nn.MultiheadAttention(8, 2, batch_first=True)), SEQUENCE),
        "encoder": (encoder(), SEQUENCE),
        "encoder, norm first": (encoder(norm_first=True, activation="gelu"), SEQUENCE),
        "encoder, padded": (
            Runs(lambda part, x: part(x, src_key_padding_mask=PADDING), encoder()), SEQUENCE
        ),
        "encoder, both masks": (
            Runs(lambda part, x: part(x, mask=LATER, src_key_padding_mask=PADDING), encoder()),
            SEQUENCE,
        ),
        "decoder": (
            Runs(
                lambda part, x: part(x, x), nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
            ),
            SEQUENCE,
        ),
        # recurrent
        "lstm": (nn.LSTM(8, 4, 2, bidirectional=True), SEQUENCE),
        "lstm without bias": (nn.LSTM(8, 4, bias=False, batch_first=True), SEQUENCE),
        "lstm with projection": (nn.LSTM(8, 6, 2, proj_size=3), SEQUENCE),
        "lstm packed": (Runs(packed, nn.LSTM(8, 4, bidirectional=True)), SEQUENCE),
        "gru": (nn.GRU(8, 4, bidirectional=True), SEQUENCE),
        "rnn": (nn.RNN(8, 4, nonlinearity="relu"), SEQUENCE),
        "cell": (Runs(lambda part, x: part(x), nn.LSTMCell(8, 4)), (4, 8)),
        "recurrent scripted": (torch.jit.script(Recurrent().eval()), SEQUENCE),
        "recurrent traced": (torch.jit.trace(Recurrent().eval(), values(*SEQUENCE)), SEQUENCE),
        # what references do not follow
        "scripted": (torch.jit.script(dense), (4, 8)),
        "exported": (torch.export.export(dense, (values(4, 8),)).module(), (4, 8)),
        "compiled": (torch.compile(dense, backend="eager"), (4, 8)),
        "autograd function": (Weights(Doubled.apply, 8, 4), (4, 8)),
        "nested functions": (Weights(Outer.apply, 8, 8), SEQUENCE),
        "hooks by name": (hooked_by_name(), (4, 8)),
        "hooks": (Hooked(), (4, 8)),
        "called otherwise": (Called(), (4, 8)),
        "vmap": (Runs(lambda x: torch.vmap(lambda one: one @ one.mT)(x)), SEQUENCE),
        "grad": (Runs(torch.func.grad(lambda x: (x @ x.mT).square().sum())), SEQUENCE),
        "spectral norm": (nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 16))), (4, 8)),
        "spectral norm by hooks": (
            nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(4, 6, 3))), IMAGE
        ),
        "weight norm": (nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 16))), (4, 8)),
        "orthogonal": (nn.Sequential(parametrizations.orthogonal(nn.Linear(8, 8))), (4, 8)),
        "symmetric": (symmetric(), (4, 8)),
        "low rank": (low_rank(), (4, 8)),
        # inputs
        "writes to views of it": (Runs(written_views, nn.Linear(8, 3)), (4, 8)),
        "writes to its input": (InPlace(), (4, 8)),
        "autocast": (Mixed(), SEQUENCE),
    }  # fmt: skip
