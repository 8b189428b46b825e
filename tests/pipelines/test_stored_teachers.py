"""Distilling from stored answers instead of a model, and on a pool of the user's own."""

import json

import numpy as np
import pytest
from datasets import Dataset

from kdfeatures.cli.main import main

SHORT = ["trainer.max_steps=6", "trainer.logging_steps=2"]


def evaluated(workspace, split):
    """Return the folder with the teacher's logits, to which those of a split are added."""
    folder = workspace.folder / "answers"
    if not (folder / f"{split}.parquet").exists():
        out = workspace.folder / f"answers_{split}"
        main(["evaluate", *workspace.task, f"model.path={workspace.teacher}", f"output_dir={out}", f"split={split}",
              f"outputs={folder}"])  # fmt: skip
    return folder


def from_answers(workspace, name, path, *options):
    student = [f"student.path={workspace.encoder}", "teacher.path=null", f"teacher.outputs={path}"]
    return workspace.distil(name, "recipe=logits", *student, *options)


def refused(workspace, capsys, *args):
    with pytest.raises(SystemExit, match="2"):
        from_answers(workspace, "refused_answers", *args, "existing=overwrite")
    last = capsys.readouterr().err.splitlines()[-1]  # progress bars may stand before it
    assert last.startswith("kdfeatures: error: ")
    return last


def test_stored_logits_of_a_teacher_teach_what_the_teacher_does(workspace):
    for split in ("train", "validation"):
        folder = evaluated(workspace, split)
    live = workspace.distil("live_teacher", "recipe=logits", f"student.path={workspace.encoder}", *SHORT)
    stored = from_answers(workspace, "stored_teacher", folder, *SHORT)
    assert stored["losses"] == pytest.approx(live["losses"], rel=1e-4)
    assert stored["teacher"]["metrics"] == live["teacher"]["metrics"]
    assert stored["retained"] == pytest.approx(live["retained"])
    assert stored["teacher"]["path"] == str(folder) and stored["teacher"]["layers"] is None
    assert "stored outputs" in (workspace.folder / "stored_teacher" / "README.md").read_text()


def test_stored_logits_are_those_of_their_classes_whatever_the_order_of_the_task(workspace):
    for split in ("train", "validation"):
        folder = evaluated(workspace, split)
    turned = from_answers(workspace, "turned", folder, "task.labels=[relative,plain]", "trainer.max_steps=1")
    assert turned["teacher"]["metrics"]["validation"]["accuracy"] > 0.9


def test_labels_for_chosen_examples_alone_are_enough_and_the_teacher_is_then_not_scored(workspace):
    answers = Dataset.from_parquet(str(evaluated(workspace, "train") / "train.parquet"))
    names = ["plain", "relative"]
    labels = [
        names[int(np.argmax(logits))] for logits in zip(*(answers[f"logits.{name}"] for name in names), strict=True)
    ]
    path = workspace.folder / "labels.csv"
    Dataset.from_dict({"id": answers["id"], "label": labels}).to_csv(path)
    results = from_answers(workspace, "labels_only", path, "data.train_examples=64", "data.labelled=8", *SHORT)
    assert results["teacher"]["metrics"] == {} and results["retained"] is None
    assert (results["train_examples"], results["labelled_examples"]) == (64, 8)


def test_stored_outputs_that_do_not_fit_are_refused_before_training(workspace, capsys, tmp_path):
    folder = evaluated(workspace, "train")
    few = tmp_path / "few.parquet"
    Dataset.from_parquet(str(folder / "train.parquet")).select(range(300)).to_parquet(few)
    told = refused(workspace, capsys, few)
    assert "lacks 20 of the 320 examples of the split 'train' (ids 300, 301, 302, ...)" in told
    for options, message in (
        (["student.path=null"], "neither tokenizer nor layers to make a student of; give student.path=FOLDER"),
        ([f"teacher.path={workspace.teacher}"], "are two teachers; leave out one"),
        (["recipe=tinybert_joint"], "losses.hidden compares layers, but teacher.outputs holds none; drop it with"),
        (["+teachers.b={path: x, weight: 1.0}"], "cannot be averaged with models; leave out teachers.b"),
        (["cache=auto"], "is on disk already; leave out cache=auto"),
        (["augmentation=tinybert"], "no answers to text that is made up here"),
        (["teacher.id_column=guid"], "teacher.id_column=guid is no column of the split 'train'"),
    ):
        assert message in refused(workspace, capsys, folder, *options)


@pytest.mark.parametrize("options", [[], ["cache=auto"], ["augmentation=tinybert", "augmentation.copies=1"]], ids=str)
def test_a_pool_of_own_text_is_labelled_by_the_teacher_alone(workspace, tmp_path, options):
    pool = tmp_path / "pool.txt"
    pool.write_text("the dog that barked slept\nthe dog slept\n\nthe cats that slept barked\n")
    options = [*options, f"cache.path={tmp_path}"] if options == ["cache=auto"] else options
    results = workspace.distil(f"pool_{len(options)}", "recipe=logits", "student.layers=1", "data.train_examples=40",
                               f"data.pool={pool}", "existing=overwrite", *options, *SHORT)  # fmt: skip
    assert results["labelled_examples"] == 40
    copies = results["train_examples"] - 43
    assert 0 < copies <= 40 if "augmentation=tinybert" in options else copies == 0


def test_a_pool_takes_its_answers_from_its_own_file(workspace, tmp_path, capsys):
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"sentence": "the dog slept"}\n{"sentence": "the dog that barked slept"}\n')
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "train.parquet").write_bytes((evaluated(workspace, "train") / "train.parquet").read_bytes())
    told = refused(workspace, capsys, folder, f"data.pool={pool}")
    assert "lacks 2 of the 2 examples of the split 'pool' (ids 0, 1)" in told
    (folder / "pool.jsonl").write_text('{"id": 1, "label": "relative"}\n{"id": 0, "label": "plain"}\n')
    results = from_answers(workspace, "pool_answers", folder, f"data.pool={pool}", *SHORT)
    assert results["train_examples"] == 322


def test_without_a_teacher_the_pool_is_left_out_and_finetune_refuses_it(workspace, tmp_path, capsys):
    pool = tmp_path / "pool.txt"
    pool.write_text("the dog slept\n")
    assert workspace.distil("hard_pool", "recipe=hard", f"data.pool={pool}", *SHORT)["train_examples"] == 320
    with pytest.raises(SystemExit):
        main(["finetune", *workspace.task, f"model.path={workspace.encoder}", f"data.pool={pool}",
              f"output_dir={tmp_path / 'out'}"])  # fmt: skip
    assert "has no labels, so finetune cannot learn from it" in capsys.readouterr().err


def test_the_file_that_evaluate_writes_names_examples_by_row(workspace):
    answers = Dataset.from_parquet(str(evaluated(workspace, "validation") / "validation.parquet"))
    assert answers["id"][:3] == ["0", "1", "2"] and len(answers) == 80
    results = json.loads((workspace.folder / "answers_validation" / "results.json").read_text())
    assert results["config"]["outputs"] == str(workspace.folder / "answers")
