"""The meter in real trainings of transformers' Trainer."""

import pickle

import partners
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from training_models import Spiking, data, draws, same, seed

import analyzer
from analyzer.callbacks import TrainerMeter
from analyzer.errors import AnalyzerError, AnalyzerWarning

transformers = partners.transformers
pytestmark = pytest.mark.skipif(
    transformers is None, reason="transformers or accelerate is not installed"
)


class Classifier(nn.Module):
    """Takes the arguments, and returns the loss, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.net = Spiking()

    def forward(self, x, labels=None):
        logits = self.net(x)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class Rows(Dataset):
    def __init__(self):
        self.x, self.y = data()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "labels": self.y[index]}


def trainer_of(folder, model=None, rows=None, callbacks=None, **options):
    seed()
    arguments = transformers.TrainingArguments(
        **{"report_to": [], "per_device_train_batch_size": 16, "num_train_epochs": 3} | options,
        output_dir=str(folder), use_cpu=True, disable_tqdm=True, save_strategy="no",
        logging_steps=4,
    )  # fmt: skip
    return transformers.Trainer(
        model or Classifier(), arguments, train_dataset=rows or Rows(), callbacks=callbacks
    )


def fitted(trainer):
    trainer.train()
    optimizer = trainer.optimizer.optimizer
    state = [t for values in optimizer.state.values() for t in values.values()]
    return [*trainer.model.state_dict().values(), *state], draws()


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"bf16": True}])
def test_a_training_with_a_meter_is_bit_identical(tmp_path, options):
    without, drawn = fitted(trainer_of(tmp_path, **options))
    callback = TrainerMeter(every=2)
    trainer = trainer_of(tmp_path, callbacks=[callback], **options)
    found, drawn_too = fitted(trainer)
    assert same(without, found)
    assert drawn == drawn_too
    steps = [row["step"] for row in callback.meter.history]
    assert steps == list(range(0, trainer.state.global_step + 1, 2))


def test_the_probe_runs_in_the_precision_of_the_weights(tmp_path):
    kinds = {True: set(), False: set()}
    classifier = Classifier()
    head = classifier.net.head
    head.register_forward_hook(lambda module, args, out: kinds[module.training].add(out.dtype))
    callback = TrainerMeter(every=1)
    trainer = trainer_of(tmp_path, classifier, callbacks=[callback], bf16=True, max_steps=1)
    trainer.train()
    assert kinds == {True: {torch.bfloat16}, False: {torch.float32}}
    assert callback.meter.profile.metadata["dtype"] == "float32"


def test_a_used_one_can_be_pickled(tmp_path):
    callback = TrainerMeter(every=1)
    trainer_of(tmp_path, callbacks=[callback], max_steps=1).train()
    again = pickle.loads(pickle.dumps(callback))
    assert again.meter.history == callback.meter.history


def test_one_that_logs_to_its_trainer_can_be_pickled(tmp_path):
    trainer = trainer_of(tmp_path, max_steps=1)
    callback = TrainerMeter(every=1, logger=[trainer.log, lambda figures: None])
    trainer.add_callback(callback)
    trainer.train()
    with pytest.warns(AnalyzerWarning, match="can not be pickled"):
        again = pickle.loads(pickle.dumps(callback))
    assert again.meter.history == callback.meter.history


def test_figures_are_in_the_history_of_the_trainer(tmp_path):
    probe = data(8)[0]
    callback = TrainerMeter(probe, every=9, convention="syops")
    trainer = trainer_of(tmp_path, callbacks=[callback])
    fitted(trainer)
    rows = [row for row in trainer.state.log_history if "analyzer/ac" in row]
    assert rows == callback.meter.history
    assert [row["step"] for row in rows] == [0, 9, 18]
    after = analyzer.profile(trainer.model.eval(), probe)
    assert rows[-1]["analyzer/ac"] == after.operations("syops")["ac"].sum() / 8
    trainer.state.save_to_json(str(tmp_path / "state.json"))  # plain numbers alone


def test_figures_reach_what_the_trainer_reports_to(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "runs"))
    trainer = trainer_of(tmp_path, report_to=["tensorboard"])
    callback = TrainerMeter(every=6, logger=trainer.log)
    trainer.add_callback(callback)
    fitted(trainer)
    points = EventAccumulator(str(tmp_path / "runs")).Reload().Scalars("train/analyzer/ac")
    history = callback.meter.history
    assert [(p.step, p.value) for p in points] == [
        (row["step"], pytest.approx(row["analyzer/ac"])) for row in history
    ]
    logged = [row for row in trainer.state.log_history if "analyzer/ac" in row]
    assert [row["step"] for row in logged] == [0, 6, 12, 18]


def test_by_default_the_probe_is_of_the_data_evenly_spaced(tmp_path):
    callback = TrainerMeter()
    trainer = trainer_of(tmp_path, callbacks=[callback], max_steps=1)
    trainer.train()
    seed()
    expected = analyzer.profile(Classifier().eval(), data()[0][::6])
    assert callback.meter.history[0]["analyzer/ac"] == expected.totals["ac"] / 16


def test_a_model_of_transformers_is_metered(tmp_path):
    class Sentences(Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            words = torch.arange(index, index + 8) % 30
            return {"input_ids": words, "attention_mask": torch.ones(8), "labels": index % 2}

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = transformers.BertConfig(vocab_size=30, num_attention_heads=2, **sizes)
    bert = transformers.BertForSequenceClassification(config)
    callback = TrainerMeter(every=2)
    trainer_of(tmp_path, bert, Sentences(), [callback], num_train_epochs=1).train()
    figures = callback.meter.history[-1]
    # One sample of 8 words: the first layer of the feed-forward network.
    assert figures["analyzer/layer_mac/bert.encoder.layer.0.intermediate.dense"] == 8 * 16 * 32
    assert "analyzer/firing_rate" not in figures


def test_it_can_be_pickled_and_errors_end_the_training_at_its_begin(tmp_path):
    callback = pickle.loads(pickle.dumps(TrainerMeter(torch.rand(2, 5))))
    assert isinstance(callback, transformers.TrainerCallback)
    with pytest.raises(AnalyzerError, match="failed at step 0; give the meter a probe"):
        trainer_of(tmp_path, callbacks=[callback]).train()
