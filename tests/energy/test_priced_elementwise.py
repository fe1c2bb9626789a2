"""Element-wise work at a price: by hand from the tallies of a profile, and in every answer."""

from pathlib import Path

import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.declared.convention import convention
from analyzer.models.neurons import LIF

PRICED = "exact(elementwise=priced)"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def profiles():
    torch.manual_seed(0)
    norm, gelu, softmax = nn.LayerNorm(8), nn.GELU(), nn.Softmax(-1)
    ann = nn.Sequential(nn.Linear(6, 8), norm, gelu, nn.Linear(8, 3), softmax).eval()
    snn = nn.Sequential(LIF(), nn.Linear(8, 3), softmax).eval()
    x = 4 * torch.rand(4, 5, 8)
    return (
        analyzer.profile(ann, torch.rand(5, 6), name="ann"),
        analyzer.profile(snn, x, timesteps=4, layouts={"": "T B D"}, name="snn"),
    )


def by_hand(profile, add, multiply, special, chosen=lambda tally: True):
    """Adds and compares at the price of an addition, specials at that of so many products."""
    return (
        sum(
            (t.adds + t.compares) * add + (t.multiplies + special * t.specials) * multiply
            for t in profile.tallies
            if chosen(t)
        )
        / profile.samples
    )


@pytest.mark.parametrize(
    ("precision", "add", "multiply"), [("fp32", 0.9, 3.7), ("int8", 0.03, 0.2)]
)
@pytest.mark.parametrize("special", [8, 4, 1])
def test_every_operation_has_the_price_of_its_kind(profiles, precision, add, multiply, special):
    reading = f"exact(elementwise=priced, special_multiplies={special})"
    for profile in profiles:
        plain = profile.energy(precision=precision).components
        found = profile.energy(convention=reading, precision=precision)
        wanted = by_hand(profile, add, multiply, special)
        assert wanted > 0
        assert found.components == pytest.approx({**plain, "elementwise_pj": wanted})
        assert found.total_pj == pytest.approx(sum(plain.values()) + wanted)
        rows = found.table[found.table["elementwise_pj"] > 0].set_index(["module", "op"])
        for tally in profile.tallies:
            each = by_hand(profile, add, multiply, special, lambda t, tally=tally: t == tally)
            if each:
                assert rows.loc[(tally.module, tally.op), "elementwise_pj"] == pytest.approx(each)


def test_it_is_off_unless_asked_for(profiles):
    for name in analyzer.conventions():
        assert convention(name).elementwise == "none"
    assert "elementwise_pj" not in profiles[0].energy().components


def test_neurons_are_charged_once(profiles):
    """By the memory model where that charges them, else here."""
    snn = profiles[1]
    neurons = by_hand(snn, 0.9, 3.7, 8, lambda t: bool(t.state_elements))
    assert neurons > 0
    whole = snn.energy(convention=PRICED).components["elementwise_pj"]
    charged = {"yan": False, "yan(neurons=dynamics)": False, "yan(neurons=none)": True}
    for memory, here in (charged | {"state": True}).items():
        report = snn.energy(convention=PRICED, memory=memory)
        expected = whole if here else whole - neurons
        assert report.components["elementwise_pj"] == pytest.approx(expected)
        plain = snn.energy(memory=memory).components
        rest = {key: pj for key, pj in report.components.items() if key != "elementwise_pj"}
        assert rest == pytest.approx(plain)


def test_the_range_of_special_functions_is_said(profiles):
    ann = profiles[0]
    (note,) = (n for n in ann.energy(convention=PRICED).notes if "square root" in n)
    ends = [
        ann.energy(convention=f"exact(elementwise=priced, special_multiplies={n})").total_text
        for n in (4, 8)
    ]
    assert note.endswith(f"its energy is {ends[0]} to {ends[1]}.")


def test_explain_says_what_it_moves(profiles):
    snn = profiles[1]
    found = analyzer.explain(snn, "exact", PRICED)
    moved = found.steps.set_index("to_reason")["difference_pj"]
    whole = snn.energy(convention=PRICED).components["elementwise_pj"]
    assert set(moved.index) <= {"neurons", "element-wise"}
    assert moved.sum() == pytest.approx(whole)
    back = analyzer.explain(snn, PRICED, "exact", memory="state").steps
    assert set(back["to_reason"]) == {"not charged"} or back["difference_pj"].sum() < 0
    assert back["difference_pj"].sum() == pytest.approx(-whole)


def test_it_is_in_tables_and_figures(profiles, tmp_path):
    table = analyzer.compare(list(profiles), convention=PRICED)
    assert "Element-wise" in table.to_markdown()
    assert table.frame["elementwise_mj"].gt(0).all()
    assert "element-wise" in profiles[0].energy(convention=PRICED).to_markdown()
    ax = analyzer.plot.energy(list(profiles), convention=PRICED)
    assert "Element-wise" in [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_activity_leaves_it_as_it_is(profiles):
    from analyzer.energy.pricing.price import price

    parts = [price(profiles[1], "45nm", PRICED, activity=a).components for a in (0, 1, 2)]
    assert len({each["elementwise_pj"] for each in parts}) == 1
    assert parts[0]["ac_pj"] == 0


def test_what_can_not_be_priced_is_refused(profiles):
    table = {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    rated = analyzer.from_rates(table, name="rated")
    with pytest.raises(analyzer.AnalyzerError, match="'rated' holds products alone and no"):
        rated.energy(convention="rate(elementwise=priced)")
    with pytest.raises(analyzer.AnalyzerError, match="no multiplication, which element-wise"):
        profiles[0].energy("loihi", PRICED)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exact(elementwise=dear)", "elementwise"),
        ("exact(title=mine)", "takes no 'title': it takes driving, work"),
        ("exact(special_multiplies=-1)", "special_multiplies"),
        ("exactly(elementwise=priced)", "exactly"),
        ("exact(elementwise", "exact"),
    ],
)
def test_settings_of_conventions_are_checked(spec, message):
    with pytest.raises(analyzer.AnalyzerError, match=message):
        convention(spec)


@pytest.mark.parametrize(
    ("setting", "name"),
    [("first=mac", "rate"), ("work=unary", "exact"), ("head=mac", "rate")],
)
def test_any_rule_of_a_convention_can_be_set(profiles, setting, name):
    key, _, value = setting.partition("=")
    found = convention(f"{name}({setting})")
    assert getattr(found, key) == value
    assert found.name == f"{name}({setting})"
    assert profiles[1].energy(convention=f"{name}({setting})").total_pj > 0


def test_ge2mst_and_its_vit():
    """No published convention charges it; it adds most where products are cheap."""
    shares = {}
    for name in ("vit-tiny", "ge2mst-tiny"):
        profile = analyzer.load(ROOT / "profiles" / f"{name}.json.gz")
        parts = profile.energy(convention=PRICED).components
        shares[name] = parts["elementwise_pj"] / (parts["ac_pj"] + parts["mac_pj"])
    assert 0.1 < shares["vit-tiny"] < 0.15
    assert 0.5 < shares["ge2mst-tiny"] < 0.7


def test_activation_functions_are_charged_once(profiles):
    """Memory models may charge compares in their place, where element-wise work is not priced."""
    ann = profiles[0]
    assert ann.energy(memory="yan").components["neurons_pj"] > 0
    assert ann.energy(convention=PRICED, memory="yan").components["neurons_pj"] == 0


def test_a_model_without_any_costs_nothing_more():
    torch.manual_seed(0)
    profile = analyzer.profile(nn.Linear(4, 5).eval(), torch.rand(3, 4))
    report = profile.energy(convention=PRICED)
    assert report.components["elementwise_pj"] == 0
    assert report.total_pj == profile.energy().total_pj


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("skip_zero_weights=true", "skip_zero_weights", True),
        ("skip_zero_weights=False", "skip_zero_weights", False),
        ("driving=binary", "driving", ("binary",)),
        ("driving=[binary, graded]", "driving", ("binary", "graded")),
        ("driving=['zero']", "driving", ("zero",)),
        ("additive_weights=('binary',)", "additive_weights", ("binary",)),
    ],
)
def test_settings_are_written_as_files_write_them(setting, key, value):
    assert tuple_of(getattr(convention(f"exact({setting})"), key)) == value


def tuple_of(value):
    return tuple(value) if isinstance(value, list) else value
