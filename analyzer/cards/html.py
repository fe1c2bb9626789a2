"""An energy card as a page that opens offline: no script, nothing from outside."""

from __future__ import annotations

from html import escape

from analyzer.cards.sections import Card, Section

__all__ = ["html"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.2; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
h1, td, th, p, pre { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem .25rem 0; }
th { font-weight: 600; }
tr { border-top: 1px solid #8886; }
.r { text-align: right; }
.lead { font-size: 1.05rem; }
pre { white-space: pre-wrap; border: 1px solid #8886; padding: .5rem; font-size: .85rem; }
@media (max-width: 40rem) {
  thead { position: absolute; left: -9999px; }
  table, tbody, tr, th, td { display: block; width: auto !important; }
  .r { text-align: left; }
  tr { padding: .3rem 0; }
  th, td { padding: 0; }
  td:empty { display: none; }
  .many td::before { content: attr(data-column) ": "; opacity: .75; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 8pt; line-height: 1.25; max-width: none; padding: 0; }
  h1 { font-size: 13pt; margin: 0; }
  h2 { font-size: 9.5pt; break-after: avoid; margin: 7pt 0 1pt; }
  p, pre { font-size: 8pt; margin: 2pt 0; }
  th, td { padding: 1pt 4pt 1pt 0; }
  tr, pre { break-inside: avoid; }
}
"""


def html(card: Card) -> str:
    """The page; names are text, whatever they hold."""
    body = "\n".join(_section(section) for section in card.sections)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(card.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(card.title)}</h1>
<p class="lead">{escape(card.lead)}</p>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    if section.rows:
        sides = ['class="r" ' if side == "r" else "" for side in section.align]
        whole = sum(section.widths)
        head = "".join(
            f'<th {side}scope="col" style="width: {100 * width / whole:.1f}%">{escape(column)}</th>'
            for column, width, side in zip(section.columns, section.widths, sides, strict=True)
        )
        rows = "\n".join(_row(row, section.columns, sides) for row in section.rows)
        kind = ' class="many"' if len(section.columns) > 2 else ""
        parts.append(f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
                     "</table>")  # fmt: skip
    parts += [f"<p>{escape(note)}</p>" for note in section.notes]
    if section.commands:
        parts.append(f"<pre>{escape(chr(10).join(section.commands))}</pre>")
    return "\n".join([*parts, "</section>"])


def _row(row: tuple[str, ...], columns: tuple[str, ...], sides: list[str]) -> str:
    cells = "".join(
        f'<td {side}data-column="{escape(column)}">{escape(cell)}</td>'
        for cell, column, side in zip(row[1:], columns[1:], sides[1:], strict=True)
    )
    return f'<tr><th {sides[0]}scope="row">{escape(row[0])}</th>{cells}</tr>'
