"""The scripts of the page run at all: a quick look, before the slow tests of all that they do."""

import pytest
from driven import browser, cells, needs_browser
from report_profiles import dense, spiking

from analyzer.report.page import render

pytestmark = needs_browser


def test_the_page_comes_alive_without_an_error(tmp_path):
    render([dense("dense"), spiking("spiking")], tmp_path / "report", only=["energy"])
    said = []
    with browser() as chromium, chromium.new_page() as page:
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "report" / "index.html").as_uri())
        try:
            page.wait_for_selector("html.live", timeout=20_000)
        except Exception:
            pytest.fail(f"the page stays as it was written: {said}")
        assert said == []
        assert set(cells(page, "comparison")) == {"dense", "spiking"}
