import json

import pytest
import torch
from support.refused import refused_as
from support.runs_for_tests import StopAt, small_distiller, small_trainer, weights

from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.gradients import measure_terms
from kdfeatures.training.trainer import BALANCE

SHARES = {"labels": 1.0, "logits": 1.0, "hidden": 2.0, "relations": 4.0}


def balanced(folder, *, every=1, momentum=0.0, dropout=0.0, seed=0, **settings):
    distiller = small_distiller(dropout=dropout, seed=seed)
    distiller.objective.balance = GradientBalancer(SHARES, every=every, momentum=momentum, limit=1e6)
    return small_trainer(distiller, folder, **settings)


def logged(trainer, kind):
    return [
        {name.removeprefix(kind): value for name, value in entry.items() if name.startswith(kind)}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def test_the_first_step_has_the_configured_weights_and_each_later_one_those_of_the_measurement_before(tmp_path):
    trainer = balanced(tmp_path, every=4)
    trainer.train()
    used, norms = logged(trainer, "weight/"), logged(trainer, "gradient/")
    configured = {"labels": 0.5, "logits": 0.5, "hidden": 1.0, "relations": 0.1}
    assert used[0] == configured
    assert used[1] == used[4] != used[5] == used[8] and norms[0] == norms[3] != norms[4]
    for step in (1, 5, 9):
        now = norms[step - 1]
        whole = sum(configured[name] * now[name] for name in now)
        weighted = {name: used[step][name] * now[name] / whole for name in now}
        assert weighted == pytest.approx({name: share / 8 for name, share in SHARES.items()}, rel=1e-3)


def test_the_loss_of_a_step_is_that_of_the_weights_it_logs(tmp_path):
    trainer = balanced(tmp_path, max_steps=2, learning_rate=0.0)
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if entry.get("step") == 2 and "loss" in entry]
    total = sum(entry[f"weight/{name}"] * entry[f"loss/{name}"] for name in SHARES)
    assert entry["loss"] == pytest.approx(total, rel=1e-3)  # the terms are logged with six decimals


def test_all_batches_of_a_step_have_the_weights_it_began_with(tmp_path):
    trainer = balanced(tmp_path, gradient_accumulation_steps=3, per_device_train_batch_size=4, max_steps=2)
    seen, batches = [], []
    compute_loss, objective = trainer.compute_loss, trainer.model.objective

    def watched(*args, **kwargs):
        batches.append(objective.attached is not None)
        result = compute_loss(*args, **kwargs)
        seen.append(dict(objective.weights))
        return result

    trainer.compute_loss = watched
    trainer.train()
    assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4] == seen[5]
    assert batches == [True, False, False] * 2


@pytest.mark.parametrize("stopped_at", [4, 5])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(tmp_path, stopped_at):
    settings = {"every": 3, "momentum": 0.7, "dropout": 0.1, "save_strategy": "steps", "save_steps": stopped_at}
    whole = balanced(tmp_path / "whole", **settings)
    whole.train()
    first = balanced(tmp_path / "parts", **settings)
    first.add_callback(StopAt(stopped_at))
    first.train()
    checkpoint = tmp_path / "parts" / f"checkpoint-{stopped_at}"
    second = balanced(tmp_path / "parts", seed=99, **settings)
    second.model._unregistered = whole.model._unregistered
    second.model._teacher_recorders = whole.model._teacher_recorders
    second.train(resume_from_checkpoint=str(checkpoint))
    for (name, one), other in zip(weights(whole).items(), weights(second).values(), strict=True):
        assert torch.equal(one, other), name
    assert second.model.objective.balance.norms == whole.model.objective.balance.norms
    assert logged(second, "weight/") == logged(whole, "weight/")
    assert json.loads((checkpoint / BALANCE).read_text()).keys() == SHARES.keys()
    assert not (tmp_path / "parts" / BALANCE).exists()


def test_a_checkpoint_of_a_run_without_balance_is_refused(tmp_path):
    plain = small_trainer(small_distiller(), tmp_path, max_steps=2, save_strategy="steps", save_steps=2)
    plain.train()
    told = "checkpoint-2 was written with{}; resume with the same"
    with refused_as(told.format("out a balance"), None, told.format(" balance=off")):
        balanced(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_what_cannot_be_measured_is_refused_when_the_trainer_is_made(tmp_path):
    with refused_as(
        r"^terms that are balanced run backward once .*torch.compile",
        None,
        r"^balance=shares runs backward once .*trainer.torch_compile=true",
    ):
        balanced(tmp_path, torch_compile=True, torch_compile_backend="eager")


def test_bf16_norms_are_close_to_those_of_float32(tmp_path):
    full, half = (balanced(tmp_path, bf16=bf16, max_steps=1) for bf16 in (False, True))
    full.train()
    half.train()
    (one,), (other,) = logged(full, "gradient/"), logged(half, "gradient/")
    assert other == pytest.approx(one, rel=0.05)


def test_who_waits_for_the_first_batch_is_told_once_and_training_stays_the_same(tmp_path):
    plain = small_trainer(small_distiller(dropout=0.1), tmp_path, max_steps=4)
    plain.train()
    told = []
    watched = small_trainer(small_distiller(dropout=0.1), tmp_path, max_steps=4)
    watched._on_first_batch = told.append
    watched.train()
    for (name, one), other in zip(weights(plain).items(), weights(watched).values(), strict=True):
        assert torch.equal(one, other), name
    (found,) = told
    assert found["step"] == 1 and found["texts"] == 8
    first = logged(watched, "loss/")[0]
    assert {name: round(term["value"], 6) for name, term in found["terms"].items()} == first


def test_a_batch_of_the_trainer_has_the_norms_of_the_module_alone(tmp_path):
    trainer = balanced(tmp_path, max_steps=1, learning_rate=0.0)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.train()
    distiller = small_distiller().train()
    distiller.objective.attached = {}
    distiller(**batch)
    values = distiller.objective.attached
    norms = measure_terms(values, distiller.student, distiller.objective.projections)[:, 1].tolist()
    assert trainer.model.objective.balance.norms == pytest.approx(dict(zip(values, norms, strict=True)))
