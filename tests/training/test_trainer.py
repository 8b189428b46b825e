import dataclasses
import json

import pytest
import safetensors.torch
import torch
from support.runs_for_tests import StopAt, small_distiller, small_trainer, weights
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from kdfeatures.distillation.schedules import Linear, Steps
from kdfeatures.embeddings.pooling import Pooling, give_vectors
from kdfeatures.training.trainer import PROJECTIONS


def test_projections_are_optimised_with_their_own_settings(tmp_path):
    trainer = small_trainer(
        small_distiller(), tmp_path, weight_decay=0.1, projection_learning_rate=0.5, projection_weight_decay=0.0
    )
    trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    seen = []
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.append(name)
            is_projection = name.startswith("objective.projections.")
            decays = not is_projection and not name.endswith("bias") and "LayerNorm" not in name
            assert (group["lr"], group["weight_decay"]) == (0.5 if is_projection else 1e-3, 0.1 if decays else 0.0), (
                name
            )
    assert sorted(seen) == sorted(names.values())


def test_training_changes_student_and_projections_but_not_the_teacher(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path)
    before = weights(trainer)
    teacher = {name: tensor.clone() for name, tensor in trainer.model.teacher.state_dict().items()}
    trainer.train()
    after = weights(trainer)
    # positions that no sequence reaches keep their embedding
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert set(after) - set(changed) <= {"student.bert.embeddings.position_ids"}
    for name, tensor in trainer.model.teacher.state_dict().items():
        assert torch.equal(tensor, teacher[name]), name


def test_the_loss_falls_and_every_term_is_logged_unweighted(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path, num_train_epochs=8)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    for entry in logged:
        total = 0.5 * entry["loss/labels"] + 0.5 * entry["loss/logits"] + entry["loss/hidden"]
        assert entry["loss"] == pytest.approx(total + 0.1 * entry["loss/relations"], rel=1e-3)
    assert logged[-1]["loss/hidden"] < 0.7 * logged[0]["loss/hidden"]


def test_logged_terms_are_means_over_the_logging_window(tmp_path):
    each, window = (
        small_trainer(small_distiller(), tmp_path, num_train_epochs=1, logging_steps=steps) for steps in (1, 3)
    )
    each.train()
    window.train()
    single = [entry["loss/hidden"] for entry in each.state.log_history if "loss" in entry]
    assert window.state.log_history[0]["loss/hidden"] == pytest.approx(sum(single[:3]) / 3, abs=1e-5)


def test_accumulated_micro_batches_equal_one_large_batch(tmp_path):
    large = small_trainer(small_distiller(), tmp_path, per_device_train_batch_size=8, max_steps=3)
    small = small_trainer(
        small_distiller(), tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, max_steps=3
    )
    large.train()
    small.train()
    for (name, one), other in zip(weights(large).items(), weights(small).values(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("stopped_at", [4, 9])  # within the first epoch, and within the second
def test_an_interrupted_run_that_resumes_equals_the_uninterrupted_one(tmp_path, stopped_at):
    settings = {
        "save_strategy": "steps",
        "save_steps": stopped_at,
        "lr_scheduler_type": "linear",
        "train_sampling_strategy": "group_by_length",
    }
    whole = small_trainer(small_distiller(dropout=0.1), tmp_path / "whole", **settings)
    whole.train()
    first = small_trainer(small_distiller(dropout=0.1), tmp_path / "parts", **settings)
    first.add_callback(StopAt(stopped_at))
    first.train()
    # another seed: everything that matters must come from the checkpoint
    second = small_trainer(small_distiller(dropout=0.1, seed=99), tmp_path / "parts", **settings)
    second.model._unregistered = whole.model._unregistered
    second.model._teacher_recorders = whole.model._teacher_recorders
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / f"checkpoint-{stopped_at}"))
    assert second.state.global_step == whole.state.global_step == 12
    for (name, one), other in zip(weights(whole).items(), weights(second).values(), strict=True):
        assert torch.equal(one, other), name
    logs = [
        [
            {k: v for k, v in entry.items() if k.startswith("loss")}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]
        for trainer in (whole, second)
    ]
    assert logs[0] == logs[1]


def scheduled(trainer):
    terms = trainer.model.objective.terms
    terms["hidden"] = dataclasses.replace(terms["hidden"], weight=Linear(1.0, 0.0))
    terms["logits"] = dataclasses.replace(terms["logits"], temperature=Steps([4.0, 1.0]))
    return trainer


def test_scheduled_weights_and_temperatures_follow_the_steps_and_are_logged(tmp_path):
    trainer = scheduled(small_trainer(small_distiller(), tmp_path, gradient_accumulation_steps=2))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["weight/hidden"] for entry in logged] == pytest.approx([1 - step / 6 for step in range(6)], abs=1e-5)
    assert [entry["temperature/logits"] for entry in logged] == [4.0] * 3 + [1.0] * 3
    for entry in logged:
        total = 0.5 * entry["loss/labels"] + 0.5 * entry["loss/logits"] + entry["weight/hidden"] * entry["loss/hidden"]
        assert entry["loss"] == pytest.approx(total + 0.1 * entry["loss/relations"], rel=1e-3)


def test_a_resumed_run_goes_on_where_its_schedules_were(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 5}
    whole = scheduled(small_trainer(small_distiller(), tmp_path / "whole", **settings))
    whole.train()
    first = scheduled(small_trainer(small_distiller(), tmp_path / "parts", **settings))
    first.add_callback(StopAt(5))
    first.train()
    second = scheduled(small_trainer(small_distiller(), tmp_path / "parts", **settings))
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-5"))
    for (name, one), other in zip(weights(whole).items(), weights(second).values(), strict=True):
        assert torch.equal(one, other), name


def test_the_saved_student_is_a_clean_model_folder(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path)
    trainer.train()
    trainer.save_model()
    saved = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert all(name.startswith(("bert.", "classifier.")) for name in saved)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    model, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = AutoTokenizer.from_pretrained(tmp_path)("the dog near the cats sleeps", return_tensors="pt")
    trainer.model.student.eval()
    torch.testing.assert_close(model(**inputs).logits, trainer.model.student(**inputs).logits)
    answer = pipeline("text-classification", model=str(tmp_path))("the dog sleeps")
    assert answer[0]["label"] in ("LABEL_0", "LABEL_1")


def test_projections_are_saved_apart_and_restored(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path, save_strategy="epoch")
    trainer.train()
    saved = safetensors.torch.load_file(tmp_path / "checkpoint-12" / PROJECTIONS)
    assert saved.keys() == trainer.model.objective.projections.state_dict().keys()
    other = small_trainer(small_distiller(seed=1), tmp_path)
    other._load_from_checkpoint(str(tmp_path / "checkpoint-12"))
    for (name, one), two in zip(weights(trainer).items(), weights(other).values(), strict=True):
        assert torch.equal(one, two), name


def test_the_best_checkpoint_is_loaded_at_the_end_with_its_projections(tmp_path):
    trainer = small_trainer(
        small_distiller(),
        tmp_path,
        num_train_epochs=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    trainer.train()
    best = trainer.state.best_model_checkpoint
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert min(losses) == losses[0] and best.endswith("checkpoint-6")
    kept = safetensors.torch.load_file(f"{best}/{PROJECTIONS}")
    for name, tensor in trainer.model.objective.projections.state_dict().items():
        assert torch.equal(tensor, kept[name]), name
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[0])


def test_bf16_training_runs_and_stays_close_to_float32(tmp_path):
    full, half = (small_trainer(small_distiller(), tmp_path, bf16=bf16, max_steps=4) for bf16 in (False, True))
    full.train()
    half.train()
    for one, other in zip(full.state.log_history[:4], half.state.log_history[:4], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.03)


def test_an_optimiser_of_ones_own_is_taken_with_its_rate(tmp_path):
    chosen = (torch.optim.SGD, {"lr": 0.25, "momentum": 0.9})
    trainer = small_trainer(small_distiller(), tmp_path, projection_learning_rate=0.5, optimizer_cls_and_kwargs=chosen)
    trainer.create_optimizer()
    assert type(trainer.optimizer) is torch.optim.SGD
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {0.25, 0.5}
    assert all(group["momentum"] == 0.9 for group in trainer.optimizer.param_groups)


def test_a_students_part_called_objective_is_the_students(tmp_path):
    distiller = small_distiller()
    distiller.student.objective = torch.nn.Linear(2, 2)
    trainer = small_trainer(distiller, tmp_path, projection_learning_rate=0.5)
    trainer.create_optimizer()
    its = set(map(id, distiller.student.parameters()))
    for group in trainer.optimizer.param_groups:
        assert {group["lr"]} == {1e-3 if its & set(map(id, group["params"])) else 0.5}


def test_a_saved_student_of_vectors_takes_as_many_tokens_as_it_has_positions(tmp_path):
    distiller = small_distiller(terms=("hidden",))
    give_vectors(distiller.student, Pooling())
    trainer = small_trainer(distiller, tmp_path)
    trainer.processing_class.model_max_length = 10**30  # as a tokenizer without a limit has it
    trainer.save_model()
    limit = json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert limit == distiller.student.config.max_position_embeddings
