import pytest
from support.shared_data import TASKS, glue_task, task_config

from kdfeatures.errors import UserError
from kdfeatures.tasks.task import Task

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax")
PAIR = {
    "name": "pairs",
    "dataset": "someone/pairs",
    "text": ["a", "b"],
    "label": "label",
    "labels": ["no match", "match"],
    "metrics": ["accuracy", "f1"],
    "splits": {"train": "train", "validation": "dev"},
}


@pytest.mark.parametrize("name", GLUE)
def test_glue_files_make_tasks_of_the_hub_dataset(name):
    task = glue_task(name)
    assert (task.name, task.dataset, task.config, task.label) == (name, "nyu-mll/glue", name, "label")


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_opens_with_its_own_command(path):
    command = path.read_text(encoding="utf-8").splitlines()[0]
    assert command.startswith("# kdfeatures ")
    assert f"task={path.stem}" in command.split()


def test_metrics_are_those_of_glue():
    metrics = {name: glue_task(name).metrics for name in GLUE}
    assert metrics == {
        "cola": ("mcc",),
        "sst2": ("accuracy",),
        "mrpc": ("accuracy", "f1"),
        "stsb": ("pearson", "spearmanr"),
        "qqp": ("accuracy", "f1"),
        "mnli": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
        "wnli": ("accuracy",),
        "ax": ("mcc",),
    }


def test_only_stsb_is_regression_and_has_one_output():
    tasks = [glue_task(name) for name in GLUE]
    assert {task.name: task.num_labels for task in tasks if task.is_regression} == {"stsb": 1}
    assert {task.name for task in tasks if task.num_labels == 3} == {"mnli", "ax"}


def test_mnli_is_validated_on_matched_and_mismatched():
    task = glue_task("mnli")
    assert task.splits["validation"] == "validation_matched"
    assert task.splits["extra"] == "validation_mismatched"


def test_ax_has_only_a_test_split_and_the_classes_of_mnli():
    ax, mnli = (glue_task(name) for name in ("ax", "mnli"))
    assert dict(ax.splits) == {"test": "test"}
    assert ax.labels == mnli.labels


def test_the_template_for_own_files_lists_every_value_still_to_give():
    with pytest.raises(UserError, match="name, text, label, labels, metrics, files.train"):
        Task.from_config(task_config("files"))


def test_the_filled_template_takes_its_splits_from_the_files():
    config = task_config("files") | {
        "name": "mine",
        "text": "review",
        "label": "stars",
        "labels": [1, 2, 3],
        "metrics": ["accuracy"],
        "files": {"train": "a.csv", "validation": "b.jsonl"},
    }
    task = Task.from_config(config)
    assert task.text == ("review",)
    assert task.labels == ("1", "2", "3")
    assert dict(task.splits) == {"train": "train", "validation": "validation"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrik": 1}, "unknown task key 'metrik'; did you mean 'metrics'"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        ({"metrics": ["pearson"]}, "'pearson' does not fit task 'pairs', 2 classes"),
        ({"metrics": ["accuracy"], "labels": []}, "use pearson, spearmanr"),
        ({"labels": ["a", "b", "c"]}, "has 3 classes; use f1_macro"),
        ({"metrics": []}, "has no metric"),
        ({"text": []}, "has 0 text columns"),
        ({"text": ["a", "b", "c"]}, "has 3 text columns"),
        ({"text": ["label"]}, "both as text column and as label column"),
        ({"labels": ["one"]}, "two or more different class names"),
        ({"labels": ["one", "one"]}, "two or more different class names"),
        ({"labels": [False, True]}, "truth value False; put names such as 'no' in quotes"),
        ({"label": "???"}, "lacks label; set task.label="),
        ({"splits": {"dev": "dev"}}, "unknown split 'dev'"),
        ({"splits": {}}, "names no splits"),
        ({"dataset": None}, "exactly one source of data: dataset, files or embedded; it has none"),
        ({"embedded": "agreement"}, "it has dataset, embedded"),
        ({"delimiter": ";;"}, "task.delimiter=';;' must be one sign, such as ';', or tab"),
        ({"delimiter": ["a"]}, "task.delimiter='['a']' must be one sign"),
        ({"windows": {"overlap": 1}}, "the task lacks windows.longest_answer"),
        ({"windows": {"overlap": 1, "longest_answer": 2, "unanswerable": False}}, "read by kind question alone"),
        ({"separator": "|"}, "task.separator is read by kind multilabel alone, but task 'pairs' is of kind sequence"),
        ({"scale": 5.0}, "task.scale is read by kind relevance alone"),
        ({"loss": "mse"}, "task.loss is read by kind relevance alone"),
        ({"kind": "relevance"}, "of kind relevance has no classes; leave task.labels empty"),
        ({"kind": "relevance", "labels": [], "metrics": ["mcc"]}, "unknown metric 'mcc'"),
        ({"kind": "relevance", "labels": [], "metrics": ["auc"], "scale": 0.0}, "task.scale=0.0 must be a finite"),
        ({"kind": "relevance", "labels": [], "metrics": ["auc"], "label": None}, "lacks label; set task.label="),
        ({"kind": "multilabel", "metrics": ["f1"]}, "unknown metric 'f1' (known: f1_micro, f1_macro"),
        ({"kind": "multilabel", "labels": []}, "of kind multilabel has no labels; give task.labels the class names"),
        ({"kind": "question", "labels": [], "text": ["a"]}, "task.text two: the question and its context"),
        ({"kind": "question", "labels": [], "metrics": ["f1"]}, "lacks the section windows"),
        ({"kind": "embedding", "labels": [], "text": ["a"], "metrics": ["spearmanr"]}, "give task.text two columns"),
        ({"quotes": "no"}, "task.quotes=no must be true, false or null"),
        ({"encoding": 8}, "task.encoding=8 must be the name of an encoding, such as cp1252"),
        ({"splits": {}, "files": {"train": 3}}, "task.files.train=3 must be a file, a pattern, a folder, or a list"),
        ({"splits": {}, "files": {"test": ["a.csv", 1]}}, "task.files.test=['a.csv', 1] must be a file"),
        ({"splits": {}, "files": {"test": []}}, "task.files.test=[] must be a file"),
        ({"files": {"train": "x.csv"}}, "leave task.splits empty"),
    ],
)
def test_a_wrong_task_is_refused_in_one_line(change, message):
    with pytest.raises(UserError) as raised:
        Task.from_config(PAIR | change)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
