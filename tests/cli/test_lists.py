"""The commands that list models, technologies and conventions."""

from .running import main_in_process


def test_lists(capsys):
    for command, word in (
        ("models", "spikformer-tiny"),
        ("technologies", "4.6 pJ"),
        ("conventions", "exact"),
    ):
        main_in_process([command])
        assert word in capsys.readouterr().out


def test_the_models_are_listed_with_what_was_published(capsys):
    main_in_process(["models"])
    listed = capsys.readouterr().out.splitlines()
    row = next(line for line in listed if line.startswith("spikingformer-8-512 "))
    for cell in ("29,705,768", "74.79 %", "7.46 mJ", "224 T=4", "arXiv:2304.11954"):
        assert cell in row
