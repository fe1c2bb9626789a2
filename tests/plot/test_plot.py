"""`analyzer.plot`: what is drawn is what was measured, on any axes, in any style, and in grey."""

import itertools
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.container import BarContainer

import analyzer
from analyzer import plot
from analyzer.errors import AnalyzerError
from analyzer.plot.labels import largest, path_labels
from analyzer.plot.tradeoffs import pareto_front

PROFILES = Path(__file__).parents[2] / "reports" / "paradigms" / "profiles"
STYLES = ("ieee", "acm", "neurips", "nature", "page", 3.0)


@pytest.fixture(scope="module")
def profiles():
    names = ("ann", "converted-T4", "stbp-T4", "ge2mst-T4")
    return [analyzer.load(PROFILES / f"{name}.json.gz") for name in names]


@pytest.fixture(scope="module")
def converted():
    return [analyzer.load(PROFILES / f"converted-T{T}.json.gz") for T in (4, 8, 16)]


@pytest.fixture(autouse=True)
def closed():
    matplotlib.use("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def drawings(profiles, converted):
    """Each figure as a function of no arguments."""
    ann, *spiking = profiles
    explained = analyzer.explain(spiking[-1], "exact", "dense")
    sensitive = analyzer.sensitivity(spiking[-1], vary={"activity": (0.5, 2)})
    beyond = analyzer.beyond_arithmetic(ann, spiking, precision="int8")
    return {
        "energy": lambda **kw: plot.energy(profiles, **kw),
        "layers": lambda **kw: plot.layers(spiking[-1], **kw),
        "rates": lambda **kw: plot.rates(spiking[-1], **kw),
        "groups": lambda **kw: plot.groups(spiking, by=["temporal"], **kw),
        "pareto": lambda **kw: plot.pareto(profiles, **kw),
        "timesteps": lambda **kw: plot.timesteps(converted, **kw),
        "waterfall": lambda **kw: plot.waterfall(explained, **kw),
        "tornado": lambda **kw: plot.tornado(sensitive, **kw),
        "memory": lambda **kw: plot.memory(beyond, **kw),
    }


def one(found):
    return found[0] if isinstance(found, list) else found


def widths(ax):
    """The lengths of all bars, rows first."""
    bars = [bar for group in ax.containers if isinstance(group, BarContainer) for bar in group]
    rows = {}
    for bar in bars:
        row = round(bar.get_y() + bar.get_height() / 2)
        rows[row] = rows.get(row, 0) + bar.get_width()
    return rows


NAMES = [
    "energy", "groups", "layers", "memory", "pareto", "rates", "timesteps", "tornado", "waterfall",
]  # fmt: skip


def test_there_is_one_function_a_figure(drawings):
    assert sorted([*drawings, "style"]) == sorted(plot.__all__)
    assert sorted(drawings) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_axes_that_are_given_are_drawn_on_and_returned(drawings, name):
    _, (left, right) = pyplot.subplots(1, 2)
    assert one(drawings[name](ax=right)) is right
    assert len(pyplot.get_fignums()) == 1
    assert not left.has_data()
    assert right.has_data()


@pytest.mark.parametrize("name", NAMES)
def test_without_axes_pyplot_gets_a_figure_of_the_style(drawings, name):
    before = dict(matplotlib.rcParams)
    for style in STYLES:
        with plot.style(style):
            ax = one(drawings[name]())
            width = matplotlib.rcParams["figure.figsize"][0]
        assert pyplot.fignum_exists(ax.figure.number)
        assert ax.figure.get_figwidth() == width
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("style", ["ieee", "nature"])
def test_no_text_is_cut_at_the_width_of_a_column(drawings, name, style):
    """Nor smaller than five points, the least that journals print."""
    with plot.style(style):
        ax = one(drawings[name]())
        figure = ax.figure
        figure.draw_without_rendering()
        texts = [text for each in figure.axes for text in _texts(each)]
        texts += [text for legend in figure.legends for text in legend.get_texts()]
        for text in (text for text in texts if text.get_text()):
            box = text.get_window_extent()
            assert -1 <= box.x0 <= box.x1 <= figure.bbox.width + 1, text
            assert -1 <= box.y0 <= box.y1 <= figure.bbox.height + 1, text
            assert text.get_fontsize() >= 5


def _texts(ax):
    """All texts of some axes, and of their ticks those inside of the limits."""
    yield from (ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts)
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        yield from (label for at, label in ticks if low <= at <= high)


def test_bars_of_energy_are_the_priced_energies(profiles):
    ax = plot.energy(profiles, precision="int8", memory="data-movement")
    priced = [p.energy(precision="int8", memory="data-movement").total_pj for p in profiles]
    found = widths(ax)
    scale = found[0] / priced[0]
    assert [found[row] for row in range(4)] == pytest.approx([scale * pj for pj in priced])


def test_bars_of_layers_add_up_to_the_model(profiles):
    report = profiles[3].energy()
    for top in (None, 5, 12):
        found = widths(plot.layers(profiles[3], top=top))
        assert sum(found.values()) == pytest.approx(report.total_pj / 1e6)  # the axis is in µJ
        assert top is None or len(found) <= top


def test_several_profiles_have_a_panel_each(profiles):
    axes = plot.layers(profiles)
    assert [ax.get_title() for ax in axes] == [p.name for p in profiles]
    _, given = pyplot.subplots(2, 2)
    assert plot.layers(profiles, ax=given) == list(given.flat)
    with pytest.raises(AnalyzerError, match="4 profiles need as many axes, and 1 were given"):
        plot.layers(profiles, ax=given[0, 0])


def test_rates_are_of_layers_that_read_spikes(profiles):
    ann, *_, ours = profiles
    ax = plot.rates(ours)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert "stem.conv" not in labels
    drawn = np.asarray(ax.collections[0].get_array()).reshape(len(labels), -1)
    steps = ours.sparsity("timestep")
    first = steps[steps["module"] == "stages.0.0.expand.conv"]
    assert drawn[labels.index("stages.0.0.expand.conv")] == pytest.approx(1 - first["sparsity"])
    assert ax.collections[0].get_clim()[1] <= np.ceil(10 * drawn.max()) / 10
    with pytest.raises(AnalyzerError, match=r"reads spikes|no timestep activity"):
        plot.rates(ann)


def test_groups_are_the_zeros_of_the_profile(profiles):
    axes = plot.groups(profiles[3], skip=["stem.conv"])
    for ax in axes:
        table = profiles[3].sparsity(ax.get_title())
        sums = (
            table[table["module"] != "stem.conv"].groupby("group")[["elements", "nonzeros"]].sum()
        )
        expected = 1 - sums["nonzeros"] / sums["elements"]
        assert ax.get_lines()[0].get_ydata() == pytest.approx(expected.to_numpy())
    plain = analyzer.from_rates(
        {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    )
    with pytest.raises(AnalyzerError, match="holds no temporal activity"):
        plot.groups(plain)


def test_pareto_takes_profiles_or_their_table_and_asks_for_accuracy(profiles):
    found = analyzer.compare(profiles)
    one, other = plot.pareto(profiles), plot.pareto(found)
    for left, right in zip(one.get_lines(), other.get_lines(), strict=True):
        assert left.get_xydata().tolist() == right.get_xydata().tolist()
    blind = replace(profiles[0], correct=None)
    with pytest.raises(AnalyzerError, match="no accuracy is known of ann"):
        plot.pareto([blind, profiles[1]])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats(models):
    energies, accuracies = zip(*models, strict=True)
    front = pareto_front(energies, accuracies)
    beaten = {
        i
        for i, j in itertools.permutations(range(len(models)), 2)
        if energies[j] <= energies[i] and accuracies[j] >= accuracies[i] and models[i] != models[j]
    }
    assert {models[i] for i in front} == {m for i, m in enumerate(models) if i not in beaten}


def test_accuracy_has_an_axis_of_its_own(converted):
    ax = plot.timesteps(converted)
    (right,) = [other for other in ax.figure.axes if other is not ax]
    assert right.get_lines()[0].get_ydata() == pytest.approx([100 * p.accuracy for p in converted])
    assert ax.get_lines()[0].get_xdata().tolist() == [4, 8, 16]


def test_a_waterfall_ends_where_the_second_convention_does(profiles):
    found = analyzer.explain(profiles[3], "exact", "dense")
    ax = plot.waterfall(found)
    bars = [bar for group in ax.containers for bar in group]
    total = bars[0].get_width() + sum(bar.get_width() for bar in bars[1:-1])
    assert total == pytest.approx(bars[-1].get_width())
    assert bars[-1].get_width() == pytest.approx(found.second.total_pj / 1e6)


@pytest.mark.filterwarnings("error")
def test_a_tornado_of_nothing_is_empty(profiles):
    plain = analyzer.from_rates(
        {"module": ["fc"], "op": ["linear"], "dense_macs": [10], "firing_rate": [0.5]}
    )
    found = analyzer.sensitivity(plain, "7nm", convention="rate")
    assert found.rows.empty
    assert not plot.tornado(found).containers


def test_small_differences_have_a_unit_that_suits_them(profiles):
    """Not +5.33e-06 mJ."""
    table = {"module": ["a", "b"], "op": ["linear"] * 2, "dense_macs": [10**9, 10]}
    snn = analyzer.from_rates(table | {"firing_rate": [1, 0.5], "driven": [0, 1]}, name="snn")
    ax = plot.waterfall(analyzer.explain(snn, "rate", "dense"))
    assert any(text.get_text() == "+41.5 pJ" for text in ax.texts)


def test_an_axis_of_ratios_shows_more_than_one_number(profiles):
    table = {"module": ["fc"], "op": ["linear"], "dense_macs": [1000]}
    ann, snn = (
        analyzer.from_rates(table | {"firing_rate": [rate]}, name=name)
        for name, rate in (("ann", 1.0), ("snn", 0.97))
    )
    found = analyzer.beyond_arithmetic(ann, [snn], convention="rate", memories=[None])
    ax = plot.memory(found)
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    shown = [t for t, at in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True)
             if low <= at <= high and t.get_text()]  # fmt: skip
    assert len(shown) >= 2


@pytest.mark.parametrize("limit", [4, 10, 30])
def test_the_largest_stand_alone_and_nothing_is_lost(limit):
    modules = [f"layer_{i}" for i in range(60)]
    values = np.random.default_rng(0).permutation(60)
    groups = largest(modules, path_labels(modules, ["linear"] * 60), limit, values)
    assert len(groups) == limit
    assert sorted(row for _, rows in groups for row in rows) == list(range(60))
    alone = [rows[0] for _, rows in groups[:-1]]
    assert set(values[alone]) == set(range(60 - limit + 1, 60))
    assert groups[-1][0] == f"all others ({60 - limit + 1} rows)"


@pytest.mark.parametrize("wrong", [("oup", None), (0, None), (-1, None), (3.5, -2)])
def test_styles_that_are_none(wrong):
    target, size = wrong
    with (
        pytest.raises(AnalyzerError, match=r"no style is called|wider than 0"),
        plot.style(target, size=size),
    ):
        pass


def test_styles_are_those_of_the_journals():
    for name, width in (("ieee", 3.5), ("acm", 3.33), ("neurips", 5.5), ("nature", 89 / 25.4)):
        with plot.style(name):
            assert matplotlib.rcParams["figure.figsize"][0] == pytest.approx(width)
    with plot.style("ieee", font="sans"):
        assert matplotlib.rcParams["font.family"] == ["sans-serif"]
