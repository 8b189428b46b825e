"""Run by torch.distributed.run in test_ddp: trains the small distiller and saves it. Arguments: folder, terms."""

import sys
from pathlib import Path

import torch
from runs_for_tests import small_distiller, small_trainer


def main() -> None:
    folder, terms = Path(sys.argv[1]), tuple(sys.argv[2].split(",")) if sys.argv[2] else ()
    torch.set_num_threads(1)
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
