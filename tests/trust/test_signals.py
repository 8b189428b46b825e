"""Ctrl-C and SIGTERM: one line, a checkpoint, the exit status of the signal, and the same student after a resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import safetensors.torch
import torch
from support.workspace import workspace

from kdfeatures.cli.main import main

__all__ = ["workspace"]
pytestmark = pytest.mark.slow


def command(workspace, folder, *more):
    return [
        "distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}",
        "recipe=tinybert_joint", "student.layers=3", "trainer.num_train_epochs=12", "trainer.disable_tqdm=true",
        "trainer.eval_strategy=no", "trainer.save_strategy=steps", "+trainer.save_steps=3", *more,
    ]  # fmt: skip


def wait_for_checkpoint(folder, process):
    end = time.monotonic() + 120
    while not any(folder.glob("checkpoint-*/checksums.json")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(workspace):
    folder = workspace.folder / "uninterrupted"
    main(command(workspace, folder, "existing=overwrite"))
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stopped_run_says_one_line_and_goes_on_to_the_same_student(workspace, whole, number):
    folder = workspace.folder / number.name
    process = subprocess.Popen(
        [sys.executable, "-m", "kdfeatures", *command(workspace, folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    wait_for_checkpoint(folder, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert err == (
        f"kdfeatures: stopped by {name}; a checkpoint of the last step is saved; go on with existing=resume.\n"
    )
    assert "Stopping after this step" in out and not (folder / "results.json").exists()
    main(command(workspace, folder, "existing=resume"))
    resumed = safetensors.torch.load_file(folder / "model.safetensors")
    assert all(torch.equal(resumed[key], tensor) for key, tensor in whole.items())


def test_two_runs_at_once_in_one_folder_are_one(workspace, capsys):
    """The second is refused before it writes anything, and the first ends as if there had been none."""
    folder = workspace.folder / "shared"
    arguments = [sys.executable, "-m", "kdfeatures", *command(workspace, folder)]
    first = subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    wait_for_checkpoint(folder, first)
    with pytest.raises(SystemExit):
        main(command(workspace, folder, "existing=resume"))
    assert "another run is writing there now" in capsys.readouterr().err
    assert first.wait(timeout=120) == 0, first.stderr.read()
    assert (folder / "results.json").exists() and not (folder / ".lock").exists()
