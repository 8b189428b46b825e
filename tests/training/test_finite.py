from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.runs_for_tests import small_dataset, small_distiller, small_trainer
from support.small_runs import arguments
from support.tiny import tiny_classifier
from transformers import DataCollatorWithPadding

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import Diverged
from kdfeatures.training.finite import check_gradient, check_parameters
from kdfeatures.training.length_batched import LengthBatchedTrainer

EVERY = {"save_strategy": "steps", "save_steps": 1, "logging_steps": 1}


def stopped(trainer):
    """Return what a training says that stops, and how many checkpoints it left, all of them whole."""
    with pytest.raises(Diverged) as caught:
        trainer.train()
    checkpoints = list(Path(trainer.args.output_dir).glob("checkpoint-*"))
    for checkpoint in checkpoints:
        assert all(tensor.isfinite().all() for tensor in load_file(checkpoint / "model.safetensors").values())
    assert "\n" not in str(caught.value)
    return str(caught.value), len(checkpoints)


def poison(module, when, value=float("nan"), row=None):
    """Let a module return `value`, for one example or all, in its calls from number `when` on."""
    calls = []

    def hook(module, args, output):
        calls.append(None)
        if len(calls) < when:
            return output
        first = output[0] if isinstance(output, tuple) else output
        first = first.clone()
        first[slice(None) if row is None else row] = value
        return (first, *output[1:]) if isinstance(output, tuple) else first

    module.register_forward_hook(hook)


def test_a_teacher_that_gives_nan_is_named_and_not_the_learning_rate(tmp_path):
    distiller = small_distiller()
    poison(distiller.teacher.classifier, when=3, row=2)
    trainer = small_trainer(distiller, tmp_path, **EVERY)
    told, checkpoints = stopped(trainer)
    assert checkpoints == 2
    assert "the term logits is not finite in step 3, before anything was learned from it" in told
    assert "the teacher's logits are not finite for training examples " in told
    assert "not the learning rate" in told and "ower the learning" not in told


def test_the_examples_that_are_named_are_those_of_the_step(tmp_path):
    distiller = small_distiller()
    poison(distiller.teacher.classifier, when=1, row=2)
    trainer = small_trainer(distiller, tmp_path, **EVERY)
    told, _ = stopped(trainer)
    row = next(iter(trainer.get_train_dataloader()))["input_ids"][2].tolist()
    examples = small_dataset()["input_ids"][:]
    (number,) = [n for n, ids in enumerate(examples) if ids == row[: len(ids)] and not any(row[len(ids) :])]
    assert f"training examples {number}" in told


def test_a_teachers_hidden_states_are_named(tmp_path):
    distiller = small_distiller()
    poison(distiller.teacher.bert.encoder.layer[1], when=1, value=float("inf"))
    told, checkpoints = stopped(small_trainer(distiller, tmp_path, **EVERY))
    assert checkpoints == 0 and "the teacher's " in told and "the term " in told


def test_a_student_that_overflows_is_told_to_lower_the_rate(tmp_path):
    distiller = small_distiller(terms=("labels", "logits"))
    poison(distiller.student.classifier, when=2)
    told, checkpoints = stopped(small_trainer(distiller, tmp_path, **EVERY))
    assert checkpoints == 1
    assert "the term labels, logits is not finite in step 2" in told and "the student's outputs are not finite" in told
    assert "lower the learning rate" in told


def test_a_loss_that_is_not_finite_by_itself_points_at_its_settings(tmp_path):
    distiller = small_distiller(terms=("labels", "logits"))
    distiller.objective.terms["logits"].loss.temperature = 1e-42
    told, checkpoints = stopped(small_trainer(distiller, tmp_path, **EVERY))
    assert checkpoints == 0 and "the term logits is not finite in step 1" in told
    assert "look at the settings of the term logits, such as its weight and temperature" in told


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path):
    distiller = small_distiller(terms=("labels", "logits"))
    distiller.student.classifier.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: tensor.clone() for name, tensor in distiller.student.state_dict().items()}
    told, checkpoints = stopped(small_trainer(distiller, tmp_path, **EVERY))
    assert checkpoints == 0 and "the gradient of step 1 is not finite, though the loss is" in told
    assert all(torch.equal(tensor, before[name]) for name, tensor in distiller.student.state_dict().items())


def test_a_plain_classifier_is_watched_too(tmp_path):
    model = tiny_classifier()
    poison(model.classifier, when=2)
    given = arguments(tmp_path, save_strategy="steps", save_steps=1)
    collate = DataCollatorWithPadding(tokenizer())
    told, checkpoints = stopped(
        LengthBatchedTrainer(model, given, data_collator=collate, train_dataset=small_dataset(16))
    )
    assert checkpoints == 1 and "the loss is not finite in step 2" in told and "lower the learning rate" in told


def test_weights_that_an_optimiser_broke_are_not_saved(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path, **{**EVERY, "learning_rate": float("inf")})
    told, checkpoints = stopped(trainer)
    assert checkpoints == 0 and "are not finite after step 1, so nothing was saved" in told


def test_finite_numbers_pass():
    check_parameters(tiny_classifier(), "after step 1")
    check_gradient(torch.tensor(3.0), 1)
    check_gradient(None, 1)
    with pytest.raises(Diverged, match="gradient of step 4 is not finite"):
        check_gradient(torch.tensor(float("inf")), 4)
