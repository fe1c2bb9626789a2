"""The report page in a headless Chromium: what it shows, and that no text overlaps or overflows."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=5000",
]  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

# A probe page loads the report in frames and measures it there: the report is not changed.
PROBE = """<!doctype html><meta charset="utf-8"><body><pre id="result"></pre><script>
const widths = [1200, 400], results = {};
function overlap(a, b) {
  const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return x > 1.5 && y > 1.5;
}
function measure(width, frame) {
  const page = frame.contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach(d => d.open = true);
  const found = { scroll: root.scrollWidth, client: root.clientWidth, crossed: [], outside: [] };
  found.figures = page.querySelectorAll("figure svg").length;
  found.tables = page.querySelectorAll("table").length;
  found.escaping = [...page.querySelectorAll("main > *, figcaption, p, li, h1, .scroll")]
    .filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.outerHTML.slice(0, 80));
  for (const svg of page.querySelectorAll("figure svg")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")]
      .map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([t, r], i) => {
      if (r.left < frame.left - 1 || r.right > frame.right + 1 || r.bottom > frame.bottom + 1)
        found.outside.push(t);
      texts.slice(i + 1).forEach(([u, s]) => { if (overlap(r, s)) found.crossed.push([t, u]); });
    });
  }
  results[width] = found;
  if (Object.keys(results).length === widths.length)
    document.getElementById("result").textContent = JSON.stringify(results);
}
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.onload = () => measure(width, frame);
  frame.src = "PAGE";
  document.body.append(frame);
}
</script>"""


def dump(url, tmp_path, *flags):
    command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_browser_shows_tables_and_figures(folder, tmp_path):
    document = dump((folder / "index.html").as_uri(), tmp_path)
    assert len(re.findall(r"<svg [^>]*role=\"img\"", document)) == 4
    # Comparison, five models, totals, constants, measurement.
    assert len(re.findall(r"<table[ >]", document)) == 9
    assert "spiking" in document
    assert "<script" not in document


def test_nothing_overflows_or_overlaps(folder, tmp_path):
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.replace("PAGE", (folder / "index.html").as_uri()), encoding="utf-8")
    document = dump(probe.as_uri(), tmp_path, "--allow-file-access-from-files")
    results = json.loads(unescape(re.search(r'<pre id="result">(.*?)</pre>', document, re.S)[1]))
    for width, found in results.items():
        assert found["scroll"] <= found["client"], width
        assert (found["figures"], found["tables"]) == (4, 9)
        assert found["escaping"] == []
        assert found["outside"] == []
        assert found["crossed"] == []
