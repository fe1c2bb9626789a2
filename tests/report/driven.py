"""Drives a report page in a real Chromium, offline, and reads what it shows."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import pytest

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

# What the policy of the page refuses, and what scripts throw, is an error of the test.
WATCH = """
window.refused = [];
addEventListener("securitypolicyviolation", (e) => refused.push(e.violatedDirective + e.sample));
"""


@contextlib.contextmanager
def browser():
    """A Chromium that Playwright drives."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


@contextlib.contextmanager
def opened(chromium, path: Path, fragment="", *, width=1280, height=900, scheme="light", **given):
    """The page of a report, ready; fails at its end on any request, refusal or exception."""
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, **given
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(f"exception: {error}"))
    page.on("console", lambda said: said.type == "error" and troubles.append(f"said: {said.text}"))
    page.on("request", lambda r: _is_outside(r.url) and troubles.append(f"request: {r.url}"))
    page.add_init_script(WATCH)
    page.goto(path.as_uri() + fragment)
    page.wait_for_selector("html.live")
    settled(page)
    try:
        yield page
        troubles += [f"refused: {what}" for what in page.evaluate("window.refused")]
        assert not troubles
    finally:
        context.close()


def _is_outside(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def settled(page) -> None:
    """Waits until every figure is drawn."""
    until(page, "document.documentElement.dataset.settled === String(analyzerReport.times.length)")


def until(page, condition: str, seconds: float = 60) -> None:
    """Waits for a condition, asking from outside: the page's policy allows no text to run in it."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def cells(page, table: str) -> dict[str, dict[str, float]]:
    """The numbers of a table by row and column, as they were computed."""
    return page.evaluate(
        """(id) => Object.fromEntries([...document.querySelectorAll(`#${id} tbody tr[data-row]`)]
        .map((row) => [row.cells[0].textContent, Object.fromEntries([...row.cells].slice(1)
        .filter((cell) => cell.dataset.value !== undefined)
        .map((cell) => [cell.dataset.key, Number(cell.dataset.value)]))]))""",
        table,
    )


def numbers(page, figure: str) -> list[list[object]]:
    """The rows of the table of numbers below a figure: values where there are, else texts."""
    return page.evaluate(
        """(id) => {
          const below = document.querySelector(`#figure-${id} .numbers`);
          below.open = true;
          analyzerReport.figures.find((f) => f.key === id).drawNumbers();
          return [...below.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) =>
            cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value)));
        }""",
        figure,
    )
