"""A task of each kind that is no classification of whole texts, over the words of support.tagged."""

from __future__ import annotations

from kdfeatures.tasks.sections import Windows
from kdfeatures.tasks.task import Task

FILES = {
    "splits": {"train": "train", "validation": "validation"},
    "files": {"train": "t.jsonl", "validation": "v.jsonl"},
}
MULTILABEL = Task(
    name="topics",
    kind="multilabel",
    text=("text",),
    label="labels",
    labels=("person", "place", "sleep"),
    metrics=("f1_micro", "f1_macro"),
    **FILES,
)
RELEVANCE = Task(
    name="search",
    kind="relevance",
    text=("query", "passage"),
    label="relevant",
    labels=(),
    metrics=("mrr", "auc"),
    **FILES,
)
QUESTION = Task(
    name="who",
    kind="question",
    text=("question", "context"),
    label="answers",
    labels=(),
    metrics=("f1", "exact_match"),
    windows=Windows(overlap=2, longest_answer=4, unanswerable=False),
    **FILES,
)
EMBEDDING = Task(
    name="alike",
    kind="embedding",
    text=("one", "other"),
    label="score",
    labels=(),
    metrics=("spearmanr", "pearson"),
    **FILES,
)
