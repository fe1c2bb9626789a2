"""Where figures go: TensorBoard's own writer and reader, W&B's way, files, functions."""

import csv

import pytest
import torch
from torch import nn

from analyzer.callbacks import Meter
from analyzer.callbacks.csv_file import CsvFile
from analyzer.callbacks.writers import writer_of
from analyzer.errors import AnalyzerError

FIGURES = {"m/ac": 3.0, "m/rate/0": 0.25}


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    net = nn.Linear(4, 2)
    with SummaryWriter(str(tmp_path)) as logger:
        meter = Meter(net, torch.ones(1, 4), every=10, logger=logger)
        for step in range(21):
            meter.step(step)
    read = EventAccumulator(str(tmp_path)).Reload()
    assert set(read.Tags()["scalars"]) == set(meter.history[0]) - {"step"}
    points = [(event.step, event.value) for event in read.Scalars("analyzer/ac")]
    assert points == [(0, 8.0), (10, 8.0), (20, 8.0)]


class Run:
    """Takes figures as a run of W&B does."""

    def __init__(self):
        self.rows = []

    def log(self, data, step=None, commit=None):
        self.rows.append((step, data))


class MetricsLogger:
    """Takes figures as loggers of Lightning do."""

    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


@pytest.mark.parametrize("kind", [Run, MetricsLogger])
def test_loggers_are_given_the_step(kind):
    logger = kind()
    writer_of(logger, "m")(7, FIGURES)
    assert logger.rows == [(7, FIGURES)]


def test_functions_are_given_the_step_as_they_take_it():
    rows = []

    def with_step(data, step):
        rows.append((step, data))

    def with_anything(data, **about):
        rows.append((about, data))

    writer_of([rows.append, with_step, with_anything], "m")(7, FIGURES)
    assert rows == [{"m/step": 7} | FIGURES, (7, FIGURES), ({"step": 7}, FIGURES)]


def test_what_a_logger_does_to_its_dictionary_stays_there():
    seen = []
    writer_of([lambda data, step: data.clear(), lambda data, step: seen.append(data)], "m")(
        1, FIGURES
    )
    assert seen == [FIGURES]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_file_has_a_row_at_once_and_grows_columns(tmp_path):
    path = tmp_path / "new" / "curve.csv"
    file = CsvFile(path)
    file.write(0, {"a": 1.0})
    assert path.read_text() == "step,a\n0,1.0\n"
    file.write(5, {"a": 0.1 + 0.2})
    assert float(rows_of(path)[1]["a"]) == 0.1 + 0.2
    file.write(10, {"b": 3, "a": 4.0})
    assert path.read_text() == "step,a,b\n0,1.0,\n5,0.30000000000000004,\n10,4.0,3\n"
    file.write(15, {"b": 4})
    assert path.read_text().endswith("15,,4\n")


def test_a_csv_file_resumes_below_what_it_holds(tmp_path):
    path = tmp_path / "curve.csv"
    for step in (0, 5, 10, 15):
        CsvFile(path).write(step, {"a": 1.0})
    with path.open("a") as file:
        file.write("20,1.")  # cut short
    file = CsvFile(path)
    file.write(10, {"a": 2.0, "b": 1})
    assert path.read_text() == "step,a,b\n0,1.0,\n5,1.0,\n10,2.0,1\n"
    CsvFile(path).write(0, {"a": 3.0})
    assert [row["step"] for row in rows_of(path)] == ["0"]


@pytest.mark.parametrize("content", ["name,value\nx,1\n", "mine", "\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path, content):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(AnalyzerError, match="holds no figures of a meter"):
        CsvFile(path).write(0, {"a": 1.0})
    assert path.read_text() == content


def test_an_empty_file_is_begun(tmp_path):
    path = tmp_path / "curve.csv"
    path.touch()
    CsvFile(path).write(0, {"a": 1.0})
    assert path.read_text() == "step,a\n0,1.0\n"


def test_files_that_can_not_be_written_are_told(tmp_path):
    with pytest.raises(AnalyzerError, match="is a folder"):
        CsvFile(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AnalyzerError, match=r"cannot (read|write)"):
        CsvFile(tmp_path / "file" / "curve.csv").write(0, {"a": 1.0})


def test_no_logger_is_given_control_characters(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    net = nn.Sequential()
    net.add_module("a\x1b[31m\n\u2028\x1c", nn.Linear(4, 2))
    path, rows, run = tmp_path / "curve.csv", [], Run()
    with SummaryWriter(str(tmp_path)) as board:
        for number in range(2):  # the second continues the file
            loggers = [path, rows.append, run, board]
            meter = Meter(net, torch.ones(1, 4), logger=loggers, name="=m")
            meter.measure(number)
    name = r"=m/ac/a\x1b[31m\n\u2028\x1c"
    assert all(name in row for row in (*rows, run.rows[0][1], meter.history[0]))
    assert name in EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert [row[f"'{name}"] for row in rows_of(path)] == ["8.0", "8.0"]
    assert len(path.read_bytes().splitlines()) == 3


def test_a_file_with_names_as_earlier_versions_wrote_them_goes_on(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text('step,=a,"b\x1b\x1c"\n0,1.0,2.0\n')
    CsvFile(path).write(1, {"=a": 3.0, "b\x1b\x1c": 4.0})
    assert path.read_text() == "step,'=a,b\\x1b\\x1c\n0,1.0,2.0\n1,3.0,4.0\n"


def test_a_file_with_a_cell_that_is_too_long_is_told(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text(f"step,a\n0,{'1' * 140_000}\n")
    with pytest.raises(AnalyzerError, match=r"cannot read .*curve\.csv: field larger"):
        CsvFile(path).write(1, {"a": 1.0})
