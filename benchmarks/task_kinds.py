"""Data for the kinds of tasks that GLUE does not have, made of real text: python -m benchmarks.task_kinds GLUE CORPORA
OUT

Writes train and validation files to OUT:
    tags         UD English Web Treebank: which of eight parts of speech has a sentence? (multilabel, one-hot columns)
    ranking      QNLI's questions, and of eight sentences the one that answers it (relevance, by query)
    answers      the same question over four sentences in random order: which one answers it? (question, SQuAD's layout)
QNLI's sentences are those of SQuAD's passages. Its validation split alone is read, every fourth question is held out.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

TAGS = ("PROPN", "NUM", "AUX", "SCONJ", "PART", "INTJ", "SYM", "X")
CANDIDATES, SENTENCES, HELD_OUT = 8, 4, 4


def tags(corpora: Path, out: Path) -> None:
    for split in ("train", "validation"):
        rows = load_dataset("parquet", data_files=str(corpora / "ud-ewt" / f"{split}.parquet"), split="train")
        names = rows.features["upos"].feature.names
        _write(
            out / f"tags-{split}.csv",
            [
                {"text": " ".join(row["tokens"]), **{tag: int(names.index(tag) in row["upos"]) for tag in TAGS}}
                for row in rows
            ],
        )


def questions(glue: Path, out: Path) -> None:
    rows = list(load_dataset("parquet", data_files=str(glue / "qnli" / "validation-*.parquet"), split="train"))
    chance = random.Random(0)
    answered = [row for row in {row["question"]: row for row in rows if row["label"] == 0}.values()]
    of_question: dict[str, list[str]] = {}
    for row in rows:
        if row["label"] == 1:
            of_question.setdefault(row["question"], []).append(row["sentence"])
    sentences = [row["sentence"] for row in rows]
    written: dict[str, list[dict[str, Any]]] = {}
    for number, row in enumerate(answered):
        split = "validation" if number % HELD_OUT == 0 else "train"
        question, right = row["question"], row["sentence"]
        wrong = [sentence for sentence in of_question.get(question, []) if sentence != right]
        while len(wrong) < CANDIDATES - 1:
            drawn = chance.choice(sentences)
            if drawn != right and drawn not in wrong:
                wrong.append(drawn)
        written.setdefault(f"ranking-{split}", []).extend(
            {"question": question, "sentence": sentence, "relevant": int(sentence == right)}
            for sentence in chance.sample([right, *wrong], CANDIDATES)
        )
        chosen = chance.sample([right, *wrong[: SENTENCES - 1]], SENTENCES)
        start = sum(len(sentence) + 1 for sentence in chosen[: chosen.index(right)])
        written.setdefault(f"answers-{split}", []).append(
            {
                "question": question,
                "context": " ".join(chosen),
                "answers": {"text": [right], "answer_start": [start]},
            }
        )
    for name, of_file in written.items():
        _write(out / f"{name}.jsonl", of_file)


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    dataset = Dataset.from_list(rows)
    if file.suffix == ".csv":
        dataset.to_csv(file)
    else:
        dataset.to_json(file)
    print(f"{file}: {len(rows):,} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("glue", "corpora", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tags(given.corpora, given.out)
    questions(given.glue, given.out)
