"""The command line: one file a command, help, and errors as one line.

Nothing imports this package.
"""

from kdfeatures.cli.waiting import wait_asleep_if_busy

wait_asleep_if_busy()  # before any module of this package loads torch
