"""The site as it is built: every public name and command stands in it, and nothing is from outside.

``make docs`` turns warnings into errors, such as a link that leads nowhere; so does this build.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.main import get_command

import analyzer
from analyzer.cli import app

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-n", "-q",
         "-d", folder / "doctrees", "-c", "docs", ".", folder / "html"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page loads, what it links to, what may be linked to, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(found["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loads.append(found["src"])

    def handle_data(self, data):
        self.words.append(data)


def test_home_leads_to_all_pages_of_docs(site):
    assert 'url=docs/index.html"' in (site / "index.html").read_text("utf-8")
    home = site / "docs" / "index.html"
    files = {link.partition("#")[0] for link in Page(home).links}
    linked = {home.resolve()} | {(site / "docs" / file).resolve() for file in files}
    assert {path.resolve() for path in (site / "docs").rglob("*.html")} <= linked
    notebooks = {(site / "notebooks" / f"{p.stem}.html").resolve()
                 for p in (ROOT / "notebooks").glob("*.ipynb")}  # fmt: skip
    assert notebooks
    assert notebooks <= linked


def test_every_public_name_is_explained(site):
    ids = Page(site / "docs" / "reference" / "python.html").ids
    missing = {name for name in analyzer.__all__ if f"analyzer.{name}" not in ids}
    # Modules have an anchor of another form.
    assert missing <= {"callbacks", "models", "plot", "products"}
    assert {f"module-analyzer.{name}" for name in missing} <= ids
    for name in missing:
        inner = {f"analyzer.{name}.{part}" for part in getattr(analyzer, name).__all__}
        assert inner <= ids | {"analyzer.products.ProductRule"}  # an alias of a type


def test_every_command_and_option_is_explained(site):
    text = " ".join("".join(Page(site / "docs" / "reference" / "command-line.html").words).split())
    for name, command in get_command(app).commands.items():
        assert f"analyzer {name}" in text
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("--") or option in text, (name, option)


def test_every_data_file_stands_with_its_source(site):
    for page, known in (
        ("conventions", analyzer.conventions()),
        ("technologies", analyzer.technologies()),
        ("hardware", analyzer.hardware()),
        ("memory-models", analyzer.memory_models()),
    ):
        found = Page(site / "docs" / "reference" / f"{page}.html")
        text = _plain("".join(found.words))
        for name, source in known.items():
            assert name.replace(".", "-") in found.ids or f"id-{name}" in found.ids or name in text
            assert _plain(source) in text, (page, name)


def _plain(text: str) -> str:
    """Letters and digits alone, for quotes and spaces change on the way to a page."""
    return re.sub(r"\W", "", text)


def test_pages_load_nothing_from_outside(site):
    for path in site.rglob("*.html"):
        if path.is_relative_to(site / "_downloads"):
            continue
        for address in Page(path).loads:
            assert not re.match(r"(\w+:)?//", address), (path, address)
            file = address.partition("?")[0]
            assert file.startswith("data:") or (path.parent / file).exists(), (path, address)
    for path in (site / "_static").rglob("*.css"):
        assert not re.search(r"(@import|url\()[\s\"']*(\w+:)?//", path.read_text("utf-8")), path


def test_links_between_pages_resolve(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")
             if not path.is_relative_to(site / "_downloads")}  # fmt: skip
    broken = []
    for path, page in pages.items():
        for link in page.links:
            file, _, anchor = link.partition("#")
            if re.match(r"\w+:", link):
                continue
            target = (path.parent / file).resolve() if file else path
            known = pages[target].ids if target in pages else None
            if not target.exists() or (anchor and known is not None and anchor not in known):
                broken.append((path.relative_to(site), link))
    assert not broken
