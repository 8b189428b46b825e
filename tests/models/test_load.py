import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.shared_data import glue_task
from support.tiny import tiny_batch, tiny_classifier
from transformers import BertConfig, BertForMaskedLM, BertModel

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.load import label_settings, load_for_task, load_masked_model, load_trained, parameter_count
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


def named(folder, names, family="bert"):
    """Save a classifier whose config has these class names, and return it."""
    torch.manual_seed(0)
    model = tiny_classifier(family, num_labels=len(names))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: n for n, name in enumerate(names)}
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert", "mpnet", "funnel"])
def test_the_rows_of_a_head_are_moved_by_the_names_of_their_classes(tmp_path, family):
    model = named(tmp_path, ["Contradiction", "entailment", "neutral"], family)
    moved = load_for_task(str(tmp_path), "student.path", MNLI).eval()
    batch = tiny_batch()
    with torch.no_grad():
        expected = model(**batch).logits[:, [1, 2, 0]]
        torch.testing.assert_close(moved(**batch).logits, expected)
    assert moved.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    moved.save_pretrained(tmp_path / "again")
    again = load_trained(str(tmp_path / "again"), "model.path", task_type(MNLI), force=False)
    assert torch.equal(again(**batch).logits, moved(**batch).logits)
    assert moved(**batch, labels=torch.zeros(len(batch["input_ids"]), dtype=torch.long)).loss.isfinite()


def test_a_head_for_more_classes_gives_those_of_the_task(tmp_path, caplog):
    model = named(tmp_path, ["neutral", "not entailment", "entailment"])
    with caplog.at_level("INFO"):
        moved = load_for_task(str(tmp_path), "model.path", RTE)
    assert torch.equal(moved.classifier.weight, model.classifier.weight[[2, 1]])
    assert torch.equal(moved.classifier.bias, model.classifier.bias[[2, 1]])
    assert "brought into the task's order by name" in caplog.text


def test_a_head_for_as_many_other_classes_is_drawn_anew_and_said_so(tmp_path, caplog):
    model = named(tmp_path, ["bad", "good"])
    with caplog.at_level("INFO"):
        drawn = load_for_task(str(tmp_path), "model.path", RTE)
    assert not torch.equal(drawn.classifier.weight, model.classifier.weight)
    assert drawn.config.id2label == {0: "entailment", 1: "not_entailment"}
    assert "are bad, good and not the task's: a new head is drawn" in caplog.text


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


def test_layers_that_the_config_does_not_tell_of_are_refused_instead_of_left_out(copy):
    edit_config(copy, num_hidden_layers=2)
    for load in (trained, lambda folder: load_for_task(str(folder), "teacher.path", RTE)):
        told = refused(load, copy)
        assert (
            "is not the bert encoder that its config.json describes: its checkpoint also has bert.encoder.layer.2."
            in told
        )
        assert "and 15 more, which the model does not take" in told


@pytest.mark.parametrize("load", [trained, lambda folder: load_for_task(str(folder), "teacher.path", RTE)])
def test_position_terms_that_transformers_no_longer_knows_are_refused(copy, load):
    weights = load_file(copy / "model.safetensors")
    for layer in range(3):
        weights[f"bert.encoder.layer.{layer}.attention.self.distance_embedding.weight"] = torch.zeros(31, 6)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    told = refused(load, copy)
    assert "also has bert.encoder.layer.0.attention.self.distance_embedding.weight and 2 more" in told


def test_a_masked_model_with_unknown_weights_in_its_encoder_is_refused(tmp_path):
    BertForMaskedLM(tiny_classifier().config).save_pretrained(tmp_path)
    edit_config(tmp_path, num_hidden_layers=1)
    assert "also has bert.encoder.layer.1." in refused(load_masked_model, str(tmp_path), "augmentation.model")


@pytest.mark.parametrize(
    "extra",
    [
        {"bert.embeddings.position_ids": torch.arange(16)[None]},
        {"cls.predictions.bias": torch.zeros(99), "cls.seq_relationship.weight": torch.zeros(2, 24)},
        {"qa_outputs.weight": torch.zeros(2, 24)},
    ],
    ids=["buffer", "pretraining heads", "another head"],
)
def test_weights_beside_the_encoder_are_left_out(copy, extra):
    weights = load_file(copy / "model.safetensors")
    save_file(weights | extra, copy / "model.safetensors", {"format": "pt"})
    assert torch.equal(trained(copy).classifier.weight, weights["classifier.weight"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_model_is_float32_in_config_and_weights_whatever_precision_it_was_saved_in(tmp_path, dtype):
    tiny_classifier().to(getattr(torch, dtype)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == dtype
    for model in (trained(tmp_path), load_for_task(str(tmp_path), "model.path", MNLI)):
        assert {tensor.dtype for tensor in model.parameters()} == {
            torch.float32
        } and model.config.dtype == torch.float32


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


@pytest.mark.parametrize("size", ["vocab_size", "max_position_embeddings", "intermediate_size", "type_vocab_size"])
def test_a_config_that_asks_for_more_than_its_checkpoint_holds_is_refused_before_room_is_made(copy, size):
    """Its weights would take 50 TB and more, which no machine would give."""
    edit_config(copy, **{size: 10**12})
    for load, more in ((load_trained, {"force": False}), (load_for_task, {}), (load_masked_model, {})):
        kind = {load_trained: [task_type(RTE)], load_for_task: [RTE]}.get(load, [])
        with pytest.raises(UserError, match=r"contradicts itself: its config.json asks for \d[\d,]{14,} weights, but"):
            load(str(copy), "teacher.path", *kind, **more)
