"""Run in two processes by test_cached_ddp: both ranks fill a cache, then train on it. Argument: folder."""

import sys
from pathlib import Path

import torch
from support.caching import small_cache
from support.runs_for_tests import small_dataset, small_distiller, small_trainer

from kdfeatures.cache import CachedCollator, needed, with_rows
from kdfeatures.cli.spoken import spoken
from kdfeatures.distillation.distiller import Distiller


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with spoken():
        train(folder)


def train(folder: Path) -> None:
    live = small_distiller()
    trainer = small_trainer(
        Distiller(live.student, None, live.objective, [0, 1]),
        folder,
        per_device_train_batch_size=4,
        max_steps=6,
        train_sampling_strategy="group_by_length",
        ddp_backend="gloo",
    )
    ranks = {"rank": trainer.args.process_index, "world": trainer.args.world_size}
    features = small_cache(folder / "cache", live.teacher).features(small_dataset(), needed(live.objective), **ranks)
    trainer.train_dataset = with_rows(trainer.train_dataset)
    trainer.data_collator = CachedCollator(trainer.data_collator, features)
    trainer.train()
    torch.save({"state": trainer.model.state_dict(), **ranks}, folder / f"rank{ranks['rank']}.pt")


if __name__ == "__main__":
    main()
