"""A user's folder: a tiny pretrained encoder and CSV files with a rule that is quickly learned."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from kdfeatures.cli.main import main
from kdfeatures.data.synthetic import load, tokenizer

SIZES = {"train": 320, "validation": 80, "test": 40}


@dataclass(frozen=True)
class Workspace:
    """Paths of the tiny encoder and of a teacher fine-tuned from it, and the overrides that name the task."""

    folder: Path

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder"

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher"

    @property
    def task(self) -> list[str]:
        return [
            "task=files",
            "task.name=clauses",
            "task.text=[sentence]",
            "task.label=label",
            "task.labels=[plain,relative]",
            "task.metrics=[accuracy,f1]",
            *(f"task.files.{split}={split}.csv" for split in SIZES),
            f"data.path={self.folder}",
            "data.max_length=24",
        ]

    def distil(self, name: str, *overrides: str) -> dict:
        """Distil the teacher in one short epoch and return results.json."""
        folder = self.folder / name
        settings = ["trainer.learning_rate=2e-3", "trainer.num_train_epochs=1", "trainer.disable_tqdm=true"]
        main(["distill", *self.task, f"teacher.path={self.teacher}", f"output_dir={folder}", *settings, *overrides])
        return json.loads((folder / "results.json").read_text())


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Workspace:
    return made_workspace(tmp_path_factory.mktemp("workspace"))


def made_workspace(folder: Path) -> Workspace:
    """Make encoder, files and teacher in an empty folder."""
    made = Workspace(folder)
    words = tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        num_hidden_layers=4,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.05,  # with 0.02 so narrow an encoder may not begin to learn
    )
    BertModel(config).save_pretrained(made.encoder)
    words.save_pretrained(made.encoder)
    # does the sentence hold a relative clause? one word tells
    sentences = load("agreement")["train"]["sentence"][:4000]
    groups = {flag: [text for text in sentences if ("that" in text.split()) == flag] for flag in (True, False)}
    rng = random.Random(0)
    start = 0
    for split, size in SIZES.items():
        half = size // 2
        rows = [
            {"sentence": text, "label": "relative" if flag else "plain", "score": len(text.split()) / 4 - 2.5}
            for flag, texts in groups.items()
            for text in texts[start : start + half]
        ]
        start += half
        rng.shuffle(rows)
        write_csv(made.folder / f"{split}.csv", rows)
    main(
        [
            "finetune",
            *made.task,
            f"model.path={made.encoder}",
            f"output_dir={made.teacher}",
            "trainer.learning_rate=3e-3",
            "trainer.per_device_train_batch_size=16",
            "trainer.num_train_epochs=6",
            "trainer.disable_tqdm=true",
            "trainer.save_strategy=no",
        ]
    )
    return made
