"""The rules of the house, read from the imports."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import analyzer

ROOT = Path(analyzer.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py"))
TORCH_SIDE = {
    "measure",
    "models",
    "checkpoints",
    "counting",
    "data",
    "datasets",
    "loading",
    "splits",
    "train",
    "study",
}
TORCH = {"torch", "torchvision", "safetensors", "spikingjelly", "snntorch", "sinabs"}


def name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name(path): path for path in FILES}


def imports(path, *, lazy=True):
    """Dotted names a module imports; without ``lazy`` only those it imports when it loads."""
    tree = ast.parse(path.read_text("utf-8"))
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if not lazy and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def own(path, **kwargs):
    return {n for n in imports(path, **kwargs) if n in NAMES and n != "analyzer"}


def area(module):
    return module.split(".")[1] if "." in module else ""


ARROWS = {
    "errors": set(),
    "files": {"errors"},
    "units": set(),
    "values": set(),
    "tabular": {"units"},
    "facts": {"values"},
    "specs": {"errors"},
    "rows": {"facts"},
    "profiles": {"errors", "facts", "rows", "energy", "profile_file"},
    "profile_file": {"errors", "files", "profiles"},
    "measure": {"errors", "facts", "values", "profiles"},
    "energy": {"errors", "profiles", "rows", "specs", "tabular", "units"},
    "report": {"errors", "facts", "values", "profiles", "energy", "tabular", "units"},
    "models": {"errors", "checkpoints"},
    "data": {"errors"},
    "splits": {"errors", "data", "datasets"},
    "train": {"errors", "data", "files", "models", "splits", "units"},
    "study": {
        "errors",
        "units",
        "tabular",
        "profiles",
        "profile_file",
        "energy",
        "report",
        "measure",
        "models",
        "data",
        "checkpoints",
        "counting",
        "rates",
        "train",
    },
    "checkpoints": {"errors"},
    "rates": {"errors", "facts", "profiles"},
    "counting": {"errors", "measure", "models", "profiles", "rates"},
    "datasets": {"errors", "data"},
    "loading": {"errors", "checkpoints", "datasets", "models", "specs"},
}
"""From each part of the package to the parts it may import; ``cli`` may import all."""


@pytest.mark.parametrize("module", NAMES)
def test_arrows_run_one_way(module):
    part = area(module)
    if part in ("", "cli", "__main__"):
        return
    used = {area(n) for n in own(NAMES[module])} - {part}
    assert used <= ARROWS[part]


def test_every_part_has_its_arrows():
    assert {area(n) for n in NAMES} - {"", "cli", "__main__"} == set(ARROWS)


@pytest.mark.parametrize("module", NAMES)
def test_only_the_torch_side_imports_torch(module):
    if area(module) in TORCH_SIDE:
        return
    heads = {n.split(".")[0] for n in imports(NAMES[module])}
    assert not heads & TORCH


def test_nothing_imports_the_command_line_but_its_entry():
    importers = {n for n, p in NAMES.items() if any(area(m) == "cli" for m in own(p))}
    assert {n for n in importers if area(n) != "cli"} == {"analyzer.__main__"}


def test_no_import_cycles_at_load_time():
    """The one lazy step back is ``Profile.energy``, inside a method."""
    graph = {n: own(path, lazy=False) for n, path in NAMES.items()}
    assert list(TopologicalSorter(graph).static_order())
    back = {m for n, p in NAMES.items() if area(n) == "profiles" for m in own(p, lazy=False)}
    assert not {area(m) for m in back} & {"energy", "report", "measure"}


@pytest.mark.parametrize("module", NAMES)
def test_no_print_eval_or_global(module):
    tree = ast.parse(NAMES[module].read_text("utf-8"))
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"print", "eval", "exec"}
    assert not any(isinstance(node, (ast.Global, ast.Nonlocal)) for node in ast.walk(tree))


@pytest.mark.parametrize("module", NAMES)
def test_no_mutable_state_or_defaults(module):
    """Module-level lists, dictionaries and sets are constants in disguise or shared state."""
    tree = ast.parse(NAMES[module].read_text("utf-8"))
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, mutable):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {ast.unparse(t) for t in targets}
            assert names <= {"__all__", "_HOMES"}, names
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            assert not any(isinstance(d, mutable) for d in defaults), ast.unparse(node)


@pytest.mark.parametrize("module", NAMES)
def test_every_module_says_what_it_is_and_exports(module):
    tree = ast.parse(NAMES[module].read_text("utf-8"))
    assert ast.get_docstring(tree)
    assert "import *" not in NAMES[module].read_text("utf-8")
