"""What does not depend on the input, and what is known of time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import analyzer


class Call(nn.Module):
    def __init__(self, function, **parameters):
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            if isinstance(value, nn.Module):
                setattr(self, name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))
        self.eval()

    def forward(self, *args):
        return self.function(self, *args)


def spikes(*shape, rate=0.3, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def real(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_products_of_weights_are_done_in_every_inference():
    """They were counted once per batch, so totals hung on the batch size."""
    model = Call(
        lambda m, x: F.linear(x, m.w + m.a @ m.b), w=real(8, 8), a=real(8, 2), b=real(2, 8)
    )
    x = real(8, 8, seed=1)
    whole, parts = analyzer.profile(model, x), analyzer.profile(model, list(x.split(2)))
    assert whole == parts
    assert whole.per_sample()["dense_macs"] == 8 * 8 + 8 * 2 * 8
    assert whole.per_sample()["adds"] == 8 * 8


@pytest.mark.parametrize(
    "fixed",
    [
        lambda: torch.ones(8, 8),
        lambda: torch.eye(8),
        lambda: torch.tensor([[1.0] * 8] * 8),
        lambda: torch.zeros(8, 8).masked_fill(torch.tensor(True), 1.0),
    ],
    ids=["ones", "eye", "literal", "masked"],
)
def test_tensors_made_on_the_spot_do_not_drive(fixed):
    """``x @ torch.eye(8)`` of a real input counted as accumulates."""
    totals = analyzer.profile(Call(lambda m, x: x @ fixed()), real(3, 8)).totals
    assert (totals["ac"], totals["mac"]) == (0, 3 * 8 * 8)


@pytest.mark.parametrize("mask", ["none", "causal", "literal"])
def test_attention_of_weights_is_done_in_every_inference(mask):
    """A number written into the mask made it all depend on the size of a batch."""

    def attend(m, x):
        allowed = m.w[0, 0] != 0
        allowed[..., 0] = True
        settings = {
            "none": {},
            "causal": {"is_causal": True},
            "literal": {"attn_mask": allowed},
        }[mask]
        return x + F.scaled_dot_product_attention(m.w, m.w, m.w, **settings).sum()

    model = Call(attend, w=real(1, 2, 5, 5))
    x = spikes(4, 3)
    whole, parts = analyzer.profile(model, x), analyzer.profile(model, list(x.split(1)))
    assert whole == parts
    assert whole.per_sample()["dense_macs"] == whole.per_sample()["events"] == 2 * 2 * 5 * 5 * 5
    assert not analyzer.verify(model, x).unexplained


def test_what_weights_compute_stays_so_in_any_order_of_memory():
    """A linear layer of a transposed constant read a copy, which was taken for an activation."""
    model = Call(
        lambda m, x: x + F.linear(m.a.transpose(1, 2), m.w).sum(), a=real(2, 3, 4), w=real(5, 3)
    )
    rows = analyzer.profile(model, real(6, 2)).operations()
    assert list(rows["input_class"]) == [""]
    assert rows["dense_macs"].sum() == 6 * 2 * 4 * 3 * 5


def test_fixed_filters_in_buffers_do_not_drive():
    model = Call(lambda m, x: F.conv2d(x, m.box))
    model.register_buffer("box", torch.ones(1, 1, 3, 3))
    assert analyzer.profile(model, real(2, 1, 6, 6)).totals["ac"] == 0
    driven = analyzer.profile(model, spikes(2, 1, 6, 6)).operations()
    assert list(driven["input_class"]) == ["binary"]


def test_an_initial_state_of_zeros_is_a_state():
    model = Call(lambda m, x: F.linear(torch.zeros(len(x), 4), m.w) + x, w=real(5, 4))
    rows = analyzer.profile(model, real(3, 5)).operations()
    assert list(rows["input_class"]) == ["zero"]
    assert rows["ac"].sum() == rows["mac"].sum() == 0


def test_a_layer_in_a_plain_list_has_weights():
    """A layer that the model does not register had a weight that drove."""
    hidden = [nn.Linear(8, 8, bias=False)]
    hidden[0].weight.data.round_()
    model = Call(lambda m, x: hidden[0](x))
    totals = analyzer.profile(model, real(3, 8)).totals
    assert (totals["ac"], totals["mac"]) == (0, 3 * 8 * 8)


def test_fused_attention_has_a_softmax():
    """The work between the two products was in no column."""

    def by_hand(m, x):
        return ((x @ x.mT) * 8**-0.5).softmax(-1) @ x

    def fused(m, x):
        return F.scaled_dot_product_attention(x, x, x)

    work = [analyzer.profile(Call(f), real(2, 3, 5, 8)).totals for f in (by_hand, fused)]
    for column in ("adds", "multiplies", "compares", "specials"):
        assert work[0][column] == work[1][column] > 0


class Swapped(nn.Module):
    def forward(self, x):
        return x.mT


@pytest.mark.parametrize(
    ("model", "x", "free"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), real(2, 3, 6, 6), True),
        (nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), real(6, 8), True),
        (nn.Sequential(nn.Linear(8, 4), Swapped(), nn.BatchNorm1d(4)), real(2, 3, 8), True),
        (
            nn.Sequential(Swapped(), nn.Linear(3, 4), Swapped(), nn.BatchNorm1d(4)),
            real(2, 3, 8),
            True,
        ),
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(5)), real(2, 5, 8), False),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), real(2, 3, 6, 6), False),
    ],
    ids=["conv", "linear", "tokens", "strided-tokens", "over-tokens", "behind-relu"],
)
def test_batch_norm_is_free_only_where_it_folds(model, x, free):
    folded = analyzer.profile(model.eval(), x)
    counted = analyzer.profile(model, x, fold_batch_norm=False)
    assert folded.folding(False) == counted
    assert counted.folding(True) == folded
    with pytest.raises(analyzer.AnalyzerError, match="fold_batch_norm"):
        folded + counted
    for profile, is_free in ((folded, free), (counted, False)):
        rows = profile.counts
        (row,) = rows[rows["op"] == "batch_norm"].to_dict("records")
        work = 0 if is_free else model(x).numel()
        assert (row["adds"], row["multiplies"]) == (work, work)
        assert rows["adds"].sum() == work
        assert row["output_elements"] == model(x).numel()


def timesteps_of(model, x, timesteps):
    table = analyzer.profile(model, x, timesteps=timesteps).sparsity("timestep")
    return table.groupby("timestep")["nonzeros"].sum().to_dict()


def test_a_flattened_batch_of_tokens_has_no_time():
    """Token quarters were shown as timesteps wherever the number of tokens divided by T."""
    with pytest.raises(analyzer.AnalyzerError, match="no timestep activity"):
        timesteps_of(nn.Linear(8, 4).eval(), spikes(2, 64, 8), 4)


def test_a_loop_over_time_with_two_products_a_step():
    """Heads times samples were taken for time where their number divided by T."""

    def loop(m, x):
        out = 0
        for step in x:
            out = out + (step @ step.mT) @ step
        return out

    x = spikes(4, 2, 8, 5, 6)
    x[0] = 0
    found = timesteps_of(Call(loop), x, 4)
    assert found[0] == 0
    assert found[1] > 0


def test_time_of_linear_layers_and_attention_in_a_multi_step_model():
    class Attend(nn.Module):
        def forward(self, x):
            return (x @ x.mT) @ x

    model = nn.Sequential(nn.Linear(6, 6), nn.Threshold(0.2, 0.0), Attend()).eval()
    x = spikes(4, 3, 5, 6)
    x[2] = 0
    table = analyzer.profile(model, x, timesteps=4, layouts={"": "T B N D"}).sparsity("timestep")
    linear = table[table["module"] == "0"].set_index("timestep")["nonzeros"].to_dict()
    assert linear == {t: int(x[t].sum()) for t in range(4)}
    assert set(table["module"]) == {"0", "2"}


def test_samples_are_on_the_first_axis_that_the_output_has_too():
    """T and the samples are equally many, which was taken for time first."""
    model = nn.Conv1d(3, 8, 3).eval()
    assert analyzer.profile(model, real(4, 3, 20), timesteps=4).samples == 4


def test_a_batch_as_a_loader_hands_it_out():
    """``next(iter(loader))`` is a list, and was taken for two batches."""
    x, y = spikes(6, 8), torch.arange(6) % 3
    model = nn.Linear(8, 3).eval()
    profile = analyzer.profile(model, [x, y])
    assert profile.samples == 6
    assert profile.correct == int((model(x).argmax(1) == y).sum())


def test_not_a_number_is_placed():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    model[1].weight.data[0, 0] = torch.nan
    with pytest.raises(analyzer.AnalyzerError, match=r"module '1', operation linear: the weights"):
        analyzer.profile(model, real(2, 4))


def test_sorting_and_scans_are_counted():
    totals = analyzer.profile(
        Call(lambda m, x: (x.topk(2).values, x.cumsum(-1))), real(3, 8)
    ).totals
    assert totals["compares"] == 3 * 8 * 3
    assert totals["adds"] == 3 * 7


def test_learned_queries_are_weights_that_attend():
    """A parameter among the operands of fused attention crashed the profile."""
    model = Call(
        lambda m, x: F.scaled_dot_product_attention(m.q.expand(len(x), -1, -1, -1), x, x),
        q=real(1, 3, 2, 8),
    )
    rows = analyzer.profile(model, spikes(4, 3, 5, 8)).operations().set_index("op")
    assert rows.loc["attention_qk", "input_class"] == "binary"
    assert rows.loc["attention_qk", "ac"] == int(spikes(4, 3, 5, 8).sum()) * 2
    assert list(rows["dense_macs"]) == [4 * 3 * 2 * 5 * 8] * 2


def test_sparse_tensors_end_among_the_uncovered():
    """A tensor without a storage crashed the bookkeeping of storages."""
    model = Call(lambda m, x: torch.sparse.mm(x.to_sparse(), m.w), w=real(8, 4))
    with pytest.warns(analyzer.AnalyzerWarning, match="_sparse"):
        profile = analyzer.profile(model, spikes(2, 8))
    assert not profile.uncovered.empty


def test_a_spectral_norm_is_work_on_weights():
    """The scalar product of two weights crashed the bookkeeping of batch norm folding."""
    model = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(8, 6)).eval()
    totals = [analyzer.profile(model, real(n, 8)).per_sample()["dense_macs"] for n in (1, 4)]
    # The layer, weight times vector, and the scalar product that gives its largest singular value.
    assert totals == [8 * 6 + 8 * 6 + 6] * 2
