"""What does a training step cost when the teacher's features come from disk?

python -m benchmarks.cached

Each variant reads its batches as a run does (collator included) and trains 6 x 192 students of a 12 x 384 teacher with
AdamW. First the plain step on hard labels; then steps with the live teacher, and with its features on disk; last the
same terms with features that are in memory already: what they cost by themselves.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, BertConfig, DataCollatorWithPadding, PreTrainedModel

from benchmarks.harness import append_rows, time_ratios
from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.cache import CachedCollator, CacheSettings, FeatureCache, needed, with_rows
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import AttentionScoreMSE, HardLabel, HiddenMSE, LogitKD, RelationKL
from kdfeatures.mapping.rules import uniform

BATCH, LENGTH, EXAMPLES, ROUNDS = 16, 128, 128, 15
PAIRS = uniform(6, 12, embeddings=True)


def bert(layers: int, width: int) -> PreTrainedModel:
    """Return a random classifier with 12 heads, without dropout."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 4 * width}
    return AutoModelForSequenceClassification.from_config(BertConfig(num_attention_heads=12, **sizes, **rates))


def examples() -> Dataset:
    """Return examples of LENGTH / 2 to LENGTH tokens."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for n in range(EXAMPLES):
        ids = torch.randint(5, 500, (LENGTH // 2 + n * LENGTH // (2 * EXAMPLES) + 1,), generator=generator).tolist()
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": n % 2})
    return Dataset.from_list(rows).shuffle(seed=0)


def terms(recipe: str) -> dict[str, BoundTerm]:
    """Return the terms of a recipe for this student."""
    attention = tuple(pair for pair in PAIRS if pair.student)
    logits = BoundTerm(LogitKD(temperature=2.0), 1.0)
    return {
        "hard": {"labels": BoundTerm(HardLabel(), 1.0)},
        "logits": {"logits": logits},
        "minilmv2": {"logits": logits, "relations": BoundTerm(RelationKL(relation_heads=12), 1.0, attention[-1:])},
        "tinybert": {
            "logits": logits,
            "hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS, "sum"),
            "attention": BoundTerm(AttentionScoreMSE(), 1.0, attention, "sum"),
        },
    }[recipe]


def batches(data: Dataset, collate: Callable) -> Iterator[dict]:
    """Read epoch after epoch, the same batches for every variant."""
    for epoch in itertools.count():
        order = torch.Generator().manual_seed(epoch)
        yield from DataLoader(data, BATCH, shuffle=True, generator=order, collate_fn=collate)


def steps(distiller: Distiller, stream: Iterator[dict]) -> Callable[[], float]:
    """Return a function that takes a batch and trains on it."""
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=1e-4)
    distiller.train()

    def step() -> float:
        loss = distiller(**next(stream)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def made(recipe: str, teacher: PreTrainedModel | None) -> Distiller:
    """Return a student and the objective of a recipe."""
    torch.manual_seed(0)
    pairs = PAIRS if recipe == "tinybert" else ()
    projections = LinearProjections(pairs, 192, 384, shared=False, bias=True, always=False)
    return Distiller(bert(6, 192), teacher, BoundObjective(terms(recipe), projections), [0, 1])


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    teacher, words, data, rows = bert(12, 384), tokenizer(), examples(), []
    plain = DataCollatorWithPadding(words)
    with tempfile.TemporaryDirectory() as folder:
        settings = CacheSettings(path=folder, dtype="float16", max_gib=10.0, shard_examples=1024, batch_size=32)
        cache = FeatureCache(settings, teacher, words)
        for recipe in ("logits", "minilmv2", "tinybert"):
            quantities = needed(BoundObjective(terms(recipe), torch.nn.Identity()))
            start = time.perf_counter()
            features = cache.features(data, quantities)
            cache.features(data, quantities)
            collate = CachedCollator(plain, features)
            in_memory = list(itertools.islice(batches(with_rows(data), collate), 3 + ROUNDS))
            variants = {
                "plain step, hard labels": steps(made("hard", teacher), batches(data, plain)),
                "live teacher": steps(made(recipe, teacher), batches(data, plain)),
                "cached": steps(made(recipe, None), batches(with_rows(data), collate)),
                "the same terms, features in memory": steps(made(recipe, None), iter(in_memory)),
            }
            sample = [with_rows(data)[i] for i in range(BATCH)]
            variants["reading a cached batch"] = lambda collate=collate, sample=sample: collate(sample)
            print(f"{recipe}: filled in {time.perf_counter() - start:.1f} s")
            for name, (median, low, high) in time_ratios(variants, rounds=ROUNDS).items():
                ratios = {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
                rows.append({"recipe": recipe, "variant": name, "batch": BATCH, "length": LENGTH} | ratios)
    append_rows("cached", rows)


if __name__ == "__main__":
    main()
