"""What a command says when the system refuses it a write. Signals: tests/trust/test_signals.py."""

import errno

import pytest

from kdfeatures.cli.endings import system_errors_in_one_line
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
