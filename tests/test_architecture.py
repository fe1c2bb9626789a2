"""The rules of the package, read from its imports; `docs/architecture.md` explains them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import analyzer

ROOT = Path(analyzer.__file__).parent
NAMES = {
    ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path
    for path in sorted(ROOT.rglob("*.py"))
    for parts in [path.relative_to(ROOT.parent).with_suffix("").parts]
}
"""All modules of the package by dotted name."""

FACADE = "analyzer"
"""``analyzer/__init__.py`` imports from everywhere, each name when it is first used."""

ARROWS = {
    "errors": set(),
    "units": set(),
    "inert": set(),
    "tabular": {"inert"},
    "version": set(),
    "terminal": {"errors", "inert"},
    "files": {"errors"},
    "specs": {"errors"},
    "facts": {"errors", "files"},
    "energy": {"errors", "facts", "files", "inert", "specs", "tabular", "units"},
    "auditing": {"energy", "errors", "files", "inert", "tabular"},
    "profiles": {"energy", "errors", "facts"},
    "merging": {"errors", "facts", "profiles"},
    "rates": {"errors", "facts", "files", "profiles"},
    "twins": {"energy", "errors", "facts", "profiles", "units"},
    "advice": {"energy", "errors", "facts", "profiles", "units"},
    "entries": {"energy", "errors", "facts", "profiles", "tabular"},
    "plot": {"energy", "entries", "errors", "profiles", "tabular", "units"},
    "report": {
        "advice",
        "energy",
        "entries",
        "errors",
        "facts",
        "files",
        "inert",
        "plot",
        "profiles",
        "specs",
        "tabular",
        "units",
        "version",
    },
    "cards": {
        "energy",
        "entries",
        "errors",
        "facts",
        "profiles",
        "report",
        "specs",
        "tabular",
        "units",
        "version",
    },
    "measure": {"errors", "facts", "profiles", "terminal", "version"},
    "verification": {"errors", "facts", "measure"},
    "callbacks": {"energy", "errors", "files", "inert", "measure", "profiles", "units"},
    "models": {"errors"},
    "data": {"errors"},
    "train": {"data", "errors", "files", "measure", "models", "terminal"},
    "counting": {"errors", "facts", "measure", "models", "profiles", "rates"},
    "study": {
        "counting",
        "data",
        "energy",
        "errors",
        "facts",
        "files",
        "inert",
        "measure",
        "models",
        "plot",
        "profiles",
        "rates",
        "report",
        "tabular",
        "train",
        "twins",
        "units",
    },
}
"""From each room to the rooms that it may import, and none the facade. ``cli`` may import all."""

LATE = {("analyzer.energy.answer", "analyzer.plot")}
"""Imports that a method makes when it is called, for convenience: an answer draws itself."""

ROOMS_TO_COME: set[str] = set()
"""Rooms that are being built; one that exists must leave this list."""

TORCH = {"torch", "torchvision", "safetensors"}
TORCH_ROOMS = {"measure", "verification", "callbacks", "models", "data", "train"}
TORCH_FILES = {
    "analyzer.cli.candidates",
    "analyzer.cli.factories",
    "analyzer.cli.subject",
    "analyzer.counting",
    "analyzer.study.paradigms",
    "analyzer.study.published",
    "analyzer.study.runs.measure",
}
"""Outside of these rooms and files nothing imports torch, so that tables load without it."""

PARTNERS = {"spikingjelly", "snntorch", "sinabs", "norse"}

MEASURE, ENERGY = "analyzer.measure", "analyzer.energy"
MOST = {MEASURE: (13, 8), ENERGY: (8, 4)}
"""How many rooms there are, and on how many floors, at most."""

PRIVATE_HOME = "analyzer.measure.torch_private"
PRIVATE_NAMES_TODAY: frozenset[str] = frozenset()
"""Files that still use private names of PyTorch themselves. This list only ever gets shorter."""

EXCEPTIONS_TODAY: frozenset[tuple[str, str, str]] = frozenset()
"""Imports that break a rule and are to go: the rule, who imports, and what.

One that is no longer needed fails the test of its rule, so this list gets shorter too.
"""


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(NAMES[module].read_text("utf-8"))


def nodes(module: str) -> Iterator[ast.AST]:
    """All of a file but what only a type checker reads."""
    pending: list[ast.AST] = [tree(module)]
    while pending:
        node = pending.pop()
        yield node
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        pending += node.orelse if typing else ast.iter_child_nodes(node)


@cache
def imports(module: str) -> frozenset[str]:
    """Dotted names that a file imports, also inside of functions: the longest that are modules."""
    found = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                found.add(longer if longer in NAMES else str(node.module))
        elif isinstance(node, ast.Call) and _called(node) == "import_module":
            name = node.args[0]
            if isinstance(name, ast.Constant) and name.value in NAMES:
                found.add(str(name.value))
    late = {imported for importer, imported in LATE if importer == module}
    assert late <= found, f"take from LATE: {module}"
    return frozenset(found - late - {module})


def _called(node: ast.Call) -> str:
    """The last name of what a call calls."""
    function = node.func
    return getattr(function, "id", None) or getattr(function, "attr", "")


def own(module: str) -> set[str]:
    return {name for name in imports(module) if name in NAMES}


def room(module: str, floor: str = "analyzer") -> str:
    """The child of a package that a module is, or is part of; empty for all others."""
    start = f"{floor}."
    return module.removeprefix(start).partition(".")[0] if module.startswith(start) else ""


def judge(rule: str, offenders: set[tuple[str, str]]) -> None:
    """Fails on offenders that are no exception, and on exceptions that offend no more."""
    known = {(importer, imported) for name, importer, imported in EXCEPTIONS_TODAY if name == rule}
    assert not offenders - known, _lines("against the rule", offenders - known)
    assert not known - offenders, _lines("take from EXCEPTIONS_TODAY", known - offenders)


def _lines(what: str, pairs: set[tuple[str, str]]) -> str:
    return "\n".join([f"{what}:", *(f"  {a} -> {b}" for a, b in sorted(pairs))])


def is_acyclic(graph: dict[str, set[str]]) -> bool:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return False
    return True


def judge_cycles(rule: str, edges: dict[tuple[str, str], tuple[str, str]]) -> dict[str, set[str]]:
    """Fails on a cycle of nodes, exceptions aside, and on exceptions that close none.

    Args:
        rule: Which exceptions count.
        edges: From importer and imported file to the nodes that they belong to.

    Returns:
        The graph without the exceptions.
    """
    known = {(importer, imported) for name, importer, imported in EXCEPTIONS_TODAY if name == rule}
    graph: dict[str, set[str]] = {node: set() for pair in edges.values() for node in pair}
    for files, (above, below) in edges.items():
        if files not in known:
            graph[above].add(below)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a cycle: {' <- '.join(error.args[1])}") from None
    spent = {
        files
        for files in known
        if files not in edges
        or is_acyclic(graph | {edges[files][0]: graph[edges[files][0]] | {edges[files][1]}})
    }
    assert not spent, _lines("take from EXCEPTIONS_TODAY", spent)
    return graph


def test_arrows_run_one_way():
    rooms = {room(n) for n in NAMES} - {"", "cli", "__main__"}
    assert rooms == ARROWS.keys() - ROOMS_TO_COME
    offenders = set()
    for module in NAMES:
        here = room(module)
        if here in ("", "cli", "__main__"):
            continue
        allowed = ARROWS[here] | {here}
        offenders |= {(module, name) for name in own(module) if room(name) not in allowed}
    judge("arrows", offenders)


def test_the_page_of_the_architecture_names_all_rooms_and_arrows():
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("\n### The arrows") :]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, flags=re.M)
    assert {name: set(re.findall(r"`(\w+)`", text)) for name, text in rows} == ARROWS
    for floor, path in (("analyzer", ""), (MEASURE, "measure/"), (ENERGY, "energy/")):
        rooms = {room(n, floor) for n in NAMES} - {"", "__main__"}
        named = set(re.findall(rf"^\| `{path}(\w+)(?:/|\.py)` \|", page, flags=re.M))
        assert rooms <= named, rooms - named


def test_nothing_imports_the_command_line_but_its_entry():
    importers = {n for n in NAMES if room(n) != "cli" and any(room(m) == "cli" for m in own(n))}
    assert importers == {"analyzer.__main__"}


def test_no_cycle_between_files():
    """Neither one that an import inside of a function would hide; the facade is left aside."""
    judge_cycles("files", {(n, m): (n, m) for n in NAMES for m in own(n) if FACADE not in (n, m)})


@pytest.mark.parametrize("house", MOST)
def test_the_rooms_of_large_packages_are_few_on_few_floors(house):
    edges = {}
    for module in NAMES:
        for name in own(module):
            above, below = room(module, house), room(name, house)
            if above and below and above != below:
                edges[module, name] = above, below
    graph = judge_cycles("rooms", edges)
    rooms = {room(n, house) for n in NAMES} - {""}

    @cache
    def floor(name: str) -> int:
        return 1 + max((floor(below) for below in graph.get(name, ())), default=0)

    floors = {name: floor(name) for name in sorted(rooms, key=floor)}
    most_rooms, most_floors = MOST[house]
    assert len(rooms) <= most_rooms, floors
    assert max(floors.values()) <= most_floors, floors


def test_only_the_torch_side_imports_torch():
    users = {n for n in NAMES if {m.partition(".")[0] for m in imports(n)} & TORCH}
    assert {n for n in users if room(n) not in TORCH_ROOMS} == TORCH_FILES


def test_no_library_of_neurons_is_imported():
    """Their modules are recognised by the names of their classes."""
    users = {n for n in NAMES if {m.partition(".")[0] for m in imports(n)} & PARTNERS}
    assert not users


def test_private_names_of_pytorch_are_in_one_package():
    others = [n for n in NAMES if not f"{n}.".startswith(f"{PRIVATE_HOME}.")]
    found = {module: names for module in others if (names := _private_names(module))}
    new = {module: sorted(found[module]) for module in found.keys() - PRIVATE_NAMES_TODAY}
    assert not new, f"use {PRIVATE_HOME} instead: {new}"
    clean = PRIVATE_NAMES_TODAY - found.keys()
    assert not clean, f"take from PRIVATE_NAMES_TODAY: {sorted(clean)}"


_NAMED_TUPLE = frozenset({"_asdict", "_fields", "_make", "_replace"})
"""These are documented, and have an underscore only not to clash with the names of fields."""

_OF_OTHERS = frozenset({"_getframe", "_op_handles", "_rebuild", "_reduce"})
"""Of Python's ``sys``, where it is documented, of fvcore, and of Numba's compiled functions."""

_OF_CLASSES = frozenset(
    name
    for kind in (torch.nn.Module(), torch.Tensor, TorchDispatchMode)
    for name in dir(kind)
    if re.match("_[a-z]", name)
)
"""What a subclass would override, and what is a tensor's or module's own whoever else has it."""

_OF_MODULES = frozenset(name for name in vars(torch.nn.Module()) if name.startswith("_"))
"""What is looked up by a string in a module's ``__dict__``."""


def _private_names(module: str) -> set[str]:
    """What a file uses that begins with an underscore and is not its own.

    No type of a value is known here, so an attribute counts as PyTorch's where the file neither
    defines nor assigns that name itself. Names of operators in tables of rules are data.
    """
    own_names = set(_OF_OTHERS | _NAMED_TUPLE)
    for node in nodes(module):
        if isinstance(node, ast.ClassDef):
            own_names |= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own_names.add(node.attr)
    found = set()
    for node in nodes(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            home = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names = {home + alias.name for alias in node.names}
            found |= {n for n in names if n.startswith("torch.") and re.search(r"\._[a-z]", n)}
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            known = own_names if of_self else own_names - _OF_CLASSES
            if re.match("_[A-Za-z]", node.attr) and node.attr not in known:
                found.add(ast.unparse(node))
        elif isinstance(node, ast.ClassDef):
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            found |= {f"def {name}" for name in methods & _OF_CLASSES if node.bases}
        elif isinstance(node, ast.Call) and _called(node) in ("getattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and re.match("_[a-z]", str(name.value)):
                found.add(f"{_called(node)} {name.value}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if text in _OF_MODULES or re.fullmatch(r"torch(\.\w+)*\._[a-z]\w*", text):
                found.add(repr(text))
    return found


def test_no_print_eval_or_global():
    found = set()
    for module in NAMES:
        for node in ast.walk(tree(module)):
            called = node.func if isinstance(node, ast.Call) else None
            forbidden = isinstance(called, ast.Name) and called.id in ("print", "eval", "exec")
            if forbidden or isinstance(node, (ast.Global, ast.Nonlocal)):
                found.add((module, node.lineno))
    assert not found


def test_errors_of_the_system_are_told_without_their_numbers():
    raw = {
        (module, handler.lineno)
        for module in NAMES
        for handler in ast.walk(tree(module))
        if isinstance(handler, ast.ExceptHandler) and handler.type and handler.name
        if "OSError" in ast.unparse(handler.type)
        for shown in ast.walk(handler)
        if isinstance(shown, ast.FormattedValue) and ast.unparse(shown.value) == handler.name
    }
    assert not raw, "say reason_of(error) instead"


def test_no_mutable_state_or_defaults():
    """Module-level lists, dictionaries and sets are constants in disguise or shared state."""
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    found = set()
    for module in NAMES:
        for node in tree(module).body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, mutable):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {ast.unparse(target) for target in targets}
                if not names <= {"__all__", "_HOMES"}:
                    found.add((module, node.lineno))
        for node in ast.walk(tree(module)):
            if isinstance(node, (ast.FunctionDef, ast.Lambda)):
                defaults = [*node.args.defaults, *node.args.kw_defaults]
                if any(isinstance(default, mutable) for default in defaults):
                    found.add((module, node.lineno))
    assert not found


def test_every_file_says_what_it_is_and_exports_by_name():
    silent = {module for module in NAMES if not ast.get_docstring(tree(module))}
    starred = {
        module
        for module in NAMES
        for node in nodes(module)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    }
    assert not silent
    assert not starred
