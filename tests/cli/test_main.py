"""What holds for every command of the command line: exit codes and ``--debug``."""

import subprocess
import sys
from pathlib import Path

import pytest

import analyzer
from analyzer.cli import main

from .running import main_in_process, run_apart


def test_debug_shows_the_traceback(own_model, data):
    done = run_apart("profile", f"{own_model}:Raises", "--data", data[0], "--debug", check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["compare"],
        ["verify"],
        ["profile", "vit-tiny", "--input", "3,x"],
        ["verify", "vit-tiny", "--mean", "0.5;0.5"],
        ["verify", "vit-tiny", "--batch-size", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("asked", [["-h"], ["profile", "-h"]])
def test_help_is_short_too(asked, capsys):
    main_in_process(asked)
    assert "Usage: " in capsys.readouterr().out


def test_the_version_is_that_of_the_package_and_of_the_citation(capsys):
    main_in_process(["--version"])
    assert capsys.readouterr().out == f"analyzer {analyzer.__version__}\n"
    citation = (Path(__file__).parents[2] / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {analyzer.__version__}\n" in citation


def test_help_loads_neither_torch_nor_pandas():
    script = (
        "import sys, analyzer.cli\n"
        "assert not {'torch', 'pandas', 'numpy', 'matplotlib'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
