"""What does a sweep over layer maps cost with one shared teacher pass, against runs that each ask the teacher?

python -m benchmarks.sweep

Both sweeps are `kdfeatures distill -m mapping=...`, the one with the cache after `kdfeatures cache` with the union of the
layers. All is counted: loading, filling, training, scoring, saving.
"""

from __future__ import annotations

import csv
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from benchmarks.harness import append_rows
from kdfeatures.cli import main as kdfeatures
from kdfeatures.embedded import load, tokenizer

MAPS, EPOCHS, EXAMPLES, SENTENCES, REPEATS = ("uniform", "last", "first", "skip"), (1, 3), 256, 6, 2
RECIPES = {
    "tinybert": ["more.hidden=[0,1,2,3,4,5,6,7,8,9,10,11,12]", "more.attention=[1,2,3,4,5,6,7,8,9,10,11,12]"],
    "logits": [],
}


def prepare(folder: Path) -> list[str]:
    """Save a random 12 x 384 teacher and texts of about 60 tokens; return the overrides that name them."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 12, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    words = tokenizer()
    config = BertConfig(vocab_size=len(words), **sizes, **names)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "teacher")
    words.save_pretrained(folder / "teacher")
    sentences = random.Random(0).sample(load("agreement")["train"]["sentence"][:], SENTENCES * (EXAMPLES + 64))
    texts = [" ".join(sentences[i : i + SENTENCES]) for i in range(0, len(sentences), SENTENCES)]
    for split, part in (("train", texts[:EXAMPLES]), ("validation", texts[EXAMPLES:])):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerows([("text", "label"), *((text, ("no", "yes")[n % 2]) for n, text in enumerate(part))])
    return [
        "task=files", "task.name=texts", "task.text=[text]", "task.label=label", "task.labels=[no,yes]",
        "task.metrics=[accuracy]", "task.files.train=train.csv", "task.files.validation=validation.csv",
        f"data.path={folder}", f"teacher.path={folder / 'teacher'}", "teacher.force=true", "student.init=random",
        "student.layers=6", "student.hidden_size=192", "student.heads=12", "existing=overwrite",
    ]  # fmt: skip


def seconds(command: str, *overrides: str) -> float:
    """Run a command in this process and return the wall-clock seconds."""
    start = time.perf_counter()
    kdfeatures([command, *overrides])
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        common = prepare(folder)
        for recipe, more in RECIPES.items():
            for epochs in EPOCHS:
                training = [
                    f"recipe={recipe}", "trainer.per_device_train_batch_size=16", f"trainer.num_train_epochs={epochs}",
                    "trainer.eval_strategy=no", "trainer.save_strategy=no", "trainer.disable_tqdm=true",
                    f"mapping={','.join(MAPS)}",
                ]  # fmt: skip
                ratios = []
                for repeat in range(REPEATS):
                    cache = [f"cache.path={folder}/cache_{recipe}_{epochs}_{repeat}"]
                    out = f"output_dir={folder}/out"
                    live = seconds("distill", "-m", *common, *training, out)
                    fill = seconds("cache", *common, f"recipe={recipe}", *more, *cache, out)
                    cached = seconds("distill", "-m", *common, *training, "cache=auto", *cache, out)
                    ratios.append(((fill + cached) / live, fill / live))
                whole, filling = (statistics.mean(ratio) for ratio in zip(*ratios, strict=True))
                spread = max(ratio[0] for ratio in ratios) - min(ratio[0] for ratio in ratios)
                rows.append(
                    {"recipe": recipe, "maps": len(MAPS), "epochs": epochs, "examples": EXAMPLES}
                    | {"time_ratio": f"{whole:.3f}", "of_it_filling": f"{filling:.3f}", "spread": f"{spread:.3f}"}
                )
    append_rows("sweep", rows)


if __name__ == "__main__":
    main()
