import json
import shutil

import pytest
import torch
from support.shared_data import glue_task
from support.tiny import tiny_classifier
from transformers import BertConfig, BertForMaskedLM, BertModel

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.load import (
    label_settings,
    load_config,
    load_for_task,
    load_tokenizer,
    load_trained,
    parameter_count,
)
from kdfeatures.tasks.registry import task_type

RTE, STSB, MNLI = (glue_task(name) for name in ("rte", "stsb", "mnli"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "classifier"
    tiny_classifier().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def edit_config(folder, **changed):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def refused(load, *args, **options):
    with pytest.raises(UserError) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def trained(folder, *, force=False):
    return load_trained(str(folder), "teacher.path", task_type(RTE), force=force)


def test_a_classifier_comes_back_as_it_was_saved(saved):
    model = trained(saved)
    torch.manual_seed(0)
    expected = tiny_classifier()
    assert model.config.num_hidden_layers == 3 and not model.training
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in expected.named_parameters()}


def test_half_precision_checkpoints_come_back_in_float32(tmp_path):
    tiny_classifier().to(torch.bfloat16).save_pretrained(tmp_path)
    assert trained(tmp_path).dtype == torch.float32


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_a_checkpoint_without_a_head_is_no_trained_classifier_unless_forced(tmp_path, kind):
    kind(tiny_classifier().config).save_pretrained(tmp_path)
    told = refused(trained, tmp_path)
    assert told.startswith(f"teacher.path={tmp_path} was never fine-tuned for classification: its checkpoint lacks ")
    assert "kdfeatures finetune" in told
    assert trained(tmp_path, force=True).classifier.out_features == 2


def test_a_pretrained_encoder_gets_the_labels_of_the_task(tmp_path):
    encoder = BertModel(tiny_classifier().config)
    encoder.save_pretrained(tmp_path)
    model = load_for_task(str(tmp_path), "model.path", MNLI)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    assert model.classifier.out_features == 3
    torch.testing.assert_close(model.bert.state_dict(), encoder.state_dict())


def test_a_head_for_other_labels_is_drawn_anew(saved):
    assert load_for_task(str(saved), "model.path", MNLI).classifier.out_features == 3
    assert load_for_task(str(saved), "model.path", STSB).classifier.out_features == 1


def test_a_head_for_as_many_labels_is_kept(saved):
    model = load_for_task(str(saved), "model.path", RTE)
    torch.testing.assert_close(model.classifier.weight, trained(saved).classifier.weight)


@pytest.mark.parametrize("load", [trained, lambda folder: load_for_task(str(folder), "teacher.path", RTE)])
def test_a_checkpoint_of_another_size_than_its_config_is_refused_instead_of_drawn_at_random(copy, load):
    edit_config(copy, hidden_size=48)
    told = refused(load, copy)
    assert told.startswith(f"teacher.path={copy} contradicts itself: bert.") and "(24,)" in told and "(48,)" in told


def test_a_trained_classifier_whose_head_contradicts_its_config_is_refused(copy):
    edit_config(copy, id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2})
    assert "contradicts itself: classifier." in refused(trained, copy)


def test_layers_that_the_checkpoint_lacks_are_refused_instead_of_drawn_at_random(copy):
    edit_config(copy, num_hidden_layers=5)
    told = refused(load_for_task, str(copy), "model.path", RTE)
    assert "is not the bert encoder that its config.json describes: its checkpoint lacks bert.encoder.layer.3" in told


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_broken_checkpoint_is_refused(copy, content):
    (copy / "model.safetensors").write_bytes(content)
    assert refused(trained, copy).startswith(f"teacher.path={copy} holds no model that can be loaded: ")


def test_a_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()
    assert "holds no model that can be loaded: " in refused(trained, copy)


@pytest.mark.parametrize("content", ["{", '{"model_type": "nothing"}'])
def test_a_config_that_cannot_be_read_is_refused(copy, content):
    (copy / "config.json").write_text(content)
    told = refused(load_config, str(copy), "student.path")
    assert told.startswith(f"student.path={copy} holds no model config that can be loaded: ")


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_a_folder_without_config_is_refused(tmp_path, load):
    told = refused(load, str(tmp_path), "teacher.path")
    assert told == f"teacher.path={tmp_path} is a folder without config.json, so it holds no model."


@pytest.mark.parametrize("path", ["/no/such/folder", "./nowhere", "../nowhere", "~/nowhere", "a/b/c"])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(path):
    assert refused(load_config, path, "teacher.path") == f"teacher.path={path}: no such folder."


def test_a_tokenizer_comes_back_as_it_was_saved(saved):
    assert load_tokenizer(str(saved), "teacher.path").get_vocab() == tokenizer().get_vocab()


def test_a_folder_without_tokenizer_is_refused_instead_of_answered_with_an_empty_one(copy):
    for file in copy.glob("tokenizer*"):
        file.unlink()
    assert refused(load_tokenizer, str(copy), "teacher.path").startswith(
        f"teacher.path={copy} holds no tokenizer; copy"
    )


def test_label_settings_name_the_classes_or_say_regression():
    score = BertConfig.from_dict(BertConfig(num_labels=3).to_dict() | label_settings(STSB))
    assert (score.num_labels, score.problem_type, score.id2label) == (1, "regression", {0: "LABEL_0"})
    settings = label_settings(RTE)
    assert settings["id2label"] == {0: "entailment", 1: "not_entailment"}
    assert settings["label2id"] == {"entailment": 0, "not_entailment": 1}
    assert settings["problem_type"] == "single_label_classification"


def test_shared_parameters_are_counted_once():
    model = BertForMaskedLM(tiny_classifier().config)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    distinct = {id(parameter): parameter.numel() for parameter in model.parameters(recurse=True)}
    assert parameter_count(model) == sum(distinct.values())
