"""Where figures go: TensorBoard's own writer and reader, W&B's way, files, functions."""

import csv
import pickle
from contextlib import nullcontext

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
    """Takes figures as a run of W&B does: what lies behind its own counter is discarded."""

    def __init__(self):
        self.step = 0
        self.rows = {}
        self.defined = []

    def define_metric(self, name, step_metric=None):
        self.defined.append((name, step_metric))

    def log(self, data, step=None, commit=None):
        if step is not None and step < self.step:
            return
        self.step = self.step if step is None else step
        self.rows.setdefault(self.step, {}).update(data)
        if commit or (commit is None and step is None):
            self.step += 1


class MetricsLogger:
    """Takes figures as loggers of Lightning do."""

    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


def test_loggers_are_given_the_step():
    logger = MetricsLogger()
    writer_of(logger, "m")(7, FIGURES)
    assert logger.rows == [(7, FIGURES)]


@pytest.mark.parametrize("of", [lambda run: run, lambda run: run.log], ids=["run", "log"])
@pytest.mark.parametrize("named", [{}, {"step": 0}], ids=["counted", "told"])
def test_a_run_of_wandb_keeps_all_figures_and_its_own_axis(of, named):
    run = Run()
    write = writer_of(of(run), "m")
    for step in range(4):
        run.log({"loss": step}, **dict.fromkeys(named, step))
        write(step, FIGURES)
    assert run.defined == [("m/step", None), ("m/*", "m/step")]
    rows = run.rows.values()
    assert [row["m/step"] for row in rows if "m/step" in row] == [0, 1, 2, 3]
    assert all(FIGURES.items() <= row.items() for row in rows if "m/step" in row)
    assert [row["loss"] for row in rows if "loss" in row] == [0, 1, 2, 3]
    write(1000, FIGURES)
    run.log({"loss": 4}, **dict.fromkeys(named, 4))
    assert run.step < 1000


def test_functions_are_given_the_step_as_they_take_it():
    rows = []

    def with_step(data, step):
        rows.append((step, data))

    def with_anything(data, **about):
        rows.append((about, data))

    writer_of([rows.append, with_step, with_anything], "m")(7, FIGURES)
    assert rows == [{"m/step": 7} | FIGURES, (7, FIGURES), ({"step": 7}, FIGURES)]


def test_a_logger_that_fails_does_not_silence_those_behind_it():
    seen = []

    def failing(data):
        raise OSError(f"disk {len(seen)} full")

    with pytest.raises(OSError, match="disk 0 full"):
        writer_of([failing, [failing, seen.append], failing, seen.append], "m")(7, FIGURES)
    assert seen == [{"m/step": 7} | FIGURES] * 2


def test_writers_can_be_pickled(tmp_path):
    loggers = [None, tmp_path / "curve.csv", Run(), MetricsLogger(), _kept]
    pickle.loads(pickle.dumps(writer_of(loggers, "m")))(7, FIGURES)
    assert (tmp_path / "curve.csv").read_text() == "step,m/ac,m/rate/0\n7,3.0,0.25\n"
    assert KEPT == [{"m/step": 7} | FIGURES]


KEPT = []


def _kept(data):
    KEPT.append(data)


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


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_rows_of_writes_that_failed_come_with_the_next(tmp_path, fails_at):
    resource = pytest.importorskip("resource")
    path = tmp_path / "curve.csv"
    path.write_text("step,a\n-1,1.0\n5,1.0\n")
    file = CsvFile(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for step in range(4):
        if step == fails_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3, hard))
        try:
            with (
                pytest.raises(AnalyzerError, match="cannot write")
                if step == fails_at
                else nullcontext()
            ):
                file.write(step, {"a": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [row["step"] for row in rows_of(path)] == ["-1", "0", "1", "2", "3"]


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
    name = "=m/layer_ac/a__31m___"
    assert all(name in row for row in (*rows, run.rows[0], meter.history[0]))
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
