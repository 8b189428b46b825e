import errno
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.shared_data import ROOT

from kdfeatures.errors import UserError
from kdfeatures.files import LOCK, disk_full, one_at_a_time, unfinished, write_whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old\n"


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    """The text is in a file of another name, whole and on the disk, before it takes the place of the old one."""
    write_whole(tmp_path / "a", "old")
    replace, seen = Path.replace, []

    def watched(self, target):
        seen.append((self.read_text(), Path(target).read_text()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_whole(tmp_path / "a", "new")
    assert seen == [("new\n", "old\n")] and (tmp_path / "a").read_text() == "new\n"


HOLDS = """
import sys
from pathlib import Path
from kdfeatures.files import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_writes_to_a_folder_and_a_killed_one_leaves_it_free(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match="another run is writing there now; wait for its end"),
            one_at_a_time(folder),
        ):
            pass
    finally:
        process.kill()
        process.wait()
    with one_at_a_time(folder):
        assert (folder / LOCK).exists()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known_by_its_number_or_by_what_libraries_say(tmp_path, error):
    told = disk_full(error, tmp_path / "not" / "there")
    assert told.startswith(f"no space is left at {tmp_path / 'not' / 'there'} (") and "MiB free" in told


def test_the_cause_of_an_error_counts_and_other_errors_do_not(tmp_path):
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))
        except OSError as error:
            raise RuntimeError("could not save") from error
    except RuntimeError as error:
        assert disk_full(error, Path("/")).startswith(f"no space is left at {tmp_path / 'x'}")
    assert disk_full(OSError(errno.EACCES, "no"), tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "PytorchStreamWriter failed writing file data/1",
        "[enforce fail at inline_container.cc:672] . unexpected pos 122048 vs 121936",
        "basic_ios::clear: iostream error",
    ],
)
def test_what_torch_says_of_a_full_disk_counts_only_where_there_is_no_space(tmp_path, monkeypatch, text):
    assert disk_full(RuntimeError(text), tmp_path) is None
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=4096))
    assert disk_full(RuntimeError(text), tmp_path) == f"no space is left at {tmp_path} (0 MiB free)"


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with unfinished(tmp_path / "a") as first:
        first.write_text("first")
        write_whole(tmp_path / "a", "second")
        assert first.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "first"


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again_and_a_living_ones_stays(tmp_path):
    file, other = tmp_path / "[a].json", tmp_path / "b"
    killed = """
import os, sys
from pathlib import Path
from kdfeatures.files import unfinished
begun = [unfinished(Path(name)) for name in sys.argv[1:]]
for block in begun:
    block.__enter__().write_text("half")
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", killed, str(file), str(other)], cwd=ROOT, check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with unfinished(file) as first:
        first.write_text("first")
        write_whole(file, "second")
        assert file.read_text() == "second\n" and first.exists()
    assert file.read_text() == "first"
    left = [path.name for path in tmp_path.iterdir() if path != file]
    assert len(left) == 1 and left[0].startswith(".b.")
