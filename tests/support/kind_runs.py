"""Files of a small task of each kind over the words of support.tagged, a tiny encoder, and runs on them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from support.tagged import FIRST, OTHERS, PLACE, pieces_tokenizer
from transformers import BertConfig, BertModel

from kdfeatures.cli.main import main

QUICK = ["trainer.disable_tqdm=true", "trainer.per_device_train_batch_size=16"]
SIZES = {"train": 240, "validation": 60}
LABELS = ("person", "place", "sleep")
FACTS = {
    "multilabel": ["task.text=[text]", f"task.labels=[{','.join(LABELS)}]"],
    "relevance": ["task.text=[query,passage]", "task.label=relevant", "task.metrics=[mrr,auc]"],
    "question": ["task.windows.longest_answer=4", "task.windows.overlap=4", "data.max_length=16"],
    "embedding": ["task.text=[one,other]", "task.label=score", "task.metrics=[spearmanr]"],
}


@dataclass(frozen=True)
class KindRuns:
    """Runs on the task of one kind in a folder."""

    folder: Path
    kind: str

    @classmethod
    def make(cls, folder: Path, kind: str) -> KindRuns:
        """Write the data and the encoder."""
        for seed, (split, count) in enumerate(SIZES.items()):
            rows = [row_of(kind, random.Random(f"{seed} {number}")) for number in range(count)]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        encoder(folder / "encoder")
        return cls(folder, kind)

    @property
    def task(self) -> list[str]:
        files = [f"task.files.{split}={split}.jsonl" for split in SIZES]
        return [
            f"task={self.kind}_files",
            "task.name=small",
            *files,
            f"data.path={self.folder}",
            "data.max_length=32",
            *FACTS[self.kind],
        ]

    def finetune(self, name: str, *overrides: str) -> dict[str, Any]:
        settings = [
            *QUICK,
            f"model.path={self.folder / 'encoder'}",
            "trainer.learning_rate=5e-3",
            "trainer.num_train_epochs=5",
            "trainer.save_strategy=no",
        ]
        return self._run("finetune", name, *settings, *overrides)

    def distil(self, name: str, *overrides: str, teacher: str = "teacher") -> dict[str, Any]:
        settings = [*QUICK, "student.layers=2", "trainer.learning_rate=3e-3", "trainer.num_train_epochs=4"]
        return self._run("distill", name, f"teacher.path={self.folder / teacher}", *settings, *overrides)

    def evaluate(self, name: str, *overrides: str) -> dict[str, Any]:
        return self._run("evaluate", name, *overrides)

    def results(self, name: str) -> dict[str, Any]:
        """Return what a run has written."""
        return json.loads((self.folder / name / "results.json").read_text())

    def snippet(self, name: str) -> str:
        """Return the Python of a run's model card."""
        return (self.folder / name / "README.md").read_text().split("```python")[1].split("```")[0]

    def _run(self, command: str, name: str, *overrides: str) -> dict[str, Any]:
        main([command, *self.task, *overrides, f"output_dir={self.folder / name}"])
        return self.results(name)


def encoder(folder: Path, *, layers: int = 3, width: int = 32) -> None:
    """Write a tiny encoder and the tokenizer of support.tagged."""
    words = pieces_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.05,
    )
    BertModel(config).save_pretrained(folder)
    words.save_pretrained(folder)


def row_of(kind: str, chance: random.Random) -> dict[str, Any]:
    """Return an example: what it asks for can be told from single words."""
    words = chance.choices(OTHERS, k=5)
    person, place = chance.choice(FIRST), chance.choice(PLACE)
    if kind == "multilabel":
        has = [chance.random() < 0.5, chance.random() < 0.3]
        words += [word for word, is_in in zip((person, place), has, strict=True) if is_in]
        chance.shuffle(words)
        has.append(any(word.startswith("sle") for word in words))
        return {"text": " ".join(words), **dict(zip(LABELS, map(int, has), strict=True))}
    if kind == "relevance":
        relevant = chance.random() < 0.4
        words.insert(2, person if relevant else place)
        return {
            "query": " ".join(chance.choices(OTHERS[:3], k=2)),
            "passage": " ".join(words),
            "relevant": int(relevant),
        }
    if kind == "question":
        words = chance.choices(OTHERS, k=9)
        at = chance.randrange(9)
        start = sum(len(word) + 1 for word in words[:at])
        words.insert(at, f"{person} lovelace")
        answers = {"text": [words[at]], "answer_start": [start]}
        return {"question": "saw", "context": " ".join(words), "answers": answers}
    other = [word if chance.random() < 0.5 else chance.choice([*FIRST, *PLACE]) for word in words]
    shared = sum(one == two for one, two in zip(words, other, strict=True))
    return {"one": " ".join(words), "other": " ".join(other), "score": float(shared)}
