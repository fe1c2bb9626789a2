"""From profiles to a page, figures and tables. Knows no torch."""

from importlib.util import find_spec

from analyzer.errors import AnalyzerError

_missing = [name for name in ("jinja2", "matplotlib", "seaborn") if find_spec(name) is None]
if _missing:
    raise AnalyzerError(
        f"a report needs {', '.join(_missing)}: install with `pip install snn-analyzer[report]`."
    )
