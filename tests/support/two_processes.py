"""Run in two processes by test_ddp: trains the small distiller with each set of terms and saves it.

Argument: folder, which gets one for each set.
"""

import sys
from pathlib import Path

import torch
from support.runs_for_tests import small_distiller, small_trainer

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


if __name__ == "__main__":
    main()
