"""What teacher and student cost, of models that are small enough to be timed here."""

import json
from types import SimpleNamespace

import pytest
from support.composing import compose, plain
from support.tiny import model_entry
from transformers import AutoModelForSequenceClassification

from kdfeatures.benchmark.model_costs import costs_table, model_costs
from kdfeatures.config.load import task_of
from kdfeatures.config.schema import section
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.models.costs import costs
from kdfeatures.models.encoders import POSITIONS, EncoderSpec, random_config


@pytest.fixture
def cell(tmp_path):
    """A finished student whose texts may have more tokens than there are positions, though none has."""
    call = ("distill", "task=agreement", "data.max_length=600")
    cfg, task = compose(*call), task_of(plain(*call))
    for name, layers in (("teacher", 2), ("student", 1)):
        sizes = [f"model.{size}" for size in (f"layers={layers}", "hidden_size=8", "heads=2", "intermediate_size=16")]
        planned = section(plain("finetune", "task=agreement", *sizes), "model", EncoderSpec)
        model = AutoModelForSequenceClassification.from_config(random_config(planned, task))
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
        assert found["models"][name]["flops"] == costs(model, length=POSITIONS).flops
    assert f"FLOPs of one text of {POSITIONS} tokens." in costs_table(found)
    # JSON has lists for tuples
    assert model_costs([unit], "tinybert_joint", tmp_path) == json.loads(json.dumps(found))
    assert model_costs([unit], "hard", tmp_path) is None
