"""What README, CONTRIBUTING and docs/ say is what happens: blocks run, paths exist, links resolve.

``python test_docs.py PAGE`` runs the blocks of one page in the folder that it is called in; how a
page marks them is described in CONTRIBUTING.md.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import analyzer
from analyzer.cli import app
from analyzer.energy.declared.convention import Convention
from analyzer.energy.declared.memory import Level, MemoryModel
from analyzer.energy.declared.technology import Technology, technology
from analyzer.energy.fitting.limits import Chip
from analyzer.energy.tables.budget import KEYS as BUDGET_KEYS
from analyzer.errors import AnalyzerError

ROOT = Path(__file__).parents[1]
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
NAMED = re.compile(r"`([\w./-]+\.(?:py|toml|csv))`:$")
NEEDS = re.compile(r"<!-- needs analyzer\.(\w+) -->$")
RUN = ("analyzer ", "python -m pytest ")

PATHS_TO_COME: frozenset[str] = frozenset()
"""Files that pages name already and that are being written; one that exists must leave."""


WRITTEN_BY_COMMANDS = frozenset({"index.html", "reports/demo/", "docs/_build/html"})
"""What commands on the pages write."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: What the opening fence names.
        text: Its content.
        line: Number of its first line in the page.
        before: The last line before the fence that is not empty.
        adjoins: Whether it follows a block with nothing but empty lines between.
    """

    language: str
    text: str
    line: int
    before: str
    adjoins: bool

    @property
    def target(self) -> str:
        """The file that it is the content of; empty where it is none."""
        named = NAMED.search(self.before)
        return named[1] if named and named[1].endswith(f".{_ENDING.get(self.language)}") else ""


_ENDING = {"python": "py", "toml": "toml", "csv": "csv"}
_NOT_RUN = ("console", "bibtex", "dockerfile")


def _text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks_of(page: Path) -> list[Block]:
    found: list[Block] = []
    lines = iter(enumerate(_text(page).splitlines(), 1))
    before, closed = "", False
    for number, line in lines:
        if line.startswith("```"):
            body = []
            for _, inner in lines:
                if inner.startswith("```"):
                    break
                body.append(inner)
            text = "\n".join(body) + "\n"
            found.append(Block(line[3:].strip(), text, number + 1, before, closed))
            before, closed = "", True
        elif line.strip():
            before, closed = line.strip(), False
    return found


def run_page(page: Path) -> None:
    """Runs the blocks of a page in order, in this folder; stops at what is not as the page says."""
    scope: dict[str, Any] = {"__name__": "page"}
    said: str | None = None
    for block in blocks_of(page):
        where = f"{page.name}, line {block.line}"
        needs = NEEDS.search(block.before)
        if needs and not hasattr(analyzer, needs[1]):
            said = None
        elif block.target:
            _write(Path(block.target), block)
            said = None
        elif block.language == "python":
            out = io.StringIO()
            with redirect_stdout(out):
                code = "\n" * (block.line - 1) + block.text
                exec(compile(code, str(page), "exec"), scope)
            said = out.getvalue()
        elif block.language == "sh":
            said = _run(block.text, where)
        elif block.language == "text" and block.adjoins and said is not None:
            shown, printed = (_lines(text) for text in (block.text, said))
            assert shown == printed, f"{where}: it prints\n{said}"
        elif block.language == "toml":
            raise AssertionError(f"{where}: the line before names no file")


def _write(path: Path, block: Block) -> None:
    """A table is added to, any other file is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text("utf-8") if block.language == "csv" and path.exists() else ""
    path.write_text(before + block.text, "utf-8")


def _run(text: str, where: str) -> str | None:
    """What the commands print that are ours; None where none is."""
    commands = [
        line for line in text.replace("\\\n", "").splitlines() if line.strip().startswith(RUN)
    ]
    outputs = []
    for command in commands:
        words = shlex.split(command, comments=True)
        words = ["-m", *words] if words[0] == "analyzer" else words[1:]
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{where}: {command}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    return "".join(outputs) if outputs else None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def prose_of(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```", "", _text(page), flags=re.S | re.M)


def test_code_is_in_a_language_that_is_known():
    """So that no block is passed over for the way that it is marked."""
    known = {*_ENDING, *_NOT_RUN, "sh", "text"}
    blocks = {(page.name, block.language) for page in PAGES for block in blocks_of(page)}
    assert not {(name, said) for name, said in blocks if said not in known and said[:1] != "{"}


def _with_code() -> Iterator[Any]:
    """The pages that have something to run; those with many commands are slow, for each starts."""
    for page in PAGES:
        blocks = [block for block in blocks_of(page) if block.language in (*_ENDING, "sh")]
        commands = sum(block.text.count("analyzer ") for block in blocks if block.language == "sh")
        marks = [pytest.mark.slow] if commands > 2 else []
        if blocks:
            yield pytest.param(page, marks=marks, id=f"{page.parent.name}/{page.stem}")


@pytest.mark.parametrize("page", [*_with_code()])
def test_blocks_run_and_print_what_the_page_shows(page, tmp_path):
    if any(block.target.startswith("analyzer/") for block in blocks_of(page)):
        shutil.copytree(ROOT / "analyzer", tmp_path / "analyzer")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, __file__, str(page)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "120", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_paths_that_pages_name_exist():
    """Relative to the repository, or in short to the package or its ``measure/``."""
    missing, to_come = set(), set()
    written = {block.target for page in PAGES for block in blocks_of(page)}
    for page in PAGES:
        for name in re.findall(r"`([\w.*/-]+)`", prose_of(page)):
            is_file = re.search(r"\w\.(py|md|toml|csv|txt|html|css|ipynb|safetensors)$", name)
            is_path = is_file or name.endswith("/") or re.match(r"\.?[a-z]\w*/", name)
            if not is_path or name in written | WRITTEN_BY_COMMANDS:
                continue
            homes = (ROOT, ROOT / "analyzer", ROOT / "analyzer" / "measure")
            if any(any(home.glob(name.rstrip("/"))) for home in homes):
                continue
            if name in PATHS_TO_COME:
                to_come.add(name)
            else:
                missing.add((page.name, name))
    assert not missing
    assert to_come == PATHS_TO_COME, "take from PATHS_TO_COME what exists or no page names"


def test_links_resolve_and_lead_to_every_page():
    broken, reached = set(), {ROOT / "README.md"}
    pending = [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        for link in links_of(page):
            file, _, heading = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (heading and heading not in _anchors(target)):
                broken.add((page.name, link))
            elif target in PAGES and target not in reached:
                reached.add(target)
                pending.append(target)
    assert not broken
    assert reached >= set(PAGES)


def links_of(page: Path) -> list[str]:
    """What a page links to within the repository, and the pages that it lists for the side bar."""
    links = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page))
        if not re.match(r"\w+:", link)
    ]
    for block in blocks_of(page):
        listed = block.text.splitlines() if block.language == "{toctree}" else []
        links += [f"{name}.md" for name in listed if re.match(r"[a-z][\w/-]*$", name)]
    return links


def test_commands_that_pages_only_show_exist():
    """A ``console`` block is not run, but its commands and options are there."""
    known = get_command(app).commands
    shown = [
        found
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "console"
        for found in re.findall(r" analyzer ([a-z][a-z-]*)(.*)", block.text)
    ]
    assert shown
    for name, rest in shown:
        command, words = known[name], rest.split()
        while hasattr(command, "commands") and words:  # such as `study paradigms`
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        given = {word for word in shlex.split(rest, comments=True) if word.startswith("-")}
        assert given <= options, (name, rest)


def test_make_targets_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^make (\w+)|`make (\w+)`", "\n".join(map(_text, PAGES)), flags=re.M))
    named = {one or other for one, other in targets}
    assert named
    assert not {name for name in named if not re.search(rf"^{name}:", makefile, flags=re.M)}


def _anchors(page: Path) -> set[str]:
    """How headings are linked to: in lower case, without punctuation, joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_tables_of_keys_are_complete(tmp_path):
    """The page that explains a data file names every key of it, and no other."""

    text = _text(ROOT / "docs" / "reference" / "toml.md")

    def keys(heading: str) -> set[str]:
        section = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", text, flags=re.S | re.M)
        assert section, heading
        return set(re.findall(r"^\| `([\w.]+)`", section[1], flags=re.M))

    def named(kind: Any) -> set[str]:
        return {field.name for field in fields(kind)}

    assert keys("All keys of a convention") == named(Convention)
    assert keys("All keys of a memory model") == named(MemoryModel)
    assert keys("All keys of a level") == named(Level)
    assert keys("All keys of a chip") == named(Chip) - {"limits"}
    assert keys("All keys of a budget") == set(BUDGET_KEYS.kinds)
    (tmp_path / "empty.toml").write_text('name = "a"\ntitle = "b"\nsource = "c"', "utf-8")
    with pytest.raises(AnalyzerError, match="has no section of") as refused:
        technology(str(tmp_path / "empty.toml"))
    sections = set(re.findall(r"\w+_pj\w*", str(refused.value)))
    assert keys("All sections of a technology") == sections
    texts = named(Technology) - {"sections", "ranges"}
    assert keys("All keys of a technology") == texts | {"range"}


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
