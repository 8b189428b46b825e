"""Filters learn a task behind frozen models; the models stay as they are."""

import pytest
import torch
from datasets import Dataset
from support.tiny import tiny_classifier

from kdfeatures.alignment import TaskAwareProjections
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.mapping import LayerPair
from kdfeatures.training.task_filters import fit_task_filters

PAIRS = [LayerPair(1, 1), LayerPair(2, 3)]
EXAMPLES, LENGTH = 256, 6


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return tiny_classifier(layers=2, width=16).eval(), tiny_classifier(layers=3, width=24).eval()


@pytest.fixture(scope="module")
def examples():
    """Texts whose label is which of two tokens they begin with, so that every layer's first state tells it."""
    ids = torch.randint(5, 60, (EXAMPLES, LENGTH), generator=torch.Generator().manual_seed(1))
    labels = [number % 2 for number in range(EXAMPLES)]
    ids[:, 0] = torch.tensor([7, 50])[labels]
    return Dataset.from_dict(
        {"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist(), "labels": labels}
    )


def fitted(models, examples, seed=3, **settings):
    projections = TaskAwareProjections(PAIRS, 16, 24, **{"epochs": 8, "learning_rate": 1e-2} | settings)
    torch.manual_seed(11)
    losses = fit_task_filters(projections, *models, (examples, examples), (tokenizer(), tokenizer()), 2, seed)
    return projections, losses


def test_filters_learn_what_the_layers_know_of_the_task(models, examples):
    projections, losses = fitted(models, examples)
    assert set(losses) == {"student", "teacher"} and max(losses.values()) < 0.1  # ln 2 is chance
    assert projections.fitted
    shapes = {name: tuple(x.shape) for name, x in projections.state_dict().items() if name.endswith("weight")}
    assert shapes == {"student.1.weight": (24, 16), "student.2.weight": (24, 16),
                      "teacher.1.weight": (24, 24), "teacher.3.weight": (24, 24)}  # fmt: skip


def test_the_models_stay_as_they_are(models, examples):
    before = [{name: x.clone() for name, x in model.state_dict().items()} for model in models]
    models[0].train()
    fitted(models, examples, epochs=1)
    assert models[0].training and not models[1].training
    models[0].eval()
    for model, states in zip(models, before, strict=True):
        assert all(torch.equal(x, states[name]) for name, x in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())


def test_the_seed_decides_and_what_is_drawn_afterwards_is_as_without_filters(models, examples):
    one, _ = fitted(models, examples, epochs=1)
    after = torch.rand(1)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(1), after)
    same, other = fitted(models, examples, epochs=1)[0], fitted(models, examples, seed=4, epochs=1)[0]
    assert all(torch.equal(x, same.state_dict()[name]) for name, x in one.state_dict().items())
    assert not torch.equal(one.student["1"].weight, other.student["1"].weight)


def test_filters_of_an_earlier_stage_are_left(models, examples):
    projections, _ = fitted(models, examples, epochs=1)
    before = projections.student["1"].weight.clone()
    assert fit_task_filters(projections, *models, (examples, examples), (tokenizer(), tokenizer()), 2, 9) == {}
    assert torch.equal(projections.student["1"].weight, before)


def test_texts_without_a_label_teach_the_filters_nothing(models, examples):
    hidden = examples.map(lambda row, index: {"labels": -100}, with_indices=True)
    projections, losses = fitted(models, hidden, epochs=1, learning_rate=1e-6)
    assert losses == {"student": 0.0, "teacher": 0.0} and projections.fitted
