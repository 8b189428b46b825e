"""The Trainer of a run: how many threads it takes."""

from dataclasses import replace

import pytest
import torch
from support.runs_for_tests import small_dataset, small_distiller
from support.tiny import tiny_classifier

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.losses import HardLabel
from kdfeatures.runtime import threads
from kdfeatures.tasks.task import Task
from kdfeatures.training.arguments import TrainerSettings
from kdfeatures.training.build import make_trainer, train

TASK = Task(
    name="words",
    text=("text",),
    label="label",
    labels=("no", "yes"),
    metrics=("accuracy",),
    splits={"train": "train"},
    files={"train": "train.csv"},
)
PLAIN = {"num_train_epochs": 1, "save_strategy": "no", "eval_strategy": "no", "disable_tqdm": True}


def trainer_of(model, folder, **settings):
    own = TrainerSettings(PLAIN | {"per_device_train_batch_size": 16}, **settings)
    arguments = own.training_arguments(folder, metric="accuracy", seed=1, find_unused_parameters=False)
    return make_trainer(model, arguments, own, TASK, tokenizer(), small_dataset(), None)


@pytest.fixture
def several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("given", "smallest", "expected"), [(None, 1e12, 1), (None, 0.0, 3), (2, 1e12, 2), (4, 0.0, 4)]
)
def test_a_small_model_is_trained_on_one_thread_and_a_number_is_obeyed(
    tmp_path, monkeypatch, several_threads, given, smallest, expected
):
    monkeypatch.setattr(threads, "SMALL_STEP", smallest)
    seen = []
    model = tiny_classifier()
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    train(trainer_of(model, tmp_path, threads=given), None)
    assert set(seen) == {expected}
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("tokens_per_batch", [None, 64])
def test_a_step_is_counted_by_the_tokens_of_a_batch_and_by_all_models(tmp_path, monkeypatch, tokens_per_batch):
    counted = []
    monkeypatch.setattr("kdfeatures.training.build.threads_for", counted.append)
    distiller, examples = small_distiller(), small_dataset()
    trainer_of(distiller, tmp_path, tokens_per_batch=tokens_per_batch)
    # by hand: q, k, v and output, two of the feed-forward part, pooler and classes; 2 operations a weight
    student = 2 * (2 * (4 * 16 * 16 + 2 * 16 * 32) + 16 * 16 + 16 * 2)
    teacher = 2 * (3 * (4 * 24 * 24 + 2 * 24 * 48) + 24 * 24 + 24 * 2)
    mean = sum(len(ids) for ids in examples["input_ids"]) / len(examples)
    tokens = tokens_per_batch or 16 * mean
    assert counted == [pytest.approx(tokens * (3 * student + teacher))]


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        (TASK, HardLabel(class_weights=[1.0, 2.0])),
        (replace(TASK, labels=(), metrics=("pearson",)), None),
        (replace(TASK, kind="multilabel", metrics=("f1_micro",)), None),
    ],
    ids=["weights", "scores", "labels"],
)
def test_smoothing_that_nothing_reads_is_refused(tmp_path, task, loss):
    settings = TrainerSettings(PLAIN | {"label_smoothing_factor": 0.5})
    arguments = settings.training_arguments(tmp_path, metric="accuracy", seed=1, find_unused_parameters=False)
    with pytest.raises(UserError, match="trainer.label_smoothing_factor=0.5 has no effect"):
        make_trainer(tiny_classifier(), arguments, settings, task, tokenizer(), small_dataset(), None, loss=loss)
    make_trainer(tiny_classifier(), arguments, settings, TASK, tokenizer(), small_dataset(), None)
