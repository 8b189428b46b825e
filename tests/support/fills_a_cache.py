"""Run by tests of the cache: fills one as a rank of a world. Arguments: folder, rank, world."""

import json
import sys
import time
from pathlib import Path

import torch
from support.caching import small_cache
from support.runs_for_tests import small_dataset, small_distiller

from kdfeatures.cache import needed


def main() -> None:
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    distiller = small_distiller()
    cache = small_cache(folder / "cache", distiller.teacher)
    seen = []

    def count(module, args, kwargs):
        seen.append(len(kwargs["input_ids"]))
        time.sleep(0.01)  # a pass that takes a while, so that ranks overlap and a kill hits one

    distiller.teacher.register_forward_pre_hook(count, with_kwargs=True)
    (folder / f"ready{rank}").touch()
    while not all((folder / f"ready{other}").exists() for other in range(world)):
        time.sleep(0.01)
    features = cache.features(small_dataset(400), needed(distiller.objective), rank=rank, world=world)
    print(json.dumps({"examples": sum(seen), "logits": features.logits().tolist()}))


if __name__ == "__main__":
    main()
