"""Tables of text, cell by cell."""

import pandas as pd

from analyzer.tabular import to_latex, to_markdown

FRAME = pd.DataFrame({"a|b": ["x", "long cell"], "N": ["1", "20"], "q": ["", "z"]})


def test_markdown_pads_and_aligns():
    assert to_markdown(FRAME, align="lrl").splitlines() == [
        "| a\\|b      |   N | q   |",
        "| --------- | --: | --- |",
        "| x         |   1 |     |",
        "| long cell |  20 | z   |",
    ]
    assert to_markdown(FRAME).splitlines()[1] == "| --------- | --- | --- |"
    assert len(to_markdown(FRAME.head(0)).splitlines()) == 2


def test_latex_escapes_a_bound():
    assert r"$\geq$ 1" in to_latex(pd.DataFrame({"e": ["≥ 1"]}))
