"""What all questions return: a table in millijoules, a figure, and a way to show itself."""

import io

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

import analyzer
from analyzer.energy.answer import Answer


def rated(name, rate, dense=1000, **metadata):
    table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
    made = analyzer.from_rates(
        table | {"dense_macs": [dense, 100], "firing_rate": [rate, 1]}, name=name
    )
    made.metadata.update(metadata)
    return made


ANN = rated("ann", 1.0, dense=250)
SNN = rated("snn", 0.2, timesteps=4)
LATER = rated("snn", 0.2, dense=2000, timesteps=8)

ANSWERS = {
    "explain": analyzer.explain(SNN, "rate", "dense"),
    "break_even": analyzer.break_even(SNN, ANN, convention="rate"),
    "chips": analyzer.chips(ANN, [SNN], "rate", technologies=["45nm", "7nm"]),
    "sensitivity": analyzer.sensitivity(SNN, convention="rate", vary={"activity": (0.5, 2)}),
    "against_timesteps": analyzer.against_timesteps([SNN, LATER], convention="rate"),
    "beyond_arithmetic": analyzer.beyond_arithmetic(ANN, [SNN], convention="rate", memories=[None]),
}


@pytest.fixture(params=ANSWERS.values(), ids=ANSWERS)
def answer(request):
    assert isinstance(request.param, Answer)
    return request.param


def test_energies_are_in_millijoules(answer):
    frame, rows = answer.frame, answer.rows
    parts = {part for column in frame for part in str(column).split("_")}
    assert "pj" not in parts
    assert "mj" in parts
    for old, new in zip(rows, frame, strict=True):
        factor = 1e-9 if new != old else 1
        if rows[old].dtype.kind == "f":
            assert frame[new].tolist() == pytest.approx((rows[old] * factor).tolist(), nan_ok=True)


def test_an_answer_draws_itself(answer):
    drawn = answer.plot()
    assert isinstance(drawn, Axes)
    mine = Figure().subplots()
    assert answer.plot(ax=mine) is mine
    assert mine.has_data()


def test_an_answer_shows_itself(answer):
    text, html = repr(answer), answer._repr_html_()
    assert answer.summary in text
    assert len(answer.shown().columns) == html.count("<th ") > 2
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(answer)
    assert "J" in console.export_text()
    assert answer.to_markdown().count("\n") == len(answer.shown()) + 1


def test_the_lines_of_a_break_even_meet_where_both_take_the_same():
    found = analyzer.break_even(SNN, rated("ann", 1.0, dense=150), convention="rate")
    ax = found.plot()
    slope, level = ax.get_lines()[0], ax.get_lines()[1]
    (x0, x1), (y0, y1) = slope.get_data()
    assert found.rate < found.break_even_rate < 1
    even = 100 * found.break_even_rate
    at = y0 + (y1 - y0) * (even - x0) / (x1 - x0)
    assert at == pytest.approx(level.get_ydata()[0])
    marks = {round(float(line.get_xdata()[0]), 6) for line in ax.get_lines()[2:]}
    assert marks == {20.0, round(even, 6)}


def test_a_break_even_that_is_out_of_reach_is_not_marked():
    found = analyzer.break_even(SNN, rated("big", 1.0, dense=10_000), convention="rate")
    assert found.break_even_rate > 1
    assert len(found.plot().get_lines()) == 3
    small = analyzer.from_rates(
        {"module": ["head"], "op": ["linear"], "dense_macs": [50], "firing_rate": [1]}, name="small"
    )
    never = analyzer.break_even(SNN, small, convention="rate")
    assert never.frame["break_even_rate"].isna().all()
    assert "never" in repr(never)
    assert len(never.plot().get_lines()) == 3
