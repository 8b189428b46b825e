"""Whole runs with models as people have them: in half precision, with run-time flags, of fewer positions, padded."""

import json
import shutil

import pytest
import torch
from support.model_folders import edit_json
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from kdfeatures.cli.main import main
from kdfeatures.data.synthetic import tokenizer

SHORT = ["trainer.max_steps=6", "trainer.logging_steps=2"]
PARTS = {
    "teacher": [],
    "pca": ["student.hidden_size=16", "student.heads=2"],
    "random": [],
    "pruned": ["student.hidden_size=16", "student.heads=2"],
}


@pytest.fixture(scope="module")
def half(workspace):
    """The teacher in bfloat16, with flags of how it was run."""
    folder = workspace.folder / "half_teacher"
    shutil.copytree(workspace.teacher, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).to(torch.bfloat16)
    model.save_pretrained(folder)
    edit_json(folder / "config.json", output_attentions=True, output_hidden_states=True, return_dict=False)
    return folder


@pytest.mark.parametrize("init", PARTS)
def test_a_student_is_float32_whatever_the_teacher_was_saved_in(workspace, half, init):
    results = workspace.distil(
        f"of_half_{init}", "recipe=hidden_joint", f"student.init={init}", *PARTS[init], *SHORT, f"teacher.path={half}"
    )
    folder = workspace.folder / f"of_half_{init}"
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "float32" and not {"output_attentions", "return_dict"} & config.keys()
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert results["teacher"]["metrics"]["validation"]["accuracy"] > 0.9


def test_a_model_with_flags_is_fine_tuned_and_evaluated(workspace, half, tmp_path):
    main(["finetune", *workspace.task, f"model.path={half}", f"output_dir={tmp_path / 'tuned'}", *SHORT])
    main(["evaluate", *workspace.task, f"model.path={tmp_path / 'tuned'}", f"output_dir={tmp_path / 'scored'}"])
    results = json.loads((tmp_path / "scored" / "results.json").read_text())
    assert results["student"]["metrics"]["validation"]["accuracy"] > 0.9


def test_a_student_of_few_positions_says_so_and_is_used_with_truncation(workspace, tmp_path):
    config = AutoConfig.from_pretrained(workspace.teacher)
    config.max_position_embeddings, config.num_hidden_layers = 24, 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "short")
    words = AutoTokenizer.from_pretrained(workspace.teacher)
    words.model_max_length = 64
    words.save_pretrained(tmp_path / "short")
    workspace.distil("of_24_positions", "recipe=logits", f"student.path={tmp_path / 'short'}", *SHORT)
    folder = workspace.folder / "of_24_positions"
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 24
    classify = pipeline("text-classification", str(folder), truncation=True)
    assert classify("the dog that barked slept " * 20)[0]["label"] in ("plain", "relative")


def test_masked_models_of_one_tokenizer_and_two_paddings_learn_from_each_other(tmp_path, workspace):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.txt").write_text("the dog that barked slept\na cat slept\n" * 40)
    config = AutoConfig.from_pretrained(workspace.encoder)
    size = len(tokenizer())
    for name, rows, layers in (("teacher", size + 8, 2), ("student", size, 1)):
        config.vocab_size, config.num_hidden_layers = rows, layers
        AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    run = ["distill", "task=text", f"data.path={tmp_path / 'text'}", "task.reading.held_out=8", "data.max_length=16",
           "recipe=logits", "teacher.force=true", *SHORT]  # fmt: skip
    for teacher, student in (("teacher", "student"), ("student", "teacher")):
        out = tmp_path / f"of_{teacher}"
        models = [f"teacher.path={tmp_path / teacher}", f"student.path={tmp_path / student}"]
        main([*run, *models, f"output_dir={out}"])
        assert json.loads((out / "results.json").read_text())["losses"]["logits"] > 0
        assert json.loads((out / "config.json").read_text())["vocab_size"] == size


def test_ids_beyond_the_embeddings_are_refused_before_training(workspace, tmp_path, capsys):
    shutil.copytree(workspace.encoder, tmp_path / "grown")
    words = AutoTokenizer.from_pretrained(workspace.encoder)
    text = (workspace.folder / "train.csv").read_text().splitlines()[1].split(",")[0]
    words.add_tokens([" ".join(text.split()[:2])])  # in the task's texts, but no row of the model
    words.save_pretrained(tmp_path / "grown")
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", *workspace.task, f"model.path={tmp_path / 'grown'}", f"output_dir={tmp_path / 'out'}"])
    assert "token ids (0 to " in capsys.readouterr().err.splitlines()[-1]
