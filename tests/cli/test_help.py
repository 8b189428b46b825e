import pytest
import yaml
from support.calls import helped
from support.shared_data import ROOT

from kdfeatures.cli.help import SUMMARIES, overview
from kdfeatures.errors import UserError

CONF = ROOT / "conf"


def options_of(text):
    """Return {option: default} of the lines `  NAME=VALUE   meaning`."""
    shown = (line.split("  ")[1] for line in text.splitlines() if line.startswith("  ") and "=" in line.split("  ")[1])
    return dict(option.strip().split("=", 1) for option in shown)


def test_the_overview_has_every_command_once():
    lines = overview().splitlines()
    for command in SUMMARIES:
        assert [line for line in lines if line.startswith(f"  {command} ")] == [f"  {command:<10} {SUMMARIES[command]}"]


@pytest.mark.parametrize("command", SUMMARIES)
def test_every_command_shows_the_example_that_its_file_opens_with(command):
    example = (CONF / f"{command}.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert example.startswith(f"kdfeatures {command}")
    text = helped(command)
    assert f"Example:\n  {example}\n" in text and SUMMARIES[command] in text


@pytest.mark.parametrize("group", ["task", "recipe", "mapping", "projection", "loss", "trainer", "cache"])
def test_distill_lists_every_choice_of_every_group(group):
    text = helped("distill")
    choices = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    assert f"  {group}: " in text and f"\n      {choices}\n" in text


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_commands_without_recipe_list_no_losses(command):
    text = helped(command)
    assert "\n  task: " in text
    assert "\n  recipe: " not in text and "\n  loss: " not in text


@pytest.mark.parametrize(
    ("command", "group", "file"),
    [
        ("distill", "student", "student/default"),
        ("distill", "teacher", "teacher/default"),
        ("distill", "data", "data/default"),
        ("cache", "cache", "cache/auto"),
        ("finetune", "model", "model/embedded"),
        ("evaluate", "data", "data/default"),
    ],
)
def test_every_option_of_a_section_is_shown_with_its_default(command, group, file):
    plain = yaml.safe_load((CONF / f"{file}.yaml").read_text(encoding="utf-8"))
    plain.pop("defaults", None)
    shown = options_of(helped(command))
    for name, default in plain.items():
        assert yaml.safe_load(shown[f"{group}.{name}"]) == default


@pytest.mark.parametrize("command", SUMMARIES)
def test_common_options_are_shown_and_hydras_are_not(command):
    text = helped(command)
    assert {"seed", "existing", "output_dir"} <= options_of(text).keys()
    assert "hydra.sweep" not in text and "subdir" not in text and "override_dirname" not in text


def test_options_carry_their_meaning():
    lines = helped("distill").splitlines()
    (line,) = [line for line in lines if line.startswith("  data.max_length=")]
    assert line.endswith("tokens")


def test_nested_options_are_shown_with_their_parents():
    shown = options_of(helped("evaluate"))
    assert {"model.path", "model.force", "model.batch_size"} <= shown.keys()


@pytest.mark.parametrize("task", ["files", "token_files", "text"])
def test_the_options_of_a_task_are_shown_with_it(task):
    plain = yaml.safe_load((CONF / "task" / f"{task}.yaml").read_text(encoding="utf-8"))
    shown = options_of(helped("distill", f"task={task}"))
    nested = {f"{name}.{key}" for name, node in plain.items() if isinstance(node, dict) for key in node}
    single = {name for name, node in plain.items() if not isinstance(node, dict)}
    assert {f"task.{name}" for name in nested | single} <= shown.keys()
    assert not any(name.startswith("task.") for name in options_of(helped("distill")))


def test_options_of_a_choice_are_shown_with_its_defaults():
    shown = options_of(helped("distill", "student=tiny", "mapping=explicit"))
    assert shown["student.init"] == "random" and shown["student.layers"] == "2" and shown["student.seed"] == "null"
    assert shown["mapping.pairs"] == "???"


def test_choices_of_a_folder_of_the_users_are_listed(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("name: mine\nlabel: stars  # from 1 to 5\n")
    text = helped("distill", "--config-dir", str(tmp_path), "task=mine")
    assert ", mine, mnli, " in text
    assert [line.split("  ")[-1].strip() for line in text.splitlines() if "task.label=stars" in line] == ["from 1 to 5"]


def test_a_choice_that_is_not_there_is_told():
    with pytest.raises(UserError, match="unknown task 'mrcp'; did you mean 'mrpc'"):
        helped("distill", "task=mrcp")
