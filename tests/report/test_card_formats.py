"""Three formats of one card: the same figures in each, and names that are nothing but text."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from driven import browser, needs_browser
from markdown_it import MarkdownIt
from report_profiles import HOSTILE, spiking

from analyzer.cards.content import card_of
from analyzer.cards.html import html
from analyzer.cards.latex import _ACCENTED, escaped, latex
from analyzer.cards.markdown import markdown
from analyzer.entries import collect

EVIL = (
    HOSTILE + " |a|b| `x` ``` *b* _i_ [l](javascript:1) ![p](http://x/p.png) ~~s~~ $x^2$ #h &amp; "
    r"\input{/etc/passwd} \end{document} % ^^41 {} \\ -- --- '' `` ?` ~ ^ 神 ∑ é Ł ß µ × ≥ …→ 🧠"
)
ASKED = {"technology": "45nm", "convention": "exact", "precision": "fp32", "memory": "lemaire"}


def card(name="net", **asked):
    asked = ASKED | {"memory": None} | asked
    profile = replace(spiking(), metadata=spiking().metadata | {"name": name, "data": name})
    (entry,) = collect([profile], **asked)
    return card_of(entry, "profiles/x.json.gz", asked, {}, "0.1.0")


CARDS = {"plain": card(), "evil": card(EVIL), "wide": card(precision="w4a8")}


def texts(made):
    """All that a card says, in order."""
    yield made.title
    yield made.lead
    for section in made.sections:
        yield section.title
        if section.rows:
            yield from section.columns
            for row in section.rows:
                yield from row
        yield from section.notes
        yield from section.commands


class Text(HTMLParser):
    """The texts of the elements that hold text, and all tags and attributes."""

    def __init__(self):
        super().__init__()
        self.found, self.tags, self.attributes = [], set(), []
        self.open = None

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag in ("h1", "h2", "p", "td", "th", "pre"):
            self.open = ""

    def handle_data(self, data):
        if self.open is not None:
            self.open += data

    def handle_endtag(self, tag):
        if tag in ("h1", "h2", "p", "td", "th", "pre"):
            self.found += self.open.split("\n") if tag == "pre" else [self.open]
            self.open = None


@pytest.mark.parametrize("which", CARDS)
def test_html_says_what_the_card_says(which):
    parser = Text()
    parser.feed(html(CARDS[which]))
    assert parser.found == list(texts(CARDS[which]))


@pytest.mark.parametrize("which", CARDS)
def test_html_holds_no_script_and_nothing_from_outside(which):
    parser = Text()
    parser.feed(html(CARDS[which]))
    assert parser.tags == {
        "html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "p",
        "table", "thead", "tbody", "tr", "th", "td", "pre",
    }  # fmt: skip
    assert {name for name, _ in parser.attributes} <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "scope", "style",
        "data-column",
    }  # fmt: skip
    style = re.search("<style>(.*?)</style>", html(CARDS[which]), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def plain(token):
    """The text of an inline token of Markdown, which must be nothing but text."""
    assert {child.type for child in token.children} <= {"text", "text_special"}
    return "".join(child.content for child in token.children)


@pytest.mark.parametrize("which", CARDS)
def test_markdown_says_what_the_card_says(which):
    """Read by a reader of GitHub's Markdown."""
    found = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown(CARDS[which])):
        if token.type == "inline":
            found.append(plain(token))
        elif token.type == "fence":
            found += token.content.splitlines()
        else:
            assert token.type.rpartition("_")[0] in (
                "heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td",
            )  # fmt: skip
    assert found == [" ".join(text.split()) for text in texts(CARDS[which])]


def test_markdown_holds_no_formula_of_a_name():
    """GitHub sets what stands between dollars as a formula."""
    text, _, _ = markdown(CARDS["evil"]).partition("```sh")
    assert re.findall(r"(?<!\\)\$", text) == []


def compiled(text, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX is installed")
    (tmp_path / "card.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "card.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    pypdf = pytest.importorskip("pypdf")
    return "".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "card.pdf").pages)


def figures(text):
    """Numbers of a text, whatever is between them."""
    return re.findall(r"\d+(?:[.,]\d+)*", text)


@pytest.mark.parametrize("which", CARDS)
def test_latex_prints_the_same_figures(which, tmp_path):
    made = CARDS[which]
    printed = re.sub(r"\s", "", compiled(latex(made), tmp_path))
    for title in ("Result", "What is charged"):
        (section,) = [s for s in made.sections if s.title == title]
        for row in section.rows:
            for cell in row:
                for figure in figures(cell):
                    assert figure in printed, figure
    for row in (row for section in made.sections for row in section.rows):
        assert " & ".join(map(escaped, row)) in latex(made)


def test_latex_is_a_part_of_a_paper_too(tmp_path):
    (tmp_path / "one.tex").write_text(latex(CARDS["plain"]), encoding="utf-8")
    (tmp_path / "two.tex").write_text(latex(CARDS["evil"]), encoding="utf-8")
    paper = (
        r"\documentclass{article}\usepackage{array}\usepackage{booktabs}\begin{document}"
        "Before\n\\input{one}\n\\input{two}\nAfter\\end{document}"
    )
    printed = compiled(paper, tmp_path)
    assert "Before" in printed
    assert "After" in printed


def test_latex_has_every_letter_that_it_is_given(tmp_path):
    letters = [chr(n) for n in range(0x20, 0x2FFF) if chr(n).isprintable()]
    kept = [c for c in letters if _ACCENTED.fullmatch(c)]
    assert len(kept) > 140
    line = " ".join(map(escaped, [*kept, *"–—“”‘’−≤→⌈⌉·…µ×²≥\"'`<>|[]{}~^$&#%_\\"]))
    paper = rf"\documentclass{{article}}\begin{{document}}{line}\end{{document}}"
    assert compiled(paper, tmp_path)
    assert escaped("神") == "{[}U+795E]"
    assert escaped("--") == "-{}-"


@needs_browser
def test_a_phone_needs_no_scrolling_to_the_side(tmp_path):
    said = []
    with browser() as chromium:
        page = chromium.new_context(viewport={"width": 360, "height": 800}).new_page()
        page.on("console", lambda message: said.append(message.text))
        for which, made in CARDS.items():
            path = tmp_path / f"{which}.html"
            path.write_text(html(made), encoding="utf-8")
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not said
