"""Calls of commands up to where the first job would start, and what --help says of them."""

from kdfeatures.cli.arguments import parse_arguments, written_out
from kdfeatures.cli.checks import CheckedCall, check_call
from kdfeatures.cli.help import command_help
from kdfeatures.cli.session import hydra_for


def checked(command: str, *line: str) -> CheckedCall:
    """Check `kdfeatures COMMAND LINE` as the program does; raises UserError as that does."""
    arguments = parse_arguments(line)
    arguments.overrides = written_out(command, arguments.overrides)
    with hydra_for(command, arguments.config_dir) as made:
        return check_call(made, command, arguments)


def helped(command: str, *line: str) -> str:
    """Return what `kdfeatures COMMAND LINE --help` prints."""
    arguments = parse_arguments(line)
    with hydra_for(command, arguments.config_dir):
        return command_help(command, arguments.overrides)
