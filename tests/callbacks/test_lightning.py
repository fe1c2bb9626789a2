"""The meter in real trainings of Lightning, under both of its names."""

import json
import logging
import pickle
import random
import subprocess
import sys
import time
import warnings

import partners
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from training_models import Spiking, data, draws, same, seed

import analyzer
from analyzer.callbacks import LightningMeter, Meter
from analyzer.errors import AnalyzerError, AnalyzerWarning

FAMILIES = [
    pytest.param(
        family, id=name, marks=pytest.mark.skipif(family is None, reason=f"{name} is not installed")
    )
    for name, family in (
        ("lightning", partners.lightning), ("pytorch_lightning", partners.old_lightning)
    )
]  # fmt: skip
pytestmark = [
    pytest.mark.parametrize("family", FAMILIES),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:pytorch"),
]


def module_of(family):
    class Classifier(family.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Spiking()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = F.cross_entropy(self.net(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-2)

    Classifier.__qualname__ = "Classifier"
    globals()["Classifier"] = Classifier  # where pickle looks for it
    return Classifier()


def fitted(family, folder, callbacks=(), **options):
    """A training: its trainer, the weights with the optimizer's state, and what is drawn next."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    pl = getattr(family, "pytorch", family)
    seed()
    module = module_of(pl)
    trainer = pl.Trainer(
        **{"max_epochs": 3, "logger": False, "accelerator": "cpu", "devices": 1} | options,
        callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any("Checkpoint" in type(c).__name__ for c in callbacks),
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(*data()), 16, shuffle=True))
    (optimizer,) = trainer.optimizers
    state = [t for values in optimizer.state.values() for t in values.values()]
    return trainer, [*module.state_dict().values(), *state], draws()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_with_a_meter_is_bit_identical(family, tmp_path, accumulate):
    options = {"accumulate_grad_batches": accumulate}
    _, without, drawn = fitted(family, tmp_path, **options)
    callback = LightningMeter(every=2)
    trainer, found, drawn_too = fitted(family, tmp_path, [callback], **options)
    assert same(without, found)
    assert drawn == drawn_too
    steps = [row["step"] for row in callback.meter.history]
    assert steps == list(range(0, trainer.global_step + 1, 2))


def test_a_step_of_the_optimizer_is_one_step(family, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Meter, "step", lambda self, step: asked.append(step))
    fitted(family, tmp_path, [LightningMeter()], accumulate_grad_batches=3)
    assert asked == [0, 1, 2, 3, 4, 5, 6]


def test_figures_reach_loggers_and_are_those_of_the_weights_then(family, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pl = getattr(family, "pytorch", family)
    logger = pl.loggers.TensorBoardLogger(str(tmp_path), name="", version="run")
    probe = data(8)
    csv = tmp_path / "curve.csv"
    callback = LightningMeter(probe, every=5, convention="syops", logger=csv)
    trainer, _, _ = fitted(family, tmp_path, [callback], logger=logger)
    points = EventAccumulator(str(tmp_path / "run")).Reload().Scalars("analyzer/ac")
    history = callback.meter.history
    assert [(p.step, p.value) for p in points] == [
        (row["step"], pytest.approx(row["analyzer/ac"])) for row in history
    ]
    assert len(csv.read_text().splitlines()) == 1 + len(history)
    assert float(trainer.callback_metrics["analyzer/ac"]) == history[-1]["analyzer/ac"]
    figures = Meter(trainer.lightning_module, probe, convention="syops").step(0)
    after = analyzer.profile(trainer.lightning_module.eval(), probe[0])
    assert figures["analyzer/ac"] == after.operations("syops")["ac"].sum() / 8
    assert "analyzer/rate/net.neurons" in history[0]


def test_checkpoints_monitor_the_energy(family, tmp_path):
    pl = getattr(family, "pytorch", family)
    checkpoint = pl.callbacks.ModelCheckpoint(
        tmp_path, monitor="analyzer/energy_mj", every_n_train_steps=6, save_top_k=1
    )
    callback = LightningMeter(every=6, model="net")
    fitted(family, tmp_path, [callback, checkpoint])
    energies = [r["analyzer/energy_mj"] for r in callback.meter.history if r["step"]]
    assert float(checkpoint.best_model_score) == pytest.approx(min(energies))
    assert "analyzer/rate/neurons" in callback.meter.history[0]


def test_the_snapshot_leaves_the_trainer_alone(family, tmp_path, monkeypatch):
    """A LightningModule holds its trainer, whose queues and optimizer go on during a probe."""
    from analyzer.measure.tensors import restore

    seen = []
    visit = restore.Snapshot._visit

    def spied(self, pending, closed):
        found = visit(self, pending, closed)
        seen.extend(type(kept) for kept in self._seen.values())
        return found

    monkeypatch.setattr(restore.Snapshot, "_visit", spied)
    fitted(family, tmp_path, [LightningMeter(every=100)], max_steps=1)
    assert Spiking in seen
    assert TensorDataset not in seen
    pl = getattr(family, "pytorch", family)
    assert not any(issubclass(kind, (pl.Callback, pl.LightningDataModule)) for kind in set(seen))


def test_a_second_fit_begins_anew_and_it_can_be_pickled(family, tmp_path):
    callback = LightningMeter(every=4)
    again = pickle.loads(pickle.dumps(callback))
    assert type(again) is type(callback)
    assert isinstance(again, getattr(family, "pytorch", family).Callback)
    fitted(family, tmp_path, [again])
    first = again.meter
    fitted(family, tmp_path, [again])
    assert again.meter is not first
    assert again.meter.history == first.history


def test_a_used_one_can_be_pickled(family, tmp_path):
    logger = getattr(family, "pytorch", family).loggers.CSVLogger(str(tmp_path))
    callback = LightningMeter(every=4, model="net")
    fitted(family, tmp_path, [callback], logger=logger, max_steps=2)
    again = pickle.loads(pickle.dumps(callback))
    assert again.meter.history == callback.meter.history


class Failing:
    """A logger that draws random numbers and then finds the disk full."""

    name, version, save_dir, log_dir, root_dir = "failing", "0", None, None, None

    def __init__(self):
        self.steps = []

    def __getattr__(self, method):
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *args, **kwargs: None

    def log_metrics(self, metrics, step=None):
        if "analyzer/ac" in metrics:
            random.random()
            torch.rand(3)
            time.sleep(0.2)
            self.steps.append(step)
            if step:
                raise OSError("disk full")


def test_a_logger_of_the_trainer_that_fails_and_draws_changes_nothing(family, tmp_path):
    _, without, drawn = fitted(family, tmp_path)
    logger, rows = Failing(), []
    callback = LightningMeter(every=9, logger=rows.append)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AnalyzerWarning)
        trainer, found, drawn_too = fitted(family, tmp_path, [callback], logger=logger)
    said = [str(w.message) for w in caught if w.category is AnalyzerWarning]
    assert [text.partition(" at ")[2][:6] for text in said] == ["step 9", "step 1"]
    assert said[0].endswith("OSError: disk full.")
    assert same(without, found)
    assert drawn == drawn_too
    assert logger.steps == [row["analyzer/step"] for row in rows] == [0, 9, 18]
    assert callback.meter.cost.probes_s > 0.4
    last = callback.meter.history[-1]["analyzer/ac"]
    assert float(trainer.callback_metrics["analyzer/ac"]) == last


SEVERAL = """
import json, sys
folder, options, sys.path[:] = sys.argv[1], *map(json.loads, sys.argv[2:])
import partners
import torch
from torch.utils.data import DataLoader, TensorDataset
from analyzer.callbacks import LightningMeter

pl = partners.lightning.pytorch

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Seen(pl.Callback):
    def on_train_end(self, trainer, module):
        score = float(trainer.checkpoint_callback.best_model_score)
        own = len(trainer.callbacks[0].meter.history)
        with open(f"{folder}/{trainer.global_rank}.json", "w") as file:
            json.dump([float(trainer.callback_metrics["analyzer/energy_mj"]), score, own], file)

logger = pl.loggers.CSVLogger(folder)
if "fails" in options:
    def fails(figures, step):
        raise OSError("disk full")
    options = {"logger": fails}
checkpoint = pl.callbacks.ModelCheckpoint(
    folder, monitor="analyzer/energy_mj", every_n_train_steps=2
)
trainer = pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp_fork", max_steps=4, logger=logger,
    callbacks=[LightningMeter(**options), checkpoint, Seen()], enable_progress_bar=False,
    enable_model_summary=False,
)
data = TensorDataset(torch.rand(32, 4))
trainer.fit(Module(), DataLoader(data, 4))
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"every": 2}, {"share": 1.0}, {"fails": True}])
def test_all_processes_monitor_what_the_first_found(family, tmp_path, options):
    if family is not partners.lightning:
        pytest.skip("one family is enough")
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, str(tmp_path), json.dumps(options), json.dumps(sys.path)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if "fails" in options:
        assert done.returncode
        assert "a logger failed to take the figures of Module at step 0" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first[:2] == second[:2]
    assert (first[2] > 0, second[2]) == (True, 0)


def test_a_path_that_is_not_there_and_a_probe_that_does_not_fit_are_told(family, tmp_path):
    with pytest.raises(AnalyzerError, match=r"Classifier has no module 'body': give Lightn"):
        fitted(family, tmp_path, [LightningMeter(model="body")])
    with pytest.raises(AnalyzerError, match="failed at step 0; give the meter a probe"):
        fitted(family, tmp_path, [LightningMeter(torch.rand(2, 5))])
