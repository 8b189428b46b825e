import json

import pytest
from support.in_memory import CLAUSES, in_memory
from torch import nn
from transformers import AutoModelForSequenceClassification

import kdfeatures as kd
from kdfeatures.cli.main import main
from kdfeatures.distillation.balancing import GradientBalancer

SHORT = {"learning_rate": 2e-3, "num_train_epochs": 1, "disable_tqdm": True}


def distil(workspace, folder, **more):
    more.setdefault("trainer", SHORT)
    return kd.distill(
        CLAUSES, teacher=workspace.teacher, student=kd.StudentSpec(layers=2), output_dir=folder,
        dataset=in_memory(workspace), data={"max_length": 24}, **more,
    )  # fmt: skip


def test_datasets_in_memory_give_what_the_command_gives_from_files(workspace, tmp_path):
    result = distil(workspace, tmp_path / "python", recipe="hidden_joint")
    command = workspace.distil("same_as_python", "recipe=hidden_joint", "student.layers=2")
    assert result.student.metrics == command["student"]["metrics"]
    assert result.losses == command["losses"]
    assert result.teacher.metrics == command["teacher"]["metrics"]
    assert result.retained == command["retained"] and result.mapping == [tuple(pair) for pair in command["mapping"]]


def test_the_result_is_typed_and_what_results_json_holds(workspace, tmp_path):
    result = distil(workspace, tmp_path / "run", recipe="logits")
    assert isinstance(result, kd.RunResults) and result.student.layers == 2 and result.teacher.layers == 4
    assert result.score == result.student.metrics["validation"]["combined_score"]
    read = kd.RunResults.read(tmp_path / "run")
    assert read.student == result.student and read.losses == result.losses
    assert str(read) == str(result) and "| logits" in str(result)
    AutoModelForSequenceClassification.from_pretrained(result.student.path)


def test_a_recipe_whose_terms_were_changed(workspace, tmp_path):
    recipe = kd.recipe("tinybert_joint").replace(
        attention=None, hidden=kd.Term(kd.losses.HiddenCosine(), layers=[(1, 2), (2, 3)], weight=0.5)
    )
    result = distil(workspace, tmp_path / "run", recipe=recipe)
    assert set(result.losses) == {"logits", "hidden"} and result.recipe == "tinybert_joint"
    assert result.mapping == [(1, 2), (2, 3)]
    said = json.loads((tmp_path / "run" / "results.json").read_text())["config"]["losses"]
    assert said["hidden"]["_target_"] == "kdfeatures.losses.HiddenCosine" and said["hidden"]["weight"] == 0.5
    assert "attention" not in said
    assert "HiddenCosine" in (tmp_path / "run" / "README.md").read_text()


def test_a_recipe_in_stages_runs_all_of_them_with_its_changed_term(workspace, tmp_path):
    recipe = kd.recipe("tinybert").replace(hidden=kd.Term(kd.losses.HiddenCosine()))
    result = distil(workspace, tmp_path / "run", recipe=recipe)
    epochs = {
        name: stage["trainer"]["num_train_epochs"] for name, stage in result.config["stages"].items()
    }  # the recipe has 20 and 3
    assert epochs == {"intermediate": 1, "prediction": 1}
    assert [stage["name"] for stage in result.stages] == ["intermediate", "prediction"]
    assert set(result.stages[0]["losses"]) == {"hidden", "attention"}
    assert 0 < result.stages[0]["losses"]["hidden"] < 2 * 3  # 1 - cosine of three pairs


def mean_gap(student, teacher, mask):
    return ((student - teacher).abs() * mask[..., None]).mean()


def test_an_objective_of_ones_own_with_a_function_as_loss(workspace, tmp_path):
    objective = kd.Objective(labels=kd.losses.HardLabel(), gap=kd.Term(mean_gap, layers="last", weight=2.0))
    result = distil(workspace, tmp_path / "run", recipe=objective)
    assert set(result.losses) == {"labels", "gap"} and result.mapping == [(0, 0), (1, 3), (2, 4)]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "mean_gap" in card


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        ({"projection": "shared"}, "projection", {"_target_": "kdfeatures.alignment.shared"}),
        ({"balance": GradientBalancer({"gap": 2.0}, every=5)}, "balance", {"shares": {"gap": 2.0}, "every": 5}),
    ],
)
def test_what_an_objective_of_ones_own_is_made_of_is_in_the_record(workspace, tmp_path, more, key, said):
    objective = kd.Objective(labels=kd.losses.HardLabel(), gap=kd.Term(mean_gap, layers="last"), **more)
    result = distil(workspace, tmp_path / "run", recipe=objective, trainer={**SHORT, "max_steps": 1})
    assert said.items() <= result.config[key].items()


def test_layers_replace_the_map_of_all_terms_that_have_none_of_their_own(workspace, tmp_path):
    result = distil(workspace, tmp_path / "run", recipe="hidden_joint", layers=[(1, 1), (2, 4)])
    assert result.mapping == [(1, 1), (2, 4)]


def test_a_changed_recipe_takes_the_layers_of_the_call(workspace, tmp_path):
    recipe = kd.recipe("hidden_joint")
    recipe = recipe.replace(hidden=kd.Term(recipe.terms["hidden"].loss, weight=0.5))
    assert distil(workspace, tmp_path / "run", recipe=recipe, layers="last").mapping == [(0, 0), (1, 3), (2, 4)]


def test_several_teachers_share_equally(workspace, tmp_path):
    teachers = {"first": workspace.teacher, "second": workspace.teacher}
    result = kd.distill(
        CLAUSES, teacher=teachers, recipe="logits", output_dir=tmp_path / "run", dataset=in_memory(workspace),
        data={"max_length": 24}, trainer=SHORT,
    )  # fmt: skip
    assert [(teacher["name"], teacher["share"]) for teacher in result.teachers] == [("main", 0.5), ("second", 0.5)]


def test_a_run_goes_on_where_it_was_and_refuses_other_examples(workspace, tmp_path):
    result = distil(workspace, tmp_path / "run", recipe="logits")
    again = distil(workspace, tmp_path / "run", recipe="logits", existing="resume")
    assert again.student == result.student and again.seconds == result.seconds
    other = in_memory(workspace)
    other["train"] = other["train"].select(range(20))
    with pytest.raises(kd.UserError, match=r"train-.*\.parquet holds other examples"):
        kd.distill(
            CLAUSES, teacher=workspace.teacher, recipe="logits", output_dir=tmp_path / "run", dataset=other,
            existing="resume",
        )  # fmt: skip
    with pytest.raises(kd.UserError, match="already holds a run"):
        distil(workspace, tmp_path / "run", recipe="logits")


def test_a_run_that_is_overwritten_takes_other_examples(workspace, tmp_path):
    distil(workspace, tmp_path / "run", recipe="logits")
    fewer = in_memory(workspace)
    fewer["train"] = fewer["train"].select(range(64))
    result = kd.distill(
        CLAUSES, teacher=workspace.teacher, recipe="logits", output_dir=tmp_path / "run", dataset=fewer,
        trainer=SHORT, existing="overwrite",
    )  # fmt: skip
    assert result.train_examples == 64
    assert len(list((tmp_path / "run" / "data").glob("train-*.parquet"))) == 1


def test_runs_are_compared_with_the_baseline(workspace, tmp_path):
    for recipe in ("hard", "logits"):
        for seed in (1, 2):
            distil(workspace, tmp_path / f"{recipe}-seed={seed}", recipe=recipe, seed=seed)
    comparison = kd.compare_runs(tmp_path, baseline="hard")
    assert [(row.arm, row.is_baseline, row.seeds) for row in comparison.rows] == [
        ("hard", True, 2),
        ("logits", False, 2),
    ]
    assert str(comparison).startswith("## clauses")
    main(["compare", str(tmp_path), "baseline=hard", f"output_dir={tmp_path / 'table'}"])
    assert (tmp_path / "table" / "comparison.md").read_text() == f"{comparison}\n"
    comparison.plot(tmp_path / "difference.png")
    assert (tmp_path / "difference.png").stat().st_size > 5000


def test_a_task_and_a_regime_by_name_make_their_own_teacher(tmp_path):
    result = kd.distill(
        "agreement", output_dir=tmp_path / "run", recipe="logits", data={"train_examples": 64},
        trainer={"max_steps": 1, "disable_tqdm": True}, overrides=["teacher.trainer.max_steps=1", "teacher.force=true"],
    )  # fmt: skip
    assert result.task == "agreement" and result.teacher.path == str(tmp_path / "run" / "teacher")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"recipe": "tinibert"}, "unknown recipe 'tinibert'; did you mean 'tinybert'"),
        ({"layers": "lost"}, "unknown mapping 'lost'; did you mean 'last'"),
        ({"student": "tinibert4"}, "unknown student 'tinibert4'; did you mean 'tinybert4'"),
        ({"student": 3}, r"student=3 describes no student; give StudentSpec"),
        ({"teacher": nn.Linear(1, 1)}, r"DistillationTrainer\(teacher_model=\.\.\.\)"),
        ({"data": {"max_lenght": 3}}, "unknown option data.max_lenght; did you mean 'max_length'"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"trainer": {"learning_rat": 1}}, "learning_rat"),
        ({"overrides": "cache=auto"}, "must be a list"),
        ({"overrides": ["studnt.layers=3"]}, "unknown option studnt.layers; did you mean 'student'"),
        ({"overrides": ["split=selection"]}, "has split=selection, but split is what the argument 'split' says"),
        (
            {"student": kd.StudentSpec(layers=1), "overrides": ["student.layers=2"]},
            "overrides has student.layers=2, but student.layers is what the argument 'student' says, 1",
        ),
        ({"trainer": {"max_steps": 1}, "overrides": ["trainer.max_steps=3"]}, "argument 'trainer' says, 1"),
        ({"dataset": {"dev": None}}, "dataset=dev is no split of the task"),
        ({"dataset": {"train": [1]}}, r"dataset\['train'\].*must be a datasets.Dataset, but is list"),
        ({"data_path": "here"}, "has no effect beside dataset"),
        ({"existing": "again"}, "existing=again must be one of refuse, resume, overwrite"),
        ({"student": kd.StudentSpec(layers=2, init="techer")}, "init=techer is unknown; did you mean 'teacher'"),
    ],
)
def test_bad_input_is_one_line_before_training(workspace, tmp_path, more, message):
    given = {
        "teacher": workspace.teacher, "recipe": "logits", "output_dir": tmp_path / "run",
        "dataset": in_memory(workspace), **more,
    }  # fmt: skip
    with pytest.raises(kd.UserError, match=message) as raised:
        kd.distill(CLAUSES, **given)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_task_that_is_unknown_is_named(tmp_path):
    with pytest.raises(kd.UserError, match="unknown task 'mrcp'; did you mean 'mrpc'"):
        kd.distill("mrcp", output_dir=tmp_path)
    with pytest.raises(kd.ConfigError, match=r"task\['kind'\]=tokns is unknown; did you mean 'tokens'"):
        kd.distill({"kind": "tokns"}, output_dir=tmp_path)
    with pytest.raises(kd.ConfigError, match="task=3 is no task"):
        kd.distill(3, output_dir=tmp_path)
