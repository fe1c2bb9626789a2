"""The print figures in a real Chromium: no text overlaps another or leaves the drawing."""

import pytest
from driven import browser, needs_browser

pytestmark = [needs_browser, pytest.mark.slow]

PROBE = """() => [...document.querySelectorAll("svg")].map((svg) => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
  const outside = texts.filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1
    || box.bottom > frame.bottom + 1).map(([text]) => text);
  const crossed = [];
  texts.forEach(([text, a], i) => texts.slice(i + 1).forEach(([other, b]) => {
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 1.5 && y > 1.5) crossed.push([text, other]);
  }));
  return { texts: texts.length, outside, crossed };
})"""  # noqa: E501


def test_no_text_overlaps_or_overflows(folder):
    drawings = sorted((folder / "figures").glob("*.svg"))
    assert len(drawings) == 4
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1000, "height": 900})
        for path in drawings:
            text = path.read_text("utf-8")
            page.set_content(f"<!doctype html><body>{text[text.index('<svg') :]}")
            (found,) = page.evaluate(PROBE)
            assert found["texts"] > 3, path.name
            assert (found["outside"], found["crossed"]) == ([], []), path.name
