"""One report of profiles that are hard to render, which the tests of this folder read."""

import csv
import re
from pathlib import Path

import pytest
from report_profiles import HOSTILE, dense, silent, spiking

from analyzer.report.page import render


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """The folder of one report of profiles that are hard to render; tests only read it."""
    output = tmp_path_factory.mktemp("report") / "out"
    profiles = [
        spiking(),
        dense(correct=1),
        silent(data="random"),
        spiking(HOSTILE, samples=4),
        dense("a-name-much-longer-than-any-figure-could-ever-print-on-one-line-of-its-axis"),
    ]
    render(profiles, output)
    return output


@pytest.fixture(scope="session")
def page(folder) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def shell(page) -> str:
    """The page without its scripts and their data: what is there before they run."""
    return re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", page, flags=re.S)


@pytest.fixture(scope="session")
def read_csv(folder):
    def read(name: str) -> list[dict[str, str]]:
        with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    return read
