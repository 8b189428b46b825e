"""A stage on another task, with a teacher and a head of its own, before the task itself (recipe=xtreme)."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from kdfeatures.cli.main import main

LETTERS = "abc"


@pytest.fixture(scope="module")
def supplementary(workspace):
    """A task of three classes over the workspace's sentences, by the number of words, and its teacher."""
    rows = list(csv.DictReader((workspace.folder / "train.csv").open()))
    for row in rows:
        row["label"] = LETTERS[len(row["sentence"].split()) % 3]
    for split in ("train", "validation"):
        with (workspace.folder / f"words_{split}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    task = ["name=words", "text=[sentence]", "label=label", "labels=[a,b,c]", "metrics=[accuracy]",
            "files.train=words_train.csv", "files.validation=words_validation.csv"]  # fmt: skip
    teacher = workspace.folder / "words_teacher"
    main(["finetune", "task=files", *(f"task.{text}" for text in task), f"data.path={workspace.folder}",
          "data.max_length=24", f"model.path={workspace.encoder}", f"output_dir={teacher}", "trainer.max_steps=40",
          "trainer.learning_rate=2e-3", "trainer.disable_tqdm=true"])  # fmt: skip
    options = ["task@stages.supplementary.task=files", *(f"stages.supplementary.task.{text}" for text in task)]
    return [*options, f"stages.supplementary.teacher.path={teacher}", "+stages.supplementary.teacher.force=true"]


def test_the_student_learns_the_supplementary_task_first_and_keeps_its_encoder(workspace, supplementary):
    still = "+stages.own.trainer={learning_rate: 0.0, weight_decay: 0.0}"
    workspace.distil("xtreme", "recipe=xtreme", "student.layers=2", "trainer.max_steps=6", *supplementary, still)
    folder = workspace.folder / "xtreme"
    first, second = (folder / "stages" / name for name in ("1-supplementary", "2-own"))
    tasks = [json.loads((stage / "results.json").read_text())["task"] for stage in (first, second)]
    assert tasks == ["words", "clauses"]
    labels = [json.loads((stage / "config.json").read_text())["id2label"].values() for stage in (first, folder)]
    assert [list(names) for names in labels] == [list(LETTERS), ["plain", "relative"]]
    one, other = load_file(first / "model.safetensors"), load_file(folder / "model.safetensors")
    encoder = [name for name in one if name.startswith("bert.encoder")]
    assert encoder and all(torch.equal(one[name], other[name]) for name in encoder)
    copied = load_file(workspace.teacher / "model.safetensors")
    assert not torch.equal(one[encoder[0]], copied[encoder[0]])


def test_a_teacher_that_is_not_given_is_named_by_its_stage(workspace, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["distill", *workspace.task, f"teacher.path={workspace.teacher}", "recipe=xtreme", "student.layers=2",
              f"output_dir={tmp_path / 'out'}"])  # fmt: skip
    assert "task=mnli needs a teacher: give stages.supplementary.teacher.path=" in capsys.readouterr().err
