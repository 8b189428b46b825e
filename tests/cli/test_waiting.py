"""Threads that wait asleep beside other work."""

import os

import pytest

from kdfeatures.cli import waiting


@pytest.fixture
def unset(monkeypatch):
    for name in (waiting.POLICY, "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    # so that what the function sets is gone after the test, too
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(waiting, "INTERVAL", 0)


@pytest.mark.parametrize(
    ("running", "cores", "usable", "expected"),
    [
        ([1, 1, 1, 1, 1], 2, 2, None),
        ([2, 2, 3, 2, 2], 2, 2, "passive"),
        ([3, 1, 3, 3, 3], 2, 2, None),  # for a moment only
        ([9, 9, 9, 9, 9], 16, 8, None),  # they have other cores
        ([10, 10, 10, 10, 10], 16, 8, "passive"),
    ],
)
def test_other_work_on_the_cores_lets_threads_sleep(monkeypatch, unset, running, cores, usable, expected):
    told = iter(running)
    monkeypatch.setattr(waiting.Path, "read_text", lambda *_, **__: f"0.1 0.2 0.3 {next(told)}/321 4567\n")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
    waiting.wait_asleep_if_busy()
    assert os.environ.get(waiting.POLICY) == expected


@pytest.mark.parametrize("name", [waiting.POLICY, "GOMP_SPINCOUNT"])
def test_what_the_user_has_set_stays(monkeypatch, unset, name):
    os.environ[name] = "42"
    monkeypatch.setattr(waiting, "others_at_work", lambda: 7)
    waiting.wait_asleep_if_busy()
    assert os.environ.get(waiting.POLICY) == ("42" if name == waiting.POLICY else None)


@pytest.mark.parametrize("text", ["", "0.1 0.2 0.3 many/321 4567"])
def test_where_the_system_does_not_tell_nothing_changes(monkeypatch, unset, text):
    monkeypatch.setattr(waiting.Path, "read_text", lambda *_, **__: text)
    assert waiting.others_at_work() == 0


def test_a_system_without_the_file_is_one_that_does_not_tell(monkeypatch, unset):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(waiting.Path, "read_text", missing)
    assert waiting.others_at_work() == 0
