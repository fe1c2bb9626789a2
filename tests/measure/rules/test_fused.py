"""Layers in one kernel: same counts as the layer in its slow path, same outputs as unobserved."""

import pandas as pd
import pytest
import torch
from oracles import counted, rows, watch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import analyzer
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.recurrent import cudnn_rnn, miopen_rnn

WORK = ("dense_macs", "events", "ac", "mac", "mac_events", "specials", "compares")


@pytest.fixture
def slow():
    """Switches the fused kernels off for as long as the test asks for it."""
    yield lambda: torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mha.set_fastpath_enabled(True)


class SelfAttention(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True, **kwargs)

    def forward(self, x, mask=None):
        return self.attention(x, x, x, attn_mask=mask)[0]


MODELS = {
    "attention": lambda: SelfAttention(),
    "attention-no-bias": lambda: SelfAttention(bias=False),
    "encoder": lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
    "encoder-gelu-first": lambda: nn.TransformerEncoderLayer(
        16, 4, 32, batch_first=True, norm_first=True, activation="gelu"
    ),
    "stack": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2
    ),
}


@pytest.mark.parametrize("spiking", [False, True], ids=["real", "spikes"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_fused_layers_count_what_the_slow_path_does(make, spiking, slow):
    """The whole layer was missing from the totals, and its energy was 0 pJ."""
    torch.manual_seed(0)
    model = make().eval()
    x = (torch.rand(3, 5, 16) < 0.3).float() if spiking else torch.randn(3, 5, 16)
    fused = analyzer.profile(model, x)
    assert fused.uncovered.empty
    slow()
    written = analyzer.profile(model, x)
    totals = [p.totals for p in (fused, written)]
    assert {k: totals[0][k] for k in WORK} == {k: totals[1][k] for k in WORK}
    assert totals[0]["dense_macs"] > 3 * 5 * 16 * 16 * 4


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("make", [MODELS["encoder"], MODELS["encoder-gelu-first"], MODELS["stack"]])
def test_fused_layers_have_the_rows_of_the_slow_path(make, batches, slow):
    """One row a projection and a product, each in the module that holds its weights."""
    torch.manual_seed(0)
    model = make().eval()
    inputs = [torch.randn(3, 5, 16) for _ in range(batches)]
    fused = analyzer.profile(model, inputs)
    slow()
    written = analyzer.profile(model, inputs)
    products = [p.counts[p.counts["dense_macs"] > 0].iloc[:, :9] for p in (fused, written)]
    pd.testing.assert_frame_equal(*products)
    ops = products[0].groupby(products[0]["module"].str.rpartition(".")[2])["op"].agg(set)
    assert ops.to_dict() == {
        "self_attn": {"linear", "attention_qk", "attention_av"},
        "out_proj": {"linear"},
        "linear1": {"linear"},
        "linear2": {"linear"},
    }


def test_fused_layers_give_what_they_give_unobserved():
    class Keep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

        def forward(self, x):
            seen.append(self.layer(x))
            return seen[-1]

    seen = []
    torch.manual_seed(0)
    model = Keep().eval()
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        model(x)
    analyzer.profile(model, x)
    assert torch.equal(*seen)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_masked_attention_counts_what_the_slow_path_does(masked, padded, need_weights, slow):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x):
            return self.attention(
                x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=need_weights
            )[0]

    mask = torch.ones(5, 5).tril().logical_not() if masked else None
    padding = torch.arange(5) >= torch.tensor([[5], [3], [4]]) if padded else None
    model, x = Masked().eval(), torch.randn(3, 5, 16)
    fused = analyzer.profile(model, x)
    slow()
    written = analyzer.profile(model, x)
    assert fused.uncovered.empty
    for fact in ("dense_macs", "events", "mac_events"):
        assert fused.totals[fact] == written.totals[fact]


MULTI_HEAD = {
    "plain": {},
    "no-bias": {"bias": False},
    "bias-kv": {"add_bias_kv": True},
    "zero-attention": {"add_zero_attn": True},
    "widths": {"kdim": 6, "vdim": 10},
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("settings", MULTI_HEAD.values(), ids=MULTI_HEAD)
def test_attention_between_two_sequences(settings, batch_first):
    """5 queries, 7 keys and more where a bias or a zero is added to them; dense work by hand."""
    layer = nn.MultiheadAttention(16, 4, batch_first=batch_first, **settings).eval()
    k, v = (torch.randn(2, 7, settings.get(width, 16)) for width in ("kdim", "vdim"))
    q = torch.randn(2, 5, 16)
    operands = (q, k, v) if batch_first else tuple(x.transpose(0, 1) for x in (q, k, v))
    profile = analyzer.profile(layer, operands)
    keys = 7 + sum(settings.get(more, False) for more in ("add_bias_kv", "add_zero_attn"))
    projections = 2 * 16 * (5 * 16 + 7 * k.shape[-1] + 7 * v.shape[-1] + 5 * 16)
    assert profile.totals["dense_macs"] == projections + 2 * 2 * 5 * keys * 16
    assert profile.uncovered.empty


def test_a_whole_transformer():
    model = nn.Transformer(16, 4, 2, 2, 32, batch_first=True).eval()
    source, target = torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    profile = analyzer.profile(model, (source, target))
    assert profile.uncovered.empty

    def attention(queries, keys):
        return 16 * 16 * 2 * (queries + keys) + 2 * queries * keys * 16

    feed_forward = 2 * 16 * 32
    encoder = attention(7, 7) + 7 * feed_forward
    decoder = attention(5, 5) + attention(5, 7) + 5 * feed_forward
    assert profile.totals["dense_macs"] == 2 * 2 * (encoder + decoder)


def test_sequences_without_their_padding():
    """The encoder packs sequences of unequal length; tokens are projected, padding is not.

    By hand: 12 tokens of 3 × 5 places. Attention is padded to the longest sequence, with queries
    that are zero, and keys that none attends to.
    """

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x):
            return self.encoder(x, src_key_padding_mask=padding)

    padding = torch.arange(5) >= torch.tensor([[5], [3], [4]])
    profile = analyzer.profile(Padded().eval(), torch.randn(3, 5, 16))
    assert profile.uncovered.empty
    linear, attention = 12 * (4 * 16 * 16 + 2 * 16 * 32), 2 * 3 * 5 * 5 * 16
    assert profile.totals["dense_macs"] == 2 * (linear + attention)
    scored, mixed = 5**2 + 3**2 + 4**2, 5 * (5 + 3 + 4)
    assert profile.totals["mac_events"] == 2 * (linear + (scored + mixed) * 16)


RECURRENT = {
    "plain": {},
    "layers": {"num_layers": 3},
    "both-ways": {"bidirectional": True, "num_layers": 2},
    "no-bias": {"bias": False},
    "batch-first": {"batch_first": True, "bidirectional": True},
}


def recurrent(kind, settings, dtype=torch.float32):
    torch.manual_seed(0)
    cells = {"relu": nn.RNN, "tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
    more = {"nonlinearity": kind} if kind in ("relu", "tanh") else {}
    return cells[kind](6, 4, **more, **settings).to(dtype).eval()


def drives(*shape):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def of_parts(layer, *args):
    """What the oracle and the package count where PyTorch runs the layer step by step."""
    with torch.backends.mkldnn.flags(enabled=False):
        return rows(watch(layer, *args)), analyzer.profile(layer, args).totals


@pytest.mark.parametrize("settings", RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize("kind", ["relu", "tanh", "lstm", "gru"])
def test_recurrent_layers(kind, settings):
    """An LSTM on a CPU is one kernel, and none of its work was counted."""
    layer, x = recurrent(kind, settings), drives(5, 3, 6)
    profile = analyzer.profile(layer, x)
    expected, parts = of_parts(layer, x)
    assert profile.uncovered.empty
    assert counted(profile) == expected
    totals = profile.totals
    # Step by step, PyTorch adds the bias of a product with a transposed input apart.
    columns = ("multiplies", "compares", "specials", *(() if layer.batch_first else ("adds",)))
    assert {c: totals[c] for c in columns} == {c: parts[c] for c in columns}
    assert totals["dense_macs"] >= 5 * 3 * 4 * 10


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
def test_recurrent_layers_in_other_dtypes(kind, dtype):
    layer, x = recurrent(kind, {"bidirectional": True}, dtype), drives(5, 3, 6).to(dtype)
    profile = analyzer.profile(layer, x)
    assert profile.uncovered.empty
    expected, _ = of_parts(layer, x)
    assert profile.totals["dense_macs"] == sum(dense for dense, _, _ in expected.values())


def test_an_lstm_with_projections_and_given_states():
    layer = recurrent("lstm", {"proj_size": 2, "num_layers": 2, "bidirectional": True})
    x, state = drives(5, 3, 6), (drives(4, 3, 2), drives(4, 3, 4))
    profile = analyzer.profile(layer, (x, state))
    assert profile.uncovered.empty
    assert counted(profile) == of_parts(layer, x, state)[0]


def test_an_unbatched_sequence_and_an_unbatched_step():
    layer = recurrent("lstm", {"bidirectional": True})
    assert counted(analyzer.profile(layer, drives(5, 6))) == of_parts(layer, drives(5, 6))[0]
    for cell in (nn.RNNCell(6, 4), nn.LSTMCell(6, 4), nn.GRUCell(6, 4)):
        for x in (drives(3, 6), drives(6)):
            profile = analyzer.profile(cell.eval(), x)
            assert profile.uncovered.empty
            assert counted(profile) == rows(watch(cell, x))


class Packed(nn.Module):
    """A recurrent layer on sequences of the lengths 5, 5, 3 and 1."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(pack_padded_sequence(x, [5, 5, 3, 1]))


@pytest.mark.parametrize("kind", ["relu", "lstm", "gru"])
def test_packed_sequences(kind):
    model = Packed(recurrent(kind, {"bidirectional": True, "num_layers": 2}))
    profile = analyzer.profile(model.eval(), drives(5, 4, 6))
    assert profile.uncovered.empty
    assert counted(profile) == rows(watch(model, drives(5, 4, 6)))


class Kernel(nn.Module):
    """The layer as a GPU's kernel is given it, written out."""

    def __init__(self, layer, kind, lengths=None):
        super().__init__()
        self.layer = layer
        self.mode = ["relu", "tanh", "lstm", "gru"].index(kind)
        self.lengths = lengths

    def forward(self, x):
        layer, sizes = self.layer, []
        batch = x.shape[0 if layer.batch_first else 1]
        if self.lengths is not None:
            packed = pack_padded_sequence(x, self.lengths)
            x, sizes = packed.data, packed.batch_sizes.tolist()
        states = layer.num_layers * (2 if layer.bidirectional else 1)
        weights = layer._flat_weights
        stride = len(weights) // states
        h = x.new_zeros(states, batch, layer.proj_size or 4)
        c = x.new_zeros(states, batch, 4) if self.mode == 2 else None
        given = (self.mode, 4, layer.proj_size, layer.num_layers, layer.batch_first, 0.0, False)
        rest = (layer.bidirectional, sizes, None)
        if layer.proj_size:
            return cudnn_rnn(x, weights, stride, None, h, c, *given, *rest)
        theirs = miopen_rnn(x, weights, stride, h, c, given[0], given[1], *given[3:], *rest)
        ours = cudnn_rnn(x, weights, stride, None, h, c, *given, *rest)
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        return ours


@pytest.mark.parametrize("settings", RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize("kind", ["relu", "tanh", "lstm", "gru"])
def test_what_is_written_out_for_gpus_is_the_layer(kind, settings):
    layer, x = recurrent(kind, settings), torch.randn(5, 3, 6)
    assert_same(Kernel(layer, kind)(x), layer(x))


@pytest.mark.parametrize("kind", ["relu", "lstm", "gru"])
def test_what_is_written_out_for_gpus_is_the_packed_layer(kind):
    layer, x = recurrent(kind, {"bidirectional": True, "num_layers": 2}), torch.randn(5, 4, 6)
    out, state = Packed(layer)(x)
    assert_same(Kernel(layer, kind, [5, 5, 3, 1])(x), (out.data, state))


def test_what_is_written_out_for_gpus_is_the_projected_layer():
    layer = recurrent("lstm", {"proj_size": 2, "num_layers": 2, "bidirectional": True})
    x = torch.randn(5, 3, 6)
    assert_same(Kernel(layer, "lstm")(x), layer(x))


def assert_same(written, expected):
    out, state = expected
    states = state if isinstance(state, tuple) else (state,)
    for ours, theirs in zip(written, (out, *states), strict=False):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn"])
def test_written_out_layers_take_what_their_kernels_take(name):
    schema = getattr(torch.ops.aten, name).default._schema
    function = default_rules().fused[name]
    assert function.__code__.co_argcount == len(schema.arguments)


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_fused_cells_of_gpus_do_what_the_cell_does(cell, gates):
    """The kernel is given both products without their biases, which the cell adds in them."""
    totals = analyzer.profile(cell(6, 4).eval(), torch.randn(3, 6)).totals
    state, both = torch.zeros(3, 4), torch.zeros(3, gates * 4)
    name = f"_thnn_fused_{'lstm' if gates == 4 else 'gru'}_cell"
    rule = default_rules().works[name]
    work = rule((both, both, state), (state,), {})
    columns = ("adds", "multiplies", "compares", "specials")
    assert tuple(getattr(work, c) for c in columns) == tuple(totals[c] for c in columns)
    biases = (torch.zeros(gates * 4),) * 2
    assert rule((both, both, state, *biases), (state,), {}).adds == work.adds + 2 * gates * 12
