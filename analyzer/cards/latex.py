r"""An energy card as LaTeX: a document of its own, and a part of a paper by ``\input``."""

from __future__ import annotations

import re
from types import MappingProxyType

from analyzer.cards.sections import Card, Section
from analyzer.tabular import LATEX

__all__ = ["escaped", "latex"]

_MORE = MappingProxyType(
    str.maketrans(
        {
            "“": "``",
            "”": "''",
            "‘": "`",
            "’": "'",
            "–": r"\textendash{}",
            "—": r"\textemdash{}",
            "−": "$-$",
            "≤": r"$\leq$",
            "→": r"$\rightarrow$",
            "⌈": r"$\lceil$",
            "⌉": r"$\rceil$",
            "`": r"\textasciigrave{}",
        }
    )
)
_TYPED = MappingProxyType(
    {ord("-"): "{-}", ord("'"): r"\textquotesingle{}", ord(" "): r"\ ", ord("/"): r"/\allowbreak{}"}
)
"""In commands hyphens and quotes stay as they are typed, and lines may break at a slash."""

_ACCENTED = re.compile("[À-ÏÑ-ÖØ-Ýß-ïñ-öø-ýÿĀ-ăĆ-ďĒ-ĖėĚ-ġĤĥĨ-ĭİĴĵĹĺŃńŇňŌ-ŕŘ-ŠšŤťŨ-űŴ-ž]")
"""Letters that every font of LaTeX has, or puts together."""

_BEGIN = r"""% A document of its own. By \input it is a part of another one, whose preamble needs
% \usepackage{array} and \usepackage{booktabs}.
\expandafter\ifx\csname @nodocument\endcsname\relax
  \def\cardends{}
\else
  \documentclass[a4paper,10pt]{article}
  \usepackage[margin=14mm]{geometry}
  \usepackage{array}
  \usepackage{booktabs}
  \pagestyle{empty}
  \begin{document}
  \def\cardends{\end{document}}
\fi
\begingroup
\setlength{\parindent}{0pt}\setlength{\tabcolsep}{3pt}\sloppy"""

_END = r"""\endgroup
\cardends"""


def latex(card: Card) -> str:
    """The page for pdfLaTeX; names are text, whatever they hold."""
    parts = [_BEGIN, rf"\section*{{{escaped(card.title)}}}", escaped(card.lead)]
    for section in card.sections:
        head = rf"\medskip\textbf{{{escaped(section.title)}}}\par\nopagebreak\smallskip"
        parts += [head, *_section(section)]
    return "\n\n".join([*parts, _END]) + "\n"


def escaped(text: str) -> str:
    r"""A text that pdfLaTeX can print: what it has no letter of is named by its number.

    Example:
        >>> print(escaped("50 % of 神"))
        50 \% of {[}U+795E]
    """
    return re.sub(r"-(?=-)", "-{}", "".join(map(_letter, text)))  # two hyphens are no dash


def _letter(c: str) -> str:
    code = ord(c)
    if code in _MORE or code in LATEX:
        return str(_MORE.get(code) or LATEX.get(code))
    if " " <= c <= "~" or _ACCENTED.fullmatch(c):
        return c
    return f"{{[}}U+{code:04X}]"


def _section(section: Section) -> list[str]:
    parts = []
    if section.rows:
        columns = "".join(
            rf">{{\{'raggedleft' if side == 'r' else 'raggedright'}\arraybackslash}}"
            rf"p{{{width}\linewidth}}"
            for width, side in zip(section.widths, section.align, strict=True)
        )
        lines = [" & ".join(map(escaped, row)) for row in (section.columns, *section.rows)]
        # ``\\`` would take a star or a bracket that the next name begins with for its own.
        head, *body = (rf"{line} \tabularnewline" for line in lines)
        table = [r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}\par}"]
        parts.append(
            "\n".join([rf"{{\footnotesize\begin{{tabular}}{{@{{}}{columns}@{{}}}}", *table])
        )
    parts += [rf"{{\footnotesize {escaped(note)}\par}}" for note in section.notes]
    if section.commands:
        typed = (rf"\texttt{{{_typed(command)}}}\par" for command in section.commands)
        parts.append("\n".join([r"{\footnotesize\raggedright", *typed, "}"]))
    return parts


def _typed(command: str) -> str:
    return "".join(_TYPED.get(ord(c)) or escaped(c) for c in command)
