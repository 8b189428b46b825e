"""Run in two processes by test_mixup_in_processes: a student of mixed texts, trained by DDP and by FSDP, is saved.

Argument: folder, which gets one for each way.
"""

import copy
import sys
from pathlib import Path

import torch
from support.runs_for_tests import small_trainer
from support.tiny import tiny_classifier

from kdfeatures.distillation import Distiller, Linear, Mixup, Objective, Term
from kdfeatures.losses import HiddenMSE, LogitKD, RelationKL
from kdfeatures.training.fsdp import CONFIG, shard_by_layer, shard_teacher
from kdfeatures.training.trainer import DistillationTrainer

WAYS = {
    "ddp": {"ddp_backend": "gloo"},
    "fsdp": {"ddp_backend": "gloo", "fsdp": True, "fsdp_config": dict(CONFIG)},
}


def mixed_distiller() -> Distiller:
    """Return a 2 x 16 student without dropout that learns a 3 x 24 teacher's states, relations and answers."""
    torch.manual_seed(0)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    teacher = tiny_classifier(layers=3, width=24, heads=4)
    student = tiny_classifier(layers=2, width=16, heads=2, **rates)
    terms = {
        "hidden": Term(HiddenMSE(), layers="last"),
        "relations": Term(RelationKL(relation_heads=4), layers="final"),
        "logits": Term(LogitKD()),
    }
    return Distiller(student, teacher, Objective(terms, mixup=Mixup(consistency=Linear(0.0, 1.0))), [0, 1])


def mixed_trainer(folder: Path, **settings) -> DistillationTrainer:
    """Return a trainer whose texts are always mixed three to one: processes would each draw a share of their own."""
    Mixup.draw = lambda self: 0.75
    distiller = mixed_distiller()
    if "fsdp" in settings:
        shard_by_layer(distiller, distiller.student)
    return small_trainer(distiller, folder, per_device_train_batch_size=4, max_steps=4, **copy.deepcopy(settings))


def main() -> None:
    torch.set_num_threads(1)
    for way, settings in WAYS.items():
        folder = Path(sys.argv[1], way)
        trainer = mixed_trainer(folder, **settings)
        if trainer.is_fsdp_enabled:
            shard_teacher(trainer.model.teacher, trainer.args.device)
        trainer.train()
        trainer.save_model()
        torch.save(trainer.state.log_history, folder / f"log{trainer.args.process_index}.pt")


if __name__ == "__main__":
    main()
