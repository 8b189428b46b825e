"""A small part of the attacks that take long, so that their scripts stay whole: docs/reliability.md has the figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from support.shared_data import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("TRUST"), reason="takes a minute or two; make trust runs it"),
]
HAS_NAMESPACES = (
    shutil.which("unshare") is not None
    and not subprocess.run(
        ["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    ).returncode
)


def attack(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / script), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_killed_runs_end_as_others():
    assert "| distill, one stage | 1 | 1 | 0 |" in attack("kills.py", "2", "one", "stage")


@pytest.mark.skipif(not HAS_NAMESPACES, reason="this system lets nobody mount a small disk of their own")
def test_runs_on_a_full_disk_go_on_when_there_is_room():
    assert "| fill a cache | 9 | 7 | 0 |" in attack("full_disk.py", "fill")
