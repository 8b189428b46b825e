"""What does a sweep cost with a shared cache, against the same runs that each ask the teacher in every step?

python -m benchmarks.sweep

`kdfeatures distill -m` over maps, with the union of their layers filled ahead by `kdfeatures cache`, and over recipes,
where each run adds what is missing. All is counted: loading, filling, training, scoring, saving.
"""

from __future__ import annotations

import csv
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from benchmarks.harness import append_rows
from kdfeatures.cli.main import main as kdfeatures
from kdfeatures.data.synthetic import load, tokenizer

RUNS, EPOCHS, EXAMPLES, SENTENCES, REPEATS = 4, 2, 96, 6, 2
ALL_LAYERS = [
    f"more.hidden={list(range(13))}".replace(" ", ""),
    f"more.attention={list(range(1, 13))}".replace(" ", ""),
]
SWEEPS = {  # what varies; what is filled ahead
    "4 maps of tinybert, filled ahead": (["recipe=tinybert_joint", "mapping=uniform,last,first,skip"], ALL_LAYERS),
    "4 recipes, cache=auto alone": (["recipe=logits,hidden_joint,minilm_joint,minilmv2_joint"], None),
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


def seconds(command: str, *overrides: str) -> np.ndarray:
    """Run a command in this process and return the seconds it took, by the clock and of its processor."""
    start = time.perf_counter(), time.process_time()
    kdfeatures([command, *overrides])
    return np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        common = prepare(folder)
        training = [
            "trainer.per_device_train_batch_size=16", f"trainer.num_train_epochs={EPOCHS}", "trainer.eval_strategy=no",
            "trainer.save_strategy=no", "trainer.disable_tqdm=true", f"output_dir={folder}/out",
        ]  # fmt: skip
        for n, (name, (varied, ahead)) in enumerate(SWEEPS.items()):
            ratios = []
            for repeat in range(REPEATS):
                cache = f"cache.path={folder}/cache{n}{repeat}"
                live = seconds("distill", "-m", *common, *training, *varied)
                filling = seconds("cache", *common, *ahead, cache, f"output_dir={folder}/out") if ahead else np.zeros(2)
                cached = seconds("distill", "-m", *common, *training, *varied, "cache=auto", cache)
                ratios.append(((filling + cached) / live, filling / live))
            (whole, processor), (filling, _) = np.mean(ratios, axis=0)
            totals = [ratio[0][0] for ratio in ratios]
            row = {"sweep": name, "runs": RUNS, "epochs": EPOCHS, "examples": EXAMPLES, "time_ratio": f"{whole:.3f}"}
            row |= {"lowest": f"{min(totals):.3f}", "highest": f"{max(totals):.3f}", "filling": f"{filling:.3f}"}
            rows.append(row | {"processor_time_ratio": f"{processor:.3f}"})
    append_rows("sweep", rows)


if __name__ == "__main__":
    main()
