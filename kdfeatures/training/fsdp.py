"""FSDP2 for a student: which modules it shards, on which devices, and the whole student afterwards; and for a teacher.

A teacher is frozen and outside the Distiller's parameters, so every process has all of it unless it, too, is sharded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel, Trainer, TrainingArguments

from kdfeatures.capture.families import encoder_of
from kdfeatures.embeddings.pooling import give_vectors, pooling_of
from kdfeatures.errors import ConfigError
from kdfeatures.models.load import move
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

CHECKPOINT = "pytorch_model_fsdp.bin"  # in a checkpoint that the Trainer wrote under FSDP
# Layers stay whole between forward and backward: FSDP gathers a layer again when a gradient reaches its output, and
# that of captured q, k, v does not come by there.
CONFIG = {"version": 2, "reshard_after_forward": False, "state_dict_type": "FULL_STATE_DICT"}


def shard_by_layer(model: Any, student: PreTrainedModel) -> None:
    """Let accelerate shard each of the student's layers apart, all else in `model` together.

    model: any module; what accelerate reads becomes an attribute of it. A family that calls one layer several times
    (ALBERT) is sharded as one piece.
    """
    layers = encoder_of(student).layers
    repeats = len(set(map(id, layers))) < len(layers)
    model._no_split_modules = [] if repeats else sorted({type(layer).__name__ for layer in layers})


def shard_teacher(teacher: PreTrainedModel, device: torch.device) -> None:
    """Keep, on `device`, one part in N of each layer of a frozen teacher in each of N processes.

    A layer is whole while it runs, and its parts are all that is kept of it afterwards: without gradients nobody needs
    it again. All processes must then run it together, the same number of times; what it was given may differ.
    """
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for layer in dict.fromkeys(encoder_of(teacher).layers):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(teacher, mesh=mesh, reshard_after_forward=True)
    move(teacher, device)  # its buffers


def use_fsdp_on_cpu(accelerator: Accelerator, arguments: TrainingArguments) -> None:
    """Make accelerate take FSDP for CPU processes too. It would run DDP instead, and not say so."""
    plugin = FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args)
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = DistributedType.FSDP
    # every AcceleratorState() copies this one over its own
    PartialState().distributed_type = DistributedType.FSDP


def check_checkpoint(checkpoint: str | None, *, fsdp: bool) -> None:
    """Raise ConfigError for a checkpoint of a run that was sharded, in one that is not, and the other way round."""
    if checkpoint is not None and (Path(checkpoint) / CHECKPOINT).exists() != fsdp:
        raise ConfigError(
            f"{checkpoint} was written {'without' if fsdp else 'with'} FSDP",
            hint="resume with the same, or start anew",
            key="checkpoint.fsdp",
            checkpoint=checkpoint,
            fsdp=str(not fsdp).lower(),
        )


def whole(model: PreTrainedModel, trainer: Trainer, task: Task) -> PreTrainedModel:
    """Return the trained model for use in one process: itself, or the copy that was saved when it is sharded."""
    if not trainer.is_fsdp_enabled:
        return model
    saved = task_type(task).auto.from_pretrained(trainer.args.output_dir).to(trainer.args.device)
    pooling = pooling_of(model)
    if pooling is not None:
        give_vectors(saved, pooling)
    return saved
