import json
import math
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
import transformers
from support.tiny import model_entry, tiny_classifier

from kdfeatures.runs import environment
from kdfeatures.runs.environment import device_name, versions
from kdfeatures.runs.results import describe_model, markdown, read_results, retained, run_table, write_results


def run(recipe="tinybert", *, seed=1, command="distill", teacher="T", student=None, task="sst2"):
    made = {"command": command, "task": task, "recipe": recipe, "seed": seed, "teacher": None, "retained": None}
    if teacher is not None:
        made |= {"teacher": model_entry(teacher, metrics={"validation": {"accuracy": 0.9}}), "retained": 0.9722}
    return made | {"student": student or model_entry()}


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_a_model_is_described_by_its_sizes_and_all_its_parameters():
    model = tiny_classifier("distilbert", layers=2, width=24, heads=3)
    metrics = {"validation": {"accuracy": 0.5}}
    assert describe_model("here", model, metrics) == {
        "path": "here",
        "model_type": "distilbert",
        "layers": 2,
        "hidden_size": 24,
        "heads": 3,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "metrics": metrics,
    }


def test_retained_is_the_students_share_of_the_teachers_metric():
    assert retained(0.45, 0.9) == pytest.approx(0.5)
    assert retained(0.95, 0.9) > 1


@pytest.mark.parametrize("teacher", [0.0, -0.1, math.nan])
def test_retained_is_nothing_where_the_share_has_no_meaning(teacher):
    assert retained(0.5, teacher) is None


def test_what_is_written_is_read_back_under_schema_1(tmp_path):
    write_results(tmp_path, {"seed": 3, "losses": {"hidden": 0.25}, "config": {"path": Path("x")}})
    written = {"schema": 1, "seed": 3, "losses": {"hidden": 0.25}, "config": {"path": "x"}, "files": {}}
    assert read_results(tmp_path) == written


def test_a_loss_that_is_no_number_is_null_in_strict_json(tmp_path):
    write_results(tmp_path, {"losses": {"hidden": math.nan, "logits": math.inf}, "mapping": [(0, 0), (1, -math.inf)]})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert read["losses"] == {"hidden": None, "logits": None} and read["mapping"] == [[0, 0], [1, None]]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    write_results(tmp_path, {"seed": 1})

    def full(self, *args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_results(tmp_path, {"seed": 2})
    assert read_results(tmp_path)["seed"] == 1


def test_writing_leaves_nothing_but_the_results(tmp_path):
    write_results(tmp_path, {"seed": 1})
    write_results(tmp_path, {"seed": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert read_results(tmp_path)["seed"] == 2


def test_versions_are_those_in_use():
    found = versions()
    assert set(found) == {"kdfeatures", "python", "torch", "transformers", "datasets"}
    assert found["transformers"] == transformers.__version__
    assert torch.__version__.startswith(found["torch"].split("+")[0])


def test_the_table_has_the_teacher_once_and_first_then_a_row_per_run():
    table = cells(run_table([run("hard"), run("tinybert", seed=2)]))
    assert table[0] == ["model", "task", "size", "parameters", "accuracy (validation)", "retained", "seed"]
    assert table[2:] == [
        ["T (teacher)", "sst2", "4 x 128", "2.50M", "90.0", "", ""],
        ["hard", "sst2", "4 x 128", "2.50M", "87.5", "97.2%", "1"],
        ["tinybert", "sst2", "4 x 128", "2.50M", "87.5", "97.2%", "2"],
    ]


def test_runs_of_a_sweep_are_called_by_what_it_varies():
    table = cells(run_table([run("tinybert"), run("tinybert")], ["mapping=last", ""]))
    assert [row[0] for row in table[2:]] == ["T (teacher)", "mapping=last", "tinybert"]


def test_a_teacher_has_a_row_for_each_task():
    table = cells(run_table([run("hard", task="rte"), run("hard", task="cola")]))
    assert [row[:2] for row in table[2:]] == [
        ["T (teacher)", "rte"],
        ["T (teacher)", "cola"],
        ["hard", "rte"],
        ["hard", "cola"],
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bert-base-uncased", "bert-base-uncased"),
        ("google/bert_uncased_L-2_H-128_A-2", "bert_uncased_L-2_H-128_A-2"),
        ("runs/students/seed=1", "seed=1"),
        ("runs/mine/checkpoint-120", "mine/checkpoint-120"),
        (None, "out"),  # it began with random weights
    ],
)
def test_runs_without_teacher_are_named_by_the_model(path, name):
    made = run(None, command="finetune", teacher=None, student=model_entry() | {"path": "somewhere/out"})
    table = cells(run_table([made | {"config": {"model": {"path": path}}}]))
    assert table[0] == ["model", "task", "size", "parameters", "accuracy (validation)", "seed"]
    assert table[2][:2] == [name, "sst2"]


def test_teachers_are_named_by_the_model_and_said_to_teach():
    table = cells(run_table([run(teacher="org/bert-large"), run(teacher="out/teacher")]))
    assert [row[0] for row in table[2:4]] == ["bert-large (teacher)", "teacher"]


def test_every_split_and_metric_has_a_column():
    metrics = {"validation": {"accuracy": 0.8, "f1": 0.7}, "extra": {"accuracy": 0.6}}
    table = cells(run_table([run(None, command="evaluate", teacher=None, student=model_entry(metrics=metrics))]))
    assert table[0][4:7] == ["accuracy (validation)", "f1 (validation)", "accuracy (extra)"]
    assert table[2][4:7] == ["80.0", "70.0", "60.0"]


def test_markdown_columns_are_aligned():
    lines = markdown([{"a": "long name", "b": "1"}, {"a": "x", "b": "1000"}]).splitlines()
    assert lines == ["| a         |    b |", "|-----------|-----:|", "| long name |    1 |", "| x         | 1000 |"]
    assert len({len(line) for line in lines}) == 1


def test_the_device_says_what_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    processor, _, threads = device_name().rpartition(", ")
    assert threads == ("1 thread" if torch.get_num_threads() == 1 else f"{torch.get_num_threads()} threads")
    if Path("/proc/cpuinfo").is_file() and "model name" in Path("/proc/cpuinfo").read_text():
        assert processor in Path("/proc/cpuinfo").read_text()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert device_name() == "NVIDIA H100"


def test_a_package_that_is_not_installed_has_an_unknown_version(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "version", missing)
    assert versions()["kdfeatures"] == "unknown"
