"""What share of positions is padding, with real lengths, for each way to make batches?

python -m benchmarks.padding TOKENIZER_FOLDER GLUE_FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
import yaml
from transformers import AutoTokenizer

from benchmarks.harness import append_rows
from kdfeatures.config.paths import conf_dir
from kdfeatures.data.load import encode, load_task, split_of
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.tasks.task import Task
from kdfeatures.training.samplers import LengthBucketSampler, TokenBudgetBatches

TASKS, MAX_LENGTH, BATCH, BUDGETS = ("sst2", "mrpc", "rte", "cola"), 128, 32, (1024, 4096)


def padding(lengths: torch.Tensor, batches: Iterable[torch.Tensor]) -> float:
    """Return padded positions / all positions."""
    positions = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - int(lengths.sum()) / positions


def main() -> None:
    tokenizer_folder, glue = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    rows = []
    for name in TASKS:
        task = Task.from_config(yaml.safe_load((Path(conf_dir()) / "task" / f"{name}.yaml").read_text()))
        lengths = token_counts(encode(split_of(load_task(task, glue), task, "train"), tokenizer, task, MAX_LENGTH))
        shuffled = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(1))
        shares = {
            f"padded to {MAX_LENGTH}": 1 - float(lengths.float().mean()) / MAX_LENGTH,
            f"random, {BATCH} examples": padding(lengths, shuffled.split(BATCH)),
            f"group_by_length, {BATCH} examples": padding(
                lengths, torch.tensor(list(LengthBucketSampler(lengths, BATCH, 1))).split(BATCH)
            ),
        }
        for budget in BUDGETS:
            batches = [torch.tensor(batch) for batch in TokenBudgetBatches(lengths, budget, 1, multiple_of=1)]
            shares[f"tokens_per_batch={budget}"] = padding(lengths, batches)
        rows += [
            {"task": name, "mean_tokens": f"{lengths.float().mean():.1f}", "batches": way, "padding": f"{share:.4f}"}
            for way, share in shares.items()
        ]
    append_rows("padding", rows)


if __name__ == "__main__":
    main()
