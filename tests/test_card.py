import pytest
from huggingface_hub import ModelCard
from shared_data import glue_task
from tiny import model_entry

from kdfeatures.card import write_card
from kdfeatures.tasks import Task

MRPC, MNLI = glue_task("mrpc"), glue_task("mnli")
METRICS = {"validation": {"accuracy": 0.875, "f1": 0.9}}


def results(recipe="tinybert", *, metrics=None, mapping=((0, 0), (1, 3), (2, 6)), train=100, labelled=100):
    return {
        "recipe": recipe,
        "mapping": None if recipe is None else [list(pair) for pair in mapping],
        "maps": {},
        "heads": {},
        "seed": 7,
        "teacher": None if recipe is None else model_entry("path/to/teacher", parameters=110_000_000),
        "student": model_entry(metrics=metrics or METRICS),
        "train_examples": train,
        "labelled_examples": labelled,
        "versions": {"kdfeatures": "1.2.3"},
    }


@pytest.fixture
def card(tmp_path):
    def write(given, task=MRPC):
        folder = tmp_path / "my-student"
        folder.mkdir()
        write_card(folder, given, task)
        return ModelCard.load(folder / "README.md")

    return write


def test_the_front_matter_holds_every_score_under_its_dataset_and_split(card):
    data = card(results()).data
    found = {
        (r.dataset_type, r.dataset_config, r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results
    }
    assert found == {
        ("nyu-mll/glue", "mrpc", "validation", "accuracy"): 0.875,
        ("nyu-mll/glue", "mrpc", "validation", "f1"): 0.9,
    }
    assert data.model_name == "my-student"
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.tags == ["kdfeatures", "knowledge-distillation"]


def test_both_validation_splits_of_mnli_are_named_as_the_data_name_them(card):
    metrics = {"validation": {"accuracy": 0.8}, "extra": {"accuracy": 0.7}}
    data = card(results(metrics=metrics), MNLI).data
    assert {r.dataset_split: r.metric_value for r in data.eval_results} == {
        "validation_matched": 0.8,
        "validation_mismatched": 0.7,
    }


def test_a_distilled_student_is_told_with_teacher_recipe_and_layers(card):
    text = card(results()).text
    assert "# my-student" in text
    assert "A 4 x 128 bert (2.5M parameters) distilled from the 4 x 128 bert (110.0M parameters)" in text
    assert "(path/to/teacher) with recipe `tinybert`" in text
    assert "0 from 0, 1 from 3, 2 from 6 (0 is the embeddings)" in text
    assert "100 labelled examples of mrpc, seed 7, with kdfeatures 1.2.3" in text
    assert "| validation | accuracy | 0.8750 |" in text
    assert 'pipeline("text-classification", model="my-student")' in text


def test_a_recipe_without_layers_names_no_pairs(card):
    text = card(results("logits", mapping=())).text
    assert "recipe `logits`, with the teacher" in text and "layers learn" not in text


def test_a_fine_tuned_model_has_no_teacher(card):
    made = card(results(None))
    assert "fine-tuned on labels" in made.text and "teacher" not in made.text
    assert made.data.tags == ["kdfeatures"]


def test_unlabelled_examples_are_counted_apart(card):
    assert "40 labelled examples and 60 whose labels were not used of mrpc" in card(results(labelled=40)).text


def test_a_task_of_the_users_files_is_named_by_its_name(card):
    task = Task.from_config(
        {
            "name": "reviews",
            "text": ["review"],
            "label": "stars",
            "labels": ["bad", "good"],
            "metrics": ["accuracy", "f1"],
            "files": {"train": "train.csv", "validation": "dev.csv"},
        }
    )
    (first, _) = card(results(), task).data.eval_results
    assert (first.dataset_type, first.dataset_name, first.dataset_config) == ("reviews", "reviews", None)
