"""Rare classes, texts that are cut, and the checkpoint that is kept, through whole runs."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.shared_data import glue_task
from transformers import AutoTokenizer

from kdfeatures.cli.main import main
from kdfeatures.errors import UserError
from kdfeatures.losses import HardLabel
from kdfeatures.models.teachers import check_teacher
from kdfeatures.training.build import _weighed_loss

SHORT = ["trainer.max_steps=3", "trainer.logging_steps=1", "trainer.disable_tqdm=true"]
NO_EVAL = ["trainer.eval_strategy=no", "trainer.save_strategy=no"]


def results(folder):
    return json.loads((folder / "results.json").read_text())


def refused(capsys, *args):
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([*map(str, args)])
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def rare(workspace):
    """A training file of whose examples a tenth is relative."""
    with (workspace.folder / "train.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    kept = [row for row in rows if row["label"] == "plain"] + [row for row in rows if row["label"] == "relative"][:16]
    with (workspace.folder / "rare.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, kept[0])
        writer.writeheader()
        writer.writerows(kept)
    return f"task.files.train={workspace.folder / 'rare.csv'}"


def test_balanced_weights_are_those_of_the_training_labels(workspace, rare, tmp_path):
    weights = [176 / (2 * 160), 176 / (2 * 16)]
    losses = {}
    for name, given in (("balanced", "balanced"), ("list", f"[{weights[0]},{weights[1]}]"), ("none", "null")):
        main(["finetune", *workspace.task, rare, f"model.path={workspace.encoder}", f"output_dir={tmp_path / name}",
              f"class_weights={given}", *SHORT, *NO_EVAL])  # fmt: skip
        state = json.loads((tmp_path / name / "trainer_state.json").read_text())
        losses[name] = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert losses["balanced"] == pytest.approx(losses["list"], rel=1e-4)
    assert losses["balanced"][1:] != pytest.approx(losses["none"][1:], rel=1e-3)
    for name, given in (("distilled", "balanced"), ("by_list", f"[{weights[0]},{weights[1]}]")):
        distilled = workspace.distil(
            name, "recipe=logits", rare, f"losses.labels.class_weights={given}", *SHORT, *NO_EVAL
        )
        losses[name] = distilled["losses"]["labels"]
    assert losses["distilled"] == pytest.approx(losses["by_list"], rel=1e-5)


def test_weights_that_do_not_fit_are_refused_before_training(workspace, rare, tmp_path, capsys):
    run = ["finetune", *workspace.task, f"model.path={workspace.encoder}", f"output_dir={tmp_path}", *SHORT]
    assert "class_weights has 3 weights, but task 'clauses' has 2 classes" in refused(
        capsys, *run, "class_weights=[1,2,3]"
    )
    assert "class_weights=balancd is neither numbers nor 'balanced'" in refused(capsys, *run, "class_weights=balancd")
    regression = ["task.labels=[]", "task.label=score", "task.metrics=[pearson]", "class_weights=balanced"]
    assert "class_weights=balanced weighs classes, but task" in refused(capsys, *run, *regression)
    assert "no labelled training example is 'other'" in refused(
        capsys, *run, "task.labels=[plain,relative,other]", "task.metrics=[accuracy]", "class_weights=balanced"
    )


def test_the_loss_is_the_mean_over_the_labels_there_are():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, -100, 1])
    loss = HardLabel(class_weights=[1.0, 2.0, 5.0])
    known = labels >= 0
    mean = loss(logits[known], labels[known])
    # what the Trainer counts changes nothing: it divides by the batches that it accumulates
    torch.testing.assert_close(_weighed_loss(loss, SimpleNamespace(logits=logits), labels, 40), mean)
    several = (torch.randn(6, 3) > 0).float()
    torch.testing.assert_close(_weighed_loss(loss, SimpleNamespace(logits=logits), several), loss(logits, several))
    several[2] = torch.nan
    rest = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(
        _weighed_loss(loss, SimpleNamespace(logits=logits), several), loss(logits[rest], several[rest])
    )


def test_a_teacher_of_a_rare_class_is_judged_by_the_tasks_metric():
    task = glue_task("mrpc")  # its main metric is the mean of accuracy and F1
    by_f1 = dataclasses.replace(task, metrics=("f1",))
    labels = np.array([1] * 7 + [0] * 93)
    predictions = np.array([1] * 6 + [0] + [1] * 7 + [0] * 86)  # F1 60, but 92% right, where always 0 is right in 93%
    logits = np.stack([1.0 - predictions, predictions], axis=1)
    examples = Dataset.from_dict({"labels": labels.tolist()})
    check_teacher(logits, examples, by_f1, "validation")
    with pytest.raises(UserError, match=r"its accuracy is 92.0, that of always answering the best one class 93.0"):
        check_teacher(logits, examples, dataclasses.replace(task, metrics=("accuracy",)), "validation")
    with pytest.raises(UserError, match="its f1 is 0.0, that of always answering the best one class 13.1"):
        check_teacher(1 - logits[::-1] * 0, examples, by_f1, "validation")


def test_texts_that_are_cut_are_counted_on_the_screen_and_in_the_results(workspace, tmp_path, capsys):
    run = [f"model.path={workspace.teacher}", f"output_dir={tmp_path / 'short'}"]
    main(["evaluate", *workspace.task, "data.max_length=8", *run])
    words = AutoTokenizer.from_pretrained(workspace.teacher)
    texts = [row["sentence"] for row in csv.DictReader((workspace.folder / "validation.csv").open())]
    longer = sum(len(ids) > 8 for ids in words(texts)["input_ids"])
    assert 0 < longer < len(texts)
    assert results(tmp_path / "short")["truncated"] == {"validation": {"cut": longer, "of": 80}}
    told = " ".join(capsys.readouterr().out.split())
    assert f"clauses validation: {longer} of 80 texts are longer than data.max_length=8 tokens and were cut" in told
    main(["finetune", *workspace.task, f"model.path={workspace.teacher}", f"output_dir={tmp_path / 'whole'}", *SHORT])
    assert results(tmp_path / "whole")["truncated"] == {
        "validation": {"cut": 0, "of": 80}, "train": {"cut": 0, "of": 320},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "sense"), [("loss", min), ("eval_loss", min), ("f1", max), ("accuracy", max), ("combined_score", max)]
)
def test_the_best_checkpoint_is_the_best_by_the_metrics_own_sense(workspace, tmp_path, metric, sense):
    main(["finetune", *workspace.task, f"model.path={workspace.encoder}", f"output_dir={tmp_path}",
          "trainer.max_steps=6", "trainer.eval_strategy=steps", "trainer.save_strategy=steps", "+trainer.eval_steps=2",
          "+trainer.save_steps=2", "trainer.load_best_model_at_end=true", "trainer.learning_rate=3e-2",
          f"trainer.metric_for_best_model={metric}", "trainer.disable_tqdm=true"])  # fmt: skip
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    name = f"eval_{metric.removeprefix('eval_')}"
    assert state["best_metric"] == sense(entry[name] for entry in state["log_history"] if name in entry)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["trainer.metric_for_best_model=acuracy"], "is not measured on task 'clauses'; did you mean 'accuracy'?"),
        (["trainer.load_best_model_at_end=true", "trainer.eval_strategy=no"], "trainer.eval_strategy=no gives none"),
        (["trainer.load_best_model_at_end=true", "trainer.save_strategy=steps"],
         "trainer.save_strategy=steps and trainer.eval_strategy=epoch; set both to epoch"),
        (["trainer.load_best_model_at_end=true", "trainer.save_strategy=steps", "trainer.eval_strategy=steps",
          "+trainer.eval_steps=3", "+trainer.save_steps=4"],
         "trainer.save_steps=4 is no multiple of the 3 steps between evaluations"),
    ],
)  # fmt: skip
def test_checkpoints_without_a_score_are_explained(workspace, tmp_path, capsys, options, told):
    run = ["finetune", *workspace.task, f"model.path={workspace.encoder}", f"output_dir={tmp_path}"]
    assert told in refused(capsys, *run, *options)
