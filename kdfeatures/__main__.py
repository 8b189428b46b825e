"""The program `kdfeatures`, which is also `python -m kdfeatures`."""

from kdfeatures.cli.endings import end_process
from kdfeatures.cli.main import main


def program() -> None:
    """Run the command that the process was started with, and end it."""
    status = 0
    try:
        main()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):  # a text, which Python prints
            raise
        status = end.code or 0
    end_process(status)


if __name__ == "__main__":
    program()
