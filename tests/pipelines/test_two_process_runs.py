import json
import os
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from transformers import pipeline

from kdfeatures.cli.main import main

TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
# with --cpu instead of --multi_gpu accelerate starts one process, whatever --num_processes says
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1",
              "--mixed_precision=no", "--dynamo_backend=no")  # fmt: skip


def command(workspace, name, *overrides):
    return [
        "distill", *workspace.task, f"teacher.path={workspace.folder / 'steady'}",
        f"output_dir={workspace.folder / name}",
        "recipe=tinybert_joint", "projection.always=true", "student.layers=3", "trainer.num_train_epochs=2",
        "trainer.learning_rate=2e-3", "trainer.disable_tqdm=true", "trainer.eval_strategy=no", *overrides,
    ]  # fmt: skip


def launch(launcher, arguments):
    return subprocess.run(
        [sys.executable, *launcher, "-m", "kdfeatures", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher, sharding", [(TORCHRUN, ["trainer.fsdp=true"]), (ACCELERATE, [])],
    ids=["torchrun, FSDP", "accelerate launch, DDP"],
)  # fmt: skip
def test_two_processes_distil_the_student_of_one(workspace, alone, launcher, sharding, request):
    name = request.node.callspec.id.replace(", ", "_").replace(" ", "_")
    halved = ["trainer.per_device_train_batch_size=16", *sharding]
    result = launch(launcher, command(workspace, name, *halved))
    assert result.returncode == 0, result.stderr[-3000:]
    folder = workspace.folder / name
    one, two = trained(alone), trained(folder)
    assert one.keys() == two.keys()
    for tensor in one:
        torch.testing.assert_close(two[tensor], one[tensor], atol=1e-4, rtol=1e-3, msg=tensor)
    results, single = (json.loads((made / "results.json").read_text()) for made in (folder, alone))
    assert (results["processes"], single["processes"]) == (2, 1)
    assert results["student"]["metrics"] == single["student"]["metrics"]
    assert results["student"]["parameters"] == single["student"]["parameters"]
    assert result.stdout.count("Saved in") == 1
    assert pipeline("text-classification", model=str(folder))("the dog that barked slept")
    if launcher is ACCELERATE:
        again = launch(launcher, command(workspace, name, *halved))
        assert again.returncode != 0
        assert again.stderr.count("already holds a run") == 1


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
