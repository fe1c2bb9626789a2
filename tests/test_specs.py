"""Names with arguments in brackets, where a path may hold brackets too."""

import pytest

from analyzer.errors import AnalyzerError
from analyzer.specs import named, split


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("45nm", ("45nm", "")),
        ("45nm(add_pj.fp32=0.1)", ("45nm", "add_pj.fp32=0.1")),
        ("a (1)/b.toml", ("a (1)/b.toml", "")),
        ("a (1)/b.toml(bits=8, reads=once)", ("a (1)/b.toml", "bits=8, reads=once")),
        ("a (1)(2)", ("a (1)", "2")),
        ("net(shape=(1, 2))", ("net", "shape=(1, 2)")),
        ("net()", ("net", "")),
        ("net(", ("net(", "")),
        ("net)", ("net)", "")),
        ("", ("", "")),
    ],
)
def test_only_brackets_at_the_end_hold_arguments(spec, parts):
    assert split(spec) == parts


def test_a_path_with_brackets_takes_arguments_and_quoted_text_may_hold_brackets():
    assert named("a (1)/b.toml(bits=8, reads=once)", words=True) == (
        "a (1)/b.toml",
        {"bits": 8, "reads": "once"},
    )
    assert named("net(name='a(b', T=4)") == ("net", {"name": "a(b", "T": 4})
    assert named("net()") == ("net", {})
    for words in (True, False):
        with pytest.raises(AnalyzerError, match="are not understood"):
            named("net(bits=8", words=words)
