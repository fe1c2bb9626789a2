"""Names that act elsewhere are text in whatever is printed or written."""

import csv
import io

import pandas as pd
import pytest

import analyzer
from analyzer.inert import cell_of, csv_of, in_csv, in_markdown, one_line
from analyzer.report.tables import Table
from analyzer.tabular import to_html, to_latex, to_markdown, to_rich, to_text

EVIL = "\x1b]0;owned\x07\x9b2J\u202e\r\n\tx"


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "'=1", "''=1", " =1", "＝1", "= add", "--", "-x"]
)
def test_no_spreadsheet_computes_a_text(text):
    found = in_csv(text)
    assert found == f"'{text}"
    assert cell_of(found) == text


@pytest.mark.parametrize(
    "text", ["conv", "-2.5", "+3e4", "1", "'", "'conv", "–", "-", "", "a=b", "é"]
)
def test_other_texts_and_numbers_stay(text):
    assert in_csv(text) == cell_of(text) == text


def test_numbers_of_a_table_stay_numbers():
    frame = pd.DataFrame(
        {"=name": ["=1+1", "b"], "n": [-1, 2**60], "x": [-1e-300, None], "mixed": [-3, "-x"]}
    )
    frame["big"] = pd.Series([2**60 + 1, None], dtype="Int64")
    rows = list(csv.reader(io.StringIO(csv_of(frame))))
    assert rows == [
        ["'=name", "n", "x", "mixed", "big"],
        ["'=1+1", "-1", "-1e-300", "-3", str(2**60 + 1)],
        ["b", str(2**60), "", "'-x", ""],
    ]
    assert frame["=name"].tolist() == ["=1+1", "b"]


def test_our_own_tables_hold_nothing_that_is_computed():
    from analyzer.energy.declared.technology import technology
    from analyzer.report.tables import constants

    for name in analyzer.technologies():
        known = technology(name)
        for row in csv.reader(io.StringIO(csv_of(constants(known, {"ac_pj": 1.0}, "fp32").raw))):
            assert not any(cell.startswith(("'", "=", "+", "@")) for cell in row)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        (r"\<b>", r"\<b>"),  # Markdown shows the bracket
        (r"\\<b>", r"\\&lt;b>"),
        ("<!--", "&lt;!--"),
        ("1 < 2, a<1", "1 < 2, a<1"),
        ("![x](http://a)", r"![x]\(http://a)"),
    ],
)
def test_markdown_has_no_html_and_no_links(text, shown):
    assert in_markdown(text) == shown


@pytest.mark.parametrize(("text", "shown"), [("a|b", r"a\|b"), (r"a\|b", r"a\\\|b")])
def test_a_bar_ends_no_cell(text, shown):
    assert to_markdown(pd.DataFrame({"a": [text]})).splitlines()[2] == f"| {shown} |"


def files_of(frame) -> str:
    table = Table("t", EVIL, frame, frame, frozenset(frame))
    return "".join(content.decode() for content in table.files().values())


FRAME = pd.DataFrame({f"head{EVIL}": [EVIL], "op": [f"add{EVIL}"]})


def rich_text(shown) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=400)
    console.print(shown)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "write",
    [
        to_markdown,
        lambda frame: to_latex(frame, EVIL),
        lambda frame: to_html(frame, EVIL, notes=[EVIL]),
        lambda frame: to_text(frame, "ll"),
        lambda frame: rich_text(to_rich(frame, "ll", title=EVIL, below=[EVIL])),
        csv_of,
        files_of,
    ],
    ids=["markdown", "latex", "html", "text", "rich", "csv", "files"],
)
def test_no_table_keeps_a_control_character(write):
    found = write(FRAME)
    assert r"\x1b]0;owned" in found or r"\textbackslash{}x1b" in found
    assert not {c for c in found if not c.isprintable()} - set("\n\t")


def test_a_profile_shows_itself_in_letters():
    table = {"module": [f"a{EVIL}"], "op": [f"=add{EVIL}"], "dense_macs": [10]}
    profile = analyzer.from_rates(table | {"firing_rate": [0.5]}, name=f"=net{EVIL}<b>")
    report = profile.energy(convention="rate")
    found = analyzer.compare([profile], convention="rate")
    for text in (
        repr(profile),
        repr(report),
        str(profile.summary()),
        repr(found),
        found.to_csv(),
        found.to_markdown(),
        report.to_markdown(),
        report.to_latex(),
        profile.summary().to_markdown(),
        rich_text(profile),
        rich_text(report),
    ):
        assert not {c for c in text if not c.isprintable()} - {"\n", "\t", "\xa0"}
    assert found.to_csv().splitlines()[1].startswith("'=net")
    assert "<b>" not in found.to_markdown() + report.to_markdown() + report._repr_html_()


def test_one_line_keeps_ordinary_text():
    assert one_line("Ge²mS-T – 1 × 2 µJ") == "Ge²mS-T – 1 × 2 µJ"
