import pytest
from datasets import Dataset
from support.in_memory import CLAUSES, in_memory

import kdfeatures as kd


def test_a_model_is_finetuned_and_then_evaluated_on_datasets_in_memory(workspace, tmp_path):
    data = in_memory(workspace)
    given = {"dataset": data, "data": {"max_length": 24}}
    trained = kd.finetune(
        CLAUSES, model=workspace.encoder, output_dir=tmp_path / "teacher",
        trainer={"learning_rate": 3e-3, "per_device_train_batch_size": 16, "num_train_epochs": 6, "disable_tqdm": True},
        **given,
    )  # fmt: skip
    assert trained.command == "finetune" and trained.score > 0.9 and trained.labelled_examples == len(data["train"])
    scored = kd.evaluate(CLAUSES, tmp_path / "teacher", output_dir=tmp_path / "scores", **given)
    assert scored.command == "evaluate" and scored.student.metrics == trained.student.metrics
    assert scored.examples == {"validation": len(data["validation"])}


def test_what_cannot_be_scored_is_one_line(workspace, tmp_path):
    with pytest.raises(kd.UserError, match="nothing: no such folder") as raised:
        kd.evaluate(CLAUSES, tmp_path / "nothing", output_dir=tmp_path / "scores", dataset=in_memory(workspace))
    assert "\n" not in str(raised.value)


def test_words_with_labels_are_a_task_too(workspace, tmp_path):
    words = Dataset.from_dict({"tokens": [["the", "dog"], ["a", "cat"]] * 8, "tags": [["O", "B-X"]] * 16})
    task = {
        "name": "names", "kind": "tokens", "text": ["tokens"], "label": "tags", "labels": ["O", "B-X"],
        "metrics": ["accuracy"],
    }  # fmt: skip
    result = kd.finetune(
        task, model=workspace.encoder, output_dir=tmp_path / "words", dataset={"train": words, "validation": words},
        trainer={"max_steps": 1, "disable_tqdm": True},
    )  # fmt: skip
    assert set(result.student.metrics["validation"]) == {"accuracy"}
