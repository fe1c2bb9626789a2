"""Without optional packages all else works, and what needs them says how to get them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "reports" / "paradigms" / "profiles" / "stbp-T4.json.gz"
BLOCKER = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("matplotlib", "seaborn", "jinja2"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def without_report(tmp_path_factory):
    """Runs Python in an empty folder where the packages of the extra ``report`` are absent."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    path = os.pathsep.join([str(folder), str(ROOT)])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("report", PROFILE, "-o", "out"), "a report needs jinja2"),
        (
            ("explain", PROFILE, "--conventions", "exact,dense", "-o", "out"),
            "a figure needs matplotlib",
        ),
        (("study", "reproduction", "-o", "out"), "a study needs jinja2"),
        (("study", "published", "--again", "-o", "out"), "a study needs jinja2"),
        (("study", "paradigms", "--again", "-o", "out"), "a study needs matplotlib"),
    ],
    ids=lambda value: value[0] + "-" + str(value[1])[:11] if isinstance(value, tuple) else "",
)
def test_a_command_says_what_to_install(without_report, arguments, sentence):
    done = without_report("-m", "analyzer", *arguments)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {sentence}: install it with pip install 'snn-analyzer[report]'.\n"
    )


def test_plot_says_what_to_install(without_report):
    done = without_report("-c", "import analyzer\nanalyzer.plot.energy")
    last = done.stderr.splitlines()[-1]
    assert last == (
        "ModuleNotFoundError: analyzer.plot needs matplotlib: pip install 'snn-analyzer[report]'."
    )


def test_counting_pricing_and_tables_need_no_extra(without_report):
    code = f"""
import sys, torch, analyzer

profile = analyzer.profile(torch.nn.Linear(4, 2).eval(), torch.eye(4))
profile.energy()._repr_html_()
stored = analyzer.load({str(PROFILE)!r})
table = analyzer.compare([stored])
table.to_html(), table.to_latex(), table.to_markdown(), table.to_csv()
analyzer.explain(stored, "exact", "dense")
assert not {{"matplotlib", "seaborn", "jinja2"}} & set(sys.modules)
"""
    done = without_report("-c", code)
    assert done.returncode == 0, done.stderr
    done = without_report("-m", "analyzer", "compare", PROFILE)
    assert done.returncode == 0, done.stderr
    done = without_report("-m", "analyzer", "card", PROFILE, "-o", "cards")
    assert done.returncode == 0, done.stderr
    done = without_report("-m", "analyzer", "card", "--check", "cards/energy-cards.zip")
    assert done.returncode == 0, done.stderr
