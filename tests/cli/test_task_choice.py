"""A model without its task is not taken for one of the generated task's, but for one of its run's."""

import json

import hydra
import pytest
from omegaconf import OmegaConf
from support.calls import checked
from support.shared_data import task_config

from kdfeatures.cli import main as cli
from kdfeatures.cli.session import hydra_for
from kdfeatures.cli.task_choice import task_of_run
from kdfeatures.errors import UserError

COMMANDS = {
    "distill": ["teacher.path=bert-base-uncased", "student.path=FOLDER"],
    "finetune": ["model.path=bert-base-uncased"],
    "evaluate": ["model.path=FOLDER"],
    "export": ["model.path=bert-base-uncased"],
    "explain": ["teacher.path=bert-base-uncased"],
    "cache": ["teacher.path=bert-base-uncased"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_without_its_task_is_refused_with_the_words_to_say(command):
    for override in COMMANDS[command]:
        with pytest.raises(UserError) as told:
            checked(command, override, "output_dir=out")
        assert str(told.value) == (
            f"{override} is given, but no task, and 'agreement', which stands where none is named, is a generated "
            f"grammar; say task=NAME, such as task=mrpc, or task=files for your own table (kdfeatures {command} --help "
            "lists them), or task=agreement to mean it."
        )


@pytest.mark.parametrize("named", ["task=agreement", "task=agreement,entailment"])
def test_a_task_that_is_named_is_taken(named, tmp_path):
    sweep = ["-m"] if "," in named else []
    with pytest.raises(UserError, match=r"teacher.path=\./none: no such folder"):
        checked("distill", *sweep, named, "teacher.path=./none", f"output_dir={tmp_path / 'out'}")


def test_without_a_model_the_generated_task_is_what_a_command_shows(tmp_path):
    assert checked("distill", f"output_dir={tmp_path / 'out'}").sweep is None


def begun(folder, config):
    (folder / "run.json").write_text(json.dumps({"config": config, "before": []}))
    return folder


def test_the_task_of_a_teachers_run_is_told(tmp_path):
    with pytest.raises(UserError, match="say task=NAME, that run had 'rte'"):
        checked("distill", f"teacher.path={begun(tmp_path, {'task': {'name': 'rte'}})}", "output_dir=out")


def test_a_run_on_the_generated_task_needs_no_word(tmp_path):
    folder = begun(tmp_path, {"task": {"name": "agreement"}})
    with pytest.raises(UserError, match="holds no model|config.json"):
        checked("distill", f"teacher.path={folder}", f"output_dir={tmp_path / 'out'}")


@pytest.mark.parametrize("config", [{}, {"task": "mrpc"}, {"task": {"name": 3}}])
def test_a_run_that_does_not_say_its_task_tells_nothing(tmp_path, config):
    with pytest.raises(UserError, match="such as task=mrpc"):
        checked("evaluate", f"model.path={begun(tmp_path, config)}", "output_dir=out")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 3}', "[" * 100_000], ids=len)
def test_a_file_that_is_none_of_ours_tells_nothing(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="such as task=mrpc"):
        checked("evaluate", f"model.path={tmp_path}", "output_dir=out")


@pytest.mark.parametrize("line", [["glue", "task=cola,mrpc"], ["glue"], ["search", "task=mrpc"]])
def test_grids_have_tasks_of_their_own(line, tmp_path, monkeypatch):
    checked = []
    for command in ("glue", "search"):
        monkeypatch.setattr(f"kdfeatures.cli.commands.{command}.check", checked.append)
    monkeypatch.setattr(cli, "start", lambda *_: None)
    cli.main([*line, "model.path=bert-base-uncased", f"output_dir={tmp_path / 'out'}"])
    assert len(checked) == 1


FILES = {"name": "reviews", "kind": "sequence", "text": ["review text"], "label": "it's",
         "labels": ["no", "${yes}", "3"], "metrics": ["accuracy"],
         "splits": {}, "dataset": None, "config": None, "embedded": None, "delimiter": ";",
         "quotes": True, "encoding": None,
         "files": {"train": ["a, b.csv", "c.csv"], "validation": "x/d=1.csv", "test": None}}  # fmt: skip
NAMES = {"evaluate": "model.path", "export": "model.path", "inspect": "student.path"}


def taken(command, folder, *line, name="run.json", data=None, task=None):
    """Return what a command takes from a run's file in `folder`, and the task and data that are then composed."""
    task = task_config("mrpc") if task is None else task
    config = {"task": task, "data": {"path": None, "max_length": 128, "held_out": None, **(data or {})}}
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"config": config, "before": []}))
    line = [f"{NAMES[command]}={folder}", *line]
    with hydra_for(command, None):
        of_run = task_of_run(command, *composed(command, line))
        cfg = hydra.compose(command, [*of_run.overrides, *line])
        return of_run, OmegaConf.to_container(cfg.task, resolve=True), cfg.data


def composed(command, line):
    config = OmegaConf.to_container(hydra.compose(command, list(line), return_hydra_config=True))
    return config, config["hydra"]["runtime"]["choices"]["task"]


@pytest.mark.parametrize("command", NAMES)
@pytest.mark.parametrize("name", ["run.json", "results.json"])
def test_a_trained_model_is_about_the_task_of_its_run(command, name, tmp_path):
    data = {"path": "GLUE", "max_length": 64, "pool": "x"}
    of_run, task, read = taken(command, tmp_path / "run", name=name, data=data)
    assert task == task_config("mrpc")
    assert (read.path, read.max_length, read.pool) == ("GLUE", 64, None)
    assert str(of_run) == (
        f"task=mrpc, data.path=GLUE, data.max_length=64, as {tmp_path / 'run' / name} has it; say task=NAME for "
        "another."
    )
    assert of_run.overrides[0] == "task=mrpc"


@pytest.mark.parametrize("command", NAMES)
@pytest.mark.parametrize("task", [FILES, {**task_config("mrpc"), "metrics": ["f1"]}, task_config("text")])
def test_a_task_of_the_users_own_is_taken_whole(command, task, tmp_path):
    of_run, found, _ = taken(command, tmp_path / "run", task=task)
    assert found == task and of_run.text == f"task={task['name']}"


def test_what_is_said_wins_over_the_run(tmp_path):
    said = ["data.path=here", "task.labels=[a,b]"]
    _, task, data = taken("evaluate", tmp_path / "run", *said, data={"path": "there"})
    assert data.path == "here" and task["labels"] == ["a", "b"]


def test_of_a_task_that_is_named_nothing_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("kdfeatures.cli.commands.evaluate.check", lambda _: None)
    taken("evaluate", tmp_path / "run", data={"path": "there"})
    line = [f"model.path={tmp_path / 'run'}", f"output_dir={tmp_path / 'out'}"]
    assert checked("evaluate", *line, "task=rte").of_run is None
    assert checked("evaluate", *line).of_run.text == "task=mrpc, data.path=there"


def test_the_student_says_it_before_the_teacher(tmp_path):
    taken("inspect", tmp_path / "teacher", task=task_config("rte"))
    of_run, task, _ = taken("inspect", tmp_path / "student", f"teacher.path={tmp_path / 'teacher'}")
    assert (of_run.option, task["name"]) == ("student.path", "mrpc")
    (tmp_path / "student" / "run.json").unlink()
    with hydra_for("inspect", None):
        line = [f"student.path={tmp_path / 'student'}", f"teacher.path={tmp_path / 'teacher'}"]
        assert task_of_run("inspect", *composed("inspect", line)).overrides == ["task=rte"]


def test_a_run_on_the_generated_task_changes_nothing(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": task_config("agreement")}, "before": []}))
    with hydra_for("evaluate", None):
        assert task_of_run("evaluate", *composed("evaluate", [f"model.path={tmp_path}"])) is None


@pytest.mark.parametrize("key", ["a b", "a.b", "~", "x=1,y"])
def test_names_that_no_option_has_are_no_overrides(key, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": {"name": "x", key: "1"}}, "before": []}))
    with pytest.raises(UserError, match="say task=NAME, that run had 'x'"):
        checked("evaluate", f"model.path={tmp_path}", "output_dir=out")


def test_a_sweep_takes_the_task_that_all_its_models_share(tmp_path, monkeypatch):
    monkeypatch.setattr("kdfeatures.cli.commands.evaluate.check", lambda _: None)
    for name, task in {"a": "rte", "b": "rte", "c": "mrpc"}.items():
        taken("evaluate", tmp_path / name, task=task_config(task))
    a, b, c = (tmp_path / name for name in "abc")
    call = checked("evaluate", "-m", f"model.path={a},{b}", f"output_dir={tmp_path / 'out'}")
    assert all(job[0] == "task=rte" for job in call.sweep.jobs) and call.overrides[0] == "task=rte"
    assert "task" in call.sweep.fixed  # so that folders are not named by it
    told = r"not trained for one task: model.path \(task=rte\) and model.path \(task=mrpc\)"
    with pytest.raises(UserError, match=told):
        checked("evaluate", "-m", f"model.path={a},{c}", f"output_dir={tmp_path / 'out'}")
