import json
import os
import shutil
import signal
import socket
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.launching import ended, program, torchrun
from transformers import pipeline

from kdfeatures.cli.main import main

# with --cpu instead of --multi_gpu accelerate starts one process, whatever --num_processes says
ACCELERATE = ("--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no")


def command(workspace, name, *overrides):
    return [
        "distill", *workspace.task, f"teacher.path={workspace.folder / 'steady'}",
        f"output_dir={workspace.folder / name}",
        "recipe=tinybert_joint", "projection.always=true", "student.layers=3", "trainer.num_train_epochs=2",
        "trainer.learning_rate=2e-3", "trainer.disable_tqdm=true", "trainer.eval_strategy=no", *overrides,
    ]  # fmt: skip


def trained(folder):
    return {
        f"{file}: {name}": tensor
        for file in ("model.safetensors", "projections.safetensors")
        for name, tensor in safetensors.torch.load_file(folder / file).items()
    }


@pytest.fixture(scope="module", autouse=True)
def steady(workspace):
    """The teacher without dropout, and so the student: masks are drawn by each process apart."""
    # a worker that is given tests of this module anew, after others, sets it up anew
    folder = shutil.copytree(workspace.teacher, workspace.folder / "steady", dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config | rates))


@pytest.fixture(scope="module")
def alone(workspace):
    """One process with the batches of two."""
    main(command(workspace, "alone", "existing=overwrite"))
    return workspace.folder / "alone"


def same_student(one, folder):
    """Whether the run in a folder made the student of one process, and says so."""
    first, second = trained(one), trained(folder)
    assert first.keys() == second.keys()
    for tensor in first:
        torch.testing.assert_close(second[tensor], first[tensor], atol=1e-4, rtol=1e-3, msg=tensor)
    results, single = (json.loads((made / "results.json").read_text()) for made in (folder, one))
    assert (results["processes"], single["processes"]) == (2, 1)
    assert results["student"]["metrics"] == single["student"]["metrics"]
    assert results["teacher"]["metrics"] == single["teacher"]["metrics"]
    for side in ("student", "teacher"):
        assert results[side]["parameters"] == single[side]["parameters"]
    assert pipeline("text-classification", model=str(folder))("the dog that barked slept")


@pytest.mark.slow
def test_two_processes_distil_the_student_of_one(workspace, alone, tmp_path):
    evaluated = ["trainer.eval_strategy=epoch", "trainer.per_device_eval_batch_size=7"]
    arguments = command(workspace, "two", "trainer.per_device_train_batch_size=16", *evaluated)
    printed, said = tmp_path / "printed.txt", tmp_path / "said.txt"
    # accelerate starts its two as a user's shell would; all others here are forked
    run = program("accelerate.commands.launch", [*ACCELERATE, "-m", "kdfeatures", *arguments], printed, said)
    assert ended(run) == 0, printed.read_text()[-3000:]
    same_student(alone, workspace.folder / "two")
    scores = json.loads((workspace.folder / "two" / "results.json").read_text())["student"]["metrics"]["validation"]
    log = json.loads((workspace.folder / "two" / "trainer_state.json").read_text())["log_history"]
    last = [entry for entry in log if "eval_f1" in entry][-1]  # from the answers of both processes, put in order
    assert last["eval_f1"] == scores["f1"] > 0.8 and last["eval_accuracy"] == scores["accuracy"]
    assert said.read_text().count("Saved in") == 1
    again = torchrun(["--nproc_per_node=2", "--standalone"], arguments, printed)
    assert ended(again) > 0  # not killed
    assert printed.read_text().count("already holds a run") == 1


@contextmanager
def two_nodes(arguments, folder):
    """Start two torchruns, each with one process of a run, as on two machines; give them and what they print."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rendezvous = ["--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{port}", "--rdzv_id=distil", "--max_restarts=0"]
    folder.mkdir()
    printed = [folder / f"node-{number}.txt" for number in (0, 1)]
    nodes = []
    try:
        for file in printed:
            nodes.append(torchrun(["--nnodes=2", "--nproc_per_node=1", *rendezvous], arguments, file))
        yield nodes, printed
    finally:
        for started in nodes:
            started.terminate()  # it ends its process, too
        for started in nodes:
            started.join(120)


def children(process):
    listed = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for file in listed for pid in file.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the process to kill in /proc")
def test_two_nodes_with_shards_of_both_models_go_on_after_one_is_killed(workspace, alone, tmp_path):
    arguments = command(
        workspace, "nodes", "trainer.per_device_train_batch_size=16", "trainer.fsdp=true", "teacher.fsdp=true",
        "existing=resume",
    )  # fmt: skip
    folder = workspace.folder / "nodes"
    with two_nodes(arguments, tmp_path / "killed") as (nodes, printed):
        deadline = time.monotonic() + 300
        while not list(folder.glob("checkpoint-*/checksums.json")) and time.monotonic() < deadline:
            assert all(started.is_alive() for started in nodes), printed[0].read_text()
            time.sleep(0.01)
        (victim,) = children(nodes[1])
        os.kill(victim, signal.SIGKILL)
        nodes[1].join(120)
        assert nodes[1].exitcode
    assert f"exitcode: -9) local_rank: 0 (pid: {victim})" in printed[1].read_text()
    assert not (folder / "results.json").exists()
    with two_nodes(arguments, tmp_path / "again") as (nodes, printed):
        codes = [ended(started) for started in nodes]
    said = [file.read_text() for file in printed]
    assert codes == [0, 0], "\n".join(said)[-6000:]
    assert any("Loading model from" in text for text in said), "it went on from the checkpoint"
    same_student(alone, folder)


def test_one_process_cannot_shard(workspace, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(command(workspace, "shard_alone", "trainer.fsdp=true"))
    assert "shards the student over processes, but there is one; start several with torchrun" in capsys.readouterr().err


def test_a_checkpoint_of_the_other_kind_is_refused(workspace, alone, capsys):
    folder = workspace.folder / "other_kind"
    shutil.copytree(sorted(alone.glob("checkpoint-*"))[-1], folder / "checkpoint-10")
    (folder / "checkpoint-10" / "pytorch_model_fsdp.bin").touch()
    with pytest.raises(SystemExit, match="2"):
        main(command(workspace, folder.name, "existing=resume"))
    assert "checkpoint-10 was written with trainer.fsdp=true; resume with the same" in capsys.readouterr().err
