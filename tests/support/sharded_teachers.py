"""Run in two processes by test_fsdp: the same distillation step with a sharded teacher and with a whole one, by family.

Argument: folder. The first process writes steps.json: for each family and objective loss and gradient's norm of both,
the largest difference of the gradients, and the share of the teacher's parameters that it keeps.
"""

import copy
import json
import sys
from pathlib import Path

import torch
from support.tiny import decided, tiny_batch, tiny_classifier
from torch import distributed

import kdfeatures as kd
from kdfeatures.training.fsdp import shard_teacher

FAMILIES = ("bert", "distilbert", "albert", "mpnet", "deberta-v2", "modernbert", "electra", "roformer")
OBJECTIVES = {
    "all layers and logits": {
        "logits": kd.Term(kd.losses.LogitKD()),
        "hidden": kd.Term(kd.losses.HiddenMSE(), layers=[(0, 0), (1, 2), (2, 3)]),
        "attention": kd.Term(kd.losses.AttentionScoreMSE(), layers=[(1, 1), (2, 3)]),
    },
    # the teacher's pass ends by an exception after its second layer
    "lower layers alone": {
        "labels": kd.Term(kd.losses.HardLabel()),
        "hidden": kd.Term(kd.losses.HiddenMSE(), layers=[(1, 2)]),
        "relations": kd.Term(kd.losses.RelationKL(relation_heads=4), layers=[(2, 2)]),
    },
}


def step(teacher: torch.nn.Module, family: str, terms: dict, batch: dict) -> tuple[float, torch.Tensor]:
    torch.manual_seed(1)
    student = decided(tiny_classifier(family, layers=2, width=16)).train(False)
    distiller = kd.Distiller(student, teacher, kd.Objective(terms), [0, 1])
    distiller.training = True  # without the student's dropout
    losses = [distiller(**batch).loss for _ in range(2)]  # the second pass finds what the first one left
    assert losses[0] == losses[1]
    losses[1].backward()
    distiller.detach()
    gradients = [parameter.grad.flatten() for parameter in distiller.parameters() if parameter.grad is not None]
    return losses[1].item(), torch.cat(gradients)


def main() -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, measured = distributed.get_rank(), {}
    lengths = [(9, 5, 7), (6, 8, 4)][rank]  # each process has texts of its own
    batch = tiny_batch(lengths) | {"labels": torch.tensor([0, 1, 1])}
    for family in FAMILIES:
        torch.manual_seed(0)
        whole = decided(tiny_classifier(family))
        sharded = copy.deepcopy(whole)
        shard_teacher(sharded, torch.device("cpu"))
        kept = sum(parameter.to_local().numel() for parameter in sharded.parameters())
        for name, terms in OBJECTIVES.items():
            (loss, gradient), (of_sharded, its_gradient) = (
                step(teacher, family, terms, batch) for teacher in (whole, sharded)
            )
            measured[f"{family}, {name}"] = {
                "losses": [loss, of_sharded],
                "norm": gradient.norm().item(),
                "difference": (gradient - its_gradient).norm().item(),
                "kept": kept / sum(parameter.numel() for parameter in whole.parameters()),
            }
    if rank == 0:
        Path(sys.argv[1], "steps.json").write_text(json.dumps(measured))
    distributed.barrier()


if __name__ == "__main__":
    main()
