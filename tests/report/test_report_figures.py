"""The figures of a report: texts, bars and axes of their SVG files."""

import itertools
import xml.etree.ElementTree as ET

import matplotlib
import pytest
import seaborn as sns
from report_profiles import build, dense, family, layer, realistic, silent, spiking

from analyzer.entries import collect
from analyzer.plot.labels import fold, path_labels, wrapped
from analyzer.plot.style import AC_STYLE, MAC_STYLE
from analyzer.report.figures import draw

SVG = "{http://www.w3.org/2000/svg}"


def drawn(profiles):
    return {d.name: d for d in draw(collect(profiles, "45nm", "exact"))}


@pytest.fixture(autouse=True, scope="module")
def svg_only():
    """Draws only SVG files, which is faster; the tests of the page draw all formats."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analyzer.plot.canvas.FORMATS", ("svg",))
        yield


def texts(drawing):
    root = ET.fromstring(drawing.files[f"{drawing.name}.svg"])
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def small(svg_only):
    return drawn([spiking(), dense(), silent()])


def test_energy_shows_models_totals_and_ratios(small):
    found = texts(small["energy"])
    assert {"spiking", "dense", "silent", "AC", "MAC", "Energy per sample (nJ)"} <= set(found)
    assert {"6.22 nJ (1.00×)", "55.2 nJ (8.87×)", "0 pJ (0×)"} <= set(found)


def test_energy_bars_have_the_right_lengths(small):
    """Zeros have no bar: there are bars for AC and MAC of one model and for MAC of the other."""
    root = ET.fromstring(small["energy"].files["energy.svg"])
    bars = []
    for path in root.iter(f"{SVG}path"):
        style = path.get("style", "")
        if path.get("clip-path") and ("#0072b2" in style or "url(#" in style):
            xs = [
                float(x)
                for x in path.get("d").replace("L", "M").split("M")[1:]
                for x in [x.split()[0]]
            ]
            bars.append(max(xs) - min(xs))
    ac, mac, dense_mac = (bars[0], *sorted(bars[1:]))
    assert len(bars) == 3
    assert mac / ac == pytest.approx(4600 / 1620, rel=1e-3)
    assert dense_mac / ac == pytest.approx(55200 / 1620, rel=1e-3)


def test_layers_are_named_in_order_of_execution(small):
    found = texts(small["layers"])
    assert [t for t in found if t in ("stem", "fc1", "fc2", "fc")] == [
        "stem",
        "fc1",
        "fc2",
        "stem",
        "fc1",
        "fc",
    ]


def test_firing_rate_shows_each_timestep_of_models_with_time(small):
    found = texts(small["rates"])
    assert {"10", "20", "30", "40", "0"} <= set(found)
    assert "spiking" in found
    assert "dense" not in found


def test_zero_is_shown_as_zero_on_the_logarithmic_axis(small):
    found = texts(small["ac_mac"])
    # The tick at the left, AC of the dense model, both of the silent one.
    assert found.count("0") == 4
    assert {"1.80 k", "1.00 k", "12.0 k"} <= set(found)


def test_many_timesteps_keep_a_readable_axis():
    site = layer("fc", macs=640, elements=640, rate=0, steps=[t / 64 for t in range(64)])
    found = texts(drawn([build("m", [site], timesteps=64)])["rates"])
    assert [t for t in found if t in ("0", "8", "16", "24", "32", "56")][:6]
    assert "1" not in found


def test_a_timestep_that_a_layer_did_not_run_is_a_dash():
    sites = [
        layer("short", macs=20, elements=20, rate=0, steps=(0.5, 0.5)),
        layer("long", macs=30, elements=30, rate=0, steps=(0.2, 0.2, 0.2)),
    ]
    assert "–" in texts(drawn([build("m", sites)])["rates"])


def test_no_firing_rate_without_time():
    assert "rates" not in drawn([dense()])


@pytest.mark.parametrize("count", [1, 12])
def test_one_and_twelve_models(count):
    profiles = [
        realistic(f"m{i}", blocks=0, width=8 * (i + 1), kind="spiking") for i in range(count)
    ]
    for drawing in drawn(profiles).values():
        found = texts(drawing)
        assert all(f"m{i}" in found for i in range(count)), drawing.name


def test_a_figure_with_a_panel_a_model_shows_the_first_twelve():
    profiles = [realistic(f"m{i}", blocks=0, width=8, kind="spiking") for i in range(13)]
    drawings = drawn(profiles)
    for name, found in ((name, texts(drawing)) for name, drawing in drawings.items()):
        assert ("m12" in found) == (name not in ("layers", "rates"))
        said = "The first 12 of 13 models." in drawings[name].caption
        assert said == (name in ("layers", "rates"))


def test_a_hundred_rows_are_folded_and_said_to_be():
    deep = family()[3]
    made = drawn([deep])["layers"]
    found = texts(made)
    assert "99 rows in 27 groups" in found
    assert "blocks.11.mlp (2 rows)" in found
    assert "summed per parent module" in made.caption


def test_nothing_worked_at_all():
    assert set(drawn([build("empty", [])])) == {"energy", "layers", "ac_mac"}


def test_text_is_at_least_eight_points_at_page_width(small):
    for drawing in small.values():
        root = ET.fromstring(drawing.files[f"{drawing.name}.svg"])
        assert float(root.get("width").removesuffix("pt")) == pytest.approx(7.2 * 72)
        for node in root.iter(f"{SVG}text"):
            size = node.get("style").split("font-size:")[1].split("px")[0]
            assert float(size) >= 8


def test_colours_differ_in_grey():
    grey = [sns.utils.relative_luminance(s["facecolor"]) for s in (AC_STYLE, MAC_STYLE)]
    assert abs(grey[0] - grey[1]) > 0.3
    assert "hatch" in MAC_STYLE
    assert "hatch" not in AC_STYLE


def test_users_settings_neither_matter_nor_change():
    profiles = [spiking(), dense()]
    plain = drawn(profiles)
    with matplotlib.rc_context({"font.size": 30, "text.parse_math": True, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        styled = drawn(profiles)
        assert dict(matplotlib.rcParams) == before
    assert {n: d.files for n, d in plain.items()} == {n: d.files for n, d in styled.items()}


def test_no_figure_is_left_with_pyplot(small):
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


@pytest.mark.filterwarnings("error")
def test_letters_that_the_font_lacks_stay_in_the_svg():
    assert "模型" in texts(drawn([spiking("模型")])["energy"])


def test_a_dollar_is_a_dollar():
    assert "$\\frac$ costs" in texts(drawn([spiking("$\\frac$ costs")])["energy"])


@pytest.mark.parametrize("limit", [8, 20, 40])
@pytest.mark.parametrize(
    "modules",
    [
        [f"blocks.{b}.{p}.fc{i}" for b in range(12) for p in ("attn", "mlp") for i in range(4)],
        [f"layer_{i}" for i in range(100)],
        [f"a.{i}" for i in range(99)],
        ["stem"],
    ],
    ids=["nested", "flat", "one-parent", "one-row"],
)
def test_folding_loses_no_row(modules, limit):
    groups = fold(modules, path_labels(modules, ["linear"] * len(modules)), limit)
    assert len(groups) <= limit
    rows = list(itertools.chain.from_iterable(members for _, members in groups))
    assert sorted(rows) == list(range(len(modules)))
    assert len({label for label, _ in groups}) == len(groups)


def test_folded_rows_are_pooled_not_averaged():
    """100 layers of 10 elements that all fire and 100 of 90 that do not: a rate of 10 %, not 50."""
    sites = [
        layer(
            f"layer_{i}",
            macs=90,
            elements=90 if i % 2 else 10,
            rate=0,
            steps=(0.0,) if i % 2 else (1.0,),
        )
        for i in range(200)
    ]
    cells = [t for t in texts(drawn([build("m", sites)])["rates"]) if t.isdigit()]
    assert "50" not in cells[1:]
    assert cells.count("100") <= 1  # the scale


def test_labels_name_the_operation_only_where_a_module_runs_several():
    assert path_labels(["a", "a", "b"], ["matmul", "linear", "linear"]) == [
        "a · matmul",
        "a · linear",
        "b",
    ]


def test_long_paths_keep_their_numbers_and_their_end():
    label = path_labels(["transformer.encoder.layer.11.attention.output.dense"], ["linear"])[0]
    assert len(label) <= 28
    assert ".11." in label
    assert label.endswith("dense")


@pytest.mark.parametrize("name", ["x", "word " * 30, "unbroken" * 20, "a-b-c-" * 15])
def test_wrapped_names_fit_two_lines(name):
    lines = wrapped(name.strip()).split("\n")
    assert 1 <= len(lines) <= 2
    assert max(map(len, lines)) <= 26
