"""Operations that are not PyTorch's own, and the rules that users teach for them."""

import subprocess
import sys
import warnings

import pytest
import torch
from oracles import counted, rows, watch
from rule_checks import real, spikes
from torch import Tensor, nn
from torch.nn import functional as F

import analyzer
from analyzer import products
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.registry import RuleRegistry

LIBRARY = "analyzer_tests"


@torch.library.custom_op(f"{LIBRARY}::spike_mm", mutates_args=())
def spike_mm(spikes: Tensor, weight: Tensor, scale: float = 1.0) -> Tensor:
    return spikes @ weight.t() * scale


@torch.library.custom_op(f"{LIBRARY}::mm", mutates_args=())
def other_mm(a: Tensor, b: Tensor) -> Tensor:
    return a + b


@torch.library.custom_op(f"{LIBRARY}::fire", mutates_args=())
def fire(potential: Tensor) -> Tensor:
    return (potential > 1).float()


@torch.library.custom_op(f"{LIBRARY}::conv", mutates_args=())
def conv(x: Tensor, weight: Tensor, stride: int, transposed: bool) -> Tensor:
    run = F.conv_transpose2d if transposed else F.conv2d
    return run(x, weight, stride=stride)


@torch.library.custom_op(f"{LIBRARY}::attend", mutates_args=())
def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@torch.library.custom_op(f"{LIBRARY}::accumulate", mutates_args=("total",))
def accumulate(x: Tensor, total: Tensor) -> None:
    total.add_(x)


class Layer(nn.Module):
    """One module, ``layer``, that runs a function with its weight."""

    class Inner(nn.Module):
        def __init__(self, function, weight):
            super().__init__()
            self.function = function
            self.weight = nn.Parameter(weight)

        def forward(self, *args):
            return self.function(*args, self.weight)

    def __init__(self, function, weight):
        super().__init__()
        self.layer = self.Inner(function, weight)

    def forward(self, *args):
        return self.layer(*args)


@pytest.fixture(autouse=True)
def rule():
    """The registry of the package, put back as it was."""
    with analyzer.rule.temporarily() as registry:
        yield registry


def matrix_product(args, kwargs, out):
    return products.linear(args[0], args[1])


def test_without_a_rule_it_is_listed_by_its_whole_name_and_warned_of_once():
    model = Layer(spike_mm, real(3, 6)).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        profile = analyzer.profile(model, [spikes(4, 6), spikes(4, 6), spikes(2, 6)])
    assert profile.uncovered.values.tolist() == [["layer", f"{LIBRARY}::spike_mm", 10, 30]]
    own = [w for w in caught if issubclass(w.category, analyzer.AnalyzerWarning)]
    assert len(own) == 1
    assert f"{LIBRARY}::spike_mm" in str(own[0].message)


def test_a_name_that_pytorch_has_too_is_not_mistaken():
    """``mylib::mm`` was counted as a matrix product."""
    with pytest.warns(analyzer.AnalyzerWarning, match=f"{LIBRARY}::mm"):
        profile = analyzer.profile(Layer(other_mm, real(6)).eval(), spikes(4, 6))
    assert profile.operations().empty
    assert profile.uncovered["op"].tolist() == [f"{LIBRARY}::mm"]


@pytest.mark.parametrize(
    "op",
    [
        spike_mm,
        torch.ops.analyzer_tests.spike_mm,
        torch.ops.analyzer_tests.spike_mm.default,
        f"{LIBRARY}::spike_mm",
    ],
    ids=["custom-op", "packet", "overload", "name"],
)
def test_a_matrix_product(op, rule):
    assert rule(op)(matrix_product) is matrix_product
    model = Layer(spike_mm, real(3, 6)).eval()
    batches = [spikes(4, 6), spikes(4, 6, seed=1), spikes(2, 6, seed=2)]
    profile = analyzer.profile(model, batches)
    assert profile.uncovered.empty
    plain = Layer(F.linear, model.layer.weight.detach()).eval()
    assert counted(profile) == rows([s for x in batches for s in watch(plain, x)])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution(rule, transposed, stride):
    @rule(conv)
    def count(args, kwargs, out):
        x, stride, transposed, weight = args[0], args[2], args[3], args[1]
        return products.convolution(x, weight, out, stride=stride, transposed=transposed)

    model = Layer(lambda x, w: conv(x, w, stride, transposed), real(4, 4, 3, 2)).eval()
    run = F.conv_transpose2d if transposed else F.conv2d
    plain = Layer(lambda x, w: run(x, w, stride=stride), model.layer.weight.detach()).eval()
    x = spikes(2, 4, 8, 9)
    assert counted(analyzer.profile(model, x)) == rows(watch(plain, x))


def test_attention_and_its_softmax_in_one_answer(rule):
    @rule(attend)
    def count(args, kwargs, out):
        q, k, v = args
        causal = torch.ones(q.shape[-2], k.shape[-2]).tril().bool()
        return (*products.attention(q, k, v, causal), analyzer.Work(specials=7), None)

    class Plain(nn.Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    class Taught(nn.Module):
        def forward(self, q, k, v):
            return attend(q, k, v)

    operands = [spikes(2, 2, 5, 4, seed=s) for s in range(3)]
    profile = analyzer.profile(Taught().eval(), tuple(operands))
    assert counted(profile) == rows(watch(Plain().eval(), *operands))
    assert profile.totals["specials"] == 7


def test_work_on_single_elements(rule):
    rule(fire)(lambda args, kwargs, out: analyzer.Work(compares=out.numel()))
    profile = analyzer.profile(Layer(lambda x, w: fire(x * w), real(6)).eval(), real(4, 6))
    table = profile.counts.set_index("op")
    assert table.loc[f"{LIBRARY}::fire", "compares"] == 24
    assert profile.totals["compares"] == 24
    assert profile.uncovered.empty


def test_nothing_is_free(rule):
    rule(fire)(lambda args, kwargs, out: None)
    profile = analyzer.profile(Layer(lambda x, w: fire(x), real(6)).eval(), real(4, 6))
    assert profile.uncovered.empty
    assert profile.totals["compares"] == profile.totals["dense_macs"] == 0


def test_an_operation_that_only_writes_is_not_dropped(rule):
    """Without a result, its work was neither counted nor listed."""

    def run(x, weight):
        total = x.clone()
        accumulate(x, total)
        return total

    model = Layer(run, real(6)).eval()
    with pytest.warns(analyzer.AnalyzerWarning, match="accumulate"):
        profile = analyzer.profile(model, real(4, 6))
    assert profile.uncovered.values.tolist() == [["layer", f"{LIBRARY}::accumulate", 4, 24]]
    rule(accumulate)(lambda args, kwargs, out: analyzer.Work(adds=args[1].numel()))
    assert analyzer.profile(model, real(4, 6)).totals["adds"] == 24


def test_defaults_are_filled_in(rule):
    """PyTorch leaves arguments out that are the defaults."""
    seen = []
    rule(spike_mm)(lambda args, kwargs, out: seen.append(args[2]))
    weight = real(3, 6)
    analyzer.profile(Layer(spike_mm, weight).eval(), spikes(4, 6))
    analyzer.profile(Layer(lambda x, w: spike_mm(x, w, 0.5), weight).eval(), spikes(4, 6))
    assert seen == [1.0, 0.5]


def test_a_rule_for_an_operation_of_pytorchs(rule):
    """It goes before the package's own, whatever that took the operation for."""
    rule("aten::special_bessel_j0")(lambda args, kwargs, out: analyzer.Work(specials=out.numel()))
    rule("aten::relu")(lambda args, kwargs, out: analyzer.Work(adds=1))
    rule("aten::clone")(lambda args, kwargs, out: analyzer.Work(multiplies=5))
    model = Layer(lambda x, w: torch.special.bessel_j0(x.clone().relu_()), real(6)).eval()
    totals = analyzer.profile(model, real(4, 6)).totals
    assert [totals[k] for k in ("specials", "adds", "multiplies", "compares")] == [24, 1, 5, 0]


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x)
        return (x @ w.t()) ** 2

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad, None


def test_an_autograd_function_counts_as_its_operations():
    model = Layer(Square.apply, real(3, 6)).eval()
    profile = analyzer.profile(model, spikes(4, 6))
    assert profile.uncovered.empty
    assert counted(profile) == rows(watch(model, spikes(4, 6)))
    assert profile.totals["multiplies"] == 12


def taught(name, function):
    with analyzer.rule.temporarily():
        analyzer.rule(name)(function)
        analyzer.profile(Layer(spike_mm, real(3, 6)).eval(), spikes(4, 6))


def twice():
    analyzer.rule(spike_mm)(matrix_product)
    analyzer.rule(f"{LIBRARY}::spike_mm")(matrix_product)


def failing(args, kwargs, out):
    return {}["x"]


NAME = f"{LIBRARY}::spike_mm"
REFUSED = {
    "unknown": (lambda: analyzer.rule(f"{LIBRARY}::spike_m"), f"did you mean '{NAME}'"),
    "nowhere": (lambda: analyzer.rule("nowhere::qqqq"), "import the module that registers it"),
    "no-namespace": (lambda: analyzer.rule("spike_mm"), "with its namespace"),
    "function": (lambda: analyzer.rule(failing), "not for function"),
    "none": (lambda: analyzer.rule(None), "not for NoneType"),
    "not-callable": (lambda: analyzer.rule(spike_mm)(3), f"rule for {NAME} is int"),
    "twice": (twice, f"{NAME} has a rule already: pass replace=True"),
    "remove": (lambda: analyzer.rule.remove(spike_mm), f"{NAME} has no rule"),
    "number": (lambda: taught(NAME, lambda *a: 3), f"rule for {NAME} returned int"),
    "list": (lambda: taught(NAME, lambda *a: ["mm"]), f"rule for {NAME} returned str"),
    "key-error": (lambda: taught(NAME, failing), f"rule for {NAME} failed: KeyError: 'x'"),
    "shapes": (
        lambda: taught(NAME, lambda args, k, out: products.matmul(args[0], args[1])),
        r"rule for .*: a matrix product of operands \[4, 6\] and \[3, 6\]: .* 6 and 3",
    ),
    "scalar": (lambda: products.matmul(torch.tensor(1.0), real(3)), "a scalar"),
    "batch": (lambda: products.matmul(real(2, 3, 4), real(3, 4, 5)), "do not broadcast"),
    "linear": (lambda: products.linear(real(4), real(4)), r"weight \[out, in\], not \[4\]"),
    "kernel": (lambda: products.convolution(real(1, 2), real(2, 2), real(1)), "3 to 5 axes"),
    "channels": (
        lambda: products.convolution(real(1, 3, 8), real(4, 2, 3), real(1, 4, 6)),
        r"an input with 2 channels and 1 spatial axes, not \[1, 3, 8\]",
    ),
    "out": (
        lambda: products.convolution(real(1, 2, 8), real(4, 2, 3), real(1, 4, 8)),
        "check stride, padding, dilation",
    ),
    "out-transposed": (
        lambda: products.convolution(real(1, 2, 8), real(2, 4, 3), real(1, 4, 8), transposed=True),
        "check stride, padding, dilation",
    ),
    "settings": (
        lambda: products.convolution(real(1, 2, 8), real(4, 2, 3), real(1, 4, 6), stride=(1, 1)),
        "neither one figure nor one for each of 1",
    ),
    "heads": (
        lambda: products.attention(real(1, 3, 4, 5), *[real(1, 2, 4, 5)] * 2),
        "3 query heads can not share 2",
    ),
    "queries": (lambda: products.attention(*[real(4, 5)] * 3), r"not \[4, 5\]"),
}


@pytest.mark.parametrize(("attempt", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_one_sentence(attempt, message):
    with pytest.raises(analyzer.AnalyzerError, match=message) as caught:
        attempt()
    text = caught.value.args[0]
    assert text[-1] in ".?"
    assert "\n" not in text


def test_a_failing_rule_names_the_module(rule):
    rule(spike_mm)(failing)
    with pytest.raises(analyzer.AnalyzerError, match=NAME) as caught:
        analyzer.profile(Layer(spike_mm, real(3, 6)).eval(), spikes(4, 6))
    assert "layer" in " ".join((*caught.value.args, *getattr(caught.value, "__notes__", ())))
    assert isinstance(caught.value.__cause__, KeyError)


def test_rules_are_replaced_removed_and_put_back(rule):
    rule(spike_mm)(matrix_product)
    with rule.temporarily():
        rule(spike_mm, replace=True)(lambda args, kwargs, out: None)
        rule(fire)(lambda args, kwargs, out: None)
        assert len(rule.answers()) == 2
    assert list(rule.answers()) == [NAME]
    profile = analyzer.profile(Layer(spike_mm, real(3, 6)).eval(), spikes(4, 6))
    assert profile.totals["dense_macs"] == 4 * 6 * 3
    rule.remove(spike_mm)
    assert rule.answers() == {}


def test_a_registry_is_a_value():
    """Another registry knows nothing of the shared one, and the other way round."""
    mine = RuleRegistry()
    mine(spike_mm)(matrix_product)
    assert NAME in default_rules(mine).products
    assert NAME not in default_rules().products


def test_products_broadcast_like_matmul():
    class Taught(nn.Module):
        def forward(self, a, b):
            return torch.ops.analyzer_tests.matmul(a, b)

    class Plain(nn.Module):
        def forward(self, a, b):
            return a @ b

    @torch.library.custom_op(f"{LIBRARY}::matmul", mutates_args=())
    def matmul(a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    analyzer.rule(matmul)(lambda args, kwargs, out: products.matmul(*args))
    for a, b in (((6,), (6,)), ((3, 6), (6,)), ((6,), (6, 2)), ((2, 1, 3, 6), (4, 6, 2))):
        operands = (spikes(*a), real(*b, seed=1))
        assert counted(analyzer.profile(Taught().eval(), operands)) == rows(
            watch(Plain().eval(), *operands)
        )


def test_importing_the_package_does_not_import_torch():
    code = "import sys, analyzer; dir(analyzer); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import analyzer; analyzer.rule, analyzer.products.matmul, analyzer.Work"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
