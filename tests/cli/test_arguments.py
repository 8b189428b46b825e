"""Flags wherever the user puts them, and options written as elsewhere."""

import pytest

from kdfeatures.cli.arguments import overrides_first, parse_arguments
from kdfeatures.cli.main import main
from kdfeatures.errors import UserError

OVERRIDES = ["task=mrpc", "seed=1,2"]
LINES = [
    ["-m", *OVERRIDES],
    [*OVERRIDES, "--multirun"],
    ["task=mrpc", "-m", "seed=1,2"],
    ["task=mrpc", "-m", "--config-dir", "mine", "seed=1,2"],
    ["-cd", "mine", "task=mrpc", "seed=1,2", "-m"],
    ["--config-dir=mine", "task=mrpc", "-m", "seed=1,2"],
]


@pytest.mark.parametrize("line", LINES)
def test_flags_may_stand_anywhere(line):
    arguments, ordered = parse_arguments(line), overrides_first(line)
    assert arguments.multirun and arguments.overrides == OVERRIDES
    assert ordered[:2] == OVERRIDES and sorted(ordered) == sorted(line)
    again = parse_arguments(ordered)
    assert vars(again) == vars(arguments)


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
    ],
)
def test_an_option_written_as_a_flag_is_answered_with_how_to_write_it(line, told):
    with pytest.raises(UserError) as error:
        parse_arguments(line)
    assert str(error.value) == told


def test_the_version_is_told(capsys):
    main(["--version"])
    assert capsys.readouterr().out.startswith("kdfeatures 0.")
