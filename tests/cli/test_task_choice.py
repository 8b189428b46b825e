"""A model without its task is not taken for one of the generated task's."""

import json

import pytest

from kdfeatures.cli import main as cli
from kdfeatures.errors import UserError

COMMANDS = {
    "distill": ["teacher.path=bert-base-uncased", "student.path=FOLDER"],
    "finetune": ["model.path=bert-base-uncased"],
    "evaluate": ["model.path=FOLDER"],
    "export": ["model.path=FOLDER"],
    "explain": ["teacher.path=bert-base-uncased"],
    "cache": ["teacher.path=bert-base-uncased"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_without_its_task_is_refused_with_the_words_to_say(command):
    for override in COMMANDS[command]:
        with pytest.raises(UserError) as told:
            cli.check_overrides(command, [override, "output_dir=out"])
        assert str(told.value) == (
            f"{override} is given, but no task, and 'agreement', which stands where none is named, is a generated "
            f"grammar; say task=NAME, such as task=mrpc, or task=files for your own table (kdfeatures {command} --help "
            "lists them), or task=agreement to mean it."
        )


@pytest.mark.parametrize("named", ["task=agreement", "task=agreement,entailment"])
def test_a_task_that_is_named_is_taken(named, tmp_path):
    sweep = ["-m"] if "," in named else []
    with pytest.raises(UserError, match=r"teacher.path=\./none: no such folder"):
        cli.check_overrides("distill", [*sweep, named, "teacher.path=./none", f"output_dir={tmp_path / 'out'}"])


def test_without_a_model_the_generated_task_is_what_a_command_shows(tmp_path):
    assert cli.check_overrides("distill", [f"output_dir={tmp_path / 'out'}"]).fixed is None


def begun(folder, config):
    (folder / "run.json").write_text(json.dumps({"config": config, "before": []}))
    return folder


def test_the_task_of_a_run_is_told(tmp_path):
    with pytest.raises(UserError, match="say task=NAME, that run had 'rte'"):
        cli.check_overrides("evaluate", [f"model.path={begun(tmp_path, {'task': {'name': 'rte'}})}", "output_dir=out"])


def test_a_run_on_the_generated_task_needs_no_word(tmp_path):
    folder = begun(tmp_path, {"task": {"name": "agreement"}})
    with pytest.raises(UserError, match="holds no model|config.json"):
        cli.check_overrides("distill", [f"teacher.path={folder}", f"output_dir={tmp_path / 'out'}"])


@pytest.mark.parametrize("config", [{}, {"task": "mrpc"}, {"task": {"name": 3}}])
def test_a_run_that_does_not_say_its_task_tells_nothing(tmp_path, config):
    with pytest.raises(UserError, match="such as task=mrpc"):
        cli.check_overrides("evaluate", [f"model.path={begun(tmp_path, config)}", "output_dir=out"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 3}', "[" * 100_000], ids=len)
def test_a_file_that_is_none_of_ours_tells_nothing(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="such as task=mrpc"):
        cli.check_overrides("evaluate", [f"model.path={tmp_path}", "output_dir=out"])


@pytest.mark.parametrize("line", [["glue", "task=cola,mrpc"], ["glue"], ["search", "task=mrpc"]])
def test_grids_have_tasks_of_their_own(line, tmp_path, monkeypatch):
    checked = []
    for command in ("glue", "search"):
        monkeypatch.setattr(f"kdfeatures.cli.commands.{command}.check", checked.append)
    monkeypatch.setattr(cli.hydra, "main", lambda **_: lambda job: lambda: None)
    cli.main([*line, "model.path=bert-base-uncased", f"output_dir={tmp_path / 'out'}"])
    assert len(checked) == 1
