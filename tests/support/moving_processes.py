"""Run in two processes by test_maps_in_processes: trains by every moving map, by DDP and by FSDP.

Argument: folder, which gets one for each of both.
"""

import sys
from pathlib import Path

import torch
from support.moving import RULES, moving_distiller, moving_map
from support.runs_for_tests import small_trainer

from kdfeatures.mapping import LearnedMap
from kdfeatures.training.fsdp import CONFIG, shard_by_layer

WAYS = ("ddp", "fsdp")


def train(folder: Path, *, sharded: bool) -> None:
    found = {}
    for rule in RULES:
        distiller = moving_distiller(moving_map(rule))
        if sharded and isinstance(distiller.objective.maps["layers"], LearnedMap):
            continue
        if sharded:
            shard_by_layer(distiller, distiller.student)
        trainer = small_trainer(
            distiller,
            folder / rule,
            per_device_train_batch_size=4,
            train_sampling_strategy="group_by_length",
            max_steps=8,
            ddp_find_unused_parameters=True,  # the one term does not reach the head
            ddp_backend="gloo",
            **({"fsdp": True, "fsdp_config": dict(CONFIG)} if sharded else {}),
        )
        trainer.train()
        state = {name: getattr(x, "full_tensor", lambda x=x: x)() for name, x in distiller.named_parameters()}
        found[rule] = {"state": state, "maps": [e["maps"] for e in trainer.state.log_history if "maps" in e]}
    torch.save(found, folder / f"rank{trainer.args.process_index}.pt")


def main() -> None:
    torch.set_num_threads(1)
    for way in WAYS:
        train(Path(sys.argv[1], way), sharded=way == "fsdp")


if __name__ == "__main__":
    main()
