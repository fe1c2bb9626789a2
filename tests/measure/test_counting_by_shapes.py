"""Counting by shapes alone: what a model may be given, and which values are known all the same."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import analyzer
from analyzer.errors import AnalyzerError


class Call(nn.Module):
    """Calls a function with itself and its inputs; it has a linear layer of 6 to 5."""

    def __init__(self, function, **buffers):
        super().__init__()
        self.function = function
        self.layer = nn.Linear(6, 5)
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.eval()

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def rows(profile):
    figures = ["calls", "dense_macs", "adds", "multiplies", "compares", "specials"]
    return profile.counts.groupby(["module", "op"])[figures].sum().to_dict()


def on_meta(make):
    with torch.device("meta"):
        return make().eval()


def two(m, x, other, scale=1, flags=()):
    return m.layer(x) * scale + m.layer(other)


X, Y = torch.rand(4, 6), torch.rand(4, 6)


@pytest.mark.parametrize(
    "inputs",
    [
        (X, Y),
        (X.to("meta"), Y.to("meta")),
        ((4, 6), (4, 6)),
        (("float32", (4, 6)), (torch.float32, [4, 6])),
        {"x": ("torch.float32", (4, 6)), "other": Y},
        {"x": (4, 6), "other": (4, 6), "scale": 1, "flags": ["a", None, True]},
    ],
    ids=["tensors", "meta", "shapes", "dtypes", "names", "values"],
)
def test_a_batch_is_given_as_tensors_or_described(inputs):
    model = Call(two)
    counted, profiled = analyzer.count(model, inputs), analyzer.profile(model, (X, Y))
    assert rows(counted) == rows(profiled)
    assert counted.samples == profiled.samples == 4
    assert counted.metadata["input_shape"] == profiled.metadata["input_shape"] == [6]
    assert counted.memory == profiled.memory


def test_nested_inputs_keep_their_structure():
    def many(m, images, by):
        assert type(images) is list
        assert [tuple(x.shape) for x in images] == [(2, 6), (3, 6)]
        assert by["mask"].dtype == torch.bool
        assert by["pair"][1] == "name"
        return [m.layer(x) for x in images]

    inputs = {
        "images": [("float32", (2, 6)), (3, 6)],
        "by": {"mask": ("bool", (2, 1)), "pair": (None, "name")},
    }
    counted = analyzer.count(Call(many), inputs, samples=2)
    assert counted.per_sample()["dense_macs"] == 5 * 6 * 5 / 2


def test_plain_shapes_have_the_dtype_of_the_weights():
    model = nn.Linear(4, 3).double()
    assert analyzer.count(model, (4,)).metadata["dtype"] == "float64"
    analyzer.count(model, ((2, 4),))
    for layer in (model, nn.Conv1d(4, 3, 1, bias=False).double()):
        with pytest.raises(AnalyzerError, match=r"operands of \w+ are float32 and float64"):
            analyzer.count(layer, ("float32", (2, 4, 4)))


def test_samples_are_counted_told_or_declared():
    model = Call(lambda m, x: m.layer(x))
    assert analyzer.count(model, X).samples == 4
    assert analyzer.count(model, X, samples=2).samples == 2
    assert analyzer.count(model, (X,), samples=lambda batch: len(batch[0]) // 4).samples == 1
    sequence = analyzer.count(model, ((7, 2, 6),), layouts={"": "N B D"})
    assert (sequence.samples, sequence.metadata["input_shape"]) == (2, [7, 6])


@pytest.mark.parametrize(
    ("layout", "sample", "timesteps", "whole"),
    [
        ("B N D", (7, 6), None, (1, 7, 6)),
        ("N B D", (7, 6), None, (7, 1, 6)),
        ("T B D", (6,), 3, (3, 1, 6)),
        ("T B D", (3, 6), 3, (3, 1, 6)),
        ("B T D", (6,), 3, (1, 3, 6)),
        ("(T B) D", (6,), 3, (3, 6)),
        ("(B T) N D", (2, 6), 3, (3, 2, 6)),
    ],
)
def test_a_sample_is_put_where_the_layout_has_it(layout, sample, timesteps, whole):
    seen = []
    model = Call(lambda m, x: (seen.append(tuple(x.shape)), m.layer(x)))
    counted = analyzer.count(model, sample, timesteps=timesteps, layouts={"": layout})
    assert seen == [whole]
    assert counted.samples == 1
    assert counted.totals["dense_macs"] == torch.Size(whole).numel() * 5


def test_a_function_runs_the_model_in_its_place():
    model = Call(lambda m, x: m.layer(x))
    real = [p.clone() for p in model.parameters()]

    def twice(given, batch):
        assert given is not model
        return given(given(batch["x"]).repeat(1, 2)[:, :6])

    counted = analyzer.count(model, {"x": (4, 6)}, forward=twice)
    assert (counted.samples, counted.totals["dense_macs"]) == (4, 2 * 4 * 30)
    assert all(torch.equal(a, b) for a, b in zip(real, model.parameters(), strict=True))
    alone = analyzer.count(model, forward=lambda m, _: m(torch.ones(3, 6)), samples=3)
    assert alone.totals["dense_macs"] == 3 * 30


# Each reads values that shapes do not tell but constants and given tensors do.
ASKING = {
    "python number": lambda m, x, mask: m.layer(x) if bool(mask.any()) else x,
    "list": lambda m, x, mask: [m.layer(x)] * sum(mask.tolist()),
    "array": lambda m, x, mask: [m.layer(x)] * int(mask.cpu().numpy().sum()),
    "mask": lambda m, x, mask: m.layer(x[mask]),
    "masked select": lambda m, x, mask: m.layer(
        x.masked_select(mask[:, None]).unflatten(0, (-1, 6))
    ),
    "places": lambda m, x, mask: m.layer(x[mask.nonzero().squeeze(1)]),
    "repeated": lambda m, x, mask: m.layer(x.repeat_interleave(mask.long() + 1, 0)),
    "literal": lambda m, x, mask: [m.layer(x)] * int(torch.tensor([1, 2], device=x.device).sum()),
    "new tensor": lambda m, x, mask: [m.layer(x)] * int(mask.new_tensor([3], dtype=torch.int64)),
    "device": lambda m, x, mask: m.layer(x + torch.arange(6, dtype=x.dtype)),
    "buffer": lambda m, x, mask: m.layer(x[: int(m.table[1])]),
    "written": lambda m, x, mask: m.layer(x[written(mask)]),
    "filled": lambda m, x, mask: [m.layer(x)] * int(torch.full_like(x[0], 2).sum() / 6),
    "equal": lambda m, x, mask: m.layer(x) if torch.equal(mask, mask.clone()) else x,
}


def written(mask):
    copy = torch.zeros_like(mask)
    copy[1:] = mask[1:]
    view = copy[:2]
    view.fill_(True)
    return copy


@pytest.mark.parametrize("name", ASKING)
def test_values_that_do_not_hang_on_weights_are_known(name):
    mask = torch.tensor([True, False, True, True])
    model = Call(ASKING[name], table=torch.tensor([5, 2, 3]))
    profiled = analyzer.profile(model, (X, mask))
    assert rows(analyzer.count(model, (("float32", (4, 6)), mask))) == rows(profiled)
    assert torch.equal(mask, torch.tensor([True, False, True, True]))
    assert torch.equal(model.table, torch.tensor([5, 2, 3]))


UNKNOWN = {
    "of a result": lambda m, x, mask: m.layer(x) if m.layer(x).sum() > 0 else x,
    "of an input by shape": lambda m, x, mask: m.layer(x) if x[0, 0] > 0 else x,
    "random": lambda m, x, mask: m.layer(x) if torch.rand(()) > 0.5 else x,
    "never written": lambda m, x, mask: m.layer(x) if torch.empty(()) > 0.5 else x,
    "overwritten": lambda m, x, mask: m.layer(x[lost(mask, m.layer(x))]),
    "a mask of results": lambda m, x, mask: m.layer(x[m.layer(x)[:, 0] > 0]),
    "a list of results": lambda m, x, mask: m.layer(x).tolist(),
    "an array": lambda m, x, mask: m.layer(x).numpy(),
}


def lost(mask, result):
    """A view of a mask whose other elements were overwritten by what nobody knows."""
    copy = mask.clone()
    view = copy[2:]
    copy[:2] = result[:2, 0] > 0
    return torch.cat([view, view])


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_question_about_unknown_values_is_refused(name):
    mask = torch.tensor([True, False, True, True])
    with pytest.raises(AnalyzerError, match=r"looks at values.*or profile it on data instead\.$"):
        analyzer.count(Call(UNKNOWN[name]), (("float32", (4, 6)), mask))


def test_tensors_of_the_model_that_are_no_buffers_are_taken_along():
    def forward(m, x):
        return m.layer(x @ m.mix)[: int(m.count)]

    model = Call(forward)
    model.mix, model.count = torch.rand(6, 6), torch.tensor(2)
    mix = model.mix
    assert rows(analyzer.count(model, X)) == rows(analyzer.profile(model, X))
    assert model.mix is mix


def test_an_embedding_has_the_rows_that_are_asked_for():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 5)).eval()
    assert analyzer.count(model, torch.tensor([[1, 8]])).totals["dense_macs"] == 60
    with pytest.raises(AnalyzerError, match=r"^0 can not .*index 9 is out of range of .* 9 rows"):
        analyzer.count(model, torch.tensor([[1, 9]]))


def attention(m, q, k, v, mask=None):
    return F.scaled_dot_product_attention(q, k, v, mask, **m.options)


def heads(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


Q, K = heads(2, 4, 5, 8), heads(2, 4, 7, 8)
ATTENTION = {
    "plain": ((Q, K, K), {}),
    "causal": ((Q, Q, Q), {"is_causal": True}),
    "shared keys": ((Q, heads(2, 2, 7, 8), heads(2, 2, 7, 8)), {"enable_gqa": True}),
    "wide values": ((Q, K, heads(2, 4, 7, 6)), {}),
    "three axes": ((Q[0], K[0], K[0]), {}),
    "five axes": ((Q[None], K[None], K[None]), {}),
    "bool mask": ((Q, K, K, torch.ones(5, 7, dtype=torch.bool).tril()), {}),
    "mask of keys": ((Q, K, K, torch.ones(2, 1, 1, 7, dtype=torch.bool)), {}),
    "mask of three axes": ((Q, K, K, torch.zeros(4, 5, 7)), {}),
    "added mask": ((Q, K, K, torch.zeros(2, 4, 5, 7)), {}),
    "one batch of keys": ((Q, K[:1], K[:1]), {}),
    "one head of keys": ((Q, K[:, :1], K[:, :1]), {}),
    "strided": ((heads(2, 4, 8, 5).mT, K, K), {}),
    "half": ((Q.half(), K.half(), K.half()), {}),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_takes_the_kernel_of_a_run(name):
    """The same rows, and the same memory as in a run: no scores where one kernel computes all."""
    inputs, options = ATTENTION[name]
    model = Call(attention)
    model.options = options
    counted, profiled = analyzer.count(model, inputs), analyzer.profile(model, inputs)
    assert rows(counted) == rows(profiled)
    for what, size in profiled.memory.items():
        assert counted.memory[what] == pytest.approx(size, abs=2), what


def test_work_that_all_samples_share_is_done_in_each():
    """Products of weights are part of every inference, so of every sample."""
    model = Call(
        lambda m, x: F.linear(x, m.layer.weight + m.a @ m.b), a=torch.rand(5, 2), b=torch.rand(2, 6)
    )
    counted = analyzer.count(model, X)
    assert rows(counted) == rows(analyzer.profile(model, X))
    assert counted.totals["dense_macs"] == 4 * (30 + 60)


class Locked(nn.Linear):
    def __init__(self):
        super().__init__(6, 5)
        self.lock = threading.Lock()


TOKENS = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 5))

REFUSED = {
    "no model": (lambda: analyzer.count(nn.functional.relu, (3,)), "needs a torch.nn.Module"),
    "nothing": (lambda: analyzer.count(nn.Linear(4, 4)), "needs the shape of one sample, such as"),
    "no dtype": (lambda: analyzer.count(TOKENS, ("int99", (1, 2))), "'int99' is no dtype"),
    "no size": (lambda: analyzer.count(TOKENS, ("int64", (0, 2))), r"\(0, 2\) is no shape"),
    "no sample": (lambda: analyzer.count(TOKENS, (-3,)), r"\(-3,\) is no shape"),
    "text": (lambda: analyzer.count(TOKENS, "int64"), "count takes one batch, not str"),
    "a loader": (lambda: analyzer.count(TOKENS, iter([X])), "of a loader its first batch"),
    "batches": (lambda: analyzer.count(TOKENS, [X, X]), "count takes one batch, not list"),
    "floats": (
        lambda: analyzer.count(TOKENS, (12,)),
        r"token ids are whole numbers, so give .*int64",
    ),
    "no argument": (
        lambda: analyzer.count(nn.Linear(6, 5), {"x": (2, 6)}),
        r"Linear can not be counted with inputs of float32 \(2, 6\) \(TypeError: ",
    ),
    "other size": (
        lambda: analyzer.count(TOKENS[1], (7,)),
        r"Linear can not be counted with inputs of float32 \(1, 7\) .*reads D = 6",
    ),
    "no samples": (
        lambda: analyzer.count(TOKENS[1], X, samples=0),
        "needs a batch with samples, not of 0",
    ),
    "several samples": (
        lambda: analyzer.count(TOKENS[1], (6,), samples=3),
        r"\(6,\) is the shape of one sample, so samples can not be 3: give the whole batch",
    ),
    "no batch axis": (lambda: analyzer.count(TOKENS, {"input": 3}), "give samples="),
    "groups": (
        lambda: analyzer.count(TOKENS[1], (6,), groups={"spatial": 2}),
        "groups tell where activity is",
    ),
    "no function": (lambda: analyzer.count(TOKENS[1], (6,), forward=3), "forward is int: give a"),
    "the outer model": (
        lambda: analyzer.count(TOKENS[1], (6,), forward=lambda model, x: real.copy_(model(x))),
        "a tensor that was made outside of the model",
    ),
    "layout": (
        lambda: analyzer.count(TOKENS[1], (6,), layouts={"": "B N D"}),
        r"layout 'B N D' of the model's input does not fit a sample of shape \(6,\)",
    ),
    "folded": (
        lambda: analyzer.count(TOKENS[1], (6,), layouts={"": "(H B) D"}),
        "folds H into the batch does not tell how long",
    ),
    "steps": (
        lambda: analyzer.count(TOKENS[1], (4, 6), timesteps=3, layouts={"": "T B D"}),
        r"\(4, 6\) has 4 timesteps in the layout 'T B D', but one pass of the model has 3",
    ),
    "timesteps": (
        lambda: analyzer.count(TOKENS[1], (6,), timesteps=3),
        "does not say how it takes time",
    ),
    "lazy": (lambda: analyzer.count(nn.LazyLinear(5), (6,)), "lazy parameters without a shape"),
    "unknown bags": (
        lambda: analyzer.count(nn.EmbeddingBag(9, 6), ("int64", (2, 3))),
        r"EmbeddingBag looks at values.*in its indices and offsets",
    ),
    "no copy": (lambda: analyzer.count(Locked(), (6,)), "can not be copied to the meta device"),
}
real = torch.zeros(1, 5)


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_do_not_fit_are_refused_in_a_sentence(name):
    call, says = REFUSED[name]
    with pytest.raises(AnalyzerError, match=says) as refused:
        call()
    assert str(refused.value).endswith((".", ")."))
    assert "\n" not in str(refused.value)


LIKE_A_RUN = {
    "a sum of bags": (nn.EmbeddingBag(9, 6), (torch.tensor([1, 2, 8]), torch.tensor([0, 2]))),
    "bags of one size": (nn.EmbeddingBag(9, 6, mode="max"), torch.tensor([[1, 2], [3, 3]])),
    "a batch norm": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.rand(2, 3, 5, 5)),
    "a script": (torch.jit.script(nn.Sequential(nn.Linear(6, 5), nn.ReLU())), X),
    "a weight norm": (nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), X),
    "a distance": (Call(lambda m, x: torch.cdist(x, m.layer.weight)), torch.rand(30, 6)),
    "a map": (Call(lambda m, x: torch.vmap(m.layer)(x)), X),
}


@pytest.mark.parametrize("name", LIKE_A_RUN)
def test_counts_are_those_of_a_run(name):
    model, inputs = LIKE_A_RUN[name]
    counted, profiled = analyzer.count(model.eval(), inputs), analyzer.profile(model, inputs)
    assert rows(counted) == rows(profiled)
    if "bag" not in name:  # its kernel keeps what only a backward pass needs
        assert counted.memory == profiled.memory
