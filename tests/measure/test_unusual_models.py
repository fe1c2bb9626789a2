"""Models that run in ways of their own: counted as FLOP formulas count them, or refused."""

import pytest
import torch
from torch import func, nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch._higher_order_ops.map import map as hop_map
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

import analyzer
from analyzer.errors import AnalyzerError

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning", "ignore::UserWarning")


class Model(nn.Module):
    """Two layers, and a forward that uses them."""

    def __init__(self, run):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.run = nn.Linear(6, 6), nn.Linear(6, 6), run
        self.eval()

    def forward(self, x):
        return self.run(self, x)


def batches(n=3, samples=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(samples, 6, generator=generator) for _ in range(n)]


class Macs(TorchDispatchMode):
    """Multiply-accumulates by PyTorch's formulas for shapes."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        formula = flop_registry.get(op.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out) // 2
        return out


def outputs(model, data):
    with torch.no_grad():
        return [torch.as_tensor(model(x.clone())) for x in data]


def gradient_inside(m, x):
    with torch.enable_grad():
        y = x.clone().requires_grad_()
        return torch.autograd.grad(m.a(y).tanh().sum(), y)[0]


def ensemble(m, x):
    parameters, buffers = func.stack_module_state([m.a, m.b])
    call = lambda p, b: func.functional_call(m.a, (p, b), (x,))  # noqa: E731
    return func.vmap(call)(parameters, buffers)


TRANSFORMS = {
    "grad": lambda m, x: func.grad(lambda y: m.a(y).tanh().sum())(x),
    "vmap": lambda m, x: func.vmap(lambda row: m.b(m.a(row)).exp())(x),
    "per-sample-grad": lambda m, x: func.vmap(func.grad(lambda y: m.a(y).tanh().sum()))(x),
    "jvp": lambda m, x: func.jvp(lambda y: m.a(y).tanh(), (x,), (x,))[1],
    "vjp": lambda m, x: func.vjp(lambda y: m.a(y).tanh(), x)[1](m.b(x))[0],
    "jacrev": lambda m, x: func.jacrev(lambda y: m.a(y).sum(0))(x),
    "jacfwd": lambda m, x: func.jacfwd(lambda y: m.a(y).sum(0))(x),
    "hessian": lambda m, x: func.hessian(lambda y: m.a(y).tanh().sum())(x[0]),
    "functional-call": lambda m, x: func.functional_call(
        m.a, {k: 2 * v for k, v in m.a.named_parameters()}, (x,)
    ),
    "ensemble": ensemble,
    "functionalize": lambda m, x: func.functionalize(lambda y: m.a(y).add_(1))(x),
    "autograd-in-forward": gradient_inside,
    "checkpoint": lambda m, x: checkpoint(m.a, x, use_reentrant=False),
}


ALONE = ("jacfwd", "hessian")
"""These push a basis through the layers, which counts once a sample, as all that is fixed does."""


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_count_what_the_formulas_count(name):
    model, data = Model(TRANSFORMS[name]), batches(samples=1 if name in ALONE else 4)
    before = outputs(model, data)
    with torch.no_grad(), Macs() as macs:
        for x in data:
            model(x)
    for watch in ("first", "every"):
        assert analyzer.profile(model, data, watch=watch).totals["dense_macs"] == macs.total
    assert all(map(torch.equal, outputs(model, data), before))


LAYER, ROWS = 36, 4
OPERATORS = {
    "cond": (
        lambda m, x: torch.cond(x.sum() > 0, lambda y: m.b(m.a(y)), m.a, (x,)),
        lambda x: ROWS * LAYER * (2 if x.sum() > 0 else 1),
    ),
    "cond-in-cond": (
        lambda m, x: torch.cond(
            x.sum() > 0, lambda y: torch.cond(y[0, 0] > 0, m.a, m.b, (y,)), m.a, (x,)
        ),
        lambda x: ROWS * LAYER,
    ),
    "while-loop": (
        lambda m, x: while_loop(
            lambda i, y: i < 3, lambda i, y: (i + 1, m.a(y)), (torch.tensor(0), x)
        )[1],
        lambda x: 3 * ROWS * LAYER,
    ),
    "scan": (
        lambda m, x: scan(lambda c, y: (m.a(c) + y, m.b(c)), 2 * x[0], x)[1],
        lambda x: 2 * ROWS * LAYER,
    ),
    "associative-scan": (
        lambda m, x: associative_scan(torch.mul, m.a(x), 0, combine_mode="generic"),
        lambda x: ROWS * LAYER,
    ),
    "map": (lambda m, x: hop_map(m.a, x), lambda x: ROWS * LAYER),
    "flex-attention": (
        lambda m, x: flex_attention(m.a(x)[None, None], x[None, None], x[None, None]),
        lambda x: ROWS * LAYER + 2 * ROWS * ROWS * 6,
    ),
    "flex-attention-of-a-mask": (
        lambda m, x: flex_attention(
            m.a(x)[None, None],
            x[None, None],
            x[None, None],
            score_mod=lambda score, b, h, i, j: score + (i - j),
            block_mask=create_block_mask(lambda b, h, i, j: i >= j, 1, 1, 4, 4, device="cpu"),
        ),
        lambda x: ROWS * LAYER + 2 * ROWS * ROWS * 6,
    ),
}


@pytest.mark.parametrize(("run", "macs"), OPERATORS.values(), ids=OPERATORS)
def test_operators_count_what_their_functions_do(run, macs):
    model, data = Model(run), batches()
    before = outputs(model, data)
    first, every = (analyzer.profile(model, data, watch=w) for w in ("first", "every"))
    assert first.totals == every.totals
    assert first.totals["dense_macs"] == sum(macs(x) for x in data)
    assert set(first.operations()["module"]) <= {"", "a", "b"}
    assert all(map(torch.equal, outputs(model, data), before))


def test_operators_count_in_the_modules_that_they_run():
    run = lambda m, x: torch.cond(x.sum() > 0, m.a, m.b, (x,))  # noqa: E731
    x = torch.rand(4, 6)
    tables = [analyzer.profile(Model(run), y).operations() for y in (x, -x)]
    places = [set(table.loc[table["dense_macs"] > 0, "module"]) for table in tables]
    assert places == [{"a"}, {"b"}]


class Chain(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.eval()


def exported(model):
    return torch.export.export(model, (batches(1)[0],))


def conditional():
    return Model(OPERATORS["cond"][0])


PROGRAMS = {
    "exported": (Chain, lambda model: exported(model).module()),
    "exported-cond": (conditional, lambda model: exported(model).module()),
    "unflattened": (Chain, lambda model: torch.export.unflatten(exported(model)).eval()),
    "traced-by-fx": (Chain, torch.fx.symbolic_trace),
    "scripted": (Chain, torch.jit.script),
    "traced": (Chain, lambda model: torch.jit.trace(model, batches(1)[0])),
}


@pytest.mark.parametrize(("build", "turn"), PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.filterwarnings("error:the model is in training mode:analyzer.AnalyzerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_programs_count_as_the_models_that_they_were(build, turn):
    program, data = turn(build()), batches()
    before = outputs(program, data)
    found, expected = analyzer.profile(program, data), analyzer.profile(build(), data)
    for key in ("dense_macs", "events", "compares"):
        assert found.totals[key] == expected.totals[key]
    assert found.memory["parameters_bytes"] == expected.memory["parameters_bytes"]
    assert all(map(torch.equal, outputs(program, data), before))


def born_in_inference_mode(build):
    torch.manual_seed(0)
    with torch.inference_mode():
        return build()


INFERENCE = {
    "linear": (lambda: Chain(), (4, 6)),
    "norm": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)).eval(), (4, 3, 6)),
    "recurrent": (lambda: nn.GRU(6, 5, batch_first=True).eval(), (4, 3, 6)),
    "fused": (
        lambda: nn.TransformerEncoderLayer(6, 2, 12, batch_first=True).eval(),
        (4, 3, 6),
    ),
}


@pytest.mark.parametrize(("build", "shape"), INFERENCE.values(), ids=INFERENCE)
def test_models_inputs_and_profiles_of_inference_mode(build, shape):
    data = [torch.rand(shape) for _ in range(3)]
    born = born_in_inference_mode(lambda: [x.clone() for x in data])
    other = born_in_inference_mode(build)
    torch.manual_seed(0)
    model = build()
    expected = analyzer.profile(model, data).totals
    assert analyzer.profile(other, data).totals == expected
    assert analyzer.profile(model, born).totals == expected
    with torch.inference_mode():
        assert analyzer.profile(model, data).totals == expected
        assert analyzer.profile(other, born, watch="every").totals == expected
    with torch.no_grad():
        other(data[0])


def frozen(model):
    return torch.jit.freeze(torch.jit.script(model))


def quantised(model, dtype=torch.qint8):
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM}, dtype=dtype)


def offloaded():
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).eval()
    model[1].to("meta")
    return model


REFUSED = {
    "frozen": (lambda: frozen(Chain()), "the model, a RecursiveScriptModule, was frozen"),
    "frozen-trace": (
        lambda: torch.jit.freeze(torch.jit.trace(Chain(), batches(1)[0])),
        "was frozen by torch.jit",
    ),
    "frozen-part": (
        lambda: nn.Sequential(frozen(Chain()), nn.Linear(3, 2)).eval(),
        r"module '0', a RecursiveScriptModule, .* before torch\.jit\.freeze",
    ),
    "optimised": (
        lambda: torch.jit.optimize_for_inference(torch.jit.script(Chain())),
        "was frozen by torch.jit",
    ),
    "quantised": (lambda: quantised(Chain()), r"module '0', a Linear, is quantised by torch\.ao"),
    "quantised-float16": (lambda: quantised(Chain(), torch.float16), r"quantised by torch\.ao"),
    "quantised-recurrent": (
        lambda: quantised(nn.Sequential(nn.Unflatten(1, (1, 6)), nn.LSTM(6, 4)).eval()),
        r"module '1', a LSTM, is quantised by torch\.ao",
    ),
    "offloaded": (offloaded, "module '1', a Linear, has parameters on the meta device"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_whose_weights_are_out_of_sight_are_refused(build, message):
    model, data = build(), batches()
    runs = "meta" not in message
    before = outputs(nn.Sequential(model, First()), data) if runs else None
    with pytest.raises(AnalyzerError, match=message) as caught:
        analyzer.profile(model, data)
    assert caught.value.args[0].endswith(".")
    if before is not None:
        assert all(map(torch.equal, outputs(nn.Sequential(model, First()), data), before))


class First(nn.Module):
    def forward(self, x):
        return x[0] if isinstance(x, tuple) else x


class Graph(nn.Module):
    """Multiplies by a sparse matrix, as graph networks do."""

    def __init__(self, matrix):
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.matrix = matrix

    def forward(self, x):
        return torch.sparse.mm(self.matrix, self.a(x))


@pytest.mark.parametrize("wrap", [nn.Parameter, lambda matrix: matrix])
def test_sparse_times_dense_is_listed_and_all_else_counted(wrap):
    """In later passes the hook meets products inside of the sparse one, so all are full."""
    torch.manual_seed(0)
    model, data = Graph(wrap(torch.eye(4).to_sparse())).eval(), batches(4)
    before = outputs(model, data)
    first, every = (analyzer.profile(model, data, watch=w) for w in ("first", "every"))
    assert first.contractions == every.contractions
    assert first.tallies == every.tallies
    assert first.totals["dense_macs"] == 4 * 4 * 30
    assert first.uncovered["op"].tolist() == every.uncovered["op"].tolist() == ["_sparse_addmm"]
    assert first.metadata["passes"]["full"] == 4
    assert all(map(torch.equal, outputs(model, data), before))


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_csc, torch.sparse_coo])
def test_sparse_inputs_are_refused_where_they_meet_weights(layout):
    data = torch.rand(4, 6).to_sparse(layout=layout)
    model = nn.Linear(6, 3).eval()
    with pytest.raises(AnalyzerError, match=r"sparse\) can not be counted|sparse"):
        analyzer.profile(model, data)
    model(torch.rand(4, 6))


def test_bytes_of_sparse_parameters_are_those_of_their_parts():
    coo = torch.eye(5).to_sparse()
    size = 2 * 5 * 8 + 5 * 4 + 4 * 6 * 5 + 4 * 5  # indices, values, weight, bias
    model = Graph(nn.Parameter(coo)).eval()
    assert analyzer.profile(model, torch.rand(5, 6)).memory["parameters_bytes"] == size
    csr = torch.sparse_csr_tensor(torch.arange(6), torch.arange(5), torch.ones(5))
    size += 8  # one index a row and one more, in place of one an element
    model = Graph(nn.Parameter(csr)).eval()
    assert analyzer.profile(model, torch.rand(5, 6)).memory["parameters_bytes"] == size
