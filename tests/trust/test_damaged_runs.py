"""A run whose checkpoints or model were damaged ends with the same student, or says what is wrong."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import safetensors.torch
import torch
from support.workspace import workspace

from kdfeatures.cli.main import main
from kdfeatures.training.length_batched import LengthBatchedTrainer

__all__ = ["workspace"]


def command(workspace, folder, *more):
    return [
        "distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}",
        "recipe=tinybert_joint", "student.layers=2", "trainer.max_steps=7", "trainer.save_strategy=steps",
        "+trainer.save_steps=2", "trainer.save_total_limit=5", "trainer.logging_steps=5", "trainer.disable_tqdm=true",
        "trainer.eval_strategy=no", "projection.always=true", "data.train_examples=64",
        "trainer.per_device_train_batch_size=8", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(workspace):
    """A finished run, its checkpoints after 2, 4, 6 and 7 steps."""
    folder = workspace.folder / "whole"
    main(command(workspace, folder, "existing=overwrite"))
    return folder


@pytest.fixture
def stopped(whole, tmp_path):
    """A copy of the run as one that was killed after 6 steps, before it saved its model."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoint-7")
    for name in ("results.json", "model.safetensors", "logits.npz", "projections.safetensors", "trainer_state.json"):
        (folder / name).unlink()
    manifest = (folder / "run.json").read_text()
    (folder / "run.json").write_text(manifest.replace(str(whole), str(folder)))
    return folder


def equal(folder, whole):
    for name in ("model.safetensors", "projections.safetensors"):
        one, other = (safetensors.torch.load_file(path / name) for path in (folder, whole))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    results, expected = (json.loads((path / "results.json").read_text()) for path in (folder, whole))
    for key in ("losses", "padding", "train_examples"):
        assert results[key] == expected[key], key
    assert logged(folder) == logged(whole)
    return results, expected


def logged(folder):
    """What the log says of the losses: those of each window of steps, and their mean over all."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{key: value for key, value in entry.items() if "loss" in key or key == "step"} for entry in history]


class Runs:
    def __reduce__(self):
        return exit, (9,)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def other_step(file):
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"global_step": 3}))


DAMAGE = {
    "optimizer.pt is missing": lambda folder: (folder / "optimizer.pt").unlink(),
    "scheduler.pt is missing": lambda folder: (folder / "scheduler.pt").unlink(),
    "rng_state.pth is missing": lambda folder: (folder / "rng_state.pth").unlink(),
    "model.safetensors does not match": lambda folder: flipped(folder / "model.safetensors"),
    "projections.safetensors does not match": lambda folder: flipped(folder / "projections.safetensors"),
    "trainer_state.json does not match": lambda folder: other_step(folder / "trainer_state.json"),
    "optimizer.pt does not match": lambda folder: (folder / "optimizer.pt").write_bytes(pickle.dumps(Runs())),
    "scheduler.pt does not match": lambda folder: (folder / "scheduler.pt").write_bytes(b""),
    "progress.json does not match": lambda folder: (folder / "progress.json").write_text("[]"),
    "checksums.json is missing": lambda folder: (folder / "checksums.json").unlink(),
    "checksums.json cannot be read": lambda folder: (folder / "checksums.json").write_bytes(b"\xff{"),
}


@pytest.mark.parametrize("told", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(workspace, whole, stopped, capsys, told):
    DAMAGE[told](stopped / "checkpoint-6")
    main(command(workspace, stopped, "existing=resume"))
    assert f"Passed over {stopped}/checkpoint-6: {told}" in capsys.readouterr().out
    equal(stopped, whole)


def test_a_resumed_run_reports_all_of_its_training(workspace, whole, stopped):
    """Losses and padding are those since the last log, which was before the checkpoint; seconds are of both parts."""
    progress = stopped / "checkpoint-6" / "progress.json"
    before = json.loads(progress.read_text())["seconds"]
    main(command(workspace, stopped, "existing=resume"))
    results, _ = equal(stopped, whole)
    assert results["seconds"]["train"] > before > 0


def test_the_loss_of_a_resumed_training_is_that_of_all_its_steps(workspace, whole, stopped, monkeypatch):
    outputs = []
    train = LengthBatchedTrainer.train
    monkeypatch.setattr(LengthBatchedTrainer, "train", lambda *args, **kw: outputs.append(train(*args, **kw)))
    main(command(workspace, stopped, "existing=resume"))
    assert outputs[0].training_loss == outputs[0].metrics["train_loss"] == logged(whole)[-1]["train_loss"]


def test_a_checkpoint_that_was_begun_is_written_anew(workspace, whole, stopped):
    """With a file that none of its kind has, such as the state of a process that is no more."""
    begun = stopped / "checkpoint-7"
    begun.mkdir()
    (begun / "rng_state_1.pth").write_bytes(b"half")
    main(command(workspace, stopped, "existing=resume"))
    equal(stopped, whole)
    assert {file.name for file in begun.iterdir()} == {file.name for file in (whole / "checkpoint-7").iterdir()}


def test_with_no_whole_checkpoint_it_begins_anew(workspace, whole, stopped):
    for checkpoint in stopped.glob("checkpoint-*"):
        (checkpoint / "model.safetensors").write_bytes(b"")
    main(command(workspace, stopped, "existing=resume"))
    equal(stopped, whole)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "logits.npz", "results.json"])
@pytest.mark.parametrize("how", ["lost", "halved"])
def test_a_finished_run_that_lost_a_file_is_run_again(workspace, whole, tmp_path, name, how, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for file in ("results.json", "run.json"):
        (folder / file).write_text((folder / file).read_text().replace(str(whole), str(folder)))
    content = (folder / name).read_bytes()
    (folder / name).unlink() if how == "lost" else (folder / name).write_bytes(content[: len(content) // 2])
    main(command(workspace, folder, "existing=resume"))
    equal(folder, whole)
    if name != "results.json":
        assert f"but {name} " in capsys.readouterr().out


def test_a_manifest_that_cannot_be_read_is_no_guess(workspace, stopped, capsys):
    (stopped / "run.json").write_text("{")
    with pytest.raises(SystemExit):
        main(command(workspace, stopped, "existing=resume"))
    assert "run.json cannot be read, so it is not known with which settings" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-6", "run.json"])
def test_links_inside_a_run_are_not_followed(workspace, stopped, tmp_path, capsys, name):
    (tmp_path / "elsewhere").mkdir()
    if (stopped / name).exists():
        (stopped / name).rename(tmp_path / "moved")
    (stopped / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemExit):
        main(command(workspace, stopped, "existing=resume"))
    assert f"holds the symbolic link {name}" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []
