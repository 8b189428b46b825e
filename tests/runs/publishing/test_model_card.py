import pytest
import yaml
from huggingface_hub import ModelCard
from support.carded import told_results
from support.shared_data import ROOT, glue_task

from kdfeatures.runs.publishing.model_card import write_card
from kdfeatures.runs.publishing.model_card_sections import limits_text, training_text
from kdfeatures.tasks.task import Task

MRPC, MNLI = glue_task("mrpc"), glue_task("mnli")


@pytest.fixture
def card(tmp_path):
    def write(given, task=MRPC):
        folder = tmp_path / "my-student"
        folder.mkdir()
        write_card(folder, given, task)
        return ModelCard.load(folder / "README.md")

    return write


def test_the_front_matter_holds_every_score_under_its_dataset_and_split(card):
    data = card(told_results()).data
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
    data = card(told_results(metrics=metrics), MNLI).data
    assert {r.dataset_split: r.metric_value for r in data.eval_results} == {
        "validation_matched": 0.8,
        "validation_mismatched": 0.7,
    }


def test_a_distilled_student_is_told_with_teacher_recipe_and_layers(card):
    text = card(told_results()).text
    assert "# my-student" in text
    assert "A 4 x 128 bert (2.5M parameters) distilled from the 4 x 128 bert (110.0M parameters)" in text
    assert "(teacher) with recipe `tinybert_joint`" in text
    assert "0 from 0, 1 from 3, 2 from 6 (0 is the embeddings)" in text
    assert "Trained on 100 labelled examples of mrpc (nyu-mll/glue, mrpc), seed 7." in text
    assert "Made with kdfeatures 1.2.3." in text
    assert 'pipeline("text-classification", model="my-student")' in text
    assert "/home/me" not in text


def test_a_recipe_without_layers_names_no_pairs(card):
    text = card(told_results("logits", mapping=())).text
    assert "recipe `logits`, with the teacher" in text and "layers learn" not in text


def test_the_data_of_stages_are_told_one_by_one_where_they_differ(card):
    first = ["+task@stages.relations.task=text", "+stages.relations.data.path=/home/me/corpus"]
    given = told_results("minilm", *first, train=400_000, labelled=3668)
    read = {"name": "relations", "train_examples": 400_000, "labelled_examples": 0}
    own = {"name": "finetune", "train_examples": 3668, "labelled_examples": 3668}
    text = card(given | {"stages": [read, own]}).text
    assert "Stage 1: 400000 examples of text (corpus). Stage 2: 3668 labelled examples of mrpc (nyu-mll/glue" in text


def test_stages_on_the_same_data_are_told_once_with_what_was_added_to_them(card):
    given = told_results("tinybert", "data.pool=/home/me/pool.csv", labelled=0)
    counts = {"train_examples": 2600, "labelled_examples": 0, "pool_examples": 500, "augmented_examples": 2000}
    stages = [{"name": name} | counts for name in ("intermediate", "prediction")]
    assert (
        "Trained on 100 examples without their labels of mrpc (nyu-mll/glue, mrpc), 500 unlabelled texts of pool.csv, "
        "2000 altered copies of them, seed 7." in card(given | counts | {"stages": stages}).text
    )


def test_a_score_on_a_part_of_a_split_is_said_to_be_one_and_not_published_as_that_of_the_split(card):
    whole, part = told_results() | {"examples": {"validation": 408}}, told_results() | {"examples": {"validation": 100}}
    assert "no GLUE score" not in limits_text(whole, MRPC, "en")
    made = card(part)
    assert "- It was scored on 100 of the 408 examples of validation, so that is no GLUE score." in made.text
    assert made.data.eval_results is None and "0.8750" in made.text


def test_a_fine_tuned_model_has_no_teacher(card):
    made = card(told_results(None))
    assert "fine-tuned on labels" in made.text and "teacher" not in made.text
    assert made.data.tags == ["kdfeatures"]


def test_unlabelled_examples_are_counted_apart(card):
    assert "40 labelled examples and 60 whose labels were not used of mrpc" in card(told_results(labelled=40)).text


def test_where_no_label_was_used_none_is_counted(card):
    assert "Trained on 100 examples without their labels of mrpc" in card(told_results(labelled=0)).text


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
    (first, _) = card(told_results(), task).data.eval_results
    assert (first.dataset_type, first.dataset_name, first.dataset_config) == ("reviews", "reviews", None)


def rows(text, first):
    """Return the cells of the table whose header begins with `first`."""
    lines = text[text.index(f"| {first} ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def test_scores_stand_beside_the_teachers_with_the_share_that_is_kept(card):
    given = told_results(metrics={"validation": {"accuracy": 0.8, "f1": 0.9}})
    given["teacher"]["metrics"] = {"validation": {"accuracy": 0.85, "f1": 0.0}}
    assert rows(card(given).text, "split") == [
        ["split", "metric", "value", "teacher", "retained"],
        ["validation", "accuracy", "0.8000", "0.8500", "94.1%"],
        ["validation", "f1", "0.9000", "0.0000", ""],
    ]


def test_a_fine_tuned_model_has_scores_of_its_own_only(card):
    text = card(told_results(None)).text
    assert rows(text, "split")[0] == ["split", "metric", "value"]
    assert "Cross-entropy with the labels; 3 epochs, batches of 32, learning rate 5e-05 (linear)." in text


def test_every_term_is_told_with_loss_weight_and_map(card):
    weight = "losses.hidden.weight={schedule: linear, start: 1.0, end: 0.5}"
    text = card(told_results("hidden_joint", weight, "mapping=last", "losses.logits.weight=0.25")).text
    assert rows(text, "term") == [
        ["term", "loss", "weight", "layer map"],
        ["labels", "`HardLabel`", "0.5", ""],
        ["logits", "`LogitKD`", "0.25", ""],
        ["hidden", "`HiddenMSE`", "1 to 0.5, linear", "`last`"],
    ]
    assert "Trained with 3 epochs, batches of 32, learning rate 5e-05 (linear)." in text


def test_stages_are_told_one_by_one_with_their_own_settings(card):
    text = card(told_results("tinybert", "trainer.tokens_per_batch=4096")).text
    assert [row[:3] for row in rows(text, "stage")] == [
        ["stage", "term", "loss"],
        ["1 intermediate", "hidden", "`HiddenMSE`"],
        ["1 intermediate", "attention", "`AttentionScoreMSE`"],
        ["2 prediction", "logits", "`SoftCrossEntropy`"],
    ]
    assert "Stage 1: 20 epochs, batches of up to 4096 tokens, learning rate 5e-05 (constant_with_warmup)." in text
    assert "Stage 2: 3 epochs, batches of up to 4096 tokens, learning rate 3e-05 (linear)." in text


def test_mixed_texts_are_told_with_the_stage_that_has_them(card):
    text = card(told_results("cr_ild")).text
    mixed = "learning rate 3e-05 (linear), texts mixed two and two (alpha 1, weight of consistency 0 to 0.1, linear)."
    assert f"Stage 1: 20 epochs, batches of 32, {mixed}" in text
    assert "Stage 2: 4 epochs, batches of 32, learning rate 3e-05 (linear)." in text
    joint = training_text(told_results("tinybert_joint", "mixup=embeddings", "mixup.alpha=0.5"), MRPC)
    assert "learning rate 5e-05 (linear), texts mixed two and two (alpha 0.5)." in joint


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml")))
def test_the_terms_of_every_recipe_can_be_told(recipe):
    given = told_results(recipe)
    staged = given["config"]["stages"]
    text = training_text(given, MRPC)
    assert len(rows(text, "stage" if staged else "term")) > len(staged or given["config"]["losses"])
    assert text.count("learning rate") >= max(1, len(staged))


def test_a_regression_names_the_loss_that_it_had_and_the_hubs_names_of_its_metrics(card):
    made = card(told_results("logits", metrics={"validation": {"pearson": 0.9, "spearmanr": 0.8}}), glue_task("stsb"))
    assert rows(made.text, "term")[-1][:2] == ["logits", "`LogitMSE`"]
    assert {r.metric_type: r.metric_name for r in made.data.eval_results} == {
        "pearsonr": "pearson",
        "spearmanr": "spearmanr",
    }


def test_limits_say_language_length_split_and_seed(card):
    text = card(told_results("logits", "data.max_length=77", "trainer.load_best_model_at_end=true")).text
    limits = text.split("## Limits")[1]
    assert "- English only." in limits and "cut after 77 tokens" in limits
    assert "There is no test score: it was scored on validation only, and the checkpoint was chosen on it" in limits
    assert "One run with one seed" in limits and "licence is not known" in limits


def test_a_checkpoint_that_was_chosen_elsewhere_does_not_spoil_the_score(card):
    metrics = {"selection": {"accuracy": 0.8}}
    text = card(told_results("logits", "trainer.load_best_model_at_end=true", metrics=metrics)).text
    assert "it was scored on selection only, and the checkpoint was chosen on validation." in text


def test_without_a_known_language_the_card_claims_none(card):
    task = Task.from_config(
        {
            "name": "reviews",
            "text": ["review"],
            "label": "stars",
            "labels": ["bad", "good"],
            "metrics": ["accuracy"],
            "files": {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"},
        }
    )
    made = card(told_results(metrics={"test": {"accuracy": 0.5}}), task)
    assert made.data.language is None and made.data.datasets is None and made.data.license == "unknown"
    limits = made.text.split("## Limits")[1]
    assert "which this card does not know" in limits
    assert "no test score" not in limits


def test_a_score_that_is_no_number_is_left_out_of_the_index(card):
    made = card(told_results(metrics={"validation": {"accuracy": float("nan"), "f1": 0.5, "mcc": None}}))
    assert [r.metric_type for r in made.data.eval_results] == ["f1"]
    assert [row[2] for row in rows(made.text, "split")] == ["value", "nan", "0.5000", ""]


def test_models_of_the_hub_are_named_as_bases_and_folders_are_not(card, tmp_path):
    of_hub = told_results("logits", "teacher.path=org/teacher", "student.path=bert-tiny-uncased")
    assert card(of_hub).data.base_model == ["bert-tiny-uncased", "org/teacher"]


def test_the_front_matter_is_plain_yaml_of_the_hubs_shape(card, tmp_path):
    card(told_results())
    front = (tmp_path / "my-student" / "README.md").read_text().split("---\n")[1]
    found = yaml.safe_load(front)
    ((entry,),) = [found["model-index"]]
    assert entry["name"] == "my-student"
    (result,) = entry["results"]
    assert result["task"] == {"type": "text-classification"}
    assert result["dataset"] == {"name": "mrpc", "type": "nyu-mll/glue", "config": "mrpc", "split": "validation"}
    assert result["metrics"] == [
        {"type": "accuracy", "value": 0.875, "name": "accuracy"},
        {"type": "f1", "value": 0.9, "name": "f1"},
    ]
    assert found["language"] == "en" and found["datasets"] == "nyu-mll/glue" and "base_model" not in found
