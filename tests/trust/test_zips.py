"""Zips that are made to take memory, or to lead elsewhere."""

from __future__ import annotations

import resource
import stat
import time
import zipfile

import pytest

from kdfeatures.benchmark.submission.check import check_submission
from kdfeatures.benchmark.submission.files import FILES

MIB = 2**20


def zipped(folder, name, content, *, mode=0o644):
    file = folder / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name)
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, mode << 16
        archive.writestr(entry, content)
    return file


def of(problems, name):
    return [line for line in problems if line.startswith(f"{name}:")]


@pytest.mark.parametrize(
    ("part", "count"), [(b"\n", 15 * MIB), (b"\r", 15 * MIB), (b"0\t1\n", 4 * MIB), (b"\0", 400 * MIB)]
)
def test_a_small_zip_of_a_large_file_takes_neither_long_nor_much_memory(tmp_path, part, count):
    content = part * count  # made here: pytest makes a name of what it is given, and some take gigabytes for a long one
    file = zipped(tmp_path, FILES[0].member, content)
    assert file.stat().st_size < MIB
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    del content
    told = of(check_submission(file), FILES[0].member)
    assert len(told) == 1 and "which no answers to" in told[0]
    assert time.process_time() - start < 5
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200


def test_a_link_in_a_zip_is_no_file(tmp_path):
    file = zipped(tmp_path, FILES[0].member, b"/etc/passwd", mode=stat.S_IFLNK | 0o777)
    assert of(check_submission(file), FILES[0].member) == [f"{FILES[0].member}: is a symbolic link, not a file"]
