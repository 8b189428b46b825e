"""The five things a Python user types first, as README and docs/python.md show them."""

import pytest
import torch
from support.in_memory import CLAUSES, in_memory
from support.small_runs import TEXTS, arguments, bert_config, sequence_data
from transformers import BertForSequenceClassification

import kdfeatures as kd
from kdfeatures.data.synthetic import tokenizer


@pytest.fixture
def student():
    return BertForSequenceClassification(bert_config(2)).eval()


@pytest.fixture
def teacher():
    return BertForSequenceClassification(bert_config(12)).eval()


@pytest.fixture
def batch():
    return dict(tokenizer()(TEXTS[:2], padding=True, return_tensors="pt"))


def test_1_capture(teacher, batch):
    model = teacher
    with kd.capture(model, hidden=[0, 6, 12], attention=[12]) as features:
        outputs = model(**batch, output_hidden_states=True)
    assert torch.equal(features.hidden[6], outputs.hidden_states[6])
    assert features.attention_probs(12).shape == (2, 4, *[batch["input_ids"].shape[1]] * 2)
    with kd.capture(model, modules=["bert.encoder.layer.3.output"]) as features:
        model(**batch)
    assert torch.equal(features.modules["bert.encoder.layer.3.output"], outputs.hidden_states[4])


def test_2_losses(student, teacher, batch):
    mask = batch["attention_mask"]
    with kd.capture(student, hidden=[2], attention=[2]) as s, kd.capture(teacher, hidden=[12], attention=[12]) as t:
        student(**batch)
        with torch.no_grad():
            teacher(**batch)
    loss = kd.losses.HiddenMSE()(s.hidden[2], t.hidden[12], mask)
    expected = ((s.hidden[2] - t.hidden[12]) ** 2).mean(-1)
    expected = (expected * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(loss, expected.mean())
    assert kd.losses.RelationKL(relation_heads=8)(s.attention[2], t.attention[12], mask) > 0


def test_3_a_script_of_ones_own(student, teacher, tmp_path):
    train = dev = sequence_data()
    objective = kd.Objective(
        logits=kd.Term(kd.losses.LogitKD(temperature=2)),
        hidden=kd.Term(kd.losses.HiddenMSE(), layers="uniform"),
        attention=kd.Term(kd.losses.AttentionScoreMSE(), layers=[(1, 2), (2, 4)], weight=0.5),
    )
    trainer = kd.DistillationTrainer(
        model=student, teacher_model=teacher, objective=objective, args=arguments(tmp_path / "out"),
        train_dataset=train, eval_dataset=dev, processing_class=tokenizer(),
    )  # fmt: skip
    trainer.train()
    log = next(entry for entry in trainer.state.log_history if "loss/hidden" in entry or "train_loss" in entry)
    assert log["loss/hidden"] > 0 and log["loss/attention"] > 0
    assert list(kd.recipe("tinybert")) == ["intermediate", "prediction"]


def test_4_one_call_and_5_compare(workspace, tmp_path, student, teacher):
    short = {"max_steps": 2, "disable_tqdm": True}
    for recipe in ("hard", "tinybert_joint"):
        result = kd.distill(
            task=CLAUSES, teacher=workspace.teacher, student=kd.StudentSpec(layers=2), recipe=recipe,
            output_dir=tmp_path / "students" / recipe, dataset=in_memory(workspace), trainer=short,
        )  # fmt: skip
        assert 0 <= result.score <= 1
    assert "difference [95% interval]" in str(kd.compare_runs(tmp_path / "students", baseline="hard"))
    comparison = kd.compare_layers(student, teacher, TEXTS, tokenizer())
    assert comparison.similarity.shape == (3, 13)
    assert comparison.plot(tmp_path / "layers.png").stat().st_size > 5000
    heads = kd.compare_heads(student, teacher, TEXTS, tokenizer(), pairs=[(1, 6)])
    assert len(heads["divergence"][1, 6].matching.pairs) == 4
