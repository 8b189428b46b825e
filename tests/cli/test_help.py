import pytest
import yaml
from support.shared_data import ROOT

from kdfeatures.cli.help import SUMMARIES, command_help, overview

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
    text = command_help(command)
    assert f"Example:\n  {example}\n" in text and SUMMARIES[command] in text


@pytest.mark.parametrize("group", ["task", "recipe", "mapping", "projection", "loss", "trainer", "cache"])
def test_distill_lists_every_choice_of_every_group(group):
    text = command_help("distill")
    choices = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    assert f"  {group}: " in text and f"\n      {choices}\n" in text


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_commands_without_recipe_list_no_losses(command):
    text = command_help(command)
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
    shown = options_of(command_help(command))
    for name, default in plain.items():
        assert yaml.safe_load(shown[f"{group}.{name}"]) == default


@pytest.mark.parametrize("command", SUMMARIES)
def test_common_options_are_shown_and_hydras_are_not(command):
    text = command_help(command)
    assert {"seed", "existing", "output_dir"} <= options_of(text).keys()
    assert "hydra.sweep" not in text and "subdir" not in text and "override_dirname" not in text


def test_options_carry_their_meaning():
    lines = command_help("distill").splitlines()
    (line,) = [line for line in lines if line.startswith("  data.max_length=")]
    assert line.endswith("tokens")


def test_nested_options_are_shown_with_their_parents():
    shown = options_of(command_help("evaluate"))
    assert {"model.path", "model.force", "model.batch_size"} <= shown.keys()
