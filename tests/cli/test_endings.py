"""What a command says when the system refuses it a write, and its process. Signals: tests/trust/test_signals.py."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdfeatures
from kdfeatures.cli.endings import BROKEN_PIPE, system_errors_in_one_line
from kdfeatures.errors import UserError


def line_of(error, folder):
    with pytest.raises(UserError) as told, system_errors_in_one_line(folder):
        raise error
    return str(told.value)


def test_a_full_disk_is_named_with_what_is_left(tmp_path):
    told = line_of(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "run")
    assert told.startswith(f"no space is left at {tmp_path / 'run'} (") and "existing=resume" in told


def test_what_may_not_be_written_is_named(tmp_path):
    told = line_of(PermissionError(errno.EACCES, "Permission denied", "/x/y"), tmp_path)
    assert told == "/x/y cannot be read or written: Permission denied."


def test_of_a_home_that_may_not_be_written_the_way_out_is_told(tmp_path, monkeypatch):
    """As a user without a home, such as nobody, meets it when data are read."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home" / "huggingface"))
    told = line_of(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "home")), tmp_path)
    assert told.endswith(
        "home cannot be read or written: Permission denied; set HF_HOME to a folder that you may write to."
    )


@pytest.mark.parametrize("error", [ValueError("a fault"), FileNotFoundError(errno.ENOENT, "No such file", "/x")])
def test_other_errors_stay_what_they_are(tmp_path, error):
    with pytest.raises(type(error)), system_errors_in_one_line(tmp_path):
        raise error


LAST = """
import atexit, threading
from kdfeatures.cli.endings import end_process
class Freed:
    def __del__(self):
        print("freed")
kept = Freed()
atexit.register(print, "registered")
def ends_after_the_main_thread():
    threading.main_thread().join()
    print("thread")
threading.Thread(target=ends_after_the_main_thread).start()
print("main")
"""


def end(status, stdout, **environment):
    """Run a process that ends as a command's does."""
    search = {"PYTHONPATH": str(Path(kdfeatures.__file__).parents[1]), "PYTHONUNBUFFERED": ""}
    environment = {**os.environ, **search, **environment}
    return subprocess.run(
        [sys.executable, "-c", LAST + f"end_process({status})"], stdout=stdout, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("processes", "said"),
    [("1", ["main", "thread", "registered"]), ("2", ["main", "thread", "registered", "freed"])],
)
def test_a_process_ends_with_its_status_after_its_threads_and_what_was_registered(processes, said):
    ended = end(3, subprocess.PIPE, WORLD_SIZE=processes)
    assert ended.stdout.decode().split() == said
    assert ended.returncode == 3


@pytest.mark.parametrize("status", [0, 3])
def test_output_that_nobody_reads_any_more_is_told_by_the_status_as_python_does(status):
    read, write = os.pipe()
    os.close(read)
    assert end(status, write).returncode == BROKEN_PIPE
    os.close(write)
