"""Run in two processes by test_ddp: trains the small distiller with each set of terms, and plain classifiers.

Argument: folder, which gets one for each.
"""

import sys
from pathlib import Path

import torch
from support.runs_for_tests import plain_trainer, small_distiller, small_trainer

from kdfeatures.losses import HardLabel

PLAIN = {"own loss": None, "weighed loss": [1.0, 5.0]}
TERMS = {"all terms": (), "no term reaches the head": ("hidden", "relations")}


def main() -> None:
    torch.set_num_threads(1)
    for name, terms in TERMS.items():
        folder = Path(sys.argv[1], name)
        trainer = small_trainer(
            small_distiller(terms=terms),
            folder,
            per_device_train_batch_size=4,
            max_steps=6,
            train_sampling_strategy="group_by_length",
            ddp_find_unused_parameters=bool(terms),
            ddp_backend="gloo",
        )
        trainer.train()
        trainer.save_model()
        torch.save(
            {"state": trainer.model.state_dict(), "log": trainer.state.log_history, "world": trainer.args.world_size},
            folder / f"rank{trainer.args.process_index}.pt",
        )
    for name, class_weights in PLAIN.items():
        loss = None if class_weights is None else HardLabel(class_weights=class_weights)
        folder = Path(sys.argv[1], name)
        trainer = plain_trainer(
            folder, loss=loss, per_device_train_batch_size=4, per_device_eval_batch_size=8, ddp_backend="gloo"
        )
        trainer.train()
        torch.save(
            {"state": trainer.model.state_dict(), "log": trainer.state.log_history, "eval": trainer.evaluate()},
            folder / f"rank{trainer.args.process_index}.pt",
        )


if __name__ == "__main__":
    main()
