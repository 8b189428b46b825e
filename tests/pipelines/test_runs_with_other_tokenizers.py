"""Whole runs of a student that reads text with another tokenizer than its teachers."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.byte_students import byte_student
from support.tokenizer_kinds import tokenizer_of
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, RobertaForMaskedLM

from kdfeatures.cli.main import main

SHORT = ["trainer.max_steps=8", "trainer.logging_steps=2", "data.max_length=48"]
GENERAL = ["recipe=tinybert_general", "loss@losses.attention=attention_kl"]
TERMS = {
    "logits": ["recipe=logits"],
    "hidden": ["recipe=hidden_joint"],
    "attention": ["recipe=minilm_joint"],
    "relations": ["recipe=minilmv2_joint", "losses.relations.relation_heads=8"],
}


@pytest.fixture(scope="module")
def student(workspace):
    return byte_student(workspace.folder / "byte_student")


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", ["logits", "attention"])
def test_a_student_of_another_tokenizer_learns_the_teachers_answers(workspace, student, name, capsys):
    run = f"other_tokenizer_{name}"
    results = workspace.distil(
        run, *TERMS[name], f"student.path={student}", "data.max_length=48", "trainer.num_train_epochs=10",
        "trainer.learning_rate=3e-3", "trainer.save_strategy=no", "trainer.eval_strategy=no",
    )  # fmt: skip
    assert "has another tokenizer than the student" in capsys.readouterr().out
    assert results["teacher"]["metrics"]["validation"]["accuracy"] > 0.9
    assert results["student"]["metrics"]["validation"]["accuracy"] > 0.9
    saved = AutoTokenizer.from_pretrained(workspace.folder / run)
    assert saved.get_vocab() == tokenizer_of("byte-bpe", 400).get_vocab()


@pytest.mark.parametrize("name", ["attention", "relations"])
def test_a_cache_gives_the_student_of_the_live_teacher(workspace, student, name):
    folders = []
    for cache in ("off", "auto"):
        run = f"cached_{cache}_{name}"
        options = [] if cache == "off" else [f"cache.path={workspace.folder / 'other_cache'}", "cache.dtype=float32"]
        workspace.distil(run, *TERMS[name], f"student.path={student}", *SHORT, f"cache={cache}", *options)
        folders.append(workspace.folder / run)
    live, cached = map(weights, folders)
    for tensor in live:
        if "key.bias" not in tensor:  # whose gradient is 0 but for rounding, and Adam makes whole steps of that
            torch.testing.assert_close(cached[tensor], live[tensor], atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        ["recipe=hidden_joint", "mapping=cka"],
        ["recipe=hidden_joint", "projection=pca", "student.path=@narrow"],
        ["recipe=minilm_joint", "+heads@losses.attention.heads=hungarian"],
        ["recipe=tinybert_joint", "~losses.attention", "data.train_examples=60"],
        ["recipe=hidden_joint", "augmentation=tinybert", "augmentation.copies=1"],
        ["recipe=hidden_joint", "explain=true"],
    ],
    ids=lambda options: options[1].partition("=")[0],
)
def test_what_is_measured_or_made_before_training_knows_both_tokenizers(workspace, student, options):
    given = [option.replace("@narrow", str(student)) for option in options]
    run = f"measured_{options[1].partition('=')[0].strip('+~').replace('@', '_')}"
    given += [] if any(option.startswith("student.path") for option in given) else [f"student.path={student}"]
    results = workspace.distil(run, *given, *SHORT)
    assert all(value == value for value in results["losses"].values())


def test_of_several_teachers_each_reads_with_its_own_tokenizer(workspace, student):
    alike = byte_student(workspace.folder / "byte_teacher", seed=1)
    main(["finetune", *workspace.task, f"model.path={alike}", f"output_dir={workspace.folder / 'byte_tuned'}",
          "data.max_length=48", "trainer.num_train_epochs=8", "trainer.learning_rate=3e-3",
          "trainer.save_strategy=no"])  # fmt: skip
    results = workspace.distil(
        "two_tokenizers", "recipe=hidden_joint", f"student.path={student}", *SHORT,
        f"+teachers.b={{path: {workspace.folder / 'byte_tuned'}, weight: 1.0}}",
        "+loss@losses.second=hidden_mse", "losses.second.teacher=b",
    )  # fmt: skip
    assert [teacher["metrics"]["validation"]["accuracy"] > 0.9 for teacher in results["teachers"]] == [True, True]
    assert {"hidden", "second", "logits"} <= results["losses"].keys()


def shards(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.stat().st_size > 5000}


def refused(workspace, capsys, *options):
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        workspace.distil("refused_other", *options)
    error = capsys.readouterr().err.splitlines()
    assert not (workspace.folder / "refused_other" / "run.json").exists()
    return error[-1]


def test_scores_before_the_softmax_are_refused_before_training(workspace, student, capsys):
    line = refused(workspace, capsys, "recipe=tinybert_joint", f"student.path={student}", *SHORT)
    assert "losses.attention compares scores before the softmax" in line and "use attention_kl" in line


@pytest.fixture
def text(tmp_path):
    (tmp_path / "a.txt").write_text("the dog that chased a cat slept\nno bird sang\n" * 8)
    return [
        "distill",
        "task=text",
        f"data.path={tmp_path / 'a.txt'}",
        f"output_dir={tmp_path / 'run'}",
        "data.max_length=32",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "set task.reading.blocks=false"),
        (["task.reading.blocks=false", "data.streaming=true", "trainer.max_steps=2"], "set data.streaming=false"),
    ],
)
def test_text_that_is_cut_by_one_tokenizer_is_refused(workspace, student, text, capsys, options, told):
    with pytest.raises(SystemExit, match="2"):
        main([*text, *GENERAL, f"teacher.path={workspace.encoder}", f"student.path={student}", *options])
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_masked_language_models_of_two_vocabularies_are_refused(workspace, text, tmp_path, capsys):
    teacher = BertForMaskedLM(BertConfig.from_pretrained(workspace.encoder))
    for saved in (teacher, AutoTokenizer.from_pretrained(workspace.encoder)):
        saved.save_pretrained(tmp_path / "teacher")
    student = byte_student(tmp_path / "student", encoder=RobertaForMaskedLM)
    with pytest.raises(SystemExit, match="2"):
        main([*text, "recipe=logits", f"teacher.path={tmp_path / 'teacher'}", f"student.path={student}"])
    assert "predicts the pieces of its own" in capsys.readouterr().err.splitlines()[-1]


def test_plain_text_is_read_by_both(workspace, student, text, tmp_path):
    main([*text, *GENERAL, f"teacher.path={workspace.encoder}", f"student.path={student}",
          "task.reading.blocks=false", "trainer.max_steps=2"])  # fmt: skip
    losses = json.loads((tmp_path / "run" / "results.json").read_text())["losses"]
    assert losses and all(value > 0 for value in losses.values())


def test_the_cache_is_filled_ahead_with_the_teachers_own_inputs(workspace, student):
    cache = [f"cache.path={workspace.folder / 'ahead'}", "cache.dtype=float32"]
    given = [
        *workspace.task,
        f"teacher.path={workspace.teacher}",
        f"student.path={student}",
        *TERMS["hidden"],
        "data.max_length=48",
    ]
    main(["cache", *given, *cache])
    before = shards(workspace.folder / "ahead")
    workspace.distil("from_ahead", f"student.path={student}", *TERMS["hidden"], *SHORT, "cache=auto", *cache)
    assert before and before == shards(workspace.folder / "ahead")


def test_texts_that_only_the_teacher_cuts_are_counted(workspace, tmp_path, capsys):
    # the teacher reads bytes here, of which there are more than words
    main(["finetune", *workspace.task, f"model.path={byte_student(tmp_path / 'bytes')}",
          f"output_dir={tmp_path / 'tuned'}", "data.max_length=48", "trainer.max_steps=2"])  # fmt: skip
    capsys.readouterr()
    workspace.distil("cut_teacher", "recipe=logits", f"student.path={workspace.encoder}", *SHORT, "data.max_length=14",
                     f"teacher.path={tmp_path / 'tuned'}", "teacher.force=true")  # fmt: skip
    told = capsys.readouterr().out
    assert "clauses validation, as the teacher main reads it: " in told
    assert "of 80 texts are longer than data.max_length=14 tokens and were cut" in told
