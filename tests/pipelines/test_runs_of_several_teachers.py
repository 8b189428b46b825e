"""Runs with more than one teacher, from the command line."""

import json

import pytest
from transformers import AutoModelForSequenceClassification

from kdfeatures.cli.main import main
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.runs.results import __doc__ as documentation

SHORT = ["trainer.max_steps=6", "trainer.logging_steps=2", "student.layers=2"]


@pytest.fixture(scope="session")
def second(workspace):
    """A second, shallower teacher, whose classes are in the other order."""
    folder = workspace.folder / "second_teacher"
    workspace.distil("second_teacher", "recipe=pseudo", "student.layers=2", "trainer.num_train_epochs=4")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for tensor in model.classifier.parameters():
        tensor.data.copy_(tensor.data.flip(0))
    model.config.id2label, model.config.label2id = {0: "relative", 1: "plain"}, {"relative": 0, "plain": 1}
    model.save_pretrained(folder)
    return folder


def test_two_teachers_are_averaged_and_teach_layers_of_their_own_with_and_without_a_cache(workspace, second, tmp_path):
    options = ["recipe=tinybert_joint", f"+teachers.b={{path: {second}, weight: 3.0}}", "losses.attention.teacher=b",
               "student.hidden_size=24", "student.init=random", "projection=pca", *SHORT]  # fmt: skip
    live = workspace.distil("two_live", *options)
    cached = workspace.distil("two_cached", *options, "cache=auto", f"cache.path={tmp_path}", "cache.dtype=float32")
    assert cached["losses"] == pytest.approx(live["losses"], rel=1e-3)
    assert len(list(tmp_path.iterdir())) == 2
    one, other = live["teachers"]
    assert (one["name"], one["share"], one["mapping"]) == ("main", 0.25, [[0, 0], [1, 2], [2, 4]])
    assert (other["name"], other["share"], other["mapping"]) == ("b", 0.75, [[1, 1], [2, 2]])
    assert live["mapping"] == one["mapping"] and live["teacher"]["metrics"] == one["metrics"]
    assert other["layers"] == 2 and other["metrics"]["validation"]["accuracy"] > 0.8  # aligned by name
    assert live["ensemble"]["validation"]["accuracy"] > 0.8
    assert live["ensemble"] == cached["ensemble"]
    assert all(name in documentation for name in ("teachers", "ensemble", "share"))


def test_the_cache_command_fills_what_all_teachers_are_asked_for(workspace, second, tmp_path):
    options = [*workspace.task, f"teacher.path={workspace.teacher}", "recipe=tinybert_joint", "student.layers=2",
               f"+teachers.b={{path: {second}, weight: 1.0}}", "losses.hidden.teacher=b"]  # fmt: skip
    main(["cache", *options, f"cache.path={tmp_path}", f"output_dir={tmp_path / 'out'}"])
    folders = [path.parent for path in tmp_path.glob("*/identity.json")]
    kept = [{file.name for file in folder.glob("*/*")} for folder in folders]
    assert sum("hidden.2" in names and "query.2" not in names for names in kept) == 1
    assert sum("query.4" in names and "hidden.4" not in names for names in kept) == 1
    assert all("logits" in names for names in kept)


def test_a_teacher_no_better_than_a_constant_is_refused_by_name(workspace, second, tmp_path, capsys):
    model = AutoModelForSequenceClassification.from_pretrained(second)
    model.classifier.weight.data.zero_()
    for saved in (model, tokenizer()):
        saved.save_pretrained(tmp_path / "untrained")
    with pytest.raises(SystemExit):
        workspace.distil("refused", "recipe=logits", f"+teachers.b={{path: {tmp_path / 'untrained'}, weight: 1.0}}")
    assert (
        "the teacher b is no better than a constant on clauses validation" in capsys.readouterr().err.splitlines()[-1]
    )


def test_a_teacher_of_other_words_reads_with_its_own_tokenizer(workspace, second, tmp_path, capsys):
    model, words = AutoModelForSequenceClassification.from_pretrained(second), tokenizer()
    words.add_tokens(["another"])
    model.resize_token_embeddings(len(words))
    for saved in (model, words):
        saved.save_pretrained(tmp_path / "other_words")
    other = f"+teachers.b={{path: {tmp_path / 'other_words'}, weight: 1.0}}"
    workspace.distil("other_words", "recipe=logits", other, "trainer.max_steps=2")
    assert (
        f"teachers.b.path={tmp_path / 'other_words'} has another tokenizer than the student" in capsys.readouterr().out
    )


def test_a_run_with_one_teacher_says_nothing_of_several(workspace):
    workspace.distil("one_teacher", "recipe=logits", *SHORT)
    results = json.loads((workspace.folder / "one_teacher" / "results.json").read_text())
    assert "teachers" not in results and "ensemble" not in results


def test_a_permuted_teacher_answers_rightly_but_its_layers_are_of_other_texts(workspace, tmp_path):
    control = f"+teachers.control={{path: {workspace.teacher}, weight: 0, permuted: true}}"
    options = ["recipe=tinybert_joint", control, "losses.hidden.teacher=control", "losses.attention.teacher=control",
               *SHORT]  # fmt: skip
    results = workspace.distil("permuted_teacher", *options)
    real, permuted = results["teachers"]
    assert (real["permuted"], permuted["permuted"], permuted["share"]) == (False, True, 0.0)
    assert permuted["metrics"] == real["metrics"]
    matched = workspace.distil("its_own_texts", "recipe=tinybert_joint", *SHORT)
    assert results["losses"]["hidden"] > matched["losses"]["hidden"]
    cached = workspace.distil(
        "permuted_cached", *options, "cache=auto", f"cache.path={tmp_path}", "cache.dtype=float32"
    )
    assert cached["losses"] == pytest.approx(results["losses"], rel=1e-3)


def test_a_shuffled_teacher_gives_layers_to_match_but_no_answers(workspace, tmp_path):
    control = f"+teachers.control={{path: {workspace.teacher}, weight: 0, shuffled: true}}"
    options = ["recipe=tinybert_joint", control, "losses.hidden.teacher=control", "losses.attention.teacher=control",
               *SHORT]  # fmt: skip
    results = workspace.distil("shuffled_teacher", *options)
    real, shuffled = results["teachers"]
    assert (real["share"], real["shuffled"], real["mapping"]) == (1.0, False, [])
    assert (shuffled["share"], shuffled["shuffled"], shuffled["mapping"]) == (0.0, True, [[0, 0], [1, 2], [2, 4]])
    assert shuffled["metrics"]["validation"]["accuracy"] < 0.7 < real["metrics"]["validation"]["accuracy"]
    assert results["ensemble"]["validation"] == real["metrics"]["validation"]
    cached = workspace.distil(
        "shuffled_cached", *options, "cache=auto", f"cache.path={tmp_path}", "cache.dtype=float32"
    )
    assert cached["losses"] == pytest.approx(results["losses"], rel=1e-3)
