"""Flags wherever the user puts them, and options written as elsewhere."""

import pytest

from kdfeatures.cli.arguments import parse_arguments, written_out
from kdfeatures.cli.main import main
from kdfeatures.errors import UserError

OVERRIDES = ["task=mrpc", "seed=1,2"]
LINES = [
    ["-m", *OVERRIDES],
    [*OVERRIDES, "--multirun"],
    ["task=mrpc", "-m", "seed=1,2"],
    ["task=mrpc", "-m", "--config-dir", ".", "seed=1,2"],
    ["-cd", ".", "task=mrpc", "seed=1,2", "-m"],
    ["--config-dir=.", "task=mrpc", "-m", "seed=1,2"],
    ["-m", "task=mrpc", "--cfg", "job", "seed=1,2"],
]


@pytest.mark.parametrize("line", LINES)
def test_flags_may_stand_anywhere(line):
    arguments = parse_arguments(line)
    assert arguments.multirun and arguments.overrides == OVERRIDES
    assert arguments.config_dir == ("." if "." in " ".join(line) else None)
    assert arguments.shows_only == ("--cfg" in line)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["--task", "mrpc"], "--task is no flag; options are written NAME=VALUE, such as task=mrpc"),
        (["--task=mrpc", "seed=1"], "--task=mrpc is no flag; options are written NAME=VALUE, such as task=mrpc"),
        (
            ["seed=1", "--output-dir", "x=1"],
            "--output-dir is no flag; options are written NAME=VALUE, such as output_dir=VALUE",
        ),
        (["--seed"], "--seed is no flag; options are written NAME=VALUE, such as seed=VALUE"),
        (["-x"], "-x is no flag of a command; try kdfeatures --help"),
        (["--resolve"], "--resolve says how --cfg shows a config; give --cfg job too."),
        (["--cfg"], "argument --cfg/-c: expected one argument; try kdfeatures --help"),
    ],
)
def test_an_option_written_as_a_flag_is_answered_with_how_to_write_it(line, told):
    with pytest.raises(UserError) as error:
        parse_arguments(line)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("command", "line", "overrides"),
    [
        ("compare", ["students", "baseline=hard"], ["runs='students'", "baseline=hard"]),
        ("compare", ["baseline=hard"], ["baseline=hard"]),
        ("submission", ["out zip"], ["file='out zip'"]),
        ("distill", ["students"], ["students"]),
    ],
)
def test_a_path_needs_no_name_where_it_is_what_the_command_is_about(command, line, overrides):
    assert written_out(command, line) == overrides


def test_the_version_is_told(capsys):
    main(["--version"])
    assert capsys.readouterr().out.startswith("kdfeatures 0.")
