"""What a training tells on the screen."""

import logging
from types import SimpleNamespace

import pytest
from support.model_folders import save_classifier
from support.shared_data import glue_task

from kdfeatures.cli.main import main
from kdfeatures.models.load import load_for_task, load_trained
from kdfeatures.tasks.kinds.sequence import SequenceTask
from kdfeatures.training.callbacks import Screen

STATE = SimpleNamespace(is_world_process_zero=True, global_step=10, max_steps=40, epoch=0.5)


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO, "kdfeatures")


def test_scores_are_said_without_how_long_they_took(caplog):
    metrics = {"eval_accuracy": 0.5, "eval_loss": 0.7, "eval_runtime": 3.0, "eval_steps_per_second": 1.0, "epoch": 0.5}
    Screen(lines=False).on_evaluate(None, STATE, None, metrics=metrics)
    assert caplog.messages == ["epoch 0.5, step 10: accuracy 0.5000, loss 0.7000"]


def test_lines_say_step_loss_rate_and_the_time_that_is_left(caplog, monkeypatch):
    clock = iter([100.0, 120.0])
    monkeypatch.setattr("kdfeatures.training.callbacks.time.monotonic", lambda: next(clock))
    screen = Screen(lines=True)
    screen.on_train_begin(None, SimpleNamespace(global_step=0), None)
    screen.on_log(None, STATE, None, logs={"loss": 0.25, "learning_rate": 3e-5})
    assert caplog.messages == ["step 10/40: loss 0.25, learning rate 3e-05, 0:01:00 left"]
    screen.on_log(None, STATE, None, logs={"train_loss": 0.25})
    Screen(lines=False).on_log(None, STATE, None, logs={"loss": 0.25})
    assert len(caplog.messages) == 1


def test_other_processes_than_the_first_say_nothing(caplog):
    state = SimpleNamespace(**{**vars(STATE), "is_world_process_zero": False})
    Screen(lines=True).on_evaluate(None, state, None, metrics={"eval_accuracy": 0.5})
    Screen(lines=True).on_log(None, state, None, logs={"loss": 0.25})
    assert caplog.messages == []


@pytest.mark.slow
def test_a_training_without_bars_is_followed_by_its_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main([
        "finetune", "task=agreement", "trainer.max_steps=4", "trainer.logging_steps=2", "trainer.disable_tqdm=true",
        "trainer.eval_strategy=steps", "data.train_examples=64", "output_dir=out",
    ])  # fmt: skip
    out, err = capsys.readouterr()
    assert "Training: 64 examples in 2 batches an epoch, 4 steps; device " in out
    assert "the log is kept in " in out and (tmp_path / "out" / "trainer_state.json").is_file()
    assert "step 2/4: loss " in out and "step 4/4: loss " in out and "0:00:00 left" in out
    assert "step 4: " in out and "accuracy" in out
    assert "it/s" not in err


def test_a_new_head_is_no_report_but_one_that_should_be_there_is_a_warning(tmp_path, caplog, capfd):
    from transformers import BertConfig, BertModel
    from transformers.utils import logging as of_transformers

    folder = save_classifier(tmp_path / "model")
    small = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=90, **small)).save_pretrained(folder)
    monkey = of_transformers.get_verbosity()
    of_transformers.set_verbosity_warning()
    try:
        load_for_task(str(folder), "model.path", glue_task("mrpc"))
        assert caplog.messages == []
        load_trained(str(folder), "teacher.path", SequenceTask(), force=True)
    finally:
        of_transformers.set_verbosity(monkey)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "its checkpoint lacks classifier.bias and 1 more, drawn at random" in caplog.text
