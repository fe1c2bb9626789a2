"""Sphinx builds the site from here: ``make docs``, into ``docs/_build/html``.

The source folder is the repository and not ``docs/``, so that a relative link to a notebook, a
study or the changelog means the same on the site as it does in the repository.

The theme is furo: it is kept up with Sphinx, takes a tenth of the size of pydata-sphinx-theme,
loads nothing from outside, and its side bar shows all pages, so that each is one click away.
"""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

from analyzer.version import __version__  # noqa: E402

project = "analyzer"
author = "The analyzer authors"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon",
              "generated"]  # fmt: skip
root_doc = "docs/index"
include_patterns = ["docs/**.md", "notebooks/*.ipynb", "reports/**.md", "CHANGELOG.md",
                    "CONTRIBUTING.md"]  # fmt: skip
exclude_patterns = [".*", "analyzer", "benchmarks", "build", "dist", "profiles", "runs", "tests",
                    "docs/_*", "reports/demo", "**/captions.md",
                    "**.ipynb_checkpoints"]  # fmt: skip
templates_path = ["_templates"]
smartquotes = False  # what is shown may be copied
maximum_signature_line_length = 80

myst_heading_anchors = 4
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autosummary_generate = False
napoleon_use_ivar = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
python_use_unqualified_type_names = True
_ELSEWHERE = ["builtins", "collections", "contextlib", "enum", "matplotlib", "nn", "np", "numpy",
              "pandas", "pathlib", "pd", "torch", "typing"]  # fmt: skip
_INSIDE = [
    r"facts\.(records|sampled|sent|protocol|layers)",
    r"energy\.fitting\.placing",
    r"measure\.(rules\.geometry|frame\.frame)",
]
_ALIASES = [
    "Bounds",
    "DeclaredSamples",
    "Equation",
    "Forward",
    "Geometry",
    "Path",
    "R",
    "Tensor",
    "inf",
]
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(_ELSEWHERE)})\..*"),
    ("py:class", rf"analyzer\.({'|'.join(_INSIDE)})\..*"),
    ("py:class", "|".join(_ALIASES)),
    ("py:attr", "frame"),
]
"""Names that no page explains: of other packages, which can not be looked up without a network, of
what is inside of the package, and short names in signatures."""

html_theme = "furo"
html_title = f"analyzer {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "to-home.html"}
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Tables of published rates are shown as they are."""
    app.add_lexer("csv", TextLexer)
