"""Run in two processes by test_balanced_processes: trains the small distiller with balanced weights.

Argument: folder. Every process writes its norms, weights and log there.
"""

import sys
from pathlib import Path

import torch
from support.runs_for_tests import small_distiller, small_trainer

from kdfeatures.distillation.balancing import GradientBalancer


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    distiller = small_distiller()
    distiller.objective.balance = GradientBalancer({"hidden": 2.0}, every=2, momentum=0.5, limit=1e6)
    told = []
    trainer = small_trainer(
        distiller, folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=6, ddp_backend="gloo"
    )
    trainer._on_first_batch = told.append
    trainer.train()
    found = {
        "norms": distiller.objective.balance.norms,
        "weights": distiller.objective.weights,
        "first": told,
        "state": distiller.state_dict(),
    }
    torch.save(found, folder / f"rank{trainer.args.process_index}.pt")


if __name__ == "__main__":
    main()
