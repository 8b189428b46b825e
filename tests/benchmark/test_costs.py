"""What teacher and student cost, of models that are small enough to be timed here."""

import json
from types import SimpleNamespace

import pytest
from support.composing import compose
from support.tiny import model_entry
from transformers import AutoModelForSequenceClassification

from kdfeatures.benchmark.costs import costs_table, model_costs
from kdfeatures.cli.commands.finetune import EMBEDDED_LENGTH, embedded_config
from kdfeatures.config.schema import ModelConfig, section
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.models.costs import costs
from kdfeatures.tasks.task import Task


@pytest.fixture
def cell(tmp_path):
    """A finished student whose texts may have more tokens than there are positions, though none has."""
    cfg = compose("distill", "task=agreement", "data.max_length=600")
    task = Task.from_config(dict(cfg.task))
    for name, layers in (("teacher", 2), ("student", 1)):
        sizes = [f"model.{size}" for size in (f"layers={layers}", "hidden_size=8", "heads=2", "intermediate_size=16")]
        planned = section(compose("finetune", "task=agreement", *sizes), "model", ModelConfig)
        model = AutoModelForSequenceClassification.from_config(embedded_config(planned, task))
        model.save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    found = {name: model_entry(str(tmp_path / name)) for name in ("teacher", "student")}
    found["config"] = {"data": {"max_length": 600}}
    return SimpleNamespace(
        task="agreement", folder=tmp_path / "student", is_finished=True, config=lambda: cfg, results=lambda: found
    )


def test_they_are_those_of_the_longest_text_that_both_can_read_and_are_kept(cell, tmp_path):
    unit = SimpleNamespace(arm="tinybert_joint", chosen=(cell,))
    found = model_costs([unit], "tinybert_joint", tmp_path)
    for name in ("teacher", "student"):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / name)
        assert found["models"][name]["flops"] == costs(model, length=EMBEDDED_LENGTH).flops
    assert f"FLOPs of one text of {EMBEDDED_LENGTH} tokens." in costs_table(found)
    # JSON has lists for tuples
    assert model_costs([unit], "tinybert_joint", tmp_path) == json.loads(json.dumps(found))
    assert model_costs([unit], "hard", tmp_path) is None
