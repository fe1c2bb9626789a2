"""`analyzer.plot`: what is drawn is what was measured, on any axes, in any style, and in grey."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.container import BarContainer

import analyzer
from analyzer import plot
from analyzer.errors import AnalyzerError
from analyzer.models.neurons import IF
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
    chosen = analyzer.chips(ann, spiking)
    evens = analyzer.break_even(spiking[-1], ann)
    fits = analyzer.fit(spiking[-1], "loihi")
    beyond = analyzer.beyond_arithmetic(ann, spiking, precision="int8")
    return {
        "break_even": lambda **kw: plot.break_even(evens, **kw),
        "chips": lambda **kw: plot.chips(chosen, **kw),
        "energy": lambda **kw: plot.energy(profiles, **kw),
        "fit": lambda **kw: plot.fit(fits, **kw),
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
    "break_even", "chips", "energy", "fit", "groups", "layers", "memory", "pareto", "rates",
    "timesteps", "tornado", "waterfall",
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
    ax = plot.energy(profiles, precision="int8", memory="spyx")
    priced = [p.energy(precision="int8", memory="spyx").total_pj for p in profiles]
    found = widths(ax)
    assert ax.get_xlabel() == "Energy per sample (mJ)"
    assert [found[row] for row in range(4)] == pytest.approx([pj / 1e9 for pj in priced])


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


def test_markers_stand_at_accuracy_and_energy(profiles):
    ax = plot.pareto(profiles)
    assert ax.get_xlabel() == "Energy per sample (µJ)"
    drawn = {line.get_label(): line.get_xydata()[0] for line in ax.get_lines()[1:]}
    for profile in profiles:
        expected = (profile.energy().total_pj / 1e6, 100 * profile.accuracy)
        assert tuple(drawn[profile.name]) == pytest.approx(expected)


def test_bars_of_a_tornado_reach_from_now_to_the_energies_at_the_ends(profiles):
    found = analyzer.sensitivity(profiles[3], vary={"activity": (0.5, 2)})
    ax = plot.tornado(found)
    assert ax.get_xlabel() == "Energy per sample (µJ)"
    bars = [bar for group in ax.containers for bar in group]
    ends = sorted(round(bar.get_x() + bar.get_width(), 9) for bar in bars)
    rows = found.rows
    expected = [
        pj / 1e6 for pj in [*rows["low_pj"], *rows["high_pj"]] if pj != found.report.total_pj
    ]
    assert ends == pytest.approx(sorted(expected))
    assert {bar.get_x() for bar in bars} == {found.report.total_pj / 1e6}


def test_markers_of_memory_stand_at_the_ratios(profiles):
    found = analyzer.beyond_arithmetic(profiles[0], profiles[1:], precision="int8")
    ax = plot.memory(found)
    for model, rows in found.rows.groupby("model"):
        (line,) = [line for line in ax.get_lines() if line.get_label() == model]
        assert line.get_xdata().tolist() == rows["ratio"].tolist()


def test_accuracy_has_an_axis_of_its_own(converted):
    ax = plot.timesteps(converted)
    (right,) = [other for other in ax.figure.axes if other is not ax]
    assert right.get_lines()[0].get_ydata() == pytest.approx([100 * p.accuracy for p in converted])
    assert ax.get_lines()[0].get_xdata().tolist() == [4, 8, 16]
    energies = [p.energy().total_pj / 1e6 for p in converted]
    assert ax.get_ylabel() == "Energy per sample (µJ)"
    assert ax.get_lines()[0].get_ydata() == pytest.approx(energies)


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


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": "oup"}, "no style is called 'oup': choose one of page, ieee"),
        *[({"target": width}, "name of a journal or a width") for width in (0, -1, math.inf, None)],
        *[({"target": 3.5, "size": size}, "a number of points") for size in (0, -2, math.inf)],
        ({"font": "Tmes"}, "no font is called 'Tmes' here"),
    ],
)
def test_styles_that_are_none(wrong, said):
    before = dict(matplotlib.rcParams)
    with pytest.raises(AnalyzerError, match=said), plot.style(**wrong):
        pass
    assert dict(matplotlib.rcParams) == before


def test_a_notebook_that_turns_interactive_in_a_style_stays_so():
    """It shows no figure of later cells otherwise."""
    try:
        with plot.style("ieee"):
            matplotlib.interactive(True)
        assert matplotlib.is_interactive()
    finally:
        matplotlib.interactive(False)


def test_styles_are_those_of_the_journals():
    for name, width in (("ieee", 3.5), ("acm", 3.33), ("neurips", 5.5), ("nature", 89 / 25.4)):
        with plot.style(name):
            assert matplotlib.rcParams["figure.figsize"][0] == pytest.approx(width)
    with plot.style("ieee", font="sans"):
        assert matplotlib.rcParams["font.family"] == ["sans-serif"]


class Stem(torch.nn.Module):
    """A convolution of the real image with a rectifier of its own: two rows of one module."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Parameter(torch.rand(2, 1, 3, 3))

    def forward(self, x):
        return torch.relu(torch.nn.functional.conv2d(x, self.conv))


def test_a_module_that_reads_real_values_has_no_firing_rate():
    model = torch.nn.Sequential(Stem(), IF(), torch.nn.Conv2d(2, 1, 3)).eval()
    axes = dict.fromkeys(("0", "2"), "(T B) C H W")
    x = torch.rand(4, 2, 1, 8, 8)

    def forward(model, x):
        y = model[0](x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return model[2](model[1](y).flatten(0, 1))

    profile = analyzer.profile(
        model, x, timesteps=4, layouts={"": "T B C H W", **axes}, forward=forward
    )
    assert set(profile.sparsity("timestep")["module"]) == {"0", "2"}
    ax = plot.rates(profile)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2"]


def test_rows_of_shared_axes_are_refused(profiles):
    _, axes = pyplot.subplots(1, 2, sharey=True)
    for draw in (plot.layers, plot.rates):
        with pytest.raises(AnalyzerError, match="share their vertical axis"):
            draw(profiles[2:], ax=axes)
    _, axes = pyplot.subplots(2, 1, sharex=True)
    plot.layers([profiles[0], profiles[3]], ax=axes)
    labels = {ax.get_xlabel() for ax in axes}
    assert len(labels) == 1  # one unit, as there is one scale


def test_the_bar_of_colours_is_that_of_the_rates(profiles):
    figure, ax = pyplot.subplots()
    ax.scatter([0], [0], c=[5.0])
    plot.rates(profiles[3], ax=ax)
    (bar,) = [other for other in figure.axes if other is not ax]
    assert bar.get_ylim()[0] == 0
    assert bar.get_ylim()[1] <= 1


@pytest.mark.parametrize("count", [12, 37])
@pytest.mark.parametrize("style", ["ieee", "nature", "page"])
@pytest.mark.filterwarnings("error")
def test_legends_of_many_models_are_neither_cut_nor_all_there_is(profiles, count, style):
    many = [
        replace(p, metadata={**p.metadata, "name": f"a network of some length, number {i}"})
        for i, p in zip(range(count), itertools.cycle(profiles), strict=False)
    ]
    for draw in (plot.pareto, lambda some: plot.groups(some, by=["spatial"])[0]):
        with plot.style(style):
            ax = draw(many)
            ax.figure.draw_without_rendering()
            (legend,) = ax.figure.legends
            assert legend.get_window_extent().x1 <= ax.figure.bbox.width + 1
            assert ax.get_window_extent().height > 60
    looks = {
        (str(line.get_color()), line.get_marker(), line.get_fillstyle()) for line in ax.get_lines()
    }
    assert len(looks) == count


@pytest.mark.parametrize("name", [r"$\frac$", "was $5, now $6", "模型", "x" * 90, ""])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_are_texts_whatever_they_hold_also_without_a_style(profiles, name):
    named = [replace(p, metadata={**p.metadata, "name": name}) for p in profiles[2:]]
    for draw in (plot.energy, plot.layers, plot.rates, plot.groups, plot.pareto):
        ax = one(draw(named))
        ax.figure.draw_without_rendering()
    if "$" in name:
        assert [label.get_text() for label in plot.energy(named[:1]).get_yticklabels()] == [name]


WRONG = [
    (lambda p: plot.energy([]), "nothing to draw"),
    (lambda p: plot.rates([]), "nothing to draw"),
    (lambda p: plot.pareto([]), "nothing to draw"),
    (lambda p: plot.energy("profile.json"), "not of str"),
    (lambda p: plot.layers(["profile.json"]), "not of str"),
    (lambda p: plot.timesteps(p[3]), "at least two profiles"),
    (lambda p: plot.waterfall(p[3]), "what analyzer.explain returned, not of Profile"),
    (lambda p: plot.tornado(p[3]), "what analyzer.sensitivity returned"),
    (lambda p: plot.memory(p[3]), "what analyzer.beyond_arithmetic returned"),
    (lambda p: plot.energy(p, ax=[1, 2]), "one matplotlib Axes, not list"),
    (lambda p: plot.layers(p[3], top=0), "at least two rows"),
    (lambda p: plot.groups(p[3], by=["temporal", "spatail"]), "no groups are spatail"),
    (lambda p: plot.groups(p[3], by=[]), "no groups are none"),
    (lambda p: plot.groups(p[3], skip="stem.cnv"), "no module is called 'stem.cnv'"),
]


@pytest.mark.parametrize(("draw", "said"), WRONG)
def test_what_can_not_be_drawn_is_said_in_a_sentence(profiles, draw, said):
    with pytest.raises(AnalyzerError, match=said):
        draw(profiles)
    assert not pyplot.get_fignums()


def test_one_name_is_taken_for_a_list_of_one(profiles):
    (ax,) = plot.groups(profiles[3], by="temporal", skip="stem.conv")
    assert ax.get_title() == "temporal"
    assert plot.pareto(profiles[3]).get_lines()
