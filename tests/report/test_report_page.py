"""The page of a report: sections, links, metadata, and the same bytes every time."""

import os
import re
import subprocess
import sys
from collections import Counter
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_profiles import HOSTILE, spiking

from analyzer.errors import AnalyzerError
from analyzer.report import live
from analyzer.report.live.document import SCRIPTS
from analyzer.report.page import OWNED, render

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Checks that elements close in order; collects tags and ids."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids = [], Counter(), []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def reader(shell):
    reader = Reader()
    reader.feed(shell)
    reader.close()
    return reader


@pytest.fixture
def svg_only(monkeypatch):
    """Draws only SVG files, for tests that read the text of a page."""
    monkeypatch.setattr("analyzer.plot.canvas.FORMATS", ("svg",))


def test_every_file_is_there(folder):
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    profiles = {path for path in written if path.startswith("profiles/")}
    assert written - profiles == OWNED
    assert len(profiles) == 5


def test_page_is_well_formed_with_unique_ids(reader):
    assert reader.open == []
    assert not [name for name, times in Counter(reader.ids).items() if times > 1]


def test_page_needs_nothing_from_outside(page, shell):
    assert not re.findall(r"https?://", shell)
    assert "sourceMappingURL" not in page
    targets = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", shell)
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert "@import" not in shell
    assert "url(" not in shell


def test_links_inside_the_page_lead_somewhere(shell, reader):
    for target in re.findall(r"href=\"#([^\"]*)", shell):
        assert target in reader.ids


def test_scripts_find_every_part_that_they_ask_for(reader):
    scripts = "".join(
        (Path(live.__file__).parent / "static" / f"{name}.js").read_text("utf-8")
        for name in SCRIPTS
    )
    asked = set(re.findall(r"\$\(\"([\w-]+)\"\)", scripts))
    assert len(asked) > 20
    assert asked <= set(reader.ids)


def test_hostile_name_is_text_everywhere(shell, folder):
    assert escape(HOSTILE, quote=False) in shell.replace("&#34;", '"')
    assert "alert(1)</script>" not in shell
    for svg in (folder / "figures").glob("*.svg"):
        assert b"<script" not in svg.read_bytes()
    tex = (folder / "tables" / "comparison.tex").read_text(encoding="utf-8")
    assert r'\& "x"\_\%' in tex
    assert "<script>" not in (folder / "README.md").read_text(encoding="utf-8")


def test_sections_come_in_order(shell):
    found = re.findall(r'<section id="([\w-]+)"', shell)
    assert found == [
        "models", "layer-by-layer", "tradeoffs", "decides", "activity", "reading", "measurement",
        "remarks",
    ]  # fmt: skip
    assert shell.index("<h1>") < shell.index('class="summary"') < shell.index('id="models"')


def test_page_is_accessible(shell, reader):
    assert '<html lang="en">' in shell
    assert reader.tags["caption"] == reader.tags["table"]
    assert not re.search(r"<th(?![^>]*scope=)[ >]", shell)
    for landmark in ("main", "header", "footer", "nav", "aside"):
        assert reader.tags[landmark] == 1


def test_page_says_what_it_says_without_scripts(shell):
    text = unescape(shell)
    assert "AC = events of operations that spikes drive" in text
    assert "Of 5 models silent is the cheapest" in text
    assert "Spikes/synapse" in text[text.index("<noscript>") :]


def test_measurement_shows_what_is_known_and_a_dash_otherwise(svg_only, tmp_path):
    render([spiking(seed=None, device="cuda:0")], tmp_path / "r")
    page = (tmp_path / "r" / "index.html").read_text(encoding="utf-8")
    table = page[page.index('id="measurement"') :]
    heads = re.findall(r'<th scope="col">([^<]*)', table)[1:]
    cells = dict(zip(heads, re.findall(r"<td>([^<]*)", table), strict=True))
    assert cells["Seed"] == "–"
    assert cells["Device"] == "cuda:0"
    assert cells["Versions"] == "torch 2.13.0, python 3.11.7"
    assert cells["Samples"] == "2"


def test_same_profiles_same_bytes(folder, tmp_path):
    """Rendered in another process, with another hash seed, at another time."""
    code = (
        "from pathlib import Path; from report_profiles import *\n"
        "from analyzer.report.page import render\n"
        "long = 'a-name-much-longer-than-any-figure-could-ever-print-on-one-line-of-its-axis'\n"
        "render([spiking(), dense(correct=1), silent(data='random'), spiking(HOSTILE, samples=4),"
        f" dense(long)], Path({str(tmp_path / 'again')!r}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    for path in sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()):
        assert (folder / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


def test_rendering_needs_no_torch():
    code = "import analyzer.report.page, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sound_measurement_has_no_section_of_warnings(svg_only, tmp_path):
    render([spiking()], tmp_path)
    assert re.search(r'id="remarks"[^>]* hidden>', (tmp_path / "index.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profiles": []}, "nothing to report"),
        ({"technology": "46nm"}, "unknown technology '46nm'"),
        ({"convention": "exakt"}, "did you mean 'exact'"),
    ],
    ids=["no-profiles", "technology", "convention"],
)
def test_wrong_arguments_write_nothing(tmp_path, arguments, message):
    arguments = {"profiles": [spiking()]} | arguments
    with pytest.raises(AnalyzerError, match=message):
        render(arguments.pop("profiles"), tmp_path / "r", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_title_is_the_users(svg_only, tmp_path):
    render([spiking()], tmp_path, title="Fish & <chips>")
    assert "<h1>Fish &amp; &lt;chips&gt;</h1>" in (tmp_path / "index.html").read_text()
