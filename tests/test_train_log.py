"""The log of a training: no row is lost, whatever ends the program."""

import os
import subprocess
import sys
import textwrap
import threading
import time

from analyzer.train.log import log_file

_EPOCHS = textwrap.dedent(
    """
    import itertools, json, sys
    from pathlib import Path
    from analyzer.files import write_atomically
    from analyzer.train.log import log_file
    log, checkpoint = Path(sys.argv[1]), Path(sys.argv[2])
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    sys.stdout.write("ready"); sys.stdout.flush()
    with log_file(log, done) as noted:
        for epoch in itertools.count(done + 1):
            noted({"epoch": epoch, "train_loss": 0.5})
            write_atomically(checkpoint, str(epoch).encode())
    """
)


def test_a_killed_training_loses_no_row(tmp_path):
    """As `_Run` does: a row, then the checkpoint. Each epoch of the checkpoint has its row."""
    log, checkpoint = tmp_path / "log.csv", tmp_path / "checkpoint"
    for turn in range(int(os.environ.get("ANALYZER_KILLS", "6"))):
        run = subprocess.Popen(
            [sys.executable, "-c", _EPOCHS, str(log), str(checkpoint)], stdout=subprocess.PIPE
        )
        with run:
            assert run.stdout.read(5) == b"ready"
            time.sleep((turn * 7919 % 1000) / 15_000)
            run.kill()
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        rows = log.read_text().splitlines() if log.exists() else []
        assert rows[1 : done + 1] == [f"{epoch},0.5" for epoch in range(1, done + 1)]
        assert len(rows) <= done + 2


def test_a_log_is_as_it_was_until_the_first_row(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch\n1\n2\n3\n")
    with log_file(path, 2):
        pass
    assert path.read_text() == "epoch\n1\n2\n3\n"
    with log_file(path, 2) as noted:
        noted({"epoch": 3})
        assert path.read_text() == "epoch\n1\n2\n3\n"
        noted({"epoch": 4})
    assert path.read_text() == "epoch\n1\n2\n3\n4\n"


def test_a_line_that_a_full_disk_cut_off_is_taken_back(tmp_path):
    path = tmp_path / "log.csv"
    code = (
        "import resource, sys; from analyzer.train.log import log_file\n"
        "from analyzer.errors import AnalyzerError\n"
        "with log_file(sys.argv[1], 0) as noted:\n"
        "    noted({'epoch': 1})\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "    try: noted({'epoch': '2' * 1000})\n"
        "    except AnalyzerError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert path.read_text() == "epoch\n1\n"


def test_a_log_into_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    with log_file(pipe, 0) as noted:
        noted({"epoch": 1})
        noted({"epoch": 2})
    reader.join(20)
    assert found == ["epoch\n1\n2\n"]
