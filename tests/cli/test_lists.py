"""The commands that list models, technologies, conventions and chips."""

from importlib import import_module

import pytest

from .running import main_in_process, refused


def test_lists(capsys):
    for command, word in (
        ("models", "spikformer-tiny"),
        ("technologies", "4.6 pJ"),
        ("conventions", "exact"),
        ("hardware", "Akopyan"),
    ):
        main_in_process([command])
        assert word in capsys.readouterr().out


def test_the_models_are_listed_with_what_was_published(capsys):
    main_in_process(["models"])
    listed = capsys.readouterr().out.splitlines()
    row = next(line for line in listed if line.startswith("spikingformer-8-512 "))
    for cell in ("29,705,768", "74.79 %", "7.46 mJ", "224 T=4", "arXiv:2304.11954"):
        assert cell in row


def test_networks_that_are_only_rows_are_listed_apart(capsys):
    main_in_process(["models"])
    built, _, rows = capsys.readouterr().out.partition("\nOnly rows, of networks that can not be")
    assert "spiliformer" not in built
    row = next(line for line in rows.splitlines() if line.startswith("spiliformer-10-768 "))
    for cell in ("69.1 M", "85.82 %", "44.17 mJ", "224 T=4", "its two attentions"):
        assert cell in row


def test_a_network_that_is_only_a_row_is_refused_with_what_is_missing(capsys):
    for command in ("profile", "count"):
        said = refused(capsys, command, "sdt-v3-83m")
        assert "sdt-v3-83m is only a row of published figures, not a network" in said
        assert "768 channels behind a convolution to 512" in said


@pytest.mark.parametrize(
    ("command", "name", "read"),
    [
        ("technologies", "loihi", "analyzer.energy.declared.technology:technology"),
        ("conventions", "spikformer", "analyzer.energy.declared.convention:convention"),
        ("memory-models", "lemaire", "analyzer.energy.declared.memory:memory_model"),
        ("hardware", "speck", "analyzer.energy.fitting.limits:chip"),
    ],
)
def test_a_file_is_printed_to_start_from(tmp_path, capsys, command, name, read):
    main_in_process([command, "--toml", name])
    path = tmp_path / "mine.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    module, function = read.split(":")
    again = getattr(import_module(module), function)
    assert again(str(path)) == again(name)
    assert "nothing" in refused(capsys, command, "--toml", "nothing")
