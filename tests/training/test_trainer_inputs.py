"""What users bring to DistillationTrainer: ordinary arguments, datasets as they are, heads, modules of their own."""

import functools

import pytest
import torch
from datasets import Dataset
from support.small_runs import TEXTS, BiLSTM, OwnHead, arguments, bert_config, changed, sequence_data, snapshot
from torch import nn
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    DefaultDataCollator,
)

import kdfeatures as kd
from kdfeatures.data.synthetic import tokenizer

ALL_KINDS = {
    "labels": kd.losses.HardLabel(),
    "logits": kd.losses.LogitKD(temperature=2),
    "hidden": kd.Term(kd.losses.HiddenMSE(), layers="uniform"),
    "attention": kd.Term(kd.losses.AttentionScoreMSE(), layers=[(1, 2), (2, 4)], weight=0.5),
}


def models(head=BertForSequenceClassification, **more):
    return head(bert_config(2, **more)), head(bert_config(4, **more))


def trained(folder, student, teacher, objective, data, **more):
    """Train two steps, and return the trainer; the student has moved and the teacher has not."""
    before = snapshot(student)
    teachers = teacher.values() if isinstance(teacher, dict) else [teacher]
    of_teachers = [snapshot(one) for one in teachers]
    more.setdefault("processing_class", tokenizer())
    trainer = kd.DistillationTrainer(
        model=student, teacher_model=teacher, objective=objective, args=arguments(folder), train_dataset=data, **more
    )
    trainer.train()
    assert changed(before, student)
    assert not any(changed(then, one) for then, one in zip(of_teachers, teachers, strict=True))
    return trainer


def last_log(trainer):
    return next(entry for entry in reversed(trainer.state.log_history) if any(key.startswith("loss/") for key in entry))


@pytest.mark.parametrize("mask", [True, False])
def test_ordinary_arguments_a_text_column_left_over_and_no_mask(tmp_path, mask):
    student, teacher = models()
    data = sequence_data(mask=mask)
    trainer = trained(tmp_path, student, teacher, kd.Objective(ALL_KINDS), data, eval_dataset=data)
    log = last_log(trainer)
    assert {f"loss/{name}" for name in ALL_KINDS} <= set(log) and log["loss/hidden"] > 0
    assert trainer.evaluate()["eval_loss"] > 0


def test_losses_are_the_same_whether_the_mask_comes_with_the_data_or_from_the_padding(tmp_path):
    logs = []
    for mask in (True, False):
        torch.manual_seed(0)
        student, teacher = models(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        trainer = trained(tmp_path / str(mask), student, teacher, kd.Objective(ALL_KINDS), sequence_data(mask=mask))
        logs.append({key: value for key, value in last_log(trainer).items() if key.startswith("loss/")})
    assert logs[0] == logs[1]


def test_token_labels_with_the_collator_of_hugging_face(tmp_path):
    student, teacher = models(BertForTokenClassification, num_labels=3)
    encoded = tokenizer()(TEXTS)
    data = Dataset.from_dict({**encoded, "labels": [[0, 1, 2] * 9][:1] * len(TEXTS)})
    data = data.map(lambda row: {"labels": [-100] + row["labels"][: len(row["input_ids"]) - 2] + [-100]})
    for collator in (DataCollatorForTokenClassification(tokenizer()), None):
        trainer = trained(
            tmp_path / str(collator is None), student, teacher, kd.Objective(ALL_KINDS), data, data_collator=collator
        )
        assert last_log(trainer)["loss/logits"] > 0


def test_masked_language_models_with_the_collator_of_hugging_face(tmp_path):
    student, teacher = models(BertForMaskedLM)
    data = Dataset.from_dict(dict(tokenizer()(TEXTS)))
    terms = {**ALL_KINDS, "labels": kd.losses.MaskedLanguageModel()}
    trainer = trained(
        tmp_path,
        student,
        teacher,
        kd.Objective(terms),
        data,
        data_collator=DataCollatorForLanguageModeling(tokenizer(), mlm_probability=0.5),
    )
    assert last_log(trainer)["loss/labels"] > 0


def test_question_answering_learns_from_start_and_end_logits_labels_and_hidden_states(tmp_path):
    student, teacher = models(BertForQuestionAnswering)
    encoded = tokenizer()(TEXTS, padding=True)
    data = Dataset.from_dict({**encoded, "start_positions": [1] * len(TEXTS), "end_positions": [2] * len(TEXTS)})
    terms = {name: ALL_KINDS[name] for name in ("labels", "logits", "hidden")}
    trainer = trained(tmp_path, student, teacher, kd.Objective(terms), data, data_collator=DefaultDataCollator())
    assert last_log(trainer)["loss/labels"] > 0 and last_log(trainer)["loss/logits"] > 0


def test_a_bilstm_learns_labels_and_logits_without_being_asked_anything(tmp_path):
    objective = kd.Objective(labels=kd.losses.HardLabel(), logits=kd.losses.LogitKD())
    trainer = trained(tmp_path, BiLSTM(), models()[1], objective, sequence_data())
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "model.safetensors").exists()


def test_layers_of_a_module_of_ones_own_ask_for_its_encoder(tmp_path):
    student, teacher = OwnHead(BertModel(bert_config(2))), models()[1]
    objective = kd.Objective(ALL_KINDS)
    with pytest.raises(kd.ConfigError, match="student_encoder='bert'"):
        kd.DistillationTrainer(
            model=student, teacher_model=teacher, objective=objective, args=arguments(tmp_path),
            train_dataset=sequence_data(), processing_class=tokenizer(),
        )  # fmt: skip
    trained(tmp_path, student, teacher, objective, sequence_data(), student_encoder="bert")


def test_the_teacher_may_be_a_module_of_ones_own_too(tmp_path):
    teacher = OwnHead(BertModel(bert_config(4)))
    trained(tmp_path, models()[0], teacher, kd.Objective(ALL_KINDS), sequence_data(), teacher_encoder="bert")


def test_several_teachers_have_equal_shares(tmp_path):
    student, first = models()
    second = BertForSequenceClassification(bert_config(3))
    trainer = trained(
        tmp_path, student, {"a": first, "b": second}, kd.Objective(logits=kd.losses.LogitKD()), sequence_data()
    )
    assert set(trainer.model.objective.shares.values()) == {0.5}


def test_a_teacher_that_nothing_learns_from_is_an_error(tmp_path):
    student, first = models()
    second = BertForSequenceClassification(bert_config(3))
    with pytest.raises(kd.ConfigError, match="teacher 'b'"):
        kd.DistillationTrainer(
            model=student, teacher_model={"a": first, "b": second}, args=arguments(tmp_path),
            objective=kd.Objective(hidden=kd.losses.HiddenMSE()), train_dataset=sequence_data(),
            processing_class=tokenizer(),
        )  # fmt: skip


def gap(student, teacher, mask):
    return ((student - teacher).abs() * mask[..., None]).mean()


class Gap(nn.Module):
    def forward(self, student, teacher, mask):
        return gap(student, teacher, mask)


@pytest.mark.parametrize("loss", [gap, Gap(), functools.partial(gap)], ids=["function", "module", "partial"])
def test_a_loss_may_be_a_function_or_a_module_of_two_tensors_and_a_mask(tmp_path, loss):
    student, teacher = models()
    trainer = trained(tmp_path, student, teacher, kd.Objective(hidden=kd.Term(loss, layers="last")), sequence_data())
    assert last_log(trainer)["loss/hidden"] > 0


@pytest.mark.parametrize("layers", ["last", [(1, 3), (2, 4)], lambda student, teacher: [(student, teacher)]])
def test_layer_maps_are_names_pairs_or_functions(layers):
    student, teacher = models()
    bound = kd.Objective(hidden=kd.Term(kd.losses.HiddenMSE(), layers=layers)).bind(student, teacher)
    pairs = [tuple(pair) for pair in bound.terms["hidden"].pairs]
    assert (2, 4) in pairs and set(pairs) <= {(0, 0), (1, 3), (2, 4)}


def test_a_recipe_by_name_whose_terms_were_changed(tmp_path):
    recipe = kd.recipe("tinybert_joint").replace(attention=None, hidden=kd.Term(kd.losses.HiddenCosine()))
    trainer = trained(tmp_path, *models(), recipe, sequence_data())
    assert {key for key in last_log(trainer) if key.startswith("loss/")} == {"loss/logits", "loss/hidden"}


def test_a_recipe_in_stages_is_given_stage_by_stage(tmp_path):
    student, teacher = models()
    with pytest.raises(kd.ConfigError, match="intermediate, prediction"):
        trained(tmp_path, student, teacher, kd.recipe("tinybert"), sequence_data())
    trained(tmp_path, student, teacher, kd.recipe("tinybert")["intermediate"], sequence_data())


def test_the_teachers_classes_are_brought_into_the_students_order(tmp_path):
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    swapped = {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}
    student = BertForSequenceClassification(bert_config(2, **names))
    teacher = BertForSequenceClassification(bert_config(4, **swapped))
    trainer = trained(tmp_path, student, teacher, kd.Objective(logits=kd.losses.LogitKD()), sequence_data())
    assert trainer.model.columns == {"main": [1, 0]}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"objective": None}, "objective"),
        ({"teacher_model": None}, "teacher_model"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_trained(tmp_path, more, message):
    student, teacher = models()
    given = {"model": student, "teacher_model": teacher, "objective": kd.Objective(ALL_KINDS), **more}
    with pytest.raises(kd.ConfigError, match=message):
        kd.DistillationTrainer(args=arguments(tmp_path), train_dataset=sequence_data(), **given)


@pytest.mark.parametrize("objective", [kd.losses.LogitKD(), {"logits": kd.losses.LogitKD()}, "tinybert_joint"])
def test_what_is_no_objective_is_named(tmp_path, objective):
    student, teacher = models()
    with pytest.raises(kd.ConfigError, match=r"^objective=.* is no objective; give Objective"):
        kd.DistillationTrainer(
            model=student, teacher_model=teacher, objective=objective, args=arguments(tmp_path),
            train_dataset=sequence_data(),
        )  # fmt: skip
