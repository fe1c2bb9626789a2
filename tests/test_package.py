"""The wheel that users install and the source distribution that others rebuild it from."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import analyzer

pytest.importorskip("hatchling")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", "analyzer", "benchmarks", "docs", "notebooks", "profiles", "reports", "tests")
SINGLE = (
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "constraints.txt", "pyproject.toml",
)  # fmt: skip
LEFT_OUT = "analyzer/models/weights/fashion-mnist/"
"""Of this folder a wheel holds the records, and not the weights."""


def built(source, place):
    """Builds both distributions of a folder and returns the source distribution and the wheel."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(place)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (sdist,), (wheel,) = place.glob("*.tar.gz"), place.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    return built(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def unpacked(distributions, tmp_path_factory):
    """The folder of the unpacked source distribution."""
    place = tmp_path_factory.mktemp("sdist")
    with tarfile.open(distributions[0]) as file:
        file.extractall(place, filter="data")
    (folder,) = place.iterdir()
    return folder


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """A folder that holds what the wheel installs."""
    place = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(distributions[1]) as file:
        file.extractall(place)
    return place


def files_in(folder, *parts):
    """The files below a folder that are under version control, relative to it."""
    # What .gitignore names: compiled files, the demo, and figures that are made again.
    made = {"__pycache__", "demo", ".ipynb_checkpoints", "_build"}
    found = set()
    for part in parts:
        for path in (folder / part).rglob("*"):
            name = path.relative_to(folder)
            figure = name.parts[0] == "reports" and name.suffix in (".pdf", ".png")
            if path.is_file() and not made & set(name.parts) and not figure:
                found.add(name.as_posix())
    return found


def run_with(place, code):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_is_the_package_without_the_weights_of_a_study(distributions, installed):
    package = files_in(ROOT, "analyzer")
    weights = {f for f in package if f.startswith(LEFT_OUT) and f.endswith(".safetensors")}
    assert weights
    assert files_in(installed, "analyzer") == package - weights
    assert {path.name for path in installed.iterdir()} == {
        "analyzer",
        f"snn_analyzer-{analyzer.__version__}.dist-info",
    }
    assert distributions[1].stat().st_size < 4_000_000


def test_the_source_distribution_has_what_its_tests_read(distributions, unpacked):
    assert files_in(unpacked, *FOLDERS) == files_in(ROOT, *FOLDERS)
    assert (unpacked / "reports" / "tiny" / "figures" / "energy.png").exists()  # in the README
    beside = {path.name for path in unpacked.iterdir() if path.is_file()}
    assert beside == {*SINGLE, ".gitignore", "PKG-INFO"}
    assert distributions[0].stat().st_size < 10_000_000


def test_the_source_distribution_builds_the_same_wheel(distributions, unpacked, tmp_path):
    _, again = built(unpacked, tmp_path)
    assert again.read_bytes() == distributions[1].read_bytes()


def test_the_source_distribution_runs_its_tests(unpacked):
    """A few that read profiles, pages and tables beside the package."""
    chosen = (
        "tests/energy/test_explain.py",
        "tests/study/test_reproduction.py",
        "tests/test_docs.py::test_links_resolve_and_lead_to_every_page",
        "tests/test_docs.py::test_make_targets_that_pages_name_exist",
        "tests/test_docs.py::test_paths_that_pages_name_exist",
        "tests/test_notebooks.py",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *chosen],
        cwd=unpacked,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "skipped" not in done.stdout


def test_the_wheel_loads_the_weights_of_the_demo_and_says_where_others_are(installed):
    code = """
import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError

print(analyzer.__file__)
for name in ("vit-tiny", "spikformer-tiny", "ge2mst-tiny"):
    models.build(name, pretrained=True)
try:
    models.build("ge2mst-tiny", pretrained="fashion-mnist")
except AnalyzerError as error:
    print(error)
"""
    place, sentence = run_with(installed, code).splitlines()
    assert Path(place).is_relative_to(installed)
    assert sentence == (
        "The weights of 'ge2mst-tiny' trained on fashion-mnist are not in this installation, for a "
        "wheel leaves them out: take analyzer/models/weights/fashion-mnist/ge2mst-tiny.safetensors "
        "from the source distribution or the repository, and load it with --checkpoint or "
        "analyzer.models.checkpoints.load_checkpoint."
    )


def test_a_command_on_the_data_of_missing_weights_does_not_run_untrained(installed):
    code = """
from analyzer.cli import subject
from analyzer.errors import AnalyzerError

try:
    subject.open_model("ge2mst-tiny", trained_on="fashion-mnist")
except AnalyzerError as error:
    print(error)
"""
    assert "are not in this installation" in run_with(installed, code)


def test_the_metadata_names_true_places_and_all_extras(installed):
    (info,) = installed.glob("*.dist-info")
    metadata = Parser().parsestr((info / "METADATA").read_text("utf-8"))
    assert metadata.get_all("Project-URL") == ["Ge2mS-T paper, https://arxiv.org/abs/2604.08894"]
    assert {"report", "notebooks", "all"} <= set(metadata.get_all("Provides-Extra"))
    assert (info / "licenses" / "LICENSE").exists()
    assert "analyzer = analyzer.cli:main" in (info / "entry_points.txt").read_text()
