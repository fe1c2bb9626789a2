"""Each convention against its formula, on one network whose activity is known by hand."""

import pandas as pd
import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.declared.convention import convention
from analyzer.errors import AnalyzerError

T = 2


class Net(nn.Module):
    """First layer on reals, then spikes, then sums of spikes, attention of spikes, a head on reals.

    Its inner operands are given, so that every class and every rate is known.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.spikes = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.sums = nn.Linear(4, 6, bias=False)
        self.head = nn.Linear(6, 3, bias=False)
        generator = torch.Generator().manual_seed(0)
        binary = [(torch.rand(T, 2, 5, 5, generator=generator) < 0.3).float()]
        binary += [
            (torch.rand(T, 2, 7, 4, generator=generator) < p).float() for p in (0.5, 0.25, 0.4)
        ]
        self.binary = list(binary)
        self.graded = torch.randint(0, 4, (T, 9, 4), generator=generator).float()

    def forward(self, image):
        x = self.first(image.expand(T, -1, -1, -1))
        self.spikes(self.binary[0] + 0 * x.sum().clamp(max=0))
        k, v, q = (b + 0 * x.sum().clamp(max=0) for b in self.binary[1:])
        kv = k.mT @ v
        q @ kv
        self.sums(self.graded + 0 * x.sum().clamp(max=0))
        return self.head(torch.rand(1, 6) + x.sum() * 0)


@pytest.fixture(scope="module")
def net():
    return Net().eval()


@pytest.fixture(scope="module")
def profile(net):
    torch.manual_seed(0)
    return analyzer.profile(net, torch.rand(1, 1, 5, 5) + 0.1, timesteps=T, name="net")


def share(x):
    """Of what is not zero."""
    return (x != 0).double().mean().item()


def facts(net):
    """Dense work, rates and exact events, computed from the operands alone."""
    spikes, k, v, q = net.binary
    ones = torch.ones(4, 2, 3, 3)
    graded = net.graded
    return {
        "first": T * 25 * 2 * 9,
        "spikes": {"dense": T * 25 * 4 * 2 * 9, "rate": share(spikes),
                   "events": int(nn.functional.conv2d(spikes, ones, padding=1).sum())},
        "kv": {"dense": T * 2 * 4 * 7 * 4, "k": share(k), "v": share(v),
               "rate": (share(k) + share(v)) / 2, "events": int((k.mT @ v).sum())},
        "qkv": {"dense": T * 2 * 7 * 4 * 4, "q": share(q), "events": int(q.sum()) * 4},
        "sums": {"dense": T * 9 * 4 * 6, "mean": graded.double().mean().item(),
                 "rate": share(graded),
                 "events": int((graded != 0).sum()) * 6, "unary": int(graded.sum()) * 6},
        "head": 6 * 3,
    }  # fmt: skip


def total(read, column):
    return float(read[column].sum())


def expected(net):
    """(AC, MAC) of each convention."""
    f = facts(net)
    dense = {name: row["dense"] if isinstance(row, dict) else row for name, row in f.items()}
    kv = net.binary[1].mT @ net.binary[2]
    q = net.binary[3]
    exact = f["spikes"]["events"] + f["kv"]["events"] + f["qkv"]["events"]
    unary_q = int((q @ kv).sum())
    rated = f["spikes"]["rate"] * dense["spikes"]
    rated_attention = f["kv"]["rate"] * dense["kv"] + f["qkv"]["q"] * dense["qkv"]
    least = min(f["kv"]["k"], f["kv"]["v"]) * dense["kv"] + f["qkv"]["q"] * dense["qkv"]
    valued = f["sums"]["mean"] * dense["sums"]
    ends = dense["first"] + dense["head"]
    image = torch.ones(T, 1, 5, 5)
    spikformer = rated + f["kv"]["rate"] * dense["kv"] + valued + dense["head"]
    return {
        "exact": (exact, ends + dense["sums"]),
        "unary": (f["spikes"]["events"] + f["kv"]["events"] + unary_q + f["sums"]["unary"], ends),
        "dense": (0, sum(dense.values())),
        "rate": (rated + rated_attention, ends + dense["sums"]),
        "spikformer": (spikformer + f["qkv"]["q"] * dense["qkv"], dense["first"]),
        "qkformer": (spikformer + f["qkv"]["q"] * dense["qkv"], dense["first"]),
        "spikingformer": (rated + least, ends + dense["sums"]),
        "spike-driven": (
            rated + rated_attention + f["sums"]["rate"] * dense["sums"] + dense["head"],
            dense["first"],
        ),
        "spikingresformer": (
            f["spikes"]["events"] + f["kv"]["events"] + unary_q + f["sums"]["unary"], 0,
        ),
        "neurobench": (
            f["spikes"]["events"],
            int(nn.functional.conv2d(image, torch.ones(2, 1, 3, 3), padding=1).sum())
            + f["sums"]["events"] + dense["head"],
        ),
        "syops": (rated, ends + dense["sums"]),
        "ecmt": (f["spikes"]["events"] + f["sums"]["events"] + dense["head"], 0),
        "lmht": (f["spikes"]["events"] + f["sums"]["unary"], dense["head"]),
    }  # fmt: skip


def test_every_convention_is_here(net):
    assert set(expected(net)) == set(analyzer.conventions())


@pytest.mark.parametrize("name", analyzer.conventions())
def test_readings_by_hand(net, profile, name):
    read = profile.operations(name)
    ac, mac = expected(net)[name]
    assert total(read, "ac") == pytest.approx(ac, rel=1e-9)
    assert total(read, "mac") == pytest.approx(mac, rel=1e-9)
    energy = profile.energy(convention=name).total_pj
    assert energy == pytest.approx(0.9 * ac + 4.6 * mac, rel=1e-9)


def test_the_ratio_of_ecmt_is_that_of_its_code(net, profile):
    """t * (0.9 / 4.6) * r, with r the events of all timesteps over their dense work."""
    f = facts(net)
    rows = [f["spikes"], f["sums"], {"events": f["head"], "dense": f["head"]}]
    rate = sum(row["events"] for row in rows) / sum(row["dense"] for row in rows)
    dense = sum(row["dense"] for row in rows) / T  # of the ANN, which runs once
    energy = profile.energy(convention="ecmt").total_pj
    assert energy / (4.6 * dense) == pytest.approx(T * 0.9 / 4.6 * rate)


@pytest.mark.parametrize("name", ["syops", "neurobench", "ecmt", "lmht"])
def test_products_that_are_left_out_move_nothing(profile, name):
    """Not in arithmetic, and not in memory, where a convention leaves attention out."""
    report = profile.energy(convention=name, memory="lemaire")
    left = report.table[report.table["input_class"].str.contains("*", regex=False)]
    assert len(left) == 2
    assert (left["total_pj"] == 0).all()
    assert not left["is_driven"].any()


def test_exact_figures_stay_integers(profile):
    for name in ("exact", "unary", "dense"):
        read = profile.operations(name)
        assert {str(read[c].dtype) for c in ("ac", "mac")} == {"int64"}


def test_rows_say_why(profile):
    why = profile.operations("spikingformer", reasons=True).set_index("module")["reason"]
    assert why["first"] == "nothing drives it: reads real"
    assert why["spikes"] == "spikes drive it: firing rate × dense work"
    assert why["sums"] == "nothing drives it: reads graded"
    assert why["head"] == "nothing drives it: reads real"
    ends = profile.operations("spikingresformer", reasons=True).set_index("module")["reason"]
    assert (ends["first"], ends["head"]) == ("first layer: left out", "head: left out")
    left = profile.operations("syops", reasons=True)
    assert (left.loc[left["module"] == "", "reason"] == "product of activations: left out").all()


def test_every_convention_names_its_source_and_what_it_is_worth():
    for name, source in analyzer.conventions().items():
        chosen = convention(name)
        assert source == chosen.source
        assert len(chosen.summary) > 40
        assert chosen.confidence in "ABC"
        assert chosen.name == name


def test_a_convention_of_ones_own(profile, tmp_path):
    path = tmp_path / "mine.toml"
    lines = ['name = "mine"', 'title = "Mine"', 'source = "me"', 'summary = "All spikes."']
    path.write_text("\n".join([*lines, 'driving = ["binary", "graded"]', 'head = "omit"']))
    read = profile.operations(str(path))
    exact = profile.operations("exact").set_index("module")
    assert read.loc[read["module"] == "head", "mac"].item() == 0
    assert read.loc[read["module"] == "sums", "ac"].item() == exact.loc["sums", "events"]
    for wrong, says in (
        ('first = "sometimes"', r"has first = 'sometimes': choose of read, mac, rated-mac, omit"),
        ("price = 3", "does not know the key 'price'"),
    ):
        path.with_name("wrong.toml").write_text("\n".join([*lines, "driving = []", wrong]))
        with pytest.raises(AnalyzerError, match=says):
            profile.operations(str(path.with_name("wrong.toml")))
    path.with_name("short.toml").write_text("\n".join(lines))
    with pytest.raises(AnalyzerError, match="lacks the key 'driving'"):
        profile.operations(str(path.with_name("short.toml")))
    with pytest.raises(AnalyzerError, match="is no readable convention"):
        profile.operations(str(tmp_path / "none.toml"))


def test_the_published_counter_is_the_formula_on_rates():
    """AC = T·h·N·d²·(min(rate k, rate v) + rate q) of Spikingformer's tool, on a row of its log."""
    dense, q, k, v = 25_690_112, 0.17230188630104062, 0.03626344770312309, 0.06957707978010177
    table = pd.DataFrame(
        {"module": ["kv", "qkv"], "op": ["matmul"] * 2, "dense_macs": [dense] * 2,
         "firing_rate": [min(k, v), q]}
    )  # fmt: skip
    read = analyzer.from_rates(table).operations("rate")
    assert read["ac"].sum() == pytest.approx(5358066.7898843745, rel=1e-12)
