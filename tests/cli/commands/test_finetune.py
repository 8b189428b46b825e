import json

import pytest
from transformers import pipeline

from kdfeatures.cli.main import main


def test_a_teacher_is_a_model_folder_with_label_names_card_and_results(workspace):
    results = json.loads((workspace.teacher / "results.json").read_text())
    assert results["command"] == "finetune" and results["task"] == "clauses" and results["schema"] == 1
    assert results["train_examples"] == results["labelled_examples"] == 320
    assert results["student"]["metrics"]["validation"]["accuracy"] > 0.9
    assert results["config"]["trainer"]["num_train_epochs"] == 6
    answer = pipeline("text-classification", model=str(workspace.teacher))("the dog that barked slept")
    assert answer[0]["label"] == "relative"
    card = (workspace.teacher / "README.md").read_text()
    assert "model-index" in card and "320 labelled examples of clauses" in card


def test_few_labels_train_on_these_alone(workspace):
    folder = workspace.folder / "few"
    main(
        [
            "finetune",
            *workspace.task,
            f"model.path={workspace.encoder}",
            f"output_dir={folder}",
            "data.train_examples=100",
            "data.labelled=40",
            "trainer.num_train_epochs=1",
            "trainer.disable_tqdm=true",
        ]
    )
    assert json.loads((folder / "results.json").read_text())["train_examples"] == 40


def test_a_real_task_without_a_pretrained_encoder_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", "task=rte", "data.path=nowhere"])
    assert "needs a pretrained encoder: give model.path=" in capsys.readouterr().err
