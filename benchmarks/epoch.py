"""How long does one epoch of real SST-2 distillation take, and how much of it is spent on padding?

python -m benchmarks.epoch TEACHER GLUE      # folders: a BERT with 12 heads fine-tuned on SST-2; nyu-mll/glue

The first EXAMPLES training examples of SST-2, a random student of half the teacher's layers and half its width, the
terms of benchmarks.step. TextBrewer's examples pad every sentence to 128 tokens; it is measured so, and with the
batches of kdfeatures (LengthBucketSampler, padded to the longest of the batch).
"""

from __future__ import annotations

import sys
import time

import pyarrow.parquet
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from benchmarks.harness import append_rows
from benchmarks.job import DistillationSetup, random_classifier, training_step
from benchmarks.peers.ours import features
from benchmarks.peers.textbrewer import textbrewer
from kdfeatures.training.samplers import LengthBucketSampler

EXAMPLES, BATCH, LONGEST, THREADS = 2000, 16, 128, 2


def batches(teacher: str, glue: str) -> dict[str, list[dict[str, Tensor]]]:
    """Return an epoch of length-bucketed batches, and one whose batches are all padded to LONGEST tokens."""
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    rows = pyarrow.parquet.read_table(f"{glue}/sst2/train-00000-of-00001.parquet").slice(0, EXAMPLES).to_pydict()
    encoded = tokenizer(rows["sentence"], truncation=True, max_length=LONGEST)
    examples = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], rows["label"], strict=True)
    ]
    bucketed = list(LengthBucketSampler([len(row["input_ids"]) for row in examples], BATCH, seed=0))
    longest = DataCollatorWithPadding(tokenizer)
    fixed = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=LONGEST)
    return {
        "length buckets": [
            longest([examples[i] for i in bucketed[at : at + BATCH]]) for at in range(0, EXAMPLES, BATCH)
        ],
        "fixed 128": [fixed(examples[at : at + BATCH]) for at in range(0, EXAMPLES, BATCH)],
    }


def padding_share(epoch: list[dict[str, Tensor]]) -> float:
    """Return which share of all positions is padding."""
    real = sum(batch["attention_mask"].sum().item() for batch in epoch)
    return 1 - real / sum(batch["attention_mask"].numel() for batch in epoch)


def main(teacher_path: str, glue: str) -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_pretrained(teacher_path)
    config = teacher.config
    student = random_classifier(
        layers=config.num_hidden_layers // 2, width=config.hidden_size // 2, vocab_size=config.vocab_size
    )
    job, epochs, rows, reference = DistillationSetup(teacher, student), batches(teacher_path, glue), [], None
    for name, variant, padding in (
        ("kdfeatures", features, "length buckets"),
        ("TextBrewer 0.2.1", textbrewer, "length buckets"),
        ("TextBrewer 0.2.1", textbrewer, "fixed 128"),
    ):
        step = training_step(variant(job))
        step(epochs[padding][0])  # the first step of a process is slow
        start = time.perf_counter()
        for batch in epochs[padding]:
            step(batch)
        seconds = time.perf_counter() - start
        reference = reference or seconds
        row = {"variant": name, "padding": padding, "examples": EXAMPLES, "batch": BATCH}
        row |= {"padding_share": f"{padding_share(epochs[padding]):.3f}"}
        rows.append(row | {"seconds": f"{seconds:.1f}", "ratio": f"{seconds / reference:.2f}"})
    append_rows("epoch", rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
