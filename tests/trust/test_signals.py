"""Ctrl-C and SIGTERM: one line, a checkpoint, the exit status of the signal, and the same student after a resume."""

from __future__ import annotations

import os
import signal
import time

import pytest
import safetensors.torch
import torch
from support.launching import command
from support.workspace import workspace

from kdfeatures.cli.main import main

__all__ = ["workspace"]
pytestmark = pytest.mark.slow


def arguments(workspace, folder, *more):
    return [
        "distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}",
        "recipe=tinybert_joint", "student.layers=3", "trainer.num_train_epochs=6", "trainer.disable_tqdm=true",
        "trainer.eval_strategy=no", "trainer.save_strategy=steps", "+trainer.save_steps=10", *more,
    ]  # fmt: skip


def wait_for_checkpoint(folder, is_alive):
    end = time.monotonic() + 120
    while not any(folder.glob("checkpoint-*/checksums.json")):
        assert is_alive() and time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(workspace):
    folder = workspace.folder / "uninterrupted"
    main(arguments(workspace, folder, "existing=overwrite"))
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_ctrl_c_of_a_command_says_one_line_and_it_goes_on_to_the_same_student(workspace, whole, tmp_path):
    folder = workspace.folder / "interrupted"
    printed, said = tmp_path / "printed.txt", tmp_path / "said.txt"
    process = command(arguments(workspace, folder), printed, said)
    wait_for_checkpoint(folder, process.is_alive)
    os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert "Stopping after this step" in said.read_text()
    assert_it_stopped_and_goes_on(
        workspace, folder, whole, process.exitcode, printed.read_text(), signal.SIGINT, "Ctrl-C"
    )


def test_sigterm_is_told_as_ctrl_c_is(workspace, whole):
    folder = workspace.folder / "terminated"
    printed = workspace.folder / "terminated.txt"
    process = command(arguments(workspace, folder), printed)
    wait_for_checkpoint(folder, process.is_alive)
    process.terminate()
    process.join(120)
    assert_it_stopped_and_goes_on(
        workspace, folder, whole, process.exitcode, printed.read_text(), signal.SIGTERM, "SIGTERM"
    )


def assert_it_stopped_and_goes_on(workspace, folder, whole, status, printed, number, name):
    assert status == 128 + number, printed
    assert printed == (
        f"kdfeatures: stopped by {name}; a checkpoint of the last step is saved; go on with existing=resume.\n"
    )
    assert not (folder / "results.json").exists()
    main(arguments(workspace, folder, "existing=resume"))
    resumed = safetensors.torch.load_file(folder / "model.safetensors")
    assert all(torch.equal(resumed[key], tensor) for key, tensor in whole.items())


def test_two_runs_at_once_in_one_folder_are_one(workspace, capsys):
    """The second is refused before it writes anything, and the first ends as if there had been none."""
    folder = workspace.folder / "shared"
    first = command(arguments(workspace, folder), printed := workspace.folder / "shared.txt")
    wait_for_checkpoint(folder, first.is_alive)
    with pytest.raises(SystemExit):
        main(arguments(workspace, folder, "existing=resume"))
    assert "another run is writing there now" in capsys.readouterr().err
    first.join(120)
    assert first.exitcode == 0, printed.read_text()
    assert (folder / "results.json").exists() and not (folder / ".lock").exists()
