"""Options that several commands share."""

from dataclasses import dataclass
from inspect import signature

import pytest
import typer

from analyzer.cli.options import expand_options, figures_of, options_of, shape_of
from analyzer.errors import AnalyzerError


@dataclass(frozen=True)
class Colour:
    red: int
    green: int = 2
    blue: int = 3


def test_a_group_becomes_one_option_for_each_field_in_its_place():
    calls = []

    @expand_options(without={"blue"})
    def paint(name: str, colour: Colour, coats: int = 1) -> None:
        calls.append((name, colour, coats))

    parameters = signature(paint).parameters
    assert list(parameters) == ["name", "red", "green", "coats"]
    assert parameters["red"].default is parameters["red"].empty
    assert [parameters[name].default for name in ("green", "coats")] == [2, 1]
    paint(name="door", red=9, green=8, coats=7)
    assert calls == [("door", Colour(9, 8, 3), 7)]


def test_text_becomes_values():
    assert options_of(["groups=4", "pool='mean'"]) == {"groups": 4, "pool": "mean"}
    assert shape_of("3,224,224") == (3, 224, 224)
    assert shape_of("") is None
    assert figures_of("0.5,1") == (0.5, 1.0)
    assert figures_of("") == ()
    with pytest.raises(AnalyzerError, match="write key=value"):
        options_of(["groups"])
    with pytest.raises(typer.BadParameter, match="is no shape"):
        shape_of("3,0")
